//! The journal, leases and records of the control plane, in one SQLite file.
//!
//! What is here keeps facts and the few rules that need a transaction: one open rotation a service, compare-and-swap append
//! under the newest fence, numbers that are given once. It decides nothing about deploys and knows no clock but the one it is told.
//!
//! ```text
//! services ── history     the wish, by generation
//! releases                by service and number; the same content is the same number
//! rotations ── events     a journal each; `events.number` counts over the whole store
//!     │  └──── commands   commands that users gave
//!     └─ rollouts         tiers of rotations
//! leases                  who drives a service; the fence only grows
//! summaries               what closed journals come to: known groups, what stands, the desired state in force
//! ```
//!
//! Every row carries a checksum over its content, so that a byte that rots on disk is told and not believed.

mod backup;
mod digest;
mod fault;
mod known;
mod migrate;
mod open;
mod port;
mod records;
mod releases;
mod rollouts;
mod rotations;
mod services;
mod wal;

pub use backup::{Backup, Restored, check_backup, restore};
pub use digest::digest_of;
pub use known::{Known, Now};
pub use open::Database;
pub use records::{Lists, Records, Tx};
pub use releases::ReleaseRow;
pub use rollouts::RolloutRow;
pub use rotations::{Numbered, Origin, RotationRow, no_rotation, no_service};
pub use services::ServiceRow;
