//! Secrets on the real program, as root. Twenty canaries go through much use, and then everything that was written, printed, or can be
//! read of a process is searched for them in every form; a secret is rotated under load.
//!
//! The oracles are the search, which is shown to find each form where it is planted, what the servers answer, and a client that accounts
//! for every request.

use super::world::{Fleet, IMAGE, Users, answer, send};
use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE as BASE64_URL};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// With what is escaped where it is quoted, in JSON, HCL, URLs and shells.
fn canary(n: usize, round: usize) -> String {
    format!("canary{n:02}r{round}\"\\<&+/ ='é%{{$x}}~end{}", n * 7919 + round * 104_729)
}

const CANARIES: usize = 20;

/// Every form in which a text could come to lie somewhere.
fn forms(text: &str) -> Vec<String> {
    let json = serde_json::to_string(text).unwrap();
    let json = json.trim_matches('"').to_string();
    let url: String = text.bytes().fold(String::new(), |mut url, b| {
        match b {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => url.push(char::from(b)),
            b => write!(url, "%{b:02X}").unwrap(),
        }
        url
    });
    let ascii = json.chars().fold(String::new(), |mut ascii, c| {
        if c.is_ascii() {
            ascii.push(c)
        } else {
            write!(ascii, "\\u{:04x}", c as u32).unwrap()
        }
        ascii
    });
    let debug = format!("{text:?}");
    let mut forms = vec![
        text.to_string(),
        json.clone(),
        serde_json::to_string(&json).unwrap().trim_matches('"').to_string(),
        ascii,
        debug.trim_matches('"').to_string(),
        url.clone(),
        url.to_lowercase(),
        url.replace("%20", "+"),
        hex::encode(text),
        hex::encode_upper(text),
    ];
    // Within a longer text that is encoded as a whole, at each of three places; the ends depend on what is around.
    for before in 0..3 {
        for engine in [&BASE64, &BASE64_URL] {
            let encoded = engine.encode(format!("{}{text}   ", "x".repeat(before)));
            forms.push(encoded[4..encoded.len() - 8].to_string());
        }
    }
    // The list of numbers that a Debug of bytes prints.
    forms.push(text.bytes().take(16).map(|b| b.to_string()).collect::<Vec<_>>().join(", "));
    forms
}

struct Search {
    automaton: AhoCorasick,
    patterns: Vec<String>,
}

impl Search {
    fn new(rounds: usize) -> Self {
        let all = (0..CANARIES).flat_map(|n| (0..=rounds).flat_map(move |round| forms(&canary(n, round))));
        let patterns: Vec<String> = all.collect();
        Self { automaton: AhoCorasick::new(&patterns).unwrap(), patterns }
    }

    fn find(&self, bytes: &[u8]) -> Option<&str> {
        self.automaton.find(bytes).map(|found| self.patterns[found.pattern().as_usize()].as_str())
    }
}

/// What was searched, and what was found.
#[derive(Default)]
struct Found {
    files: usize,
    bytes: usize,
    processes: usize,
    hits: Vec<String>,
}

impl Found {
    fn file(&mut self, search: &Search, path: &Path) {
        let bytes = fs::read(path).unwrap_or_default();
        self.files += 1;
        self.bytes += bytes.len();
        self.hits.extend(search.find(&bytes).map(|form| format!("{}: {form}", path.display())));
    }

    fn below(&mut self, search: &Search, dir: &Path, but: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match fs::symlink_metadata(&path).map(|about| about.file_type()) {
                Ok(kind) if kind.is_dir() && path != but => self.below(search, &path, but),
                // A link is its own text; where it leads is another's file.
                Ok(kind) if kind.is_file() => self.file(search, &path),
                _ => {}
            }
        }
    }

    /// Command lines of everybody; environments of everybody but the servers' own programs.
    fn processes(&mut self, search: &Search) {
        for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(|path| path.join("cmdline").exists()) {
            self.processes += 1;
            let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
            self.hits.extend(search.find(&read("cmdline")).map(|form| format!("{}: {form}", process.join("cmdline").display())));
            let is_server = String::from_utf8_lossy(&read("cgroup")).contains("/afresh-");
            if !is_server {
                self.hits.extend(search.find(&read("environ")).map(|form| format!("{}: {form}", process.join("environ").display())));
            }
        }
    }
}

struct Shop {
    fleet: Fleet,
    dir: PathBuf,
    /// Everything that verbs printed.
    said: Vec<u8>,
}

