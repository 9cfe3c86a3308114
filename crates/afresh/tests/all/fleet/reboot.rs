//! A host that reboots, and one whose power is cut: a machine of its own namespaces (processes, mounts, network, `/run`) in which everything is
//! killed at once, and another boot of it over the same disk. Only the units' commands are started; the control plane stays down until
//! traffic has come back.

use super::world::{Fleet, get};
use super::{cut, spare};
use model::{DesiredSeen, GroupHeld, GroupName, Verdict};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// $1: the file with this boot's id; then the program, the data directory, the log; then the roles.
const BOOT: &str = r#"
set -e
mount -t proc proc /proc
mount --bind "$1" /proc/sys/kernel/random/boot_id
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
# The kernel lets a container mount a /proc only where a whole one is to be seen.
mkdir /run/proc && mount -t proc proc /run/proc
ip link set lo up
program=$2 data=$3 log=$4; shift 4
for role in "$@"; do "$program" "$role" --data-dir "$data" >>"$log" 2>&1 & done
echo up
while :; do wait || :; sleep 1; done
"#;

struct Machine {
    unshare: Child,
    /// Of its first process.
    init: u32,
}

impl Machine {
    fn boot(fleet: &Fleet, dir: &Path, number: u32, roles: &[&str]) -> Machine {
        let id = dir.join("boot-id");
        fs::write(&id, format!("00000000-0000-4000-8000-{number:012}\n")).unwrap();
        // Of this machine's disk: what is built below /tmp, that has no more after a boot.
        let program = dir.join("afresh");
        if !program.exists() {
            fs::copy(fleet.command(&[]).get_program(), &program).unwrap();
        }
        let mut c = Command::new("unshare");
        c.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "--uts",
            "--ipc",
            "--propagation",
            "private",
            "sh",
            "-c",
            BOOT,
            "sh",
        ]);
        c.arg(&id).arg(program).arg(&fleet.data).arg(dir.join("machine.log")).args(roles);
        c.env("AFRESH_UPKEEP_CLOCK", "off").stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut unshare = c.spawn().unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(unshare.stdout.as_mut().unwrap(), &mut said).expect("the machine does not boot");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Machine { unshare, init }
    }

    /// Waits as a client does: it asks again until it is answered.
    fn until_answered(&self, fleet: &Fleet, since: Instant) -> Duration {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
        let listen = fleet.listen;
        let client = std::thread::spawn(move || {
            nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            loop {
                match get(listen, "/healthz", 1_000) {
                    Ok(_) => return Ok(since.elapsed()),
                    Err(why) if since.elapsed() > super::world::patience() => return Err(why),
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        client.join().unwrap().unwrap_or_else(|why| panic!("nobody answers: {why}"))
    }

    /// Every process at once, without a word to any; and what only a running kernel has goes with them.
    fn cut_power(mut self, fleet: &Fleet) {
        let _ = self.unshare.kill();
        self.unshare.wait().unwrap();
        let gone = Instant::now();
        while Path::new(&format!("/proc/{}", self.init)).exists() && gone.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mark = host::identity::mark(&fleet.layout());
        // Mounts, bridges and rules went with their namespaces; control groups belong to the kernel of this host.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            remove_groups(&hierarchy.join(format!("afresh-{mark}")));
        }
        assert!(!Path::new(&format!("/sys/class/net/afresh{mark}")).exists());
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(fleet.data.to_str().unwrap()), "mounts are left");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn remove_groups(group: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while group.exists() && Instant::now() < until {
        for inner in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            remove_groups(&inner.path());
        }
        if fs::remove_dir(group).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What each group is declared to run, as the keeper says it, and how many of its servers are healthy.
fn running(fleet: &Fleet) -> BTreeMap<GroupName, (DesiredSeen, usize)> {
    let held: Vec<GroupHeld> = fleet.host("/v1/inventory").unwrap_or_default();
    let healthy = |seen: &model::GroupSeen| seen.instances.iter().filter(|one| one.healthy_ms.is_some()).count();
    held.into_iter()
        .filter(|held| held.seen.desired != DesiredSeen::Gone)
        .map(|held| (held.seen.group.clone(), (held.seen.desired, healthy(&held.seen))))
        .collect()
}

fn until_running(fleet: &Fleet, wanted: &BTreeMap<GroupName, (DesiredSeen, usize)>) {
    let begun = Instant::now();
    while running(fleet) != *wanted {
        assert!(begun.elapsed() < super::world::patience(), "{:?} and not {wanted:?}", running(fleet));
        std::thread::sleep(Duration::from_millis(50));
    }
}

const SERVICE: &str = "sleep 0.1; exec busybox httpd -f -p 8080 -h /www";

#[test]
#[ignore = "needs root"]
fn the_same_servers_serve_again_after_each_boot() {
    let dir = tempfile::Builder::new().prefix("afresh-boot-").tempdir_in("/var/tmp").unwrap();
    let mut fleet = Fleet::empty(dir.path(), "data");
    let log = |what: &str| {
        writeln!(fs::File::options().create(true).append(true).open(dir.path().join("machine.log")).unwrap(), "== {what}").unwrap()
    };
    let _log = Log(dir.path().join("machine.log"));
    let machine = Machine::boot(&fleet, dir.path(), 0, &["host", "proxy", "serve"]);
    let ready = Instant::now();
    while fleet.get::<serde_json::Value>("/v1/health").is_err() || fleet.host::<Vec<GroupHeld>>("/v1/inventory").is_err() {
        assert!(ready.elapsed() < super::world::patience(), "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = fleet.deploy(SERVICE, "2m");
    assert_eq!(status.verdict, Some(Verdict::Promoted), "{}", status.why);
    let wanted = running(&fleet);
    assert_eq!(wanted.values().map(|(_, healthy)| *healthy).collect::<Vec<_>>(), [3]);
    let rotations: Vec<serde_json::Value> = fleet.get("/v1/rotations").unwrap();
    let mut machine = Some(machine);

    let (layout, group) = (fleet.layout(), wanted.keys().next().unwrap().clone());
    let wal = layout.database().with_file_name("afresh.db-wal");
    let faults: [(&str, &dyn Fn()); 5] = [
        ("a reboot", &|| ()),
        ("state files are torn: the newer copy of each", &|| {
            for path in [layout.group(&group), layout.routes().join("web.json"), layout.host().join("uids.json")] {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }
        }),
        ("spares are torn, and a file that was being written is left", &|| {
            for path in [layout.group(&group), layout.routes().join("web.json")] {
                let bytes = fs::read(spare(&path)).unwrap();
                fs::write(spare(&path), &bytes[..bytes.len() / 3]).unwrap();
                fs::write(path.with_file_name(".web-r1-1.json.1.1"), "{\"half").unwrap();
            }
        }),
        ("the journal's log ends in a torn frame", &|| {
            let mut bytes = fs::read(&wal).unwrap_or_default();
            let frame = bytes.len().min(1_000);
            bytes.extend_from_slice(&vec![0x5a; frame]);
            fs::write(&wal, bytes).unwrap();
            let _ = fs::remove_file(layout.database().with_file_name("afresh.db-shm"));
        }),
        ("records of servers are torn", &|| {
            for entry in fs::read_dir(layout.instances()).unwrap().flatten() {
                cut(&entry.path().join("record.json"));
            }
        }),
    ];
    for (n, (what, fault)) in (1u32..).zip(faults) {
        machine.take().unwrap().cut_power(&fleet);
        fault();
        log(&format!("boot {n}: {what}"));
        let since = Instant::now();
        // The control plane is down: nobody says a word.
        let booted = Machine::boot(&fleet, dir.path(), n, &["host", "proxy"]);
        let answered = booted.until_answered(&fleet, since);
        until_running(&fleet, &wanted);
        println!(
            "boot {n}, {what}: first answer after {:.1} s, all 3 servers of {group} after {:.1} s",
            answered.as_secs_f64(),
            since.elapsed().as_secs_f64()
        );
        machine = Some(booted);
    }
    // With the control plane, whose log was torn meanwhile: the journal says what it said.
    machine.take().unwrap().cut_power(&fleet);
    let booted = Machine::boot(&fleet, dir.path(), 6, &["host", "proxy", "serve"]);
    booted.until_answered(&fleet, Instant::now());
    until_running(&fleet, &wanted);
    let begun = Instant::now();
    let seen = loop {
        match fleet.get::<Vec<serde_json::Value>>("/v1/rotations") {
            Ok(seen) => break seen,
            Err(fault) => assert!(begun.elapsed() < super::world::patience(), "{fault:?}"),
        }
    };
    assert_eq!(seen, rotations);

    // Power is cut in the middle of a deploy: the rotation ends by itself after the next boot.
    let id = fleet.begin_deploy(&fleet.service("busybox httpd -f -p 8080 -h /www", "2m"));
    std::thread::sleep(Duration::from_millis(700));
    booted.cut_power(&fleet);
    let since = Instant::now();
    let booted = Machine::boot(&fleet, dir.path(), 7, &["host", "proxy", "serve"]);
    let answered = booted.until_answered(&fleet, since);
    let status = fleet.end(&id);
    println!(
        "power cut in a deploy: first answer after {:.1} s, {:?} after {:.1} s: {}",
        answered.as_secs_f64(),
        status.verdict,
        since.elapsed().as_secs_f64(),
        status.why
    );
    assert!(matches!(status.verdict, Some(Verdict::Promoted | Verdict::RolledBack)), "{}", status.why);
    booted.until_answered(&fleet, Instant::now());
    booted.cut_power(&fleet);
    fleet.stop();
}

/// Shown when the test fails.
struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(&self.0).unwrap_or_default());
        }
    }
}
