//! A database that was cut off, overwritten or flipped is reported, never used and never changed.

use crate::common::*;
use journal::Database;
use model::*;
use proptest::prelude::*;
use rotation::Journal;
use std::path::Path;

/// Everything the store knows, as text; or the first fault on the way.
fn all(store: &Database) -> Result<String, Fault> {
    let mut out = String::new();
    store.browse(|r| {
        out += &format!("{:?}\n{:?}\n{:?}\n{:?}\n", r.services()?, r.all_releases()?, r.rotations(None, 1_000)?, r.events(0, 10_000)?);
        for row in r.rotations(None, 1_000)? {
            out += &format!("{:?}\n{:?}\n{:?}\n", r.lines(&row.id, 0)?, r.verdict(&row)?, r.commands(&row.id, 0)?);
        }
        for service in r.services()? {
            let name = service.spec.name;
            out += &format!("{:?}\n{:?}\n{:?}\n", r.history(&name)?, r.active(&name)?, r.lease(&name)?);
        }
        out += &format!("{:?}\n", r.open_rollouts()?);
        Ok(())
    })?;
    Ok(out)
}

fn fill(store: &Database) {
    let plan = RolloutPlan { why: "w".into(), by_upkeep: false, tiers: Vec::new() };
    store.write(|tx| tx.open_rollout(&plan, Time(1))).unwrap();
    for (n, code) in ["one", "two", "three"].into_iter().enumerate() {
        let id = open(store, "web", code, n as u64).unwrap();
        store.write(|tx| tx.command(&id, RotationCommand::Pause, "me", Time(1))).unwrap();
        let lease = store.take(&name("web"), "a", Time(1 << 40), 1).unwrap();
        for seq in 1..12 {
            store.append(&lease, &id, seq, Time(2), &satisfied(seq as u32, &"seen ".repeat(40))).unwrap();
        }
        store.release(&lease).unwrap();
        if n < 2 {
            close(store, &id, Verdict::Promoted, 3);
        }
    }
}

