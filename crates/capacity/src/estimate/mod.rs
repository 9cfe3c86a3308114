//! Estimates from recorded arrivals and durations, with intervals.
//!
//! | figure | how | source |
//! | --- | --- | --- |
//! | rate, SCV of interarrival times, dispersion of counts (IDC) | moments | Cox and Lewis 1966, 4.6 |
//! | their intervals | moving blocks drawn with replacement, so that correlation within a block is kept | Kuensch 1989 |
//! | mean service time | utilisation law: busy server-seconds / requests | Denning and Buzen 1978 |
//! | distribution of service times | maximum likelihood of lognormal and gamma, chosen by AIC | Akaike 1974; Minka 2002 |

pub mod arrivals;
pub mod bootstrap;
pub mod fit;

pub use arrivals::{ArrivalEstimate, IdcPoint, arrivals, idc};
pub use bootstrap::block_bootstrap;
pub use fit::{Fitted, fit, service_by_utilisation};
