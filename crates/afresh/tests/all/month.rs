//! A simulated month. A small signed repository gets newer day by day, and some days are broken; the real control plane, keeper and
//! balancer keep two services patched by themselves while a client accounts for every request. Days go by in seconds: the schedule's
//! clock is sped up, everything else is as in earnest, bakes, tests, rollouts and kill -9 of the control plane among it.
//!
//! `cargo test -p afresh --test all month:: -- --ignored --nocapture` as root. `AFRESH_DAYS`, `AFRESH_DAY_S` and `AFRESH_RATE` change its length.

#[allow(dead_code, reason = "shared with the test of faults")]
use crate::mirror::{self, Mirror, Package, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY_MS: u64 = 86_400_000;
/// What the fleet must never be older than, in days.
const MAX_AGE_DAYS: u64 = 7;

/// What becomes of a day's packages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Day {
    Good,
    /// The service on it never answers its health check.
    NeverHealthy,
    /// Healthy, and a third of what customers ask fails.
    FailsUnderTraffic,
    /// The image has a file that its recipe's check forbids.
    FailsItsCheck,
    /// A maintainer script fails: there is no image.
    CannotBeBaked,
}

/// Day, what comes then.
const MONTH: &[(u64, Day)] = &[
    (2, Day::Good),
    (4, Day::Good),
    (6, Day::NeverHealthy),
    (9, Day::Good),
    (12, Day::FailsUnderTraffic),
    (15, Day::Good),
    (18, Day::FailsItsCheck),
    (20, Day::Good),
    (22, Day::CannotBeBaked),
    (24, Day::Good),
    (27, Day::Good),
    (29, Day::Good),
];
const KILLS: &[u64] = &[4, 7, 13, 20, 27];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn wall_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The runtime of day `n`: its version answers customers, its fault spoils them.
fn put_day(mirror: &mut Mirror, n: u64, day: Day, log: &mut Vec<(String, String)>) {
    let fault = match day {
        Day::NeverHealthy => "\"never-healthy\"",
        Day::FailsUnderTraffic => "\"fails-under-traffic\"",
        _ => "null",
    };
    let version = format!("1.{n}-1");
    log.insert(0, (version.clone(), format!("New version. Fixes CVE-2026-{}.", 10_000 + n)));
    let mut files = vec![("usr/share/shop/release.json".to_string(), format!("{{\"version\": {n}, \"fault\": {fault}}}\n"))];
    if day == Day::FailsItsCheck {
        files.push(("usr/bin/backdoor".to_string(), "#!/bin/sh\n".to_string()));
    }
    let postinst = (day == Day::CannotBeBaked).then_some("#!/bin/sh\necho 'no such day' >&2\nexit 1\n");
    mirror.put(&Package {
        name: "shop-runtime",
        version,
        required: false,
        depends: "month-base",
        files,
        changelog: log.clone(),
        postinst,
        ..Package::default()
    });
}

struct House {
    dir: tempfile::TempDir,
    listen: String,
    up: Option<Child>,
    clock: String,
}

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/app");

impl House {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Of its own: a month is long enough for somebody to build another.
    fn program(&self) -> PathBuf {
        self.dir.path().join("afresh")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("afresh.hcl")
    }

