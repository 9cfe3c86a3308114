//! `serve`, `host`, `proxy`: one process each, for those who supervise them otherwise than by `up`.

use super::backup_args::BackupArgs;
use super::policy::HOST_POLICY;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::lock::{self, Taken};
use crate::processes::{self, Role, folders, log, parent, service_manager};
use clap::Args;
use model::{Fault, Layout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// The process before may still be ending.
const LOCK_WITHIN: Duration = Duration::from_secs(10);

/// Run the control plane alone: API, journals, the driving loop
#[derive(Args, Debug)]
#[command(
    after_help = "It works over a data directory of this machine. SIGHUP checks the host policy and the token's file and logs what is wrong with them; both are \
                  read at each use, so a change counts at once. SIGTERM ends it: servers and traffic go on, and the next one continues each \
                  rotation. To a service manager it reports that it is ready and alive while its socket answers.\n\n\
                  Example:\n  afresh serve --data-dir /var/lib/afresh"
)]
pub struct Serve {
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
    pub backups: BackupArgs,
    #[arg(long, hide = true)]
    pub parent: Option<i32>,
}

/// Run the keeper alone: it runs the declared servers on this host
#[derive(Args, Debug)]
#[command(
    after_help = "It works over a data directory of this machine. SIGHUP checks the host policy and logs what is wrong with it; it is read at each use, so a \
                  change counts at once. SIGTERM ends it: servers go on, and the next one finds them. To a service manager it reports that it is \
                  ready and alive while its socket answers.\n\n\
                  Example:\n  afresh host --data-dir /var/lib/afresh"
)]
pub struct Host {
    /// Use this OCI runtime; by default the first of runc, crun, youki that works
    #[arg(long, value_name = "PROGRAM")]
    pub runtime: Option<PathBuf>,
    /// Read here which directories may be volumes; only root may write it
    #[arg(long, value_name = "FILE", default_value = HOST_POLICY)]
    pub policy: PathBuf,
    #[command(flatten)]
    pub logs: LogArgs,
    /// The small process beside one instance
    #[arg(long, value_name = "DIR", hide = true)]
    pub shim: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub parent: Option<i32>,
}

/// What becomes of the logs of all servers, beside being kept for each.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// The room that the logs of all servers take together; the oldest go first
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = log_total)]
    pub log_total: u64,
    /// Send each line of every server there too: journald, syslog, syslog:/SOCKET, udp:HOST:PORT, tcp:HOST:PORT
    #[arg(long, value_name = "WHERE", value_parser = log_forward)]
    pub log_forward: Option<(String, host::Forward)>,
}

fn log_total(text: &str) -> Result<u64, String> {
    let bytes = super::units::size(text)?;
    if bytes < host::LOGS_TOTAL_BYTES_MIN {
        return Err(format!("at least {} are needed", model::text::bytes(host::LOGS_TOTAL_BYTES_MIN)));
    }
    Ok(bytes)
}

fn log_forward(text: &str) -> Result<(String, host::Forward), String> {
    host::Forward::parse(text).map(|forward| (text.to_string(), forward))
}

impl LogArgs {
    /// For the process that keeps them.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--log-total".to_string(), self.log_total.to_string()];
        words.extend(self.log_forward.iter().flat_map(|(text, _)| ["--log-forward".to_string(), text.clone()]));
        words
    }
}

/// Run the balancer alone: its control side, and a data plane if none runs
#[derive(Args, Debug)]
#[command(
    after_help = "It works over a data directory of this machine. SIGHUP changes nothing: routes are declared, not configured. SIGTERM ends the control side; \
                  the data plane is a process of its own and carries traffic on. To a service manager it reports that it is ready and alive while \
                  its socket answers.\n\n\
                  Example:\n  afresh proxy --data-dir /var/lib/afresh"
)]
pub struct Proxy {
    /// The side that carries the traffic
    #[arg(long, hide = true)]
    pub data_plane: bool,
    #[arg(long, hide = true)]
    pub parent: Option<i32>,
}

impl Serve {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        // It holds values for the moment in which it stores them.
        secret::protect_memory();
        let _lock = begin(&context.layout, Role::Serve, self.parent)?;
        let layout = context.layout.clone();
        // One that would be refused is refused before anything is served.
        self.token_file.as_deref().map(server::read_token).transpose()?;
        if let Err(fault) = super::policy::must_be_there(&self.policy) {
            tracing::warn!(code = fault.code, "{}; the defaults hold", fault.message);
        }
        if let Err(fault) = server::read_policy(&self.policy) {
            tracing::error!(code = fault.code, "nobody but the administrator may deploy: {}", fault.message);
        }
        let (policy, token_file) = (self.policy.clone(), self.token_file.clone());
        until_signal(&layout.clone(), Role::Serve, move || read_again(&policy, token_file.as_deref()), async move {
            let images = Arc::new(store::Store::open(&layout)?);
            let upkeep = pace()?.map(|pace| server::Upkeep { factory: images.clone(), pace });
            let config = server::Config {
                holder: server::lease_holder(&layout)?,
                provider: Arc::new(host::Remote::new(&layout, Handle::current())),
                router: Arc::new(proxy::Remote::new(&layout, Handle::current())),
                images,
                upkeep,
                backups: self.backups.settings(),
                listen: self.listen,
                token_file: self.token_file,
                policy: self.policy,
                layout,
            };
            server::run(config).await
        })
    }
}

