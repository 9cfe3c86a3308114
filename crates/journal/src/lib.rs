//! The journal, leases and records of the control plane, in one SQLite file.
//!
//! This crate keeps facts and the few rules that need a transaction: one open rotation a service, compare-and-swap append under the newest
//! fence, numbers that are given once. It decides nothing about deploys and has no clock.
//!
//! ```text
//! services ── history     the desired state, by generation
//! names                   what users call renamed services; every other table has the id
//! releases                by service and number; the same content is the same number
//! rotations ── events     a journal each; `events.number` counts over the whole database
//!     │  └──── commands   commands that users gave
//!     └─ rollouts         tiers of rotations
//! runs                    commands in servers of their own, by service and number
//! leases                  who drives a service; the fence only grows
//! summaries               what closed journals come to: known groups, the active release, the desired state in force
//! ```
//!
//! Every row carries a checksum of its content, so that a byte that the disk corrupts is reported and not used.
//!
//! | file | what |
//! | --- | --- |
//! | `database` | opening, transactions |
//! | `create`, `inspect`, `wal`, `schema`, `migrate` | the file: created, checked before use, brought to this version's schema |
//! | `backup`, `restored` | the copy beside it, and what follows from restoring it |
//! | `records` | reading and writing rows within a transaction |
//! | `services`, `names`, `releases`, `rollouts`, `rotations`, `closing`, `summaries` | the tables |
//! | `port` | `rotation::Journal`: leases and append |

mod backup;
mod closing;
mod connection;
mod create;
mod database;
mod digest;
mod fault;
mod files;
mod inspect;
mod jobs;
mod migrate;
mod migrations;
mod names;
mod port;
mod records;
mod releases;
mod restored;
mod rollouts;
mod rotations;
mod runs;
mod schema;
mod services;
mod summaries;
mod wal;

pub use backup::{Backup, Restored, check_backup, check_copy, restore, snapshot};
pub use database::Database;
pub use digest::digest_of;
pub use jobs::no_job;
pub use migrations::MigrationRow;
pub use records::{Lists, Records, Tx};
pub use releases::ReleaseRow;
pub use rollouts::{RolloutRow, no_rollout};
pub use rotations::{Numbered, Origin, RotationRow, no_rotation, no_service};
pub use runs::no_run;
pub use services::ServiceRow;
pub use summaries::Now;
