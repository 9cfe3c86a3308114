//! Control plane: the driving loop and the API over it.
//!
//! It holds no state of its own that matters: journals and records are in the database, and what runs is behind the ports. Killing it at
//! any moment loses nothing; the next one continues. What is opened, refused or left alone is decided in `control`; this crate reads the
//! journal and the inventory, calls it, and commits its answer in one transaction.
//!
//! ```text
//!  socket ─▶ http ─▶ deploy, rollback, steps, adopt, gc ─▶ journal ◀─ drive ─▶ provider, router
//!                      └─ status, lists (read only) ◀─────────┘ notifies ▲
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `config`, `serve` | what it is started with; start and stop |
//! | `app`, `notify` | what everything shares; wakes threads when something changes |
//! | `instance_lock`, `lease_holder`, `files` | one process a data directory; its name |
//! | `access`, `hidden_names` | who calls, what they may do, tokens, the host policy, the audit; names that a caller may not see |
//! | `observed_service`, `admission`, `opening` | what is observed for one service, what may be deployed, the transaction that opens a rotation |
//! | `names` | names of renamed services: in requests, in answers, on disk for the keeper |
//! | `deploy`, `rollback`, `removal`, `rollouts`, `steps`, `adopt`, `notes` | requests that open rotations |
//! | `drive`, `driver`, `supervise`, `parts`, `backups` | a thread for each open rotation; supervised parts, their panics and failures |
//! | `inventory`, `comparison`, `covered_ports` | keeper and balancer compared with the journal; nothing is declared for what the journal does not cover |
//! | `backup` | the whole data directory as one file, and a data directory from it |
//! | `runs` | commands in servers of their own |
//! | `status`, `lists`, `logs`, `gc`, `in_use` | answers |
//! | `gate` | rules and waivers over what is deployed, baked and runs |
//! | `secrets` | values of secrets: stored, checked, listed; never answered |
//! | `fleet`, `alarms` | alarms and events of keeper and balancer |
//! | `upkeep` | keeps images patched: checks, bakes, tests, rolls out |
//! | `http` | paths, bodies, errors, live events |

mod access;
mod admission;
mod adopt;
mod alarms;
mod app;
mod backup;
mod backups;
mod blocking;
mod comparison;
mod config;
mod covered_ports;
mod deploy;
mod drive;
mod driver;
mod exec;
mod exec_known;
mod files;
mod fleet;
mod gate;
mod gc;
mod hidden_names;
mod http;
mod in_use;
mod instance_lock;
mod inventory;
mod jobs;
mod keep_artifacts;
mod lease_holder;
mod lists;
mod log_once;
mod logs;
mod names;
mod notes;
mod notify;
mod observed_service;
mod opening;
mod parts;
mod ports;
mod removal;
mod rollback;
mod rollouts;
mod runs;
mod secrets;
mod serve;
mod status;
mod steps;
mod supervise;
mod upkeep;

pub use access::{read_policy, read_token};
pub use backup::{
    Backups, Checked as CheckedBackup, Last as LastBackup, Made as MadeBackup, Manifest as BackupManifest, Options as BackupOptions,
    check as check_backup_file, last as last_backup, make as make_backup, named as backup_name, unpack as unpack_backup,
};
pub use config::Config;
pub use gate::{image_waivers, recipe_must_pass};
pub use http::routes;
pub use instance_lock::{check_backup, restore};
pub use journal::Backup;
pub use lease_holder::lease_holder;
pub use names::read as read_names;
pub use ports::{Images, Kept};
pub use secrets::unreadable as unreadable_secrets;
pub use serve::{Server, run, start};
pub use upkeep::{Config as Upkeep, Factory, Fresh, Made, Pace};
