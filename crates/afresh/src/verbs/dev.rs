//! `dev`: runs a directory's services here, from its files as they are, and rotates at each save. It has an Afresh of its own, over a data
//! directory of its own, and ends it all with Ctrl-C.
//!
//! ```text
//! start `up` ─▶ deploy ─▶ wait for a save ─▶ quiet for a moment ─▶ deploy ─▶ promoted: it serves; else the version before goes on
//!                            └ Ctrl-C ─▶ servers, traffic, processes end; images stay for the next time
//! ```

use super::desired::{Desired, Images, request_of};
use super::dev_watch::Snapshot;
use super::down;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::processes::folders;
use crate::processes::lock::{self, Taken};
use crate::processes::own_up::{OwnUp, empty};
use crate::secrets::Reading;
use crate::show;
use api::control::{CommandRequest, Opened, RotationStatus};
use clap::Args;
use model::text::shown;
use model::{Fault, FewRequests, Layout, RotationCommand, RotationId, SecretSource, ServiceFile, Verdict, Wave};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Run the services of a directory here, and rotate at each save
#[derive(Args, Debug)]
#[command(
    after_help = "It reads DIR/afresh.hcl (`afresh init` writes one) and deploys the files of DIR as they are, in small: one server a service, one wave, \
                  a short soak. A save that breaks something is rolled back, and the last version that worked goes on. What .afreshignore names is \
                  neither deployed nor watched.\n\n\
                  It has a data directory of its own (/var/lib/afresh-dev unless --data-dir says another), which it empties but for images.\n\n\
                  Example:\n  afresh init && afresh dev"
)]
pub struct Dev {
    /// The directory with the service file
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Also run its commands for secrets, as root, and read files outside of DIR that it names
    #[arg(long)]
    pub trust: bool,
}

const USUAL_DATA: &str = "/var/lib/afresh";
const DATA: &str = "/var/lib/afresh-dev";
/// Says that a data directory is for this and may be emptied.
const MARK: &str = ".afresh-dev";
const SHOWN_BYTES_MAX: usize = 80;
const LOOK_MS: u16 = 250;
/// Editors write several files, or one twice.
const QUIET_LOOKS: u32 = 2;
const SOAK_MS: u64 = 500;
const WITHIN_MS: u64 = 30_000;
const HEALTHY_MS: u64 = 300;
const DRAIN_MS: u64 = 2_000;

impl Dev {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("dev")?;
        if !nix::unistd::geteuid().is_root() {
            return Err(super::doctor::not_root().into());
        }
        let dir = self.dir.canonicalize().map_err(|e| failure::io("cannot read", &self.dir, &e))?;
        let file = if context.file == Path::new("afresh.hcl") { dir.join("afresh.hcl") } else { context.file.clone() };
        if !file.exists() {
            let fault = Fault::yours("no-file", format!("{}: no such service file", file.display()));
            return Err(fault.hint(format!("`afresh init {}` writes one", self.dir.display())).into());
        }
        let data = if context.data_dir() == Path::new(USUAL_DATA) { PathBuf::from(DATA) } else { context.data_dir().to_path_buf() };
        let layout = take(&data)?;
        let session = Session { context: Context::over(file, layout, false), signals: Signals::take()?, dir, is_trusted: self.trust };
        let ended = session.run();
        session.end()?;
        ended.map(|()| Exit::Succeeded)
    }
}

/// A data directory that is for this alone, and of which nothing runs.
fn take(data: &Path) -> Result<Layout, Failure> {
    let layout = Layout::new(data);
    let is_used = std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
    // A link that somebody laid there marks nothing.
    if is_used && !std::fs::symlink_metadata(data.join(MARK)).is_ok_and(|meta| meta.is_file()) {
        let fault =
            Fault::yours("not-dev", format!("{} holds something else, and `afresh dev` empties its data directory", data.display()));
        return Err(fault.hint("name another one with --data-dir").into());
    }
    folders::make(&layout, false)?;
    std::fs::write(data.join(MARK), "").map_err(|e| failure::io("cannot write", &data.join(MARK), &e))?;
    if let Taken::Theirs(pid) = lock::take(&layout, "up")? {
        let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        let fault = Fault::yours("already-up", format!("another `afresh dev` runs over {}{who}", data.display()));
        return Err(fault.hint(format!("end it, or clear away after it: afresh down --yes --data-dir {}", data.display())).into());
    }
    down::end_all(&layout)?;
    empty(data, &[MARK])?;
    folders::make(&layout, false)?;
    Ok(layout)
}

