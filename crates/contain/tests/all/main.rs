//! Containments against a small AWS that keeps what is written to it, files of this host, and a firewall in a namespace of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod fake;
mod firewall;
#[path = "../../../aws_scan/tests/all/http.rs"]
mod http;
mod journal;
mod modes;
mod settings;
