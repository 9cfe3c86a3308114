//! `guard scan host`: this host, by its files and by what listens on it.

use super::report::Report;
use super::scan_tree::{so_far, tree};
use super::sockets;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use clap::Args;
use guard::root::{Purpose, exposed, sensitive};
use serde_json::json;
use std::path::Path;

/// Find what this host exposes: its files, and services that strangers reach
#[derive(Args, Debug)]
#[command(after_help = "\
Of files only what other accounts of the host can read or change is exposed. Of sockets, those of services that only known machines should reach: whether \
strangers do is read from nftables, and where that cannot be read or understood it is unknown, never safe.

Example:
  sudo afresh guard scan host
  sudo afresh guard scan host --json")]
pub struct Host {}

impl Host {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        context.must_be_local("this host's files")?;
        let mut report = Report::new(context);
        // What listens comes first: it is the shorter half, and the worse one.
        let (listeners, unread) = sockets::listeners(Path::new("/proc/net"));
        sockets::unread(&mut report, &unread);
        let wide: Vec<_> = listeners.iter().filter_map(|listener| Some((listener, sensitive(listener)?))).collect();
        if !wide.is_empty() {
            let (owners, firewall) = (sockets::owners(), sockets::Rules::read());
            for (listener, service) in wide {
                let (reached, why) = firewall.admits(listener);
                report.finding(&exposed(listener, service, owners.get(&listener.inode).map(String::as_str), reached, &why));
            }
        }
        let totals = tree(&mut report, Path::new("/"), Purpose::Host)?;
        Ok(report.end(json!({ "listeners": listeners.len() }), &so_far(&totals)))
    }
}