impl Shop {
    fn new(dir: &Path) -> Self {
        let sources = dir.join("sources");
        fs::create_dir(&sources).unwrap();
        let made = Command::new("age-keygen").arg("-o").arg(sources.join("own.key")).output().expect("apt install age");
        assert!(made.status.success());
        Self { fleet: Fleet::bare(dir, "data"), dir: dir.to_path_buf(), said: Vec::new() }
    }

    fn source(&self, n: usize) -> PathBuf {
        self.dir.join("sources").join(format!("s{n}"))
    }

    fn write(&self, n: usize, text: &str) {
        let path = self.source(n);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn age(&self, args: &[&str], n: usize, text: &str) {
        self.write(n, text);
        let out = self.source(n).with_extension("age");
        let done = Command::new("age").args(args).arg("-o").arg(&out).arg(self.source(n)).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::remove_file(self.source(n)).unwrap();
    }

    /// Files, commands, age files for whoever deploys and for the services, by number.
    fn values(&mut self, round: usize) {
        let own = fs::read_to_string(self.dir.join("sources/own.key")).unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_string();
        let recipients = self.dir.join("sources/recipients");
        if !recipients.exists() {
            fs::write(&recipients, self.must(&["secret", "recipient", "web", "worker", "bad"], 0)).unwrap();
        }
        for n in 0..CANARIES {
            let text = canary(n, round);
            match n % 4 {
                0 => self.write(n, &format!("{text}\n")),
                1 => self.write(n, &text),
                2 => self.age(&["-a", "-r", &own], n, &text),
                _ => self.age(&["-R", recipients.to_str().unwrap()], n, &text),
            }
        }
    }

    /// `bad`: what the service of that name runs.
    fn file(&self, bad: &str) -> PathBuf {
        let mut text = IMAGE.to_string();
        for n in 0..CANARIES {
            let source = match n % 4 {
                0 => format!("file = \"sources/s{n}\""),
                1 => format!("command = [\"cat\", \"sources/s{n}\"]"),
                _ => format!("age = \"sources/s{n}.age\""),
            };
            writeln!(text, "secret \"s{n}\" {{ {source} }}").unwrap();
        }
        let env = |numbers: &[usize]| numbers.iter().map(|n| format!("S{n} = secret.s{n}  ")).collect::<String>();
        let files = |numbers: &[usize]| numbers.iter().map(|n| format!("secret.s{n}")).collect::<Vec<_>>().join(", ");
        let all: Vec<usize> = (0..CANARIES).collect();
        let rest = "drain { within = \"1s\" }  limits { memory = \"32MiB\"  cpu = 0.5  pids = 64 }";
        write!(
            text,
            "service \"web\" {{\n  tier = \"web\"  image = image.base  port = 8080  count = 2  user = \"1000:1000\"\n  run = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n  \
             env {{ URL = secret.s0  {} }}\n  secrets = [{}]\n  health {{ path = \"/healthz\"  every = \"200ms\"  healthy_for = \"200ms\" }}\n  \
             check \"reads\" {{ run = [\"sh\", \"-c\", \"test -r /run/secrets/s0 && test -n \\\"$S1\\\"\"]  within = \"30s\" }}\n  \
             route {{ listen = \"{}\" }}  {rest}\n  rollout {{ waves = [\"1\", \"100%\"]  soak = \"300ms\"  within = \"1m\" }}\n}}\n\
             service \"worker\" {{\n  tier = \"back\"  image = image.base  count = 1\n  run = [\"sh\", \"-c\", \"sleep 100000\"]\n  env {{ {} }}\n  \
             health {{ exec = [\"sh\", \"-c\", \"test -n \\\"$S5\\\"\"]  every = \"300ms\"  timeout = \"5s\"  healthy_for = \"200ms\" }}  {rest}\n  rollout {{ soak = \"200ms\"  within = \"1m\" }}\n}}\n\
             service \"bad\" {{\n  tier = \"back\"  image = image.base  count = 1\n  run = [\"sh\", \"-c\", {bad:?}]\n  env {{ {} }}\n  secrets = [{}]\n  health {{ healthy_for = \"500ms\" }}  {rest}\n  \
             rollout {{ soak = \"200ms\"  within = \"8s\" }}\n}}\n",
            env(&all), files(&all), self.fleet.listen, env(&[5, 6, 7]), env(&[8, 9]), files(&[10, 11]),
        )
        .unwrap();
        let path = self.dir.join("afresh.hcl");
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&mut self, args: &[&str]) -> Output {
        let mut command = self.fleet.command(args);
        command.arg("--file").arg(self.dir.join("afresh.hcl")).env("AFRESH_AGE_IDENTITY", self.dir.join("sources/own.key"));
        let done = command.output().unwrap();
        self.said.extend_from_slice(format!("$ afresh {}\n", args.join(" ")).as_bytes());
        self.said.extend_from_slice(&done.stdout);
        self.said.extend_from_slice(&done.stderr);
        done
    }

    fn must(&mut self, args: &[&str], code: i32) -> String {
        let done = self.run(args);
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(code), "afresh {}: {text}\n{}", args.join(" "), self.fleet.said_by_up());
        text
    }