/// A directory that somebody else wrote has no business with this machine: whoever runs it is root.
fn must_stay_within(file: &ServiceFile, dir: &Path, beside_file: impl Fn(&str) -> PathBuf) -> Result<(), Fault> {
    // Whoever reads what does not exist says so.
    let leaves = |path: &str| beside_file(path).canonicalize().is_ok_and(|path| !path.starts_with(dir));
    let outside = |what: String| {
        Fault::yours("outside-dir", format!("{what}, outside of {}", dir.display())).hint("read the service file; if you trust it: --trust")
    };
    for (name, secret) in &file.secrets {
        match &secret.source {
            SecretSource::Command { command } => {
                let text = format!("secret {name} runs a command on this machine as root: {}", shown(&command.join(" "), SHOWN_BYTES_MAX));
                return Err(Fault::yours("outside-dir", text).hint("read the service file; if you trust it: --trust"));
            }
            SecretSource::File { path } | SecretSource::Age { path } if leaves(path) => {
                return Err(outside(format!("secret {name} reads {path}")));
            }
            _ => {}
        }
    }
    let artifact = |service: &model::ServiceSpec| service.artifact.clone().filter(|path| leaves(path));
    match file.services.values().find_map(|service| Some((&service.name, artifact(service)?))) {
        Some((service, path)) => Err(outside(format!("the code of {service} is {path}"))),
        None => Ok(()),
    }
}

struct Session {
    context: Context,
    signals: Signals,
    dir: PathBuf,
    is_trusted: bool,
}

impl Session {
    fn run(&self) -> Result<(), Failure> {
        let up = self.context.wait(OwnUp::start(&self.context.layout))?;
        show::note(format!("watching; Ctrl-C ends it. Its own log is {}", up.log().display()));
        let watched = self.watch();
        up.stop();
        watched
    }

    fn watch(&self) -> Result<(), Failure> {
        let mut seen = self.look();
        if seen.is_cut {
            show::note("the directory has too many files to watch them all: name those that are no code in .afreshignore");
        }
        self.deploy(&seen);
        loop {
            if self.signals.within(LOOK_MS)? {
                return Ok(());
            }
            let now = self.look();
            if now == seen {
                continue;
            }
            let Some(quiet) = self.until_quiet(now)? else { return Ok(()) };
            seen = quiet;
            self.deploy(&seen);
        }
    }

    /// None: it was told to end.
    fn until_quiet(&self, mut last: Snapshot) -> Result<Option<Snapshot>, Failure> {
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            if self.signals.within(LOOK_MS)? {
                return Ok(None);
            }
            let now = self.look();
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        Ok(Some(last))
    }

    /// The service file and every directory of code that it names.
    fn look(&self) -> Snapshot {
        let mut paths = vec![self.context.file.clone()];
        // While it has errors, what it named is not known; it is watched itself.
        if let Ok(file) = self.context.load() {
            paths.extend(file.services.values().filter_map(|service| Some(self.context.beside_file(service.artifact.as_ref()?))));
        }
        paths.sort();
        paths.dedup();
        Snapshot::of(&paths, self.context.data_dir())
    }

    /// Says how it went; whatever is wrong is waited for, not the end.
    fn deploy(&self, seen: &Snapshot) {
        let begun = Instant::now();
        if let Err(failure) = self.try_deploy(seen, begun) {
            failure.print(false);
            show::note("waiting for the next save");
        }
        // A bake opens signals when it has ended.
        self.signals.block();
    }