impl Host {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        processes::let_servers_pass();
        if let Some(dir) = &self.shim {
            host::shim(dir)?;
            return Ok(Exit::Succeeded);
        }
        let _lock = begin(&context.layout, Role::Host, self.parent)?;
        let shim_args = ["host", "--shim"].map(String::from).to_vec();
        let layout = context.layout.clone();
        let admit = host::Admit::new(move |role, object, launch| {
            let used = match role {
                host::Role::Root(image) => attest::Use::Root { image, begins: launch == host::Launch::First },
                host::Role::Code => attest::Use::Code,
            };
            attest::admit(&layout, &used, object)
        });
        let policy = self.policy.clone();
        let names = context.layout.service_names();
        let permit = host::Permit::new(move |service, volume| {
            // Without them, a rule that has a service's first name still holds.
            let names = server::read_names(&names).unwrap_or_default();
            server::read_policy(&policy)?.permits_volume(&names, service, volume)
        });
        let config = host::Config {
            layout: context.layout.clone(),
            program: own()?,
            shim_args,
            subnet: None,
            runtime: self.runtime,
            logs: host::LogSettings { total_bytes: self.logs.log_total, forward: self.logs.log_forward.map(|(_, forward)| forward) },
            admit,
            permit,
        };
        until_signal(&context.layout, Role::Host, move || read_again(&self.policy, None), host::run(config))
    }
}

impl Proxy {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.data_plane {
            log::start();
            // Who starts it has looked; who starts it by hand on a copy, or on what was restored, takes no port of the original's.
            host::identity::ours(&context.layout)?;
            // It ends by a call on its socket, not by signals meant for the control side.
            return runtime()?.block_on(async { Ok(proxy::data(context.layout.clone()).await.map(|()| Exit::Succeeded)?) });
        }
        let _lock = begin(&context.layout, Role::Proxy, self.parent)?;
        let mut data_args: Vec<std::ffi::OsString> = ["proxy", "--data-plane", "--data-dir"].map(Into::into).to_vec();
        data_args.push(context.data_dir().into());
        let config = proxy::Config { layout: context.layout.clone(), data_program: own()?, data_args };
        until_signal(
            &context.layout,
            Role::Proxy,
            || tracing::info!("SIGHUP: there is no file of settings to read again"),
            proxy::control(config),
        )
    }
}

/// What the three have in common before they start.
fn begin(layout: &Layout, role: Role, parent: Option<i32>) -> Result<disk::lock::Lock, Failure> {
    if let Some(parent) = parent {
        parent::end_with(parent)?;
    }
    log::start();
    folders::make(layout, false)?;
    match lock::take_within(layout, role.name(), LOCK_WITHIN)? {
        Taken::Mine(lock) => Ok(lock),
        Taken::Theirs(pid) => {
            let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let fault = Fault::yours("busy", format!("another {} runs over {}{who}", role.name(), layout.root().display()));
            Err(fault.hint("`afresh up` runs one of each; `afresh down` ends them").into())
        }
    }
}

/// The clock of images' schedules: the wall's, or for trials `SPEED@MS`, SPEED times faster since that moment (milliseconds since
/// 1970). None: `off`, images are baked by hand only.
fn pace() -> Result<Option<server::Pace>, Fault> {
    let Some(text) = std::env::var_os("AFRESH_UPKEEP_CLOCK") else { return Ok(Some(server::Pace::default())) };
    let text = text.to_string_lossy();
    if text == "off" {
        return Ok(None);
    }
    let read = text.split_once('@').and_then(|(speed, anchor)| Some((speed.parse().ok().filter(|s| *s >= 1)?, anchor.parse().ok()?)));
    let bad = || {
        Fault::yours("bad-clock", format!("AFRESH_UPKEEP_CLOCK={text} is not a clock"))
            .hint("write SPEED@MS, such as 10800@1795000000000, or unset it")
    };
    read.map(|(speed, anchor)| Some(server::Pace { anchor: model::Time(anchor), speed })).ok_or_else(bad)
}

fn own() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| Fault::world("io", format!("no event loop: {e}")))
}

/// SIGHUP: policy and token are read at each use, so all there is to do is to say what is wrong with them.
fn read_again(policy: &Path, token_file: Option<&Path>) {
    match server::read_policy(policy) {
        Ok(_) => tracing::info!("SIGHUP: {} has no error; it is read at each use", policy.display()),
        Err(fault) => tracing::error!(code = fault.code, "SIGHUP: nobody but the administrator may deploy: {}", fault.message),
    }
    if let Some(Err(fault)) = token_file.map(server::read_token) {
        tracing::error!(code = fault.code, "SIGHUP: the administrator's token is not accepted: {}", fault.message);
    }
}

/// Runs until it ends by itself or by TERM or INT. Being dropped must be as harmless as kill -9.
fn until_signal(layout: &Layout, role: Role, reload: impl Fn(), work: impl Future<Output = Result<(), Fault>>) -> Result<Exit, Failure> {
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let broken = |e: std::io::Error| Fault::world("io", format!("cannot listen to signals: {e}"));
        let mut term = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
        let reloads = async {
            while hangup.recv().await.is_some() {
                service_manager::reloading();
                reload();
                service_manager::ready();
            }
        };
        let own = [role];
        tokio::select! {
            ended = work => ended,
            _ = term.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            () = reloads => Ok(()),
            never = service_manager::report(layout, &own) => match never {},
        }
    });
    service_manager::stopping();
    // A blocking call under way (a mount, a probe) is not waited for long.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended?;
    Ok(Exit::Succeeded)
}