    /// The digest that one of the servers answers.
    fn sum(&self) -> Result<String, String> {
        let answer = answer(self.fleet.listen, "/cgi-bin/sum", 5_000)?;
        let is_digest = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
        answer.split_whitespace().find(is_digest).map(str::to_string).ok_or(answer.clone())
    }

    fn until_sum(&self, text: &str) {
        let (want, begun) = (hex::encode(Sha256::digest(text)), Instant::now());
        while self.sum().as_deref() != Ok(want.as_str()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the servers have another value: {:?}", self.sum());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn the_search_finds_each_form() {
    let search = Search::new(3);
    for form in forms(&canary(7, 2)) {
        assert!(search.find(format!("before{form}after").as_bytes()).is_some(), "{form}");
    }
    let whole = BASE64.encode(format!("user:{}:x", canary(0, 0)));
    assert!(search.find(whole.as_bytes()).is_some() && search.find(format!("{:?}", canary(3, 1).as_bytes()).as_bytes()).is_some());
    assert!(search.find(b"canary").is_none());
}

#[test]
#[ignore = "needs root"]
fn twenty_canaries_are_found_nowhere() {
    let dir = tempfile::Builder::new().prefix("afresh-canary-").tempdir().unwrap();
    let mut shop = Shop::new(dir.path());
    let data = shop.fleet.data.clone();
    shop.file("sleep 100000");
    shop.values(0);
    shop.must(&["validate"], 0);
    shop.must(&["plan"], 0);
    assert!(!data.join("secrets/values").exists(), "a plan stores nothing");
    shop.must(&["deploy", "--yes"], 0);
    shop.until_sum(&canary(0, 0));
    assert!(shop.must(&["deploy", "--yes"], 0).contains("nothing to change"), "the same values are the same releases");

    // Other values: rotated, rolled back, deployed again.
    shop.values(1);
    let plan = shop.must(&["plan"], 0);
    assert_eq!(plan.matches("secret s0: changed").count(), 1, "{plan}");
    shop.must(&["secret", "rotate", "s0", "--yes"], 0);
    shop.until_sum(&canary(0, 1));
    let rest = shop.must(&["secret", "rotate", "--all", "--yes"], 0);
    assert!(rest.contains("secret s5: changed"), "{rest}");
    shop.must(&["rollback", "web", "--to", "r1", "--yes"], 0);
    shop.until_sum(&canary(0, 0));
    shop.must(&["deploy", "web", "--yes", "--keep-secrets"], 0);
    shop.must(&["deploy", "--yes"], 0);
    shop.until_sum(&canary(0, 1));

    // What fails: a release that dies at once, one that crashes in a loop, sources that are wrong.
    shop.values(2);
    shop.file("exit 3");
    shop.must(&["deploy", "bad", "--yes"], 5);
    shop.file("sleep 100000; kill -SEGV $$");
    shop.must(&["deploy", "bad", "--yes"], 0);
    wrong_sources(&mut shop);
    shop.values(2);

    // kill -9 of each process, while a rotation is under way.
    for round in 0..4 {
        shop.must(&["secret", "rotate", "s0", "s1", "--yes", "--no-follow"], 0);
        match round {
            0 => shop.fleet.kill_role("serve"),
            1 => shop.fleet.kill_role("host"),
            2 => shop.fleet.kill_role("proxy"),
            _ => shop.fleet.kill_data_plane(),
        }
        kill_a_server(&shop);
        shop.values(3 - round % 2);
        std::thread::sleep(Duration::from_secs(1));
        until_calm(&mut shop);
    }
    shop.must(&["secret", "rekey", "--yes"], 0);
    // Files for the old key open no longer, and it says so.
    assert!(shop.must(&["deploy", "--yes"], 2).contains("not encrypted for"));
    fs::remove_file(dir.path().join("sources/recipients")).unwrap();
    shop.values(3);
    kill_a_server(&shop);
    until_calm(&mut shop);
    shop.must(&["deploy", "--yes"], 0);

    for args in [
        &["secret", "list"][..],
        &["secret", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["why", "web"],
        &["why", "bad"],
        &["events"],
        &["release", "list", "web"],
        &["release", "list", "web", "--json"],
        &["instance", "list"],
        &["audit"],
        &["logs", "web"],
        &["logs", "bad"],
        &["rotation", "list"],
        &["rotation", "show", "web.1"],
        &["doctor"],
        &["gc"],
    ] {
        shop.run(args);
    }
    let search = Search::new(3);
    let (mut found, sources) = (Found::default(), dir.path().join("sources"));
    found.processes(&search);
    found.below(&search, dir.path(), &sources);
    // The backup of the journal takes the journal's place.
    shop.fleet.stop();
    let backup = data.join("control/afresh.db.backup");
    assert!(backup.exists(), "the journal was backed up meanwhile");
    shop.must(&["restore", "--yes"], 0);
    shop.fleet.start(&[]).unwrap();
    found.below(&search, dir.path(), &sources);
    found.below(&search, Path::new("/run/afresh"), &sources);
    found.hits.extend(search.find(&shop.said).map(|form| format!("what verbs printed: {form}")));
    println!(
        "{CANARIES} canaries in {} forms: {} files ({} KiB), {} processes and {} KiB of output searched, {} found",
        search.patterns.len(),
        found.files,
        found.bytes >> 10,
        found.processes,
        shop.said.len() >> 10,
        found.hits.len()
    );
    assert!(found.hits.is_empty(), "{:#?}", found.hits);
    assert!(found.files > 50 && found.processes > 10 && shop.said.len() > 10_000);
    // The search is not blind here: the sources themselves are found.
    let mut control = Found::default();
    control.below(&search, &sources, Path::new("/"));
    assert!(control.hits.len() >= CANARIES / 4, "{:?}", control.hits);
}

fn wrong_sources(shop: &mut Shop) {
    fs::set_permissions(shop.source(0), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("everybody on this machine"));
    fs::set_permissions(shop.source(0), fs::Permissions::from_mode(0o600)).unwrap();
    shop.write(0, &format!("{}\0", canary(0, 2)));
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("NUL"));
    shop.write(0, "");
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("secret s0 is empty"));
    fs::remove_file(shop.source(0)).unwrap();
    nix::unistd::mkfifo(&shop.source(0), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("no ordinary file"));
    fs::remove_file(shop.source(0)).unwrap();
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("no such file"));
    // `cat` of the command's own source fails, and would have said why.
    shop.write(0, &canary(0, 2));
    fs::remove_file(shop.source(1)).unwrap();
    assert!(shop.must(&["deploy", "web", "--yes"], 2).contains("exit code 1"));
}