    fn try_deploy(&self, seen: &Snapshot, begun: Instant) -> Result<(), Failure> {
        let file = small(self.context.load()?);
        if !self.is_trusted {
            must_stay_within(&file, &self.dir, |path| self.context.beside_file(path))?;
        }
        let addresses: Vec<_> = file.services.values().filter_map(|s| Some((s.name.clone(), s.route.as_ref()?.listen.edge()?))).collect();
        let request = request_of(&self.context, file, &Desired::default(), Images::Bake, &Reading::All)?;
        self.signals.block();
        let opened: Opened = self.context.wait(async { Ok(self.context.api().post("/v1/deploy", &request).await?) })?;
        let rotations = opened.rotations.clone();
        if rotations.is_empty() && opened.rollout.is_none() {
            show::line("nothing to rotate: the files that are deployed did not change");
            return Ok(());
        }
        for status in self.follow(&rotations, seen)? {
            let took = show::span(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            let address = addresses.iter().find(|(name, _)| *name == status.service).map(|(_, listen)| url(*listen)).unwrap_or_default();
            match status.verdict {
                Some(Verdict::Promoted) => {
                    show::line(format!("{} {} serves after {took}{address}", show::paint(show::GREEN.bold(), "ok"), label(&status)));
                }
                _ => {
                    let goes_on = status.from.as_ref().map_or_else(
                        || "there is no version before it".to_string(),
                        |from| format!("{}@r{} goes on{address}", status.service, from.release.number),
                    );
                    let head = show::paint(show::RED.bold(), "broken");
                    show::line(format!("{head} {} was rolled back after {took}: {}; {goes_on}", label(&status), status.why));
                    status.failure.iter().flat_map(show::failure).for_each(|line| show::line(format!("  {line}")));
                }
            }
        }
        Ok(())
    }

    /// Until all of them are closed. Another save, or Ctrl-C, rolls back what is not: nobody needs it any more.
    fn follow(&self, rotations: &[RotationId], seen: &Snapshot) -> Result<Vec<RotationStatus>, Failure> {
        let mut is_given_up = false;
        loop {
            let all: Vec<RotationStatus> = self.context.wait(async {
                let mut all = Vec::new();
                for rotation in rotations {
                    all.push(self.context.api().get(&format!("/v1/rotations/{rotation}")).await?);
                }
                Ok(all)
            })?;
            if all.iter().all(|status| status.verdict.is_some()) {
                return Ok(all);
            }
            let is_ending = self.signals.within(LOOK_MS)?;
            if is_ending || (!is_given_up && self.look() != *seen) {
                is_given_up = true;
                for status in all.iter().filter(|status| status.verdict.is_none() && status.from.is_some()) {
                    let path = format!("/v1/rotations/{}/command", status.id);
                    let command = CommandRequest { command: RotationCommand::Rollback };
                    // It may have closed meanwhile.
                    let _ = self.context.wait(async { Ok(self.context.api().post::<_, serde_json::Value>(&path, &command).await?) });
                }
            }
            if is_ending {
                self.signals.again();
                return Ok(all.into_iter().filter(|status| status.verdict.is_some()).collect());
            }
        }
    }

    fn end(&self) -> Result<(), Failure> {
        show::note("ending the servers");
        down::end_all(&self.context.layout)?;
        empty(self.context.data_dir(), &[MARK])?;
        Ok(())
    }
}

fn label(status: &RotationStatus) -> String {
    format!("{}@r{}", status.service, status.to.release.number)
}

fn url(listen: std::net::SocketAddr) -> String {
    let host = if listen.ip().is_unspecified() { "127.0.0.1".to_string() } else { listen.ip().to_string() };
    let host = if listen.is_ipv6() && !listen.ip().is_unspecified() { format!("[{host}]") } else { host };
    format!(": http://{host}:{}/", listen.port())
}

/// One server a service and one quick wave.
fn small(mut file: ServiceFile) -> ServiceFile {
    // All at once: nobody is served by a version between two.
    file.tiers.truncate(1);
    for service in file.services.values_mut() {
        file.tiers.iter().for_each(|tier| service.tier.clone_from(tier));
        service.count = service.count.min(1);
        let rollout = &mut service.rollout;
        rollout.waves = vec![Wave::Percent(100)];
        rollout.soak_ms = rollout.soak_ms.min(SOAK_MS);
        rollout.within_ms = rollout.within_ms.min(WITHIN_MS);
        rollout.few_requests = FewRequests::GoOn;
        rollout.freeze.clear();
        let health = &mut service.health;
        health.healthy_for_ms = health.healthy_for_ms.min(HEALTHY_MS);
        health.every_ms = health.every_ms.min(HEALTHY_MS);
        service.drain.within_ms = service.drain.within_ms.min(DRAIN_MS);
    }
    file
}

/// SIGINT and SIGTERM, which are looked for between two steps.
struct Signals {
    set: SigSet,
    fd: SignalFd,
    was: std::cell::Cell<bool>,
}

impl Signals {
    fn take() -> Result<Self, Fault> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        let broken = |e: nix::errno::Errno| Fault::world("io", format!("cannot listen to signals: {e}"));
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(broken)?;
        set.thread_block().map_err(broken)?;
        Ok(Self { set, fd, was: std::cell::Cell::new(false) })
    }

