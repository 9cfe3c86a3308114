//! Commands that services run by a calendar. `lifecycle` decides what is due; here its decisions become rows, and runs do the rest.
//!
//! | file | what |
//! | --- | --- |
//! | `known` | what is known of each job, read from the journal |
//! | `keep` | the supervised part that starts what is due |
//! | `request` | what callers ask for: list, history, start now, pause |
//! | `alarms` | jobs that failed or were missed |

mod alarms;
mod keep;
mod known;
mod request;

pub use alarms::alarms;
pub use keep::keep;
pub use request::{all, history, of_service, pause, resume, start};
