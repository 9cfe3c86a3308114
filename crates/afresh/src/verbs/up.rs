//! `up`: serve, host and proxy over one data directory, kept alive.

use super::backup_args::BackupArgs;
use super::policy::HOST_POLICY;
use super::roles::LogArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::lock::{self, Taken};
use crate::processes::supervise::Supervisor;
use crate::processes::{self, Role, folders, ready, service_manager};
use crate::show;
use clap::Args;
use host::identity::Identity;
use model::{Fault, Layout};
use nix::sys::signal::{SigSet, Signal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Run serve, host and proxy and restart them when they end
#[derive(Args, Debug)]
#[command(
    after_help = "All three work over one data directory of this machine. Ctrl-C ends them, SIGHUP is passed on to them. Servers and the balancer's \
                  data plane keep running; `afresh down` ends those too.\n\nExample:\n  afresh up --data-dir /var/lib/afresh"
)]
pub struct Up {
    /// Serve the API on TCP too, to callers with a token (`afresh token create`)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Accept this file's token as the administrator's; mode 0600
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Limit what others than the administrator may deploy; only root may write it
    #[arg(long, value_name = "FILE", default_value = HOST_POLICY)]
    pub policy: PathBuf,
    #[command(flatten)]
    pub logs: LogArgs,
    #[command(flatten)]
    pub backups: BackupArgs,
    /// Adopt a copied data directory as one of its own
    #[arg(long)]
    pub adopt: bool,
}

/// Children of an `up` that was killed end by themselves; those that do not are ended after this.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(5);
const READY_WITHIN: Duration = Duration::from_secs(60);

impl Up {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        open_signals();
        processes::let_servers_pass();
        context.must_be_local("up")?;
        // A file that serve would refuse is refused here once, and not by every restart of serve.
        if let Some(file) = &self.token_file {
            server::read_token(file)?;
        }
        super::policy::must_be_there(&self.policy)?;
        server::read_policy(&self.policy)?;
        if !nix::unistd::geteuid().is_root() {
            return Err(super::doctor::not_root().into());
        }
        // Ownership is checked before anything is written.
        match folders::make(&context.layout, self.adopt)? {
            Identity::Moved { from, renamed } => {
                show::note(format!("the data directory was moved here from {}; its servers keep running", from.display()));
                if !renamed {
                    show::note("if this is a copy and the original is not mounted, stop it now: `afresh down`, then `afresh up --adopt`");
                }
            }
            Identity::Adopted { from } => {
                show::note(format!("adopted: a data directory of its own from now on, no longer a copy of {}", from.display()));
            }
            Identity::Marked => show::note("a data directory of an older version: it is marked now"),
            Identity::Made | Identity::Known => {}
        }
        super::doctor::essentials(&context.layout)?;
        let _lock = match lock::take(&context.layout, "up")? {
            Taken::Mine(lock) => lock,
            Taken::Theirs(pid) => return Err(already(context, pid).into()),
        };
        for role in Role::ALL {
            if lock::end_holder(&context.layout, role.name(), LEFTOVER_PATIENCE)? {
                show::note(format!("ended a {} that an earlier `up` had left", role.name()));
            }
        }
        context.wait(async {
            // Before the children start, so that no signal is missed.
            let broken = |e: std::io::Error| Fault::world("io", format!("cannot listen to signals: {e}"));
            let mut term = signal(SignalKind::terminate()).map_err(broken)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
            let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
            let supervisor = Supervisor::start(context.data_dir(), &self.roles())?;
            tokio::select! {
                () = print_ready(&context.layout) => {}
                _ = term.recv() => return Ok(stop(context, supervisor)),
                _ = interrupt.recv() => return Ok(stop(context, supervisor)),
            }
            let reloads = async {
                while hangup.recv().await.is_some() {
                    service_manager::reloading();
                    supervisor.reload();
                    service_manager::ready();
                }
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                () = reloads => {}
                never = service_manager::report(&context.layout, &Role::ALL) => match never {},
            }
            service_manager::stopping();
            Ok(stop(context, supervisor))
        })
    }

    fn roles(&self) -> Vec<(Role, Vec<String>)> {
        let mut serve = Vec::new();
        if let Some(listen) = self.listen {
            serve.extend(["--listen".to_string(), listen.to_string()]);
        }
        if let Some(file) = &self.token_file {
            serve.extend(["--token-file".to_string(), file.display().to_string()]);
        }
        let policy = ["--policy".to_string(), self.policy.display().to_string()];
        serve.extend(policy.clone());
        serve.extend(self.backups.words());
        let host = [&policy[..], &self.logs.words()].concat();
        vec![(Role::Host, host), (Role::Proxy, Vec::new()), (Role::Serve, serve)]
    }
}

/// Programs inherit which signals are blocked: whoever starts this may wait for its own in another way (`afresh dev`), and would never end it.
fn open_signals() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    let _ = set.thread_unblock();
}

fn already(context: &Context, pid: Option<i32>) -> Fault {
    let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Fault::yours("already-up", format!("another `afresh up` runs over {}{who}", context.data_dir().display()))
        .hint("`afresh status` shows its state; another --data-dir runs a second one; `afresh down` ends it and its servers")
}

async fn print_ready(layout: &Layout) {
    let began = Instant::now();
    let mut said = false;
    loop {
        let mut silent = None;
        for role in Role::ALL {
            if let Err(fault) = ready::health(layout, role).await {
                silent = Some((role, fault));
                break;
            }
        }
        match silent {
            None => break,
            Some((role, fault)) if began.elapsed() > READY_WITHIN && !said => {
                said = true;
                show::note(format!("not ready after {}: {}: {fault}; still trying", show::span(60_000), role.name()));
            }
            Some(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = show::span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    show::note(format!("{} after {took} over {}", show::paint(show::GREEN.bold(), "ready"), layout.root().display()));
}

fn stop(context: &Context, supervisor: Supervisor) -> Exit {
    show::note("ending serve, host and proxy");
    supervisor.stop();
    let dir = context.data_dir().display();
    show::note(format!("ended. Servers and the balancer's data plane keep running; `afresh down --data-dir {dir}` ends them"));
    Exit::Succeeded
}