    fn block(&self) {
        let _ = self.set.thread_block();
    }

    /// For the next look: one was seen and acted on only in part.
    fn again(&self) {
        self.was.set(true);
    }

    /// Whether one comes within this time.
    fn within(&self, ms: u16) -> Result<bool, Fault> {
        if self.was.get() {
            return Ok(true);
        }
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(ms)) {
            Ok(n) if n > 0 => Ok(matches!(self.fd.read_signal(), Ok(Some(_)))),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(e) => Err(Fault::world("io", format!("cannot wait for signals: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_small_and_keeps_what_it_is() {
        let text = include_str!("../../../../examples/shop/afresh.hcl");
        let file = config::parse(text, "afresh.hcl").unwrap();
        let small = small(file.clone());
        for (name, service) in &small.services {
            let whole = &file.services[name];
            assert_eq!((service.count, service.rollout.waves.len()), (1, 1));
            assert_eq!(
                (&service.run, &service.env, &service.limits, &service.route),
                (&whole.run, &whole.env, &whole.limits, &whole.route)
            );
        }
        assert!(config::checked(&small).is_ok(), "a file could say it");
    }

    #[test]
    fn what_is_not_its_own_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), "x").unwrap();
        let Err(Failure::Fault(fault)) = take(dir.path()) else { panic!("it was taken") };
        assert_eq!(fault.code, "not-dev");
        assert!(dir.path().join("precious").exists());
    }

    #[test]
    fn addresses_can_be_opened() {
        assert_eq!(url("0.0.0.0:8080".parse().unwrap()), ": http://127.0.0.1:8080/");
        assert_eq!(url("[::1]:80".parse().unwrap()), ": http://[::1]:80/");
    }

    /// Found by a reader: a cloned repository ran commands as root and took root's files.
    #[test]
    fn what_leaves_the_directory_must_be_trusted() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().canonicalize().unwrap().join("app");
        std::fs::create_dir_all(dir.join("code")).unwrap();
        for path in [dir.join("own"), outer.path().join("theirs")] {
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(outer.path().join("theirs"), dir.join("link")).unwrap();
        let judge = |secret: &str, artifact: &str| {
            let image = "image \"base\" {\n debian = \"bookworm\"\n packages = [\"python3\"]\n}";
            let text = format!(
                "{image}\nsecret \"s\" {{ {secret} }}\nservice \"web\" {{\n tier = \"front\"\n image = image.base\n artifact = \"{artifact}\"\n run = [\"x\"]\n count = 1\n \
                 env {{ S = secret.s }}\n}}"
            );
            let file = config::parse(&text, "x").unwrap_or_else(|all| panic!("{}", config::render(&all, &text, "x", false)));
            must_stay_within(&file, &dir, |path| dir.join(path)).map_err(|fault| fault.message)
        };
        assert_eq!(judge("file = \"own\"", "code"), Ok(()));
        assert_eq!(judge("file = \"not-there\"", "."), Ok(()), "whoever reads it says so");
        assert!(
            judge("command = [\"sh\", \"-c\", \"id\"]", "code").unwrap_err().contains("runs a command on this machine as root: sh -c id")
        );
        for secret in ["file = \"link\"", "file = \"../theirs\"", "age = \"../theirs\""] {
            assert!(judge(secret, "code").unwrap_err().starts_with("secret s reads "), "{secret}");
        }
        assert!(judge("file = \"own\"", "..").unwrap_err().starts_with("the code of web is .."));
    }
}
