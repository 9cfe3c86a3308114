//! systemd's protocols, spoken by the real program to a socket of this test, and its units, read by systemd's own checker.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The rest that a unit sets too; it ends with the test, whatever that does.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(verb: &str, data: &Path, manager: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.args([verb, "--data-dir"]).arg(data).env("NOTIFY_SOCKET", manager).env("AFRESH_UPKEEP_CLOCK", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn start(data: &Path, manager: &Path, watchdog: Option<Duration>) -> Daemon {
    let mut command = program("serve", data, manager);
    if let Some(limit) = watchdog {
        command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    }
    Daemon(command.spawn().unwrap())
}

/// A socket where systemd would listen.
fn manager(dir: &Path) -> (UnixDatagram, PathBuf) {
    let socket = dir.join("manager");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (manager, socket)
}

/// The next message that has this line.
fn wait(manager: &UnixDatagram, line: &str) -> String {
    let mut bytes = [0; 4096];
    loop {
        let n = manager.recv(&mut bytes).unwrap_or_else(|e| panic!("{line}: {e}"));
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        if text.lines().any(|one| one == line) {
            return text;
        }
    }
}

fn signal(daemon: &Daemon, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(daemon.0.id()).unwrap()), signal).unwrap();
}

#[test]
#[ignore = "needs root, as serve does"]
fn systemd_is_told_what_is_true() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (manager, socket) = manager(dir.path());
    let daemon = start(&data, &socket, Some(Duration::from_millis(200)));
    wait(&manager, "READY=1");
    // Ready means that callers are answered from now on.
    std::os::unix::net::UnixStream::connect(model::Layout::new(&data).api_socket()).unwrap();
    wait(&manager, "WATCHDOG=1");
    wait(&manager, "WATCHDOG=1");

    signal(&daemon, nix::sys::signal::Signal::SIGHUP);
    assert!(wait(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    wait(&manager, "READY=1");

    // A stopped process is silent: that is what a watchdog is for.
    signal(&daemon, nix::sys::signal::Signal::SIGSTOP);
    manager.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut bytes = [0; 4096];
    while manager.recv(&mut bytes).is_ok() {}
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    signal(&daemon, nix::sys::signal::Signal::SIGCONT);
    wait(&manager, "WATCHDOG=1");

    signal(&daemon, nix::sys::signal::Signal::SIGTERM);
    wait(&manager, "STOPPING=1");
}

/// What journald shows by `-p warning`: a line's priority stands before it, and its time is journald's.
#[test]
#[ignore = "needs root, as serve does"]
fn the_journal_gets_priorities_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, socket) = manager(dir.path());
    let policy = dir.path().join("policy.hcl");
    std::fs::write(&policy, "nonsense {").unwrap();
    for (is_journal, log) in [(true, "journal"), (false, "else")] {
        let log = dir.path().join(log);
        let file = std::fs::File::create(&log).unwrap();
        let of = file.metadata().unwrap();
        // As systemd names it; where a parent's is redirected, another file's.
        let named = format!("{}:{}", of.dev(), of.ino() + u64::from(!is_journal));
        let mut command = program("serve", &dir.path().join("data"), &socket);
        let daemon = Daemon(command.arg("--policy").arg(&policy).env("JOURNAL_STREAM", named).stderr(file).spawn().unwrap());
        wait(&manager, "READY=1");
        signal(&daemon, nix::sys::signal::Signal::SIGTERM);
        wait(&manager, "STOPPING=1");
        drop(daemon);
        let text = std::fs::read_to_string(&log).unwrap();
        let line = text.lines().find(|line| line.contains("nobody but the administrator may deploy")).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(line.starts_with("<3>nobody but"), is_journal, "{line}");
        assert_eq!(text.lines().all(|line| line.starts_with('<')), is_journal, "{text}");
        assert_eq!(line.contains("ERROR"), !is_journal, "{line}");
    }
}

/// Whoever runs `up` sends the signal to it, and its three processes read again.
#[test]
#[ignore = "needs root, as up does"]
fn up_passes_a_reload_on() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, socket) = manager(dir.path());
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let daemon = Daemon(program("up", &data, &socket).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    wait(&manager, "READY=1");
    signal(&daemon, nix::sys::signal::Signal::SIGHUP);
    wait(&manager, "RELOADING=1");
    wait(&manager, "READY=1");
    let reloads = || std::fs::read_to_string(&log).unwrap().matches("SIGHUP: ").count();
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while reloads() < 3 {
        assert!(std::time::Instant::now() < end, "{}", std::fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&daemon, nix::sys::signal::Signal::SIGTERM);
    wait(&manager, "STOPPING=1");
    let down = Command::new(env!("CARGO_BIN_EXE_afresh")).args(["down", "--purge", "--yes", "--data-dir"]).arg(&data).output().unwrap();
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
}

/// What a unit calls must be what the program takes.
#[test]
fn the_units_call_the_program_as_it_is() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let mut seen = 0;
    for entry in std::fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/afresh ")) {
            let verb = line.split(' ').next().unwrap();
            let help = Command::new(env!("CARGO_BIN_EXE_afresh")).args(["help", verb]).output().unwrap();
            assert!(help.status.success(), "{}: {line}", path.display());
            assert!(text.contains("Type=notify\n") && text.contains(&format!("Documentation=man:afresh-{verb}(1)")), "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn each_verb_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, "another's").unwrap();
    std::os::unix::fs::symlink(&other, dir.path().join("afresh-status.1")).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_afresh")).arg("man").arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(page("afresh.1").contains("Replace servers instead of changing them"));
    assert!(page("afresh-deploy.1").contains("\\-\\-yes"));
    page("afresh-image-list.1");
    assert!(page("afresh-status.1").starts_with(".ie"));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "another's", "a link was followed");
}
