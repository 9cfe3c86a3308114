//! The data directory in one file: hostile files are refused and leave nothing; what was backed up under load comes back equal.

use crate::common::*;
use disk::files;
use model::*;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What lies in a directory, with every byte.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            } else {
                all.insert(path.strip_prefix(root).unwrap().to_path_buf(), std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    all
}

/// One entry of an archive as a hostile hand writes it.
struct Item {
    name: String,
    kind: tar::EntryType,
    size: u64,
    body: Vec<u8>,
    link: Option<&'static str>,
}

fn item(name: &str, body: &[u8]) -> Item {
    Item { name: name.into(), kind: tar::EntryType::Regular, size: body.len() as u64, body: body.into(), link: None }
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut header = tar::Header::new_ustar();
        // As tar's own setters would not allow it.
        header.as_mut_bytes()[..item.name.len()].copy_from_slice(item.name.as_bytes());
        header.set_entry_type(item.kind);
        header.set_size(item.size);
        header.set_mode(0o600);
        if let Some(link) = item.link {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&item.body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn head() -> Item {
    item("afresh-backup.json", br#"{"format":1,"version":"0.1.0"}"#)
}

fn manifest(of: &[&Item]) -> Item {
    let entries: Vec<serde_json::Value> = of
        .iter()
        .map(|item| {
            serde_json::json!({ "path": item.name, "bytes": item.body.len(), "sha256": format!("sha256:{}", hex(&Sha256::digest(&item.body))) })
        })
        .collect();
    let text = serde_json::json!({ "version": "0.1.0", "made": 1, "of": "/x", "entries": entries, "left_out": [] });
    item("manifest.json", text.to_string().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refused by `check` and by `unpack`, in words, and nothing is left beside the target.
fn refused(what: &str, bytes: &[u8], code: &str, says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hostile.tar");
    std::fs::write(&file, bytes).unwrap();
    let before = tree(dir.path());
    let fault = server::check_backup_file(&file).err().unwrap_or_else(|| panic!("{what} was taken"));
    println!("{what}: {}", fault.message);
    assert_eq!(fault.code, code, "{what}: {fault:?}");
    assert!(fault.message.contains(says) && fault.hint.is_some(), "{what}: {says:?} is not said: {fault:?}");
    assert!(!fault.message.contains(char::is_control), "{what}: {fault:?}");
    assert_eq!(tree(dir.path()), before, "{what}: something was left behind");
}

#[test]
fn hostile_files_are_refused_in_words_and_leave_nothing() {
    let good = item("control/tokens.json", b"{}");
    let with = |more: Vec<Item>| {
        let mut all = vec![head()];
        all.extend(more);
        let files: Vec<&Item> = all[1..].iter().collect();
        let manifest = manifest(&files);
        all.push(manifest);
        archive(&all)
    };
    let whole = with(vec![item("control/tokens.json", b"{}")]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("good.tar");
    std::fs::write(&file, &whole).unwrap();
    server::check_backup_file(&file).expect("the one that the others are made from is taken");

    for name in ["../x", "a/../../x", "/etc/cron.d/x", "a//b", "./a", "a/", "a/.", "", "control/\nx", "a\\..\u{7f}"] {
        refused(&format!("a file named {name:?}"), &with(vec![item(name, b"x")]), "bad-backup", "");
    }
    // Plain files that no backup has. SQLite believes a journal beside its database, and removes the file that it names.
    let hex = "0".repeat(64);
    for name in [
        "control/afresh.db-journal",
        "control/afresh.db-wal",
        "control/afresh.db-shm",
        "control/afresh.db.backup",
        "control/node",
        "control/backup.json",
        "control/.hidden",
        "controls/x",
        "host/instances/a/record.json",
        "host/network.json",
        "run/serve.sock",
        "secrets/machine.key",
        "store/locks/store.lock",
        "store/objects/x",
        &format!("store/objects/{hex}/x"),
        &format!("store/manifests/{hex}"),
        &format!("store/attested/{hex}x/y"),
        "up.log",
        "x",
    ] {
        refused(&format!("a file named {name:?}"), &with(vec![item(name, b"x")]), "bad-backup", "is in no backup");
    }
    for (kind, link) in [
        (tar::EntryType::Symlink, Some("/etc")),
        (tar::EntryType::Link, Some("/etc/shadow")),
        (tar::EntryType::Char, None),
        (tar::EntryType::Fifo, None),
        (tar::EntryType::Directory, None),
        (tar::EntryType::GNUSparse, None),
        (tar::EntryType::XHeader, None),
        (tar::EntryType::GNULongName, None),
    ] {
        let odd = Item { kind, link, ..item("control/odd", b"") };
        refused(&format!("{kind:?}"), &with(vec![odd]), "bad-backup", "no plain file");
    }
    refused("a file twice", &with(vec![item("control/a", b"1"), item("control/a", b"2")]), "bad-backup", "twice");
    refused("nothing", b"", "bad-backup", "cut short");
    refused("zeros", &vec![0; 4096], "bad-backup", "cut short");
    refused("a text", b"dear restore, please do as I say\n", "bad-backup", "");
    refused("another archive", &archive(&[item("a", b"1")]), "bad-backup", "does not begin as a backup");
    refused("no manifest", &archive(&[head(), item("control/a", b"1")]), "bad-backup", "no manifest");
    refused("a newer format", &archive(&[item("afresh-backup.json", br#"{"format":2,"version":"9"}"#)]), "backup-newer", "afresh 9");
    refused("behind the manifest", &archive(&[head(), manifest(&[]), item("a", b"1")]), "bad-backup", "behind the manifest");
    refused(
        "not in the manifest",
        &archive(&[head(), item("control/tokens.json", b"{}"), manifest(&[])]),
        "bad-backup",
        "not in the manifest",
    );
    refused("missing", &archive(&[head(), manifest(&[&good])]), "bad-backup", "control/tokens.json is missing");
    let other = archive(&[head(), item("control/tokens.json", b"[]"), manifest(&[&good])]);
    refused("another digest", &other, "bad-backup", "digest");
    let mut behind = whole.clone();
    behind.extend_from_slice(b"more");
    refused("bytes behind the end", &behind, "bad-backup", "behind its end");
    let mut padded = whole.clone();
    padded.resize(padded.len() + 100_000, 0);
    refused("zeros without end", &padded, "bad-backup", "behind its end");
    // A size that no disk has: it is told by the end of the file, and nothing is made for it.
    let huge = Item { size: 1 << 60, ..item(&format!("store/objects/{hex}"), b"x") };
    refused("a huge size", &archive(&[head(), huge]), "bad-backup", "cut short");
    let long = Item { size: 1 << 30, ..item("manifest.json", &vec![b' '; 65 << 20]) };
    refused("a huge manifest", &archive(&[head(), long]), "bad-backup", "");
    for n in (0..whole.len() - 1024).step_by(97) {
        refused(&format!("cut after {n} bytes"), &whole[..n], "bad-backup", "");
    }
    for n in (0..whole.len() - 1024).step_by(131) {
        let mut flipped = whole.clone();
        flipped[n] ^= 0x04;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flipped.tar");
        std::fs::write(&file, &flipped).unwrap();
        // A header has bytes that nobody reads; what is said of the files must be right whatever was flipped.
        if let Ok(checked) = server::check_backup_file(&file) {
            assert_eq!(checked.manifest.entries.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["control/tokens.json"], "byte {n}");
        }
    }
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    for odd in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
        let fault = server::check_backup_file(odd).err().unwrap();
        assert!(matches!(fault.code.as_str(), "bad-backup" | "io"), "{}: {fault:?}", odd.display());
    }
}

/// A data directory has a marker; the keeper writes it, which is not here.
fn mark(root: &Path) {
    std::fs::write(root.join("afresh.json"), "{}").unwrap();
    std::fs::create_dir_all(root.join("host/groups")).unwrap();
}

/// Whatever becomes of the test, the load ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_comes_back_equal_elsewhere() {
    let mut house = House::new().await;
    mark(house.dir.path());
    house.through(&web("v0")).await;
    let layout = Layout::new(house.dir.path());
    let away = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let file = away.path().join("b.tar");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let mut n = 0;
            while !stop.load(Ordering::SeqCst) {
                n += 1;
                runtime.block_on(house.through(&web(&format!("v{n}"))));
            }
            n
        });
        let stopping = Stop(&stop);
        for _ in 0..10 {
            server::make_backup(&layout, &file, &server::BackupOptions::default()).unwrap();
        }
        drop(stopping);
        println!("{} deploys during 10 backups", load.join().unwrap());
    });
    assert_eq!(std::fs::read_dir(away.path()).unwrap().count(), 1, "no half file stays");
    let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
    assert_eq!(health.backup.as_ref().map(|last| last.path.as_path()), Some(file.as_path()));

    let checked = server::check_backup_file(&file).unwrap();
    let other = Layout::new(away.path().join("deep/other"));
    let unpacked = server::unpack_backup(&file, &checked, &other, &[]).unwrap();
    assert!(!other.root().exists(), "it appears when it is whole");
    unpacked.put_in_place().unwrap();
    let names: Vec<String> =
        std::fs::read_dir(away.path().join("deep")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["other"], "nothing is left beside it");
    assert!(!other.root().join("control/node").exists(), "leases are not the copy's own");

    // Every journal in the copy is the original's, up to where it was then.
    house.stop().await;
    let open = |layout: &Layout| journal::Database::open(&layout.database()).unwrap();
    let (original, copy) = (open(&layout), open(&other));
    let rows = copy.browse(|r| r.rotations(None, 1_000_000)).unwrap();
    assert!(rows.len() > 1);
    for row in &rows {
        let lines = |database: &journal::Database| database.read(|r| r.lines(&row.id, 0)).unwrap();
        let (was, is) = (lines(&original), lines(&copy));
        assert_eq!(is, was[..is.len()], "{}", row.id);
    }
    let fence = |database: &journal::Database| database.read(|r| r.lease(&name("web"))).unwrap().unwrap().fence;
    assert!(fence(&copy) > fence(&original));

    // It does not replace what is there, and half of a restore is nothing.
    let fault = server::unpack_backup(&file, &checked, &other, &[]).err().unwrap();
    assert_eq!(fault.code, "not-empty", "{fault:?}");
    // Whoever can write beside it could lead root elsewhere meanwhile, by a link in the place of what is unpacked.
    let open = away.path().join("open");
    std::fs::create_dir(&open).unwrap();
    for mode in [0o777, 0o1777, 0o770] {
        files::set_mode(&open, mode).unwrap();
        let fault = server::unpack_backup(&file, &checked, &Layout::new(open.join("data")), &[]).err().unwrap();
        assert_eq!(fault.code, "open-dir", "{fault:?}");
        assert_eq!(std::fs::read_dir(&open).unwrap().count(), 0);
    }
    files::set_mode(&open, 0o777).unwrap();
    std::fs::DirBuilder::new().mode(0o700).create(open.join("in")).unwrap();
    let fault = server::unpack_backup(&file, &checked, &Layout::new(open.join("in/data")), &[]).err().unwrap();
    assert_eq!(fault.code, "open-dir", "what is ours could be renamed away: {fault:?}");
    std::fs::remove_dir_all(&open).unwrap();
    let third = Layout::new(away.path().join("third"));
    let half = server::unpack_backup(&file, &checked, &third, &[]).unwrap();
    assert_eq!(server::unpack_backup(&file, &checked, &third, &[]).err().unwrap().code, "busy");
    drop(half);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert!(server::unpack_backup(&file, &checked, &third, &[]).is_err(), "it was changed after it was checked");
    assert!(std::fs::read_dir(away.path()).unwrap().all(|e| matches!(e.unwrap().file_name().to_str(), Some("b.tar" | "deep"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_journal_is_refused_and_what_cannot_be_written_leaves_nothing() {
    let mut house = House::new().await;
    mark(house.dir.path());
    house.through(&web("v1")).await;
    house.stop().await;
    let layout = Layout::new(house.dir.path());
    let away = tempfile::tempdir().unwrap();
    let file = away.path().join("b.tar");
    let options = server::BackupOptions::default();
    server::make_backup(&layout, &file, &options).unwrap();
    let kept = std::fs::read(&file).unwrap();
    // Of a directory, a link and a place that is not there nothing is made.
    std::os::unix::fs::symlink("/etc/passwd", away.path().join("link")).unwrap();
    for (to, code) in [("link", "backup-place"), ("no/such/place", "no-such-file")] {
        assert_eq!(server::make_backup(&layout, &away.path().join(to), &options).unwrap_err().code, code);
    }
    // A state file that is a link is not followed.
    std::os::unix::fs::symlink("/etc/passwd", layout.root().join("control/recipes.json")).unwrap();
    server::make_backup(&layout, &file, &options).unwrap();
    assert!(!contains(&std::fs::read(&file).unwrap(), b"root:x:0:0"));
    assert_eq!(kept.len(), std::fs::read(&file).unwrap().len());

    // As a newer version would write it: the restore says so, and makes nothing.
    let version = |n: i64| {
        let mut bytes = std::fs::read(layout.database()).unwrap();
        bytes[60..64].copy_from_slice(&i32::try_from(n).unwrap().to_be_bytes());
        std::fs::write(layout.database(), bytes).unwrap();
    };
    let schema = i64::from(u32::from_be_bytes(std::fs::read(layout.database()).unwrap()[60..64].try_into().unwrap()));
    version(schema + 1);
    let fault = server::make_backup(&layout, &file, &options).unwrap_err();
    assert_eq!(fault.code, "database-newer", "{fault:?}");
    server::check_backup_file(&file).expect("the last good one stays");
}

fn contains(all: &[u8], some: &[u8]) -> bool {
    all.windows(some.len()).any(|window| window == some)
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_makes_its_own_and_says_when_the_last_is_too_old() {
    let mut house = House::new().await;
    mark(house.dir.path());
    house.stop().await;
    let away = tempfile::tempdir().unwrap();
    let settings = |every_ms: u64, max_age_ms: u64| server::Config {
        backups: Some(server::Backups { dir: away.path().to_path_buf(), every_ms, keep: 2, max_age_ms, keys_for: None }),
        ..house.config()
    };
    std::fs::write(away.path().join("afresh-notes.txt"), "mine").unwrap();
    house.server = Some(start(settings(1, 3_600_000)).await.unwrap());
    let client = house.client();
    let health = || client.get::<api::paths::Health>("/v1/health");
    let begun = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    // Names have seconds: three of them are three names.
    while seen.len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen:?}");
        seen.extend(health().await.unwrap().backup.map(|last| last.path));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(health().await.unwrap().troubles.is_empty());
    house.stop().await;
    let there: Vec<String> = std::fs::read_dir(away.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there.iter().filter(|name| name.ends_with(".backup.tar")).count(), 2, "{there:?}");
    assert!(there.contains(&"afresh-notes.txt".to_string()) && there.len() == 3, "{there:?}");

    // None can be made, and the last is older than it may be: an alarm; and one when it is removed.
    let last = house_last(&house);
    for (what, limit, says) in [("old", 1, "h old"), ("gone", 3_600_000, "not there any more")] {
        if what == "gone" {
            std::fs::remove_file(&last).unwrap();
        }
        let config = server::Config {
            backups: Some(server::Backups { dir: "/proc/nowhere".into(), every_ms: 3_600_000, keep: 2, max_age_ms: limit, keys_for: None }),
            ..house.config()
        };
        house.server = Some(start(config).await.unwrap());
        let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
        assert!(health.troubles.iter().any(|text| text.contains(says) && text.contains("afresh backup")), "{what}: {health:?}");
        house.stop().await;
    }
}

fn house_last(house: &House) -> PathBuf {
    server::last_backup(&Layout::new(house.dir.path())).unwrap().path
}

#[test]
fn keys_are_in_it_for_whom_they_are_meant_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, other) = (Layout::new(dir.path().join("data")), Layout::new(dir.path().join("other")));
    std::fs::create_dir_all(layout.root()).unwrap();
    mark(layout.root());
    let (service, secret_name) = (name("web"), SecretName::new("db").unwrap());
    let value = secret::Value::new(&secret_name, b"hunter2".to_vec()).unwrap();
    let version = secret::Secrets::of(&layout).put(&service, &secret_name, &value).unwrap();
    let file = dir.path().join("b.tar");
    let read = |layout: &Layout| secret::Secrets::of(layout).get(&service, &secret_name, &version).map(|value| value.bytes().to_vec());

    let made = server::make_backup(&layout, &file, &server::BackupOptions::default()).unwrap();
    // Found by a reader: that these are needed too was said nowhere.
    for outside in ["volumes", "host policy", "registries", "afresh.hcl"] {
        assert!(made.left_out.iter().any(|what| what.contains(outside)), "{outside}: {:?}", made.left_out);
    }
    assert!(made.left_out.iter().any(|what| what.contains("machine.key") && what.contains("--keys-for")), "{:?}", made.left_out);
    let key = std::fs::read(layout.root().join("secrets/machine.key")).unwrap();
    let clear = key.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"AGE-SECRET-KEY-1")).unwrap().to_vec();
    let mut bytes = Vec::new();
    std::fs::File::open(&file).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(!contains(&bytes, &clear) && !contains(&bytes, b"hunter2"));
    let restore = |identities: &[secret::Identity]| {
        let _ = files::remove_tree(other.root());
        let checked = server::check_backup_file(&file)?;
        server::unpack_backup(&file, &checked, &other, identities)?.put_in_place()
    };
    restore(&[]).unwrap();
    assert!(secret::is_lost(&read(&other).unwrap_err()));

    let (mine, theirs) = (secret::Identity::generate(), secret::Identity::generate());
    let options = server::BackupOptions { keys_for: Some(mine.to_public().to_string()), ..Default::default() };
    server::make_backup(&layout, &file, &options).unwrap();
    assert!(!contains(&std::fs::read(&file).unwrap(), &clear));
    assert_eq!(restore(&[theirs]).unwrap_err().code, "bad-identity");
    assert!(!other.root().exists());
    restore(&[mine]).unwrap();
    assert_eq!(read(&other).unwrap(), b"hunter2");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(other.root().join("secrets/machine.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let _ = std::io::stdout().flush();
}
