//! Stops an exposure by one reversible change, on record: journal first, write, read again, verify by the verdict function.
//!
//! What is changed is planned by [`guard::contain`], which also says what to do next from the journal and the value that is there. Here
//! are the journal on a disk, the calls, and the loop between them. A change that somebody else made is never overwritten.
//!
//! ```text
//! planned (on disk) ─▶ read ─▶ write once ─▶ read ─▶ verdict ─▶ contained (on disk) ─▶ undoing ─▶ read ─▶ write once ─▶ undone
//!     └─ killed anywhere: the next run reads the value and goes on from there
//! ```

mod aws;
mod calls;
mod entry;
mod firewall;
mod head;
mod host;
mod identity;
mod incidents;
mod journal;
mod run;
mod world;

pub use aws::{Aws, fault as aws_fault};
pub use entry::{Entry, Event, Place, Planned, Standing};
pub use firewall::Firewall;
pub use host::Host;
pub use incidents::{Incidents, Kept};
pub use journal::{Containment, Journal};
pub use run::{By, Outcome, Undo, begin_undo, carry_on, contain};
pub use world::{Judged, World};
