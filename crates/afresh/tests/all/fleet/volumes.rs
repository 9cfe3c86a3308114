//! Volumes and exclusive services on the real program, as root: an application that takes uploads is rotated and rolled back under load.
//!
//! The oracles are a client that accounts for every upload, the files that then lie in the directory, and its clock.

use super::world::{Fleet, IMAGE, answer};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const OWNER: u32 = 4_712;
/// Between two uploads.
const EVERY: Duration = Duration::from_millis(20);

struct Shop {
    fleet: Fleet,
    dir: PathBuf,
    uploads: PathBuf,
    policy: PathBuf,
}

impl Shop {
    /// Not on the way of the data directory, which is never in a volume.
    fn new(dir: &Path, volumes: &Path) -> Self {
        fs::set_permissions(volumes, fs::Permissions::from_mode(0o755)).unwrap();
        let uploads = volumes.join("uploads");
        fs::create_dir(&uploads).unwrap();
        fs::set_permissions(&uploads, fs::Permissions::from_mode(0o750)).unwrap();
        chown(&uploads, Some(OWNER), Some(OWNER)).unwrap();
        let policy = dir.join("policy.hcl");
        fs::write(&policy, format!("volume \"{}\" {{ services = [\"web\"] }}\n", uploads.display())).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).unwrap();
        let mut fleet = Fleet::empty(dir, "data");
        fleet.start(&["--policy", policy.to_str().unwrap()]).unwrap();
        Self { fleet, dir: dir.to_path_buf(), uploads, policy }
    }

    /// `more`: keys of the service. Another `version` is another release.
    fn file(&self, version: &str, more: &str) {
        let text = format!(
            "{IMAGE}service \"web\" {{\n  tier = \"web\"  image = image.base  port = 8080  user = \"1000:1000\"\n  \
             run = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n  env {{ VERSION = \"{version}\" }}\n  \
             health {{ path = \"/healthz\"  every = \"100ms\"  healthy_for = \"300ms\" }}\n  drain {{ within = \"2s\" }}\n  \
             limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64  scratch = \"8MiB\" }}\n  route {{ listen = \"{}\" }}\n  \
             volume \"uploads\" {{ source = \"{}\"  at = \"/uploads\" }}\n  rollout {{ soak = \"300ms\"  within = \"1m\" }}\n  {more}\n}}\n",
            self.fleet.listen,
            self.uploads.display()
        );
        fs::write(self.dir.join("afresh.hcl"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let done = self.fleet.command(args).arg("--file").arg(self.dir.join("afresh.hcl")).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.code().unwrap_or(-1), text)
    }

    fn must(&self, args: &[&str]) -> String {
        let (code, text) = self.run(args);
        assert_eq!(code, 0, "afresh {}: {text}\n{}", args.join(" "), self.fleet.said_by_up());
        text
    }
}

/// Its name, when it ended, and how.
type Upload = (String, Instant, Result<(), String>);

/// Each has its name, and is sent once.
struct Uploads {
    stop: Arc<AtomicBool>,
    one_by_one: std::thread::JoinHandle<Vec<Upload>>,
}

impl Uploads {
    fn start(listen: std::net::SocketAddr, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let one_by_one = std::thread::spawn(move || {
            let mut all = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let file = format!("{name}-{}", all.len());
                let end = answer(listen, &format!("/cgi-bin/put?{file}"), 10_000);
                let end = end.and_then(|text| {
                    if text.lines().any(|line| line == "ok") { Ok(()) } else { Err(text.lines().next().unwrap_or_default().to_string()) }
                });
                all.push((file, Instant::now(), end));
                std::thread::sleep(EVERY);
            }
            all
        });
        Self { stop, one_by_one }
    }

    fn finish(self) -> Vec<Upload> {
        self.stop.store(true, Ordering::SeqCst);
        self.one_by_one.join().unwrap()
    }
}

