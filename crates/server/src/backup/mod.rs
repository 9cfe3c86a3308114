//! One file with a whole data directory, made while it is in use, and a data directory made from such a file.
//!
//! ```text
//! make:     writers held ▸ declarations read ▸ journal's snapshot ▸ released ─▶ streamed to .FILE.part ▸ read again ▸ renamed to FILE
//! restore:  FILE read whole ▸ every digest ─▶ unpacked beside the data directory ▸ journal opened ─▶ renamed into its place
//!               └ anything wrong: nothing was changed                └ anything wrong: removed
//! ```
//!
//! What is restored starts nothing by itself: see `host::identity::mark_restored`. Logs, servers, sockets, packages and users' volumes are not in it.

mod archive;
mod contents;
mod keep;
mod last;
mod make;
mod restore;
mod settings;

pub use archive::Manifest;
pub use keep::{keep, named};
pub use last::{Last, last, trouble};
pub use make::{Made, Options, make};
pub use restore::{Checked, check, unpack};
pub use settings::Backups;