    /// The shop, whose release is told by a package of the image and not by its code.
    fn furnish(&self) {
        fs::copy(env!("CARGO_BIN_EXE_afresh"), self.program()).unwrap();
        let app = self.dir.path().join("app");
        fs::create_dir_all(&app).unwrap();
        for entry in fs::read_dir(SHOP).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "py") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.replace("directory or os.path.dirname(os.path.abspath(__file__))", "directory or \"/usr/share/shop\"");
                // Only the second tier fails: then the first has gone ahead, and must come back.
                let text = if path.ends_with("worker.py") { text.replace("release.read()", "(release.read()[0], None)") } else { text };
                fs::write(app.join(path.file_name().unwrap()), text).unwrap();
            }
        }
        assert!(fs::read_to_string(app.join("release.py")).unwrap().contains("/usr/share/shop"));
        let service = |name: &str, tier: &str, more: &str| {
            format!(
                "service \"{name}\" {{\n  tier = \"{tier}\"\n  image = image.base\n  artifact = \"app\"\n  run = [\"python3\", \"{name}.py\"]\n  count = 2\n  {more}\n\
                 \n  limits {{ memory = \"64MiB\"  cpu = 0.5  pids = 32 }}\n  rollout {{ waves = [\"1\", \"100%\"]  soak = \"1s\"  errors = \"1%\"  within = \"25s\" }}\n}}\n"
            )
        };
        let worker = "health { exec = [\"python3\", \"worker.py\", \"--check\"]  every = \"1s\"  timeout = \"10s\"  healthy_for = \"200ms\" }\n  drain { within = \"5s\" }";
        let web = format!(
            "port = 8080\n  health {{ path = \"/healthz\"  every = \"200ms\"  timeout = \"5s\"  healthy_for = \"300ms\" }}\n  drain {{ within = \"10s\" }}\n  route {{ listen = \"{}\" }}",
            self.listen
        );
        let text = format!(
            "image \"base\" {{\n  debian = \"{}\"\n  packages = [\"shop-runtime\"]\n  rebuild = \"daily\"\n  max_age = \"{MAX_AGE_DAYS}d\"\n  jitter = \"1h\"\n\
               check \"python\" {{ run = [\"python3\", \"-c\", \"import asyncio\"]  within = \"20s\" }}\n  check \"no-backdoor\" {{ absent = \"/usr/bin/backdoor\"  within = \"20s\" }}\n}}\n\
             {}{}rollout {{ tiers = [\"background\", \"front\"] }}\n",
            mirror::SUITE,
            service("worker", "background", worker),
            service("web", "front", &web),
        );
        fs::write(self.file(), text).unwrap();
    }

    /// `afresh up` where /etc/apt is the mirror's alone.
    fn up(&mut self, etc: &Path) {
        let log = fs::File::create(self.dir.path().join("up.log")).unwrap();
        let script = "mount --bind \"$1\" /etc/apt && shift && exec \"$@\"";
        let mut c = Command::new("unshare");
        c.args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]).arg(etc);
        c.arg(self.program()).arg("up").arg("--data-dir").arg(self.data());
        c.env("AFRESH_UPKEEP_CLOCK", &self.clock).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.up = Some(c.spawn().unwrap());
        let begun = Instant::now();
        while self.try_get(&["status"]).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "up does not answer:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("up.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// A verb, in the namespace of `up`.
    fn verb(&self, args: &[&str]) -> Command {
        let mut c = Command::new("nsenter");
        c.arg(format!("--mount=/proc/{}/ns/mnt", self.up.as_ref().unwrap().id())).arg("--").arg(self.program());
        c.args(args).arg("--data-dir").arg(self.data()).arg("--file").arg(self.file());
        c
    }

    fn try_get(&self, args: &[&str]) -> Option<Value> {
        let done = self.verb(args).arg("--json").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        done.status.success().then(|| serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or(Value::Null))
    }

    fn history(&self) -> Option<Value> {
        self.try_get(&["image", "history", "base"])
    }

    fn kill_serve(&self) {
        let lock = self.data().join("run/process-serve.lock");
        let pid: i32 = fs::read_to_string(lock).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        println!("    kill -9 of serve ({pid})");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if self.up.is_some() {
            let _ = self.verb(&["down", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            let _ = self.up.take().unwrap().wait();
        }
    }
}

/// Nobody else uses this address, so that its port stays free until the route listens.
fn free_address() -> String {
    let pid = std::process::id();
    let ip = std::net::Ipv4Addr::new(127, 1 + (pid >> 8) as u8 % 254, pid as u8, 1);
    std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().to_string()
}

/// What was seen over the month.
#[derive(Default)]
struct Watched {
    oldest_ms: u64,
    looks: u64,
    away: u64,
}

impl Watched {
    fn look(&mut self, house: &House) {
        // The control plane may just have been killed.
        let Some(history) = house.history() else {
            self.away += 1;
            return;
        };
        let now = history["now"].as_u64().unwrap();
        for one in history["images"].as_array().unwrap().iter().filter(|i| !i["services"].as_array().unwrap().is_empty()) {
            let age = now - one["patched"].as_u64().unwrap();
            self.oldest_ms = self.oldest_ms.max(age);
            if age > MAX_AGE_DAYS * DAY_MS {
                println!("{}", run(&mut house.verb(&["image", "history", "base"])));
                println!("{}", run(&mut house.verb(&["rotation", "list"])));
                panic!("the fleet is {} h old\n{}", age / 3_600_000, house.log_tail());
            }
        }
        self.looks += 1;
    }
}

#[test]
#[ignore = "needs root and seven minutes"]
fn a_month_in_which_some_days_are_broken() {
    let (days, day_s, rate) = (number("AFRESH_DAYS", 30), number("AFRESH_DAY_S", 13), number("AFRESH_RATE", 100));
    let dir = tempfile::Builder::new().prefix("afresh-month-").tempdir().unwrap();
    let mut mirror = Mirror::new(dir.path());
    let mut log = Vec::new();
    mirror.base();
    put_day(&mut mirror, 0, Day::Good, &mut log);
    mirror.publish();
    let speed = DAY_MS / (day_s * 1_000);
    let mut house = House { dir, listen: free_address(), up: None, clock: format!("{speed}@{}", wall_ms()) };
    house.furnish();
    house.up(&mirror.etc());
    let begun = Instant::now();
    println!("{}", run(house.verb(&["deploy"]).arg("--yes")));
    println!("deployed after {:.1} s; a day is {day_s} s", begun.elapsed().as_secs_f64());

    let requests = (rate * day_s * (days + 1)).to_string();
    let mut load = house.verb(&["load", &house.listen.clone(), "--rate", &rate.to_string(), "--requests", &requests, "--json"]);
    let load = load.stdout(Stdio::piped()).spawn().unwrap();
    let month = Instant::now();
    let mut watched = Watched::default();
    for today in 1..=days {
        if let Some((_, day)) = MONTH.iter().find(|(d, _)| *d == today) {
            put_day(&mut mirror, today, *day, &mut log);
            mirror.publish();
            println!("day {today}: shop-runtime 1.{today}-1 is out, {day:?}");
        }
        let end = Duration::from_secs(today * day_s);
        let mut killed = !KILLS.contains(&today);
        while month.elapsed() < end {
            if !killed && month.elapsed() + Duration::from_secs(day_s / 2) > end {
                house.kill_serve();
                killed = true;
            }
            watched.look(&house);
            std::thread::sleep(Duration::from_millis(400));
        }
    }
    let told = load.wait_with_output().unwrap();
    println!("{}", run(&mut house.verb(&["image", "list"])));
    println!("{}", run(&mut house.verb(&["image", "history", "base"])));
    let account: Value = serde_json::from_str(String::from_utf8_lossy(&told.stdout).lines().last().unwrap()).unwrap();
    println!("client: {}", account["all"]);
    println!(
        "fleet: at most {:.1} days old in {} looks ({} while serve was away)",
        watched.oldest_ms as f64 / DAY_MS as f64,
        watched.looks,
        watched.away
    );
    let history = house.history().unwrap();
    let digest = |state: &str| {
        history["images"].as_array().unwrap().iter().rev().find(|i| i["state"] == state).map(|i| i["digest"].as_str().unwrap().to_string())
    };
    println!("{}", String::from_utf8_lossy(&house.verb(&["image", "check", "base"]).output().unwrap().stdout));
    if let Some(before) = digest("retired") {
        println!("{}", run(&mut house.verb(&["image", "diff", &before, "base"])));
    }
    println!("{}", run(&mut house.verb(&["events", "--images"])));
    println!("{}", run(&mut house.verb(&["rotation", "list", "--limit", "200"])));
    judge(&history, &account, days);
    let rotations = house.try_get(&["rotation", "list", "--limit", "1000"]).unwrap();
    there_and_back(&history, rotations.as_array().unwrap(), days);
    if days > day_of(Day::CannotBeBaked) + 1 {
        let said = run(&mut house.verb(&["events", "--images"]));
        assert!(said.lines().any(|l| l.contains("the bake fails")), "why there was no image that day is told");
    }
    println!("the month took {:.0} s", begun.elapsed().as_secs_f64());
}

fn day_of(what: Day) -> u64 {
    MONTH.iter().find(|(_, day)| *day == what).unwrap().0
}

/// The day whose package an image came with.
fn version(one: &Value) -> Option<u64> {
    let change = one["changes"].as_array()?.iter().filter_map(Value::as_str).find(|c| c.starts_with("shop-runtime"))?;
    change.split("-> 1.").nth(1)?.split('-').next()?.parse().ok()
}

/// Where only the second tier fails, the first has gone ahead, and rolls back to what was active before.
fn there_and_back(history: &Value, rotations: &[Value], days: u64) {
    for what in [Day::NeverHealthy, Day::FailsUnderTraffic].into_iter().filter(|what| day_of(*what) + 1 < days) {
        let image = history["images"].as_array().unwrap().iter().find(|i| version(i) == Some(day_of(what))).unwrap();
        let digest = &image["digest"];
        let to = |service: &str, verdict: &str| {
            rotations.iter().any(|r| r["service"] == service && r["to"]["release"]["image"] == *digest && r["verdict"] == verdict)
        };
        let back =
            rotations.iter().any(|r| r["service"] == "worker" && r["from"]["release"]["image"] == *digest && r["verdict"] == "promoted");
        println!(
            "{what:?}: worker went ahead {}, web went back {}, worker came back {back}",
            to("worker", "promoted"),
            to("web", "returned")
        );
        assert!(to("worker", "promoted") && to("web", "returned") && back, "{what:?}");
        assert!(!to("web", "promoted"), "{what:?}");
        assert_eq!(image["services"], Value::Array(Vec::new()), "{what:?}: nobody stands on it");
    }
}

fn judge(history: &Value, account: &Value, days: u64) {
    // What a release that was made bad answers itself, before it goes back, is its own; everything else must be nothing. The client
    // says so where an answer confesses the fault it was made with and bears no mark of the balancer.
    let reasons: Vec<(String, u64)> = serde_json::from_value(account["reasons"].clone()).unwrap();
    let (own, lost): (Vec<_>, Vec<_>) =
        reasons.into_iter().partition(|(why, _)| why.contains("from version") && why.ends_with("which is no bad one"));
    let own: u64 = own.iter().map(|(_, n)| n).sum();
    println!("lost: {lost:?}; answers that a bad release spoilt before it went back: {own}");
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(account["all"]["failed"], own);
    assert!(own * 100 < account["all"]["sent"].as_u64().unwrap(), "less than one in a hundred");
    let images = history["images"].as_array().unwrap();
    for one in images {
        let last = one["story"].as_array().unwrap().last().and_then(|t| t[1].as_str()).unwrap_or_default();
        let reasons = match one["state"].as_str().unwrap() {
            "current" => &["made current: ", "current again: ", "rolled out to ", "stays current"][..],
            "retired" => &["took its place", "rolled out to "],
            "bad" => &["bad: "],
            _ => &[],
        };
        println!("{} {}: {last}", one["digest"].as_str().unwrap_or_default().get(7..19).unwrap_or_default(), one["state"]);
        assert!(!last.is_empty() && (reasons.is_empty() || reasons.iter().any(|r| last.contains(r))), "{one}");
    }
    let by_day: BTreeMap<u64, &Value> = images.iter().filter_map(|i| Some((version(i)?, i))).collect();
    let over: BTreeSet<u64> = MONTH.iter().map(|(d, _)| *d).filter(|d| *d + 1 < days).collect();
    for (day, what) in MONTH.iter().filter(|(d, _)| over.contains(d)) {
        let state = by_day.get(day).map(|i| i["state"].as_str().unwrap());
        match what {
            Day::CannotBeBaked => assert_eq!(state, None, "day {day}"),
            Day::Good => assert!(matches!(state, Some("current" | "retired")), "day {day}: {state:?}"),
            _ => assert_eq!(state, Some("bad"), "day {day}: {what:?}"),
        }
        if let Some(one) = by_day.get(day) {
            let told: Vec<&str> = one["story"].as_array().unwrap().iter().filter_map(|t| t[1].as_str()).collect();
            assert!(told.iter().any(|t| t.contains(&format!("CVE-2026-{}", 10_000 + day))), "day {day}: {told:?}");
            assert!(state != Some("bad") || told.iter().any(|t| t.starts_with("bad: ")), "day {day}: {told:?}");
        }
    }
    let last = over.iter().rev().find(|d| MONTH.iter().any(|(day, what)| day == *d && *what == Day::Good)).unwrap();
    let newest = by_day.iter().rev().find(|(_, i)| i["state"] == "current").map(|(d, _)| *d).unwrap();
    assert!(newest >= *last, "day {newest} is current, day {last} was good");
}
