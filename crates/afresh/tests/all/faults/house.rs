//! A machine whose only mirror is ours: runs the built `afresh` in it, and looks at what a verb that failed left behind.

use crate::mirror::{Mirror, Package};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a verb answered.
#[derive(Debug)]
pub struct Said {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.stdout.lines().last().unwrap_or_default()).unwrap_or(Value::Null)
    }

    pub fn field(&self, name: &str) -> String {
        self.json()["error"][name].as_str().unwrap_or_default().to_string()
    }
}

/// What a fault must look like to whoever meets it.
pub struct Told<'a> {
    pub exit: i32,
    pub code: &'a str,
    /// In the message: the place.
    pub says: Vec<&'a str>,
    /// In the hint: what to do.
    pub hint: &'a str,
}

pub struct House {
    dir: tempfile::TempDir,
    pub mirror: Mirror,
    /// Where it lies; a small disk is mounted there.
    pub data: PathBuf,
    etc: PathBuf,
    pub packages: Vec<String>,
    /// More of the recipe.
    pub more: String,
    /// More of the service file.
    pub services: String,
    /// Run in the verb's mount namespace before it.
    pub before: String,
    /// Verbs run as root of a user namespace that has all users, after this was done in it.
    pub as_root_of_users: Option<&'static str>,
    program: PathBuf,
}

/// What of the store must be as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupRelease {
    objects: Vec<String>,
    manifests: Vec<String>,
    current: BTreeMap<String, Vec<u8>>,
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// `AFRESH_PROGRAM=/path` tries another build.
pub fn built() -> PathBuf {
    std::env::var_os("AFRESH_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_afresh")), PathBuf::from)
}

impl House {
    /// A mirror with the least that bakes and one package `tool`; nothing baked yet.
    pub fn new() -> House {
        Self::with(&[])
    }

