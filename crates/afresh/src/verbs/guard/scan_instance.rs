//! `guard scan instance`: a server that runs on this host, by its root and its own network namespace.

use super::report::Report;
use super::scan_tree::{so_far, tree};
use super::sockets;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use clap::Args;
use guard::Tri;
use guard::root::{Purpose, exposed, sensitive};
use model::InstanceId;
use serde_json::json;

/// Find what a running server exposes: its files, and what it listens on
#[derive(Args, Debug)]
#[command(after_help = "\
Its files are judged as an image's, what was written since it started included. Volumes, secrets and whatever else is mounted into it are judged as a \
host's: there only what every account can read is exposed. Nothing is changed, and no process of it is stopped.

Example:
  sudo afresh guard scan instance web-r2-5-1
  sudo afresh guard scan instance web-r2-5-1 --json")]
pub struct Instance {
    /// The server (`web-r2-5-1`)
    #[arg(value_name = "INSTANCE")]
    instance: InstanceId,
}

impl Instance {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        context.must_be_local("a running server's files")?;
        store::program::need_root("reading the files of a server")?;
        let program = host::RunningProgram::find(&context.layout, &self.instance)?;
        let mut report = Report::new(context);
        let totals = tree(&mut report, &program.proc().join("root"), Purpose::Image)?;
        let (listeners, unread) = sockets::listeners(&program.proc().join("net"));
        program.must_run()?;
        sockets::unread(&mut report, &unread);
        let why = "other servers and routes reach it as the network block of its service says: `afresh network` shows who";
        for listener in &listeners {
            if let Some(service) = sensitive(listener) {
                report.finding(&exposed(listener, service, Some("the server"), Tri::Unknown, why));
            }
        }
        Ok(report.end(json!({ "instance": self.instance, "listeners": listeners.len() }), &so_far(&totals)))
    }
}
