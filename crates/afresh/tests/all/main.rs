//! The tests of this crate from outside, one binary: linking is what costs.
#![allow(clippy::unwrap_used, reason = "a failing test reports the place")]

mod apps;
mod capacity;
mod client;
mod codes;
mod container;
mod exec;
#[path = "../../../contain/tests/all/fake.rs"]
#[allow(dead_code, reason = "the tests of `contain` use the rest")]
mod fake;
mod faults;
mod fleet;
mod guard;
mod guard_aws;
mod guard_contain;
mod guard_places;
#[path = "../../../aws_scan/tests/all/http.rs"]
mod http;
mod init;
mod jobs;
mod life;
mod machine;
mod mentions;
mod migrations;
mod mirror;
mod month;
mod nothing_new;
#[allow(dead_code, reason = "the registry of the crate oci's own tests")]
#[path = "../../../oci/tests/all/own_registry.rs"]
mod own_registry;
mod reference;
mod removal;
mod runs;
mod secret_commands;
mod service_manager;
mod versions;
#[allow(dead_code, reason = "the world of the control plane's own tests")]
#[path = "../../../server/tests/all/common/mod.rs"]
mod world;