    /// As [`House::new`], and these programs of this machine are in the base.
    pub fn with(programs: &[&str]) -> House {
        let dir = tempfile::Builder::new().prefix("afresh-faults-").tempdir().unwrap();
        let mut mirror = Mirror::new(dir.path());
        mirror.base_with(
            ["/usr/bin/sleep", "/usr/bin/ln", "/usr/bin/mkdir", "/usr/bin/install", "/usr/bin/echo"]
                .iter()
                .chain(programs)
                .map(PathBuf::from)
                .collect(),
            &[],
        );
        let etc = mirror.etc();
        // Of its own: the test is long enough for somebody to build another.
        let program = dir.path().join("afresh");
        fs::copy(built(), &program).unwrap();
        let data = dir.path().join("data");
        let mut house = House {
            data,
            etc,
            mirror,
            packages: vec!["tool".into()],
            more: String::new(),
            services: String::new(),
            before: String::new(),
            as_root_of_users: None,
            program,
            dir,
        };
        house.put("tool", "1", &[]);
        house.mirror.publish();
        house
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The machine's sources name another mirror from now on.
    pub fn mirror_is_at(&self, address: &str) {
        let path = self.etc.join("sources.list.d/month.sources");
        let text = fs::read_to_string(&path).unwrap();
        let line = |l: &str| if l.starts_with("URIs: ") { format!("URIs: http://{address}/debian") } else { l.to_string() };
        fs::write(path, text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    /// The machine's sources say from now on that the mirror is believed whatever it gives; its address.
    pub fn trusts_the_mirror(&self) -> String {
        let path = self.etc.join("sources.list.d/month.sources");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{}\nTrusted: yes\n", text.trim_end())).unwrap();
        text.lines().find_map(|l| l.strip_prefix("URIs: ")).unwrap().to_string()
    }

    /// Of the store's own apt.
    pub fn apt_dir(&self) -> String {
        names(&self.store("apt")).into_iter().find(|n| self.store("apt").join(n).is_dir()).unwrap()
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn store(&self, part: &str) -> PathBuf {
        self.data.join("store").join(part)
    }

    /// A package with one file that tells its version, and these files in its control part.
    pub fn put(&mut self, name: &str, version: &str, control: &[(&str, &str)]) {
        self.put_with(name, version, control, &[]);
    }

    /// As [`House::put`], and these files.
    pub fn put_with(&mut self, name: &str, version: &str, control: &[(&str, &str)], files: &[(&str, &str)]) {
        let own = (format!("usr/share/{name}/version"), format!("{version}\n"));
        self.mirror.put(&Package {
            name,
            version: version.into(),
            depends: "month-base",
            files: std::iter::once(own).chain(files.iter().map(|(p, t)| ((*p).to_string(), (*t).to_string()))).collect(),
            control: control.iter().map(|(n, t)| (*n, (*t).to_string())).collect(),
            ..Package::default()
        });
    }

    fn recipe(&self) {
        let text =
            format!("image \"base\" {{\n  debian = \"bookworm\"\n  packages = {:?}\n{}}}\n{}", self.packages, self.more, self.services);
        fs::write(self.dir().join("afresh.hcl"), text).unwrap();
    }

    /// Where /etc/apt is our mirror's.
    pub fn command(&self, args: &[&str]) -> Command {
        self.recipe();
        let mut c = Command::new("unshare");
        let script = format!("set -e; mount --bind \"$1\" /etc/apt; T=$2; {}\nshift 2; exec \"$@\"", self.before);
        c.args(["--mount", "--propagation", "private", "--", "sh", "-c", &script, "sh"]).arg(&self.etc).arg(self.dir()).arg(&self.program);
        c.args(args).arg("--data-dir").arg(&self.data).arg("--file").arg(self.dir().join("afresh.hcl"));
        c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c
    }

    pub fn run(&self, args: &[&str]) -> Said {
        let mut c = self.command(args);
        let done = match self.as_root_of_users {
            None => c.output().unwrap(),
            Some(before) => as_root_of_users(&c, before),
        };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Said { exit: done.status.code().unwrap_or(-1), stdout: text(&done.stdout), stderr: text(&done.stderr) }
    }

    pub fn active(&self) -> GroupRelease {
        let current = self.store("current");
        GroupRelease {
            objects: names(&self.store("objects")),
            manifests: names(&self.store("manifests")),
            current: names(&current).into_iter().map(|n| (n.clone(), fs::read(current.join(&n)).unwrap())).collect(),
        }
    }

    /// Nothing half-made, no mount, no process, no loop device.
    pub fn is_clean(&self, what: &str) {
        let begun = Instant::now();
        let ours = self.data.display().to_string();
        loop {
            let work = names(&self.store("work"));
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let mounts: Vec<&str> = mounts.lines().filter(|l| l.contains(&ours) && !l.contains(&format!(" {ours} "))).collect();
            let processes = self.processes();
            let loops = Command::new("losetup").args(["-a"]).output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            let loops: Vec<String> = loops.unwrap_or_default().lines().filter(|l| l.contains(&ours)).map(str::to_string).collect();
            if work.is_empty() && mounts.is_empty() && processes.is_empty() && loops.is_empty() {
                return;
            }
            // What was killed takes its namespaces down with it, but not in the same moment.
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{what} left: work {work:?}, mounts {mounts:?}, processes {processes:?}, loops {loops:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Nothing of what was killed goes on.
    pub fn no_process(&self, what: &str) {
        let begun = Instant::now();
        while !self.processes().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what} left {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processes that name the data directory or see it as a root of theirs.
    pub fn processes(&self) -> Vec<String> {
        let ours = self.data.display().to_string();
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten().filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let root = fs::read_link(entry.path().join("root")).unwrap_or_default();
            if line.contains(&ours) || root.starts_with(&self.data) {
                all.push(format!("{} {line}", entry.file_name().to_string_lossy()));
            }
        }
        all
    }

    /// Runs a verb that must fail so, and leave everything as it was.
    pub fn fails(&self, what: &str, args: &[&str], told: &Told) -> Said {
        let before = self.active();
        let said = self.run(&[args, &["--json"]].concat());
        self.told(what, args, &said, told);
        self.is_clean(what);
        assert_eq!(self.active(), before, "{what}: the store is not as it was");
        said
    }

    pub fn told(&self, what: &str, args: &[&str], said: &Said, told: &Told) {
        println!("== {what}: afresh {} -> exit {}\n{}", args.join(" "), said.exit, said.stderr.trim_end());
        assert_eq!((said.exit, said.field("code").as_str()), (told.exit, told.code), "{what}: {said:?}");
        let (message, hint) = (said.field("message"), said.field("hint"));
        for word in &told.says {
            assert!(message.contains(word), "{what}: the message does not say {word:?}: {message}");
        }
        assert!(hint.contains(told.hint) && !hint.is_empty(), "{what}: the hint does not say {:?}: {hint}", told.hint);
    }

    pub fn bake(&self) -> Said {
        self.run(&["bake", "base", "--json"])
    }

    /// A bake that must go well; says what it did and the digest.
    pub fn good_bake(&self, what: &str) -> (String, String) {
        let said = self.bake();
        assert_eq!(said.exit, 0, "{what}: {said:?}");
        let json = said.json();
        (json["did"].as_str().unwrap().to_string(), json["digest"].as_str().unwrap().to_string())
    }

    /// Begins a verb and waits for a line of its progress that begins so.
    pub fn begin_until(&self, args: &[&str], step: &str) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut seen, mut line) = (Vec::new(), String::new());
        while lines.read_line(&mut line).unwrap() > 0 {
            seen.push(line.trim_end().to_string());
            if line.starts_with(step) {
                break;
            }
            line.clear();
        }
        assert!(seen.last().is_some_and(|l| l.starts_with(step)), "{step} did not come: {seen:?}");
        Running { child, lines, seen }
    }
}

/// Runs it as root of a user namespace whose users are this machine's. Its own limits are set there: `before` cannot change the machine's.
fn as_root_of_users(c: &Command, before: &str) -> Output {
    let script = format!("echo there; read -r _; exec sh -c '{before}\nexec \"$@\"' sh \"$@\"");
    let mut outer = Command::new("unshare");
    outer.args(["--user", "sh", "-c", &script, "sh"]).arg(c.get_program()).args(c.get_args());
    let mut child = outer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut there = [0u8; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut there).unwrap();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295\n").unwrap();
    }
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child.wait_with_output().unwrap()
}

pub struct Running {
    pub child: Child,
    lines: BufReader<std::process::ChildStderr>,
    pub seen: Vec<String>,
}

impl Running {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Everything it said on stderr, and how it ended.
    pub fn end(mut self) -> (Vec<String>, std::process::ExitStatus) {
        let mut rest = String::new();
        let _ = self.lines.read_to_string(&mut rest);
        self.seen.extend(rest.lines().map(str::to_string));
        (self.seen, self.child.wait().unwrap())
    }
}