/// The bytes of a filled database, checkpointed, and what it says.
fn sample() -> (Vec<u8>, String) {
    let dir = Dir::new();
    let store = dir.store();
    fill(&store);
    let said = all(&store).unwrap();
    drop(store);
    let wal = dir.db().with_extension("db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).unwrap().len() == 0, "the last handle folds the log in");
    (std::fs::read(dir.db()).unwrap(), said)
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Opens the bytes as a database: the truth, or a fault with a hint and an unchanged file.
fn check(bytes: &[u8], truth: &str) -> Result<bool, String> {
    let dir = Dir::new();
    put(&dir.db(), bytes);
    match Database::open(&dir.db()).map(|s| all(&s)) {
        Ok(Ok(said)) if said == truth => Ok(true),
        Ok(Ok(said)) => Err(format!("another story was believed:\n{said}")),
        Ok(Err(fault)) if fault.code == "database-damaged" => Ok(false),
        Err(fault) => {
            if std::fs::read(dir.db()).unwrap() != bytes {
                return Err("a damaged file was changed".into());
            }
            let good = (fault.code == "database-damaged" && fault.blame == Blame::World) || fault.code == "database-newer";
            let told = fault.message.contains("afresh.db") && fault.hint.is_some();
            if good && told { Ok(false) } else { Err(format!("{fault:?}")) }
        }
        Ok(Err(fault)) => Err(format!("{fault:?}")),
    }
}

#[test]
fn cut_off_anywhere() {
    let (bytes, truth) = sample();
    assert_eq!(check(&bytes, &truth), Ok(true));
    let mut lengths: Vec<usize> = (0..bytes.len()).step_by(509).collect();
    lengths.extend((0..bytes.len()).step_by(4096));
    lengths.extend([1, 15, 16, 99, 100, bytes.len() - 1]);
    for length in lengths {
        assert_eq!(check(&bytes[..length], &truth), Ok(false), "cut off after {length} of {} bytes", bytes.len());
    }
}

#[test]
fn not_a_database() {
    for bytes in [&b""[..], b"\0", &[0; 4096], &[0xff; 10_000], b"hello, this is a text and no database at all", b"SQLite format 3\0"] {
        assert_eq!(check(bytes, ""), Ok(false));
    }
}

/// Versions, format number, page counts and encoding in the header: each bit of them.
#[test]
fn each_bit_of_the_header_s_numbers() {
    let (bytes, truth) = sample();
    for at in (18..20).chain(40..60) {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(check(&bytes, &truth).is_ok(), "bit {bit} of byte {at}: {:?}", check(&bytes, &truth));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn bits_flipped(at in any::<proptest::sample::Index>(), bit in 0..8_u32) {
        use std::sync::OnceLock;
        static SAMPLE: OnceLock<(Vec<u8>, String)> = OnceLock::new();
        let (bytes, truth) = SAMPLE.get_or_init(sample);
        let mut bytes = bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Err(why) = check(&bytes, truth) {
            prop_assert!(false, "bit {} of byte {}: {}", bit, at, why);
        }
    }

    #[test]
    fn stretches_overwritten(at in any::<proptest::sample::Index>(), len in 1..5_000_usize, with in any::<u8>()) {
        use std::sync::OnceLock;
        static SAMPLE: OnceLock<(Vec<u8>, String)> = OnceLock::new();
        let (bytes, truth) = SAMPLE.get_or_init(sample);
        let mut bytes = bytes.clone();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes[at..end].fill(with);
        if let Err(why) = check(&bytes, truth) {
            prop_assert!(false, "{}..{}: {}", at, end, why);
        }
    }
}

/// The log of a killed process may be cut off or rotten at its end: what is left is a state that was, never a mixture.
#[test]
fn a_damaged_log_gives_an_earlier_state_or_a_fault() {
    let dir = Dir::new();
    let store = dir.store();
    let mut states = vec![all(&store).unwrap()];
    let id = open(&store, "web", "one", 1).unwrap();
    states.push(all(&store).unwrap());
    let lease = store.take(&name("web"), "a", Time(1), 1).unwrap();
    states.push(all(&store).unwrap());
    for seq in 1..8 {
        store.append(&lease, &id, seq, Time(2), &satisfied(0, "seen")).unwrap();
        states.push(all(&store).unwrap());
    }
    // As kill -9 leaves it: copied while it is open.
    let (db, wal) = (std::fs::read(dir.db()).unwrap(), std::fs::read(dir.db().with_extension("db-wal")).unwrap());
    assert!(wal.len() > 10_000, "nothing is in the log");
    let attempt = |wal: &[u8], how: &str| {
        let dir = Dir::new();
        put(&dir.db(), &db);
        put(&dir.db().with_extension("db-wal"), wal);
        match Database::open(&dir.db()).and_then(|s| all(&s)) {
            Ok(said) => assert!(states.contains(&said), "{how}: a state that never was:\n{said}"),
            Err(fault) => assert_eq!(fault.code, "database-damaged", "{how}"),
        }
    };
    attempt(&wal, "whole");
    for length in (0..wal.len()).step_by(1_777) {
        attempt(&wal[..length], &format!("log cut off after {length}"));
        let mut flipped = wal.clone();
        flipped[length] ^= 0x10;
        attempt(&flipped, &format!("log flipped at {length}"));
    }
}

#[test]
fn a_newer_schema_and_a_stranger_are_refused_unchanged() {
    let (bytes, _) = sample();
    let dir = Dir::new();
    // user_version stands at byte 60, application_id at 68; both big-endian.
    let mut newer = bytes.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    put(&dir.db(), &newer);
    let fault = Database::open(&dir.db()).err().unwrap();
    assert_eq!((fault.code.as_str(), fault.blame), ("database-newer", Blame::Yours));
    assert_eq!(std::fs::read(dir.db()).unwrap(), newer);
    let mut stranger = bytes;
    stranger[68] = 0;
    put(&dir.db(), &stranger);
    assert_eq!(Database::open(&dir.db()).err().unwrap().code, "database-damaged");
    assert_eq!(std::fs::read(dir.db()).unwrap(), stranger);
}

#[test]
fn a_database_that_is_gone_is_not_begun_anew_while_its_log_or_backup_is_there() {
    let (bytes, _) = sample();
    for rest in ["db-wal", "db.backup"] {
        let dir = Dir::new();
        put(&dir.db().with_extension(rest), &bytes);
        let fault = Database::open(&dir.db()).err().unwrap();
        assert_eq!(fault.code, "database-damaged");
        assert!(fault.message.contains("it is gone"), "{fault:?}");
        assert!(!dir.db().exists());
    }
    // Moved aside after a look at it, as the hint says: a new one is begun.
    let dir = Dir::new();
    put(&dir.db(), &bytes[..bytes.len() / 2]);
    assert!(Database::open(&dir.db()).is_err());
    std::fs::remove_file(dir.db()).unwrap();
    assert!(all(&dir.store()).unwrap().len() < 100);
}

#[test]
fn the_database_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let store = dir.store();
    fill(&store);
    store.backup().unwrap();
    for file in std::fs::read_dir(dir.db().parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

/// Run with `cargo test -p journal -- --ignored` as root.
#[test]
#[ignore = "needs root: mounts a small tmpfs"]
fn a_full_and_a_read_only_disk_are_told_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let status = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).status().unwrap();
        assert!(status.success());
    };
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    mount("size=400k");
    let unmount = Unmount(dir.path());
    let db = dir.path().join("control/afresh.db");
    let store = Database::open(&db).unwrap();
    let id = open(&store, "web", "one", 1).unwrap();
    let lease = store.take(&name("web"), "a", Time(1), 1).unwrap();
    let mut written = 1;
    let fault = loop {
        match store.append(&lease, &id, written, Time(1), &satisfied(0, &"x".repeat(3_000))) {
            Ok(()) => written += 1,
            Err(rotation::Refused::Fault(fault)) => break fault,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((fault.code.as_str(), fault.blame, fault.again), ("disk-full", Blame::World, true));
    assert_eq!(Journal::read(&store, &id, 0).unwrap().len() as u64, written);
    mount("remount,size=4m");
    store.append(&lease, &id, written, Time(1), &satisfied(0, "room again")).unwrap();
    drop(store);
    mount("remount,ro");
    let fault = Database::open(&db).err().unwrap();
    assert_eq!((fault.code.as_str(), fault.blame), ("disk-read-only", Blame::World));
    drop(unmount);
}
