//! Commands that run in servers of their own. A run is a row of the journal before anything of it is declared; what happens to it is read off
//! the keeper, whoever was killed meanwhile.
//!
//! | file | what |
//! | --- | --- |
//! | `request` | what callers ask for: begin, stop, list |
//! | `advance` | from a row and what the keeper shows of it to the next declaration, or the next row |
//! | `keep`, `waits` | the supervised part that does that for every run that is not over; why they wait |

mod advance;
mod keep;
mod request;
mod waits;

pub use keep::keep;
pub use request::{all, begin, of_service, one, stop};
pub use waits::Waits;
