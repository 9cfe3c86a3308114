//! systemd's protocols, spoken by the real program to a socket of this test, and its units, read by systemd's own checker.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
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

fn start(data: &Path, manager: &Path, watchdog: Option<Duration>) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.args(["serve", "--data-dir"]).arg(data).env("NOTIFY_SOCKET", manager).env("AFRESH_UPKEEP_CLOCK", "off");
    if let Some(limit) = watchdog {
        command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    }
    Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
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
    let (data, socket) = (dir.path().join("data"), dir.path().join("manager"));
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
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
    let made = Command::new(env!("CARGO_BIN_EXE_afresh")).arg("man").arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(page("afresh.1").contains("Replace servers instead of changing them"));
    assert!(page("afresh-deploy.1").contains("\\-\\-yes"));
    page("afresh-image-list.1");
}