fn kill_a_server(shop: &Shop) {
    let instances = shop.fleet.layout().instances();
    let web = fs::read_dir(&instances).unwrap().flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/web-r"));
    let Some(path) = web else { return };
    for (file, key) in [("started.json", "pid"), ("began", "pid")] {
        let bytes = fs::read(path.join(file)).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_slice(disk::state::content(&bytes)).unwrap_or_default();
        if let Some(pid) = json[key].as_u64() {
            send(u32::try_from(pid).unwrap(), Signal::SIGABRT);
            break;
        }
    }
}

/// No rotation is open, and the listener answers.
fn until_calm(shop: &mut Shop) {
    let begun = Instant::now();
    loop {
        let out = shop.run(&["rotation", "list", "--json"]);
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let is_open = rows.iter().any(|row| row["verdict"].is_null());
        if out.status.success() && !is_open && shop.sum().is_ok() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "a rotation never ends: {}", shop.fleet.said_by_up());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs root"]
fn a_secret_is_rotated_under_load_and_no_request_fails() {
    let dir = tempfile::Builder::new().prefix("afresh-rotate-").tempdir().unwrap();
    let mut shop = Shop::new(dir.path());
    shop.file("sleep 100000");
    shop.values(0);
    shop.must(&["deploy", "web", "--yes"], 0);
    shop.until_sum(&canary(0, 0));
    let users = Users::start(shop.fleet.listen);
    let mut took = Vec::new();
    for round in 1..=5 {
        shop.write(0, &format!("{}\n", canary(0, round)));
        let begun = Instant::now();
        shop.must(&["secret", "rotate", "s0", "--yes"], 0);
        took.push(format!("{:.1}", begun.elapsed().as_secs_f64()));
        shop.until_sum(&canary(0, round));
    }
    shop.must(&["rollback", "web", "--yes"], 0);
    shop.until_sum(&canary(0, 4));
    let (sent, failed) = users.finish();
    println!("5 rotations of a secret ({} s each) and a rollback: {sent} requests, {} failed {failed:?}", took.join(", "), failed.len());
    assert!(sent > 100 && failed.is_empty(), "{failed:?} of {sent}");
}
