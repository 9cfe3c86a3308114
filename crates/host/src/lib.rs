//! Provider on one Linux host: keeper, OCI runtime, network.
//!
//! The keeper ([`run`]) reconciles the groups that are declared on its disk, and does nothing else; each instance has a small shim
//! process ([`shim`]) that outlives the keeper. Nothing here decides about deploys, reads the environment or prints.

mod admit;
mod alarms;
mod answering;
mod bundle;
mod cgroup;
mod command;
mod connectivity;
mod counters;
mod deadline;
mod decide;
#[cfg(test)]
mod decisions;
mod declared;
mod dns;
mod doctor;
mod down;
mod etc;
mod exec;
mod exec_calls;
mod exec_sessions;
mod firewall;
mod forwarding;
mod garbage;
#[cfg(test)]
mod golden;
mod group_files;
mod health_check;
mod history;
mod host_checks;
pub mod identity;
mod idmap;
mod inside;
mod instance;
mod instance_dir;
mod keeper;
mod listening;
mod log_bounds;
mod log_file;
mod log_forward;
mod log_forwarded;
mod log_list;
mod log_reader;
mod log_settings;
mod marker;
mod mounts;
mod names;
mod needs;
mod net;
mod objects;
mod one_shot;
mod output;
mod port;
mod private_files;
mod probe_history;
mod process;
mod reconcile;
mod record;
mod removal;
mod resolvers;
mod root;
mod run;
mod runtime;
mod samples;
mod scratch;
mod seccomp;
mod serve;
mod service_names;
mod shim;
mod start_error;
mod state;
mod state_files;
mod subnet;
mod syslog;
mod termination;
#[cfg(test)]
mod testing;
mod uids;
mod usage;
mod userns;
mod volumes;

pub use admit::{Admit, Launch, Permit, Role};
pub use command::without_service_manager;
pub use doctor::{Finding, doctor};
pub use down::down;
pub use host_checks::Lack;
pub use keeper::Config;
pub use log_settings::{Forward, LogSettings, TOTAL_BYTES as LOGS_TOTAL_BYTES, TOTAL_BYTES_MIN as LOGS_TOTAL_BYTES_MIN};
pub use mounts::below as mounted_below;
pub use net::{Network, reserve as reserve_network};
pub use port::Remote;
pub use run::run;
pub use shim::shim;
pub use subnet::Subnet;