/// Of uploads that were answered `ok`: which server wrote each, in order. A name that is written once and never again is one turn.
fn writers(uploads: &Path, all: &[Upload]) -> Vec<String> {
    let kept = all.iter().filter(|(_, _, end)| end.is_ok());
    kept.map(|(file, ..)| fs::read_to_string(uploads.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_string()).collect()
}

fn failed(all: &[Upload]) -> BTreeMap<String, usize> {
    let mut failed = BTreeMap::new();
    all.iter().filter_map(|(_, _, end)| end.as_ref().err()).for_each(|why| *failed.entry(why.clone()).or_insert(0) += 1);
    failed
}

#[test]
#[ignore = "needs root"]
fn uploads_are_shared_and_a_rotation_fails_none() {
    let (dir, volumes) = (tempfile::Builder::new().prefix("afresh-volumes-").tempdir().unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
    let shop = Shop::new(dir.path(), volumes.path());
    shop.file("1", "count = 2");
    shop.must(&["deploy", "--yes"]);
    let users = Uploads::start(shop.fleet.listen, "up");
    shop.file("2", "count = 2");
    shop.must(&["deploy", "--yes"]);
    shop.must(&["rollback", "web", "--yes"]);
    let all = users.finish();
    assert_eq!(failed(&all), BTreeMap::new(), "of {}", all.len());
    let writers = writers(&shop.uploads, &all);
    let releases: std::collections::BTreeSet<&str> = writers.iter().map(|id| id.rsplit_once('-').unwrap().0).collect();
    println!("{} uploads, 0 failed, by {releases:?}", all.len());
    assert_eq!(releases.len(), 3, "of each group: {releases:?}");
    assert!(all.iter().all(|(file, ..)| fs::metadata(shop.uploads.join(file)).unwrap().uid() == OWNER));
    let list = shop.must(&["instance", "list"]);
    assert!(list.contains("of 8.3 MB"), "{list}");

    // A volume that is gone, or that the policy does not name any more: nothing is begun.
    let away = volumes.path().join("away");
    fs::rename(&shop.uploads, &away).unwrap();
    shop.file("3", "count = 2");
    for verb in [&["plan"][..], &["deploy", "--yes"]] {
        let (code, text) = shop.run(verb);
        assert!(code != 0 && text.contains("volume uploads") && text.contains("no such directory"), "{verb:?} {code}: {text}");
    }
    shop.fleet.until_said("could be launched now").unwrap();
    fs::rename(&away, &shop.uploads).unwrap();
    fs::write(&shop.policy, "").unwrap();
    let (code, text) = shop.run(&["deploy", "--yes"]);
    assert!(code != 0 && text.contains("host policy does not let web have"), "{code}: {text}");
    assert!(answer(shop.fleet.listen, "/cgi-bin/put?last", 5_000).unwrap().lines().any(|line| line == "ok"), "what serves goes on");
}

#[test]
#[ignore = "needs root"]
fn an_exclusive_service_is_never_two_and_nobody_serves_for_no_longer_than_planned() {
    let (dir, volumes) = (tempfile::Builder::new().prefix("afresh-alone-").tempdir().unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
    let shop = Shop::new(dir.path(), volumes.path());
    shop.file("1", "count = 1  exclusive = true");
    shop.must(&["deploy", "--yes"]);
    shop.file("2", "count = 1  exclusive = true");
    let plan = shop.must(&["plan"]);
    println!("{plan}");
    assert!(plan.contains("nobody serves from step 1 to 3"), "{plan}");
    let done = shop.fleet.command(&["plan", "--json"]).arg("--file").arg(shop.dir.join("afresh.hcl")).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let gap = &json["rotations"][0]["plan"]["gap"];
    let (least, most) = (gap["at_least_ms"].as_u64().unwrap(), gap["at_most_ms"].as_u64().unwrap());
    let users = Uploads::start(shop.fleet.listen, "alone");
    shop.must(&["deploy", "--yes"]);
    shop.must(&["rollback", "web", "--yes"]);
    let all = users.finish();
    let writers = writers(&shop.uploads, &all);
    let mut turns = writers.clone();
    turns.dedup();
    assert_eq!(turns, ["web-r1-1-1", "web-r2-2-1", "web-r1-3-1"], "one after the other");
    // From the last answer of one server to the first of the next.
    let kept: Vec<(&String, Instant)> = writers.iter().zip(all.iter().filter(|(_, _, end)| end.is_ok()).map(|(_, at, _)| *at)).collect();
    for pair in kept.windows(2).filter(|pair| pair[0].0 != pair[1].0) {
        let nobody_ms = u64::try_from(pair[1].1.duration_since(pair[0].1).as_millis()).unwrap();
        println!("{} -> {}: nobody served for {nobody_ms} ms; the plan says {least} to {most} ms", pair[0].0, pair[1].0);
        assert!((least..=most).contains(&nobody_ms), "{nobody_ms} ms, not {least} to {most}");
    }
    println!("{} uploads, failed: {:?}", all.len(), failed(&all));
}
