//! A fleet that nobody deploys to, and what may befall it: a table of faults on the real program. For each: what users noticed (a client
//! accounts for every request), what somebody who looks is told, and the time until all is whole again.
//!
//! `cargo test -p afresh --test all fleet:: -- --ignored --nocapture` as root. `AFRESH_PROGRAM=PATH` plays it on another build, and
//! `AFRESH_FAULT_PATIENCE=SECONDS` gives up sooner.

mod backup;
mod inside;
mod moved;
mod reasons;
mod reboot;
mod secrets;
mod versions;
mod volumes;
pub mod world;

use disk::state::spare;
use model::InstanceId;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use world::{Fleet, Users, get, send};

/// What of the users' requests may fail by this fault.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    None,
    /// Those that were at a server that died or hung, or came while nobody listened.
    Some,
}

struct Row {
    fault: &'static str,
    users: String,
    said: String,
    whole: String,
    wrong: Vec<String>,
}

fn print(rows: &[Row]) {
    println!("| fault | users noticed | said | whole after |");
    println!("| --- | --- | --- | --- |");
    for row in rows {
        println!("| {} | {} | {} | {} |", row.fault, row.users, row.said.chars().take(200).collect::<String>(), row.whole);
    }
    let wrong: Vec<String> = rows.iter().flat_map(|row| row.wrong.iter().map(|why| format!("{}: {why}", row.fault))).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A fault that a fleet gets over by itself. `fault` gives the servers that must not be there afterwards.
fn healed(fleet: &mut Fleet, name: &'static str, loss: Loss, said: &str, fault: impl FnOnce(&mut Fleet) -> Vec<InstanceId>) -> Row {
    let mut wrong = Vec::new();
    let before = fleet.servers();
    let users = Users::start(fleet.listen);
    let begun = Instant::now();
    let gone = fault(fleet);
    let whole = match fleet.until_whole(begun, &gone) {
        Ok(took) => format!("{:.1} s", took.as_secs_f64()),
        Err(why) => {
            wrong.push(why.clone());
            why
        }
    };
    let (sent, failed) = users.finish();
    let lost: u64 = failed.values().sum();
    if loss == Loss::None && lost > 0 {
        wrong.push(format!("{lost} of {sent} requests failed: {failed:?}"));
    }
    // Who had no part in the fault is still there.
    let after = fleet.servers();
    let ended: Vec<&str> = before
        .iter()
        .filter(|(id, _)| !gone.contains(id) && !after.iter().any(|(there, _)| there == id))
        .map(|(id, _)| id.as_str())
        .collect();
    if !ended.is_empty() {
        wrong.push(format!("{} had no part in it and was ended", ended.join(", ")));
    }
    let said = match fleet.until_said(said) {
        Ok(line) => line,
        Err(why) => {
            wrong.push(why.clone());
            why
        }
    };
    println!("{name}: {} {wrong:?}", if wrong.is_empty() { "ok" } else { "WRONG" });
    Row { fault: name, users: format!("{lost} of {sent} failed {}", list(&failed)), said, whole, wrong }
}

fn list(failed: &std::collections::BTreeMap<String, u64>) -> String {
    failed.iter().map(|(why, n)| format!("({why}: {n})")).collect()
}

fn both(path: &Path) -> [PathBuf; 2] {
    [path.to_path_buf(), spare(path)]
}

fn cut(path: &Path) {
    for path in both(path) {
        let bytes = fs::read(&path).unwrap_or_default();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

fn remove(path: &Path) {
    both(path).iter().for_each(|path| drop(fs::remove_file(path)));
}

/// The keeper is killed with it, so that nobody knows by heart what the file said; and a server, which must be replaced all the same.
fn without_declaration(fleet: &mut Fleet, harm: fn(&Path)) -> Vec<InstanceId> {
    let path = fleet.layout().group(&fleet.group());
    let (kept, victim) = (fs::read(&path).unwrap(), fleet.servers()[0].0.clone());
    harm(&path);
    fleet.kill_role("host");
    send(fleet.program_pid(&victim), Signal::SIGKILL);
    fleet.until_whole(Instant::now(), std::slice::from_ref(&victim)).ok();
    // As the alarm says: the file is put back.
    fs::write(&path, kept).unwrap();
    vec![victim]
}

#[test]
#[ignore = "needs root"]
fn servers_and_state_files() {
    let dir = tempfile::Builder::new().prefix("afresh-fleet-").tempdir().unwrap();
    let mut fleet = Fleet::new(dir.path(), "data");
    let f = &mut fleet;
    let routes = f.layout().routes().join("web.json");
    let mut rows = vec![
        healed(f, "a server hangs", Loss::Some, "failed its health checks", |f| {
            let victim = f.servers()[1].0.clone();
            f.freeze(&victim);
            vec![victim]
        }),
        healed(f, "a server is killed", Loss::Some, "signal 9", |f| {
            let victim = f.servers()[0].0.clone();
            send(f.program_pid(&victim), Signal::SIGKILL);
            vec![victim]
        }),
        healed(f, "a server reaches its memory limit", Loss::Some, "memory limit", |f| {
            let (victim, addr) = f.servers()[0].clone();
            get(addr, "/cgi-bin/eat", 5_000).unwrap();
            vec![victim]
        }),
        healed(f, "groups file cut short, keeper and a server killed", Loss::Some, "groups/web-r1-1.json: its digest", |f| {
            without_declaration(f, cut)
        }),
        healed(f, "groups file removed, keeper and a server killed", Loss::Some, "groups/web-r1-1.json: it is missing", |f| {
            without_declaration(f, remove)
        }),
        healed(f, "a byte of a server's record flipped, keeper killed", Loss::None, "record.json", |f| {
            let path = f.layout().instance(&f.servers()[2].0).join("record.json");
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            f.kill_role("host");
            Vec::new()
        }),
    ];
    for (name, harm, said) in [
        ("routes file cut short, balancer killed", cut as fn(&Path), "routes/web.json: its digest"),
        ("routes file removed, balancer killed", remove, "routes/web.json: it is missing"),
    ] {
        rows.push(healed(f, name, Loss::Some, said, |f| {
            harm(&routes);
            f.kill_role("proxy");
            f.kill_data_plane();
            Vec::new()
        }));
    }
    rows.push(healed(f, "targets file removed, data plane killed", Loss::Some, "targets/web-r1-1.json", |f| {
        remove(&f.layout().target(&f.group()));
        f.kill_data_plane();
        Vec::new()
    }));
    print(&rows);
}

/// A small disk as the data directory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, megabytes: u32) -> Disk {
        fs::create_dir_all(&path).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0700"), "small"]).arg(&path).status();
        assert!(done.unwrap().success());
        Disk(path)
    }

    /// To the last byte, and appended logs with it.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.join("store/work/filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            let block = vec![1u8; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        let _ = fs::remove_file(self.0.join("store/work/filler"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_disk_without_room() {
    let dir = tempfile::Builder::new().prefix("afresh-fleet-").tempdir().unwrap();
    let disk = Disk::mount(dir.path().join("small"), 48);
    // It begins where there is room, as a fleet does, and the disk becomes small afterwards: for that it is copied by `afresh` itself.
    let begun = Disk::mount(dir.path().join("other"), 3_000);
    let mut rows = Vec::new();
    let refused = {
        let data = dir.path().join("small").display().to_string();
        let said = Command::new(env!("CARGO_BIN_EXE_afresh")).args(["up", "--data-dir", &data]).output().unwrap();
        String::from_utf8_lossy(&said.stderr).into_owned()
    };
    let mut wrong = Vec::new();
    if !refused.contains("disk space") {
        wrong.push(format!("a new fleet was not refused: {refused}"));
    }
    rows.push(Row {
        fault: "`up` of a new fleet, 48 MiB free",
        users: "-".into(),
        said: refused.lines().next().unwrap_or_default().into(),
        whole: "-".into(),
        wrong,
    });
    let mut fleet = Fleet::new(dir.path(), "other");
    let f = &mut fleet;
    let remount = |size: &str| {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(dir.path().join("other")).status();
        assert!(done.unwrap().success());
    };
    remount("64m");
    rows.push(healed(f, "disk full, data plane killed", Loss::Some, "applied.json", |f| {
        begun.fill();
        f.kill_data_plane();
        Vec::new()
    }));
    begun.free();
    let before = f.servers();
    f.stop();
    let users = Users::start(f.listen);
    let since = Instant::now();
    let mut wrong: Vec<String> = f.start(&[]).err().into_iter().collect();
    let whole = f.until_whole(since, &[]);
    wrong.extend(whole.as_ref().err().cloned());
    let (sent, failed) = users.finish();
    if !failed.is_empty() || f.servers() != before {
        wrong.push(format!("{failed:?}, {before:?} became {:?}", f.servers()));
    }
    let said = f.said_by_up().lines().find(|line| line.contains("disk space")).unwrap_or("not reported").to_string();
    if !said.contains("MiB free") {
        wrong.push(said.clone());
    }
    let whole = whole.map_or_else(|why| why, |took| format!("{:.1} s", took.as_secs_f64()));
    rows.push(Row {
        fault: "`up` of a fleet that is there, below 2 GiB",
        users: format!("{} of {sent} failed", failed.values().sum::<u64>()),
        said,
        whole,
        wrong,
    });
    drop(fleet);
    drop(disk);
    print(&rows);
}

/// A verb that is to be refused: what it said, and what is wrong with that.
fn refused(fleet: &Fleet, args: &[&str], data: &Path, code: &str) -> (String, Vec<String>) {
    let mut c = fleet.command(args);
    // The last one counts for clap only if it is the only one.
    let mut plain = Command::new(c.get_program());
    plain.args(args).arg("--data-dir").arg(data).arg("--json").stdin(std::process::Stdio::null());
    c = plain;
    let mut child = c.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // `up` that is not refused goes on.
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > std::time::Duration::from_secs(10) {
            send(child.id(), Signal::SIGTERM);
            let _ = child.wait();
            return ("it began".to_string(), vec![format!("{args:?} was not refused")]);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let done = child.wait_with_output().unwrap();
    // What it would do may stand before the refusal.
    let lines = String::from_utf8_lossy(&done.stderr).into_owned();
    let said = lines.lines().find(|line| line.starts_with("error")).or(lines.lines().next()).unwrap_or_default().to_string();
    let right = !done.status.success() && said.contains(code);
    (said.clone(), if right { Vec::new() } else { vec![format!("{args:?}: exit {:?}, {said:?}", done.status.code())] })
}

#[test]
#[ignore = "needs root"]
fn directories() {
    let dir = tempfile::Builder::new().prefix("afresh-fleet-").tempdir().unwrap();
    let mut fleet = Fleet::new(dir.path(), "data");
    let f = &mut fleet;
    let mut rows = Vec::new();

    // A copy, while the original serves.
    let copy = dir.path().join("copy");
    let users = Users::start(f.listen);
    let before = f.servers();
    assert!(Command::new("cp").args(["-a", "--one-file-system"]).args([&f.data, &copy]).status().unwrap().success());
    let since = Instant::now();
    let (said, mut wrong) = refused(f, &["up"], &copy, "copied-dir");
    for args in [&["down", "--yes"][..], &["down", "--purge", "--yes"], &["host"], &["proxy"]] {
        wrong.extend(refused(f, args, &copy, "copied-dir").1);
    }
    if !copy.join("afresh.json").exists() {
        wrong.push("the copy was removed or never marked".to_string());
    }
    let whole = f.until_whole(since, &[]);
    wrong.extend(whole.as_ref().err().cloned());
    let (sent, failed) = users.finish();
    if f.servers() != before || !failed.is_empty() {
        wrong.push(format!("{failed:?}; the original's servers {before:?} became {:?}", f.servers()));
    }
    rows.push(Row {
        fault: "`up`, `down` over a copied directory",
        users: format!("{} of {sent} failed", failed.values().sum::<u64>()),
        said,
        whole: format!("{whole:?}"),
        wrong,
    });
    let _ = fs::remove_dir_all(&copy);

    // Moved, while its servers serve; and then a link to it.
    for (name, link) in [("the data directory is moved", false), ("the data directory is a symbolic link", true)] {
        let before = f.servers();
        f.stop();
        let users = Users::start(f.listen);
        let (from, to) = (f.data.clone(), dir.path().join(if link { "link" } else { "moved" }));
        if link {
            std::os::unix::fs::symlink(&from, &to).unwrap();
        } else {
            fs::rename(&from, &to).unwrap();
        }
        f.data = to;
        let since = Instant::now();
        let mut wrong: Vec<String> = f.start(&[]).err().into_iter().collect();
        wrong.extend(f.until_whole(since, &[]).err());
        if f.servers() != before {
            wrong.push(format!("{before:?} became {:?}", f.servers()));
        }
        // It is not only looked at: what dies is replaced, and traffic knows of it.
        let victim = f.servers().first().map(|(id, _)| id.clone());
        if let Some(victim) = &victim {
            send(f.program_pid(victim), Signal::SIGKILL);
        }
        let whole = f.until_whole(Instant::now(), &victim.into_iter().collect::<Vec<_>>());
        wrong.extend(whole.as_ref().err().cloned());
        let (sent, failed) = users.finish();
        let lost = failed.values().sum::<u64>();
        if lost * 10 > sent {
            wrong.push(format!("{lost} of {sent} failed: {failed:?}"));
        }
        let what = if link { "is a symbolic link" } else { "was moved here" };
        let said = f.said_by_up().lines().find(|line| line.contains(what)).unwrap_or("not reported").to_string();
        if !said.contains(what) || link && f.said_by_up().matches(what).count() != 1 {
            wrong.push(said.clone());
        }
        let whole = whole.map_or_else(|why| why, |took| format!("{:.1} s after a server was killed there", took.as_secs_f64()));
        rows.push(Row { fault: name, users: format!("{lost} of {sent} failed {}", list(&failed)), said, whole, wrong });
    }

    // Somebody else's.
    let theirs = dir.path().join("theirs");
    fs::create_dir_all(theirs.join("run")).unwrap();
    fs::write(theirs.join("run/letter"), "dear").unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    let (said, mut wrong) = refused(f, &["down", "--purge"], &theirs, "foreign-dir");
    wrong.extend(refused(f, &["down", "--purge", "--yes"], &theirs, "foreign-dir").1);
    wrong.extend(refused(f, &["up"], &theirs, "foreign-dir").1);
    if fs::read_to_string(theirs.join("run/letter")).ok().as_deref() != Some("dear") {
        wrong.push("the letter is gone".to_string());
    } else if fs::metadata(&theirs).unwrap().permissions().mode() & 0o777 != 0o755 {
        wrong.push("its mode was changed".to_string());
    }
    rows.push(Row { fault: "`down --purge`, `up` over somebody else's directory", users: "-".into(), said, whole: "-".into(), wrong });

    // Our own: not without an answer.
    let data = f.data.canonicalize().unwrap();
    let (said, mut wrong) = refused(f, &["down", "--purge"], &data, "not-confirmed");
    wrong.extend(f.whole(&[]).err());
    f.stop();
    let purged = f.run(&["down", "--purge", "--yes"]);
    if !purged.status.success() || data.exists() {
        wrong.push(format!("it was not purged: {}", String::from_utf8_lossy(&purged.stderr)));
    }
    rows.push(Row { fault: "`down --purge` of our own, unasked", users: "-".into(), said, whole: "-".into(), wrong });
    print(&rows);
}
