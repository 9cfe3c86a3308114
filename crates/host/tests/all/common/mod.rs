//! A data directory, a small image with busybox, and a keeper process that can be killed.

use model::*;
use rotation::Provider;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Two cores are shared with others.
const WITHIN: Duration = Duration::from_secs(60);

/// Polls until it is there; `Err` is what was observed instead.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + WITHIN;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn busybox() -> &'static Path {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|p| p.is_file());
    busybox.expect("apt install busybox-static")
}

pub struct Host {
    pub layout: Layout,
    pub remote: host::Remote,
    pub image: Digest,
    pub artifact: Digest,
    dir: PathBuf,
    keeper: Option<Child>,
    /// For the keepers that are started from now on.
    env: Vec<(String, String)>,
    _tokio: tokio::runtime::Runtime,
}

pub struct Want<'a> {
    pub name: &'a str,
    pub run: &'a [&'a str],
    pub once: Option<&'a [&'a str]>,
    pub count: u32,
    pub within_ms: u64,
}

impl Default for Want<'_> {
    fn default() -> Self {
        Self { name: "x-r1-1", run: &["sleep", "10000"], once: None, count: 1, within_ms: 1_000 }
    }
}

impl Host {
    pub fn new() -> Self {
        Self::with(&[], &[])
    }

    /// `programs` of this host are in the image too, with the libraries that they need, and so are executables of these bytes; `etc/mine` and
    /// `etc/theirs` are files that only 1000 and 1001 may read.
    pub fn with(programs: &[&str], files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::Builder::new().prefix("afh").tempdir().unwrap().keep();
        let layout = Layout::new(&dir);
        let tree = root_tree(&dir, busybox());
        programs.iter().for_each(|program| bring(&tree, Path::new(program)));
        for (name, bytes) in files {
            std::fs::write(tree.join(name), bytes).unwrap();
            let of = |id| std::os::unix::fs::chown(tree.join(name), Some(id), Some(id)).unwrap();
            let mode = match *name {
                "etc/mine" => (of(1_000), 0o400).1,
                "etc/theirs" => (of(1_001), 0o400).1,
                _ => 0o755,
            };
            std::fs::set_permissions(tree.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let image = put(&layout, &tree);
        let artifact = put(&layout, &app_tree(&dir));
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let remote = host::Remote::new(&layout, tokio.handle().clone());
        Self { layout, remote, image, artifact, dir, keeper: None, env: Vec::new(), _tokio: tokio }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_string(), value.to_string()));
    }

    /// Milliseconds until it answered.
    pub fn start(&mut self) -> u64 {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("keeper.log")).unwrap();
        let begin = Instant::now();
        let mut command = crate::program::keeper(&self.dir);
        let mut child = command.envs(self.env.clone()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let pid = child.id();
        until("the keeper begins", || {
            assert_eq!(child.try_wait().unwrap(), None, "the keeper does not begin: {}", self.keeper_log());
            if self.remote.health().map(|h| h.pid) == Ok(pid) { Ok(()) } else { Err(self.keeper_log()) }
        });
        self.keeper = Some(child);
        begin.elapsed().as_millis() as u64
    }

    /// Always by kill -9.
    pub fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.kill().unwrap();
            keeper.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub fn second_keeper(&self) -> String {
        let out = crate::program::keeper(&self.dir).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    pub fn keeper_log(&self) -> String {
        std::fs::read_to_string(self.dir.join("keeper.log")).unwrap_or_default()
    }

    pub fn group(&self, want: Want) -> GroupSpec {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let service = ServiceName::new(want.name.split('-').next().unwrap()).unwrap();
        let release = Release {
            service: service.clone(),
            number: 1,
            image_name: ImageName::new("tiny").unwrap(),
            image: self.image.clone(),
            artifact: Some(self.artifact.clone()),
            run: texts(want.run),
            env: BTreeMap::new(),
            secrets: Default::default(),
            user: ServiceSpec::default_user(),
            port: None,
            health: Health { every_ms: 200, timeout_ms: 500, healthy_for_ms: 0, ..Health::default() },
            drain: Drain { signal: "TERM".to_string(), within_ms: want.within_ms },
            limits: Limits { memory_bytes: 64 << 20, cpu_milli: 1_000, pids: 64, scratch_bytes: None },
            volumes: Vec::new(),
            exclusive: false,
            network: Network::closed(),
            route: None,
            checks: Vec::new(),
            migrate: None,
            container: None,
        };
        let desired = DesiredGroup::Run { release, count: want.count, once: want.once.map(|run| OneShot::of(texts(run))) };
        GroupSpec { group: GroupName::new(want.name).unwrap(), service, desired }
    }

    pub fn web(&self, name: &str, count: u32) -> GroupSpec {
        let mut spec =
            self.group(Want { name, run: &["sh", "-c", "echo born; exec busybox httpd -f -p 8080 -h /www"], count, ..Want::default() });
        if let DesiredGroup::Run { release, .. } = &mut spec.desired {
            release.port = Some(8080);
            release.health.probe = Probe::Http { path: "/healthz".to_string() };
        }
        spec
    }

    pub fn gone(&self, name: &str) -> GroupSpec {
        let service = ServiceName::new(name.split('-').next().unwrap()).unwrap();
        GroupSpec { group: GroupName::new(name).unwrap(), service, desired: DesiredGroup::Gone }
    }

    pub fn try_declare(&self, fence: u64, spec: GroupSpec) -> Result<(), Fault> {
        self.remote.declare(Stamp { fence: Fence(fence), seq: 0 }, &spec)
    }

    pub fn declare(&self, fence: u64, spec: GroupSpec) {
        self.try_declare(fence, spec).unwrap();
    }

    /// How many one-shots of the group were killed that were ending.
    pub fn kill_ending(&self, group: &str) -> usize {
        self.remote.kill(&GroupName::new(group).unwrap()).unwrap()
    }

    pub fn observe(&self, group: &str) -> GroupSeen {
        self.remote.observe(&GroupName::new(group).unwrap()).unwrap()
    }

    pub fn until(&self, group: &str, what: &str, mut good: impl FnMut(&GroupSeen) -> bool) -> GroupSeen {
        until(&format!("{group}: {what}"), || {
            let seen = self.observe(group);
            if good(&seen) { Ok(seen) } else { Err(format!("{seen:#?}")) }
        })
    }

    pub fn until_true(&self, what: &str, good: impl Fn() -> Result<(), String>) {
        until(what, good);
    }

    /// Returns after the keeper's next garbage collection: by then its reconciler has made passes as well.
    pub fn until_garbage_collected(&self) {
        let ghost = self.layout.targets().join("drained/ghost-r9-9-9");
        std::fs::write(&ghost, "").unwrap();
        self.until_true("a garbage collection", || if ghost.exists() { Err(format!("{} is there", ghost.display())) } else { Ok(()) });
    }

    pub fn target(&self, group: &str) -> Option<TargetFile> {
        let bytes = std::fs::read(self.layout.target(&GroupName::new(group).unwrap())).ok()?;
        let file: TargetFile = serde_json::from_slice(::disk::state::content(&bytes)).ok()?;
        Some(file).filter(|file| !file.targets.is_empty())
    }

    pub fn drained(&self, id: &InstanceId) {
        std::fs::write(self.layout.drained(id), "").unwrap();
    }

    pub fn log(&self, id: &str) -> String {
        std::fs::read_to_string(self.layout.log(&InstanceId::new(id).unwrap())).unwrap_or_default()
    }

    pub fn until_log(&self, id: &str, text: &str) {
        self.until_true("the log", || if self.log(id).contains(text) { Ok(()) } else { Err(format!("no {text:?} in {:?}", self.log(id))) });
    }

    fn json(&self, id: &str, file: &str) -> serde_json::Value {
        let path = self.layout.instances().join(id).join(file);
        serde_json::from_slice(::disk::state::content(&std::fs::read(path).unwrap_or_default())).unwrap_or_default()
    }

    /// What the keeper wrote down of an instance.
    pub fn record(&self, id: &str) -> serde_json::Value {
        self.json(id, "record.json")
    }

    /// A file as its program sees it.
    pub fn file_of(&self, id: &str, path: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/root{path}", self.pid(id))).unwrap()
    }

    /// As a version before there were networks would have written it: group and instance without what is new.
    pub fn rewrite_as_older(&self, group: &str, id: &str) {
        let edit = |path: PathBuf, strip: &dyn Fn(&mut serde_json::Value)| {
            let mut json: serde_json::Value = serde_json::from_slice(::disk::state::content(&std::fs::read(&path).unwrap())).unwrap();
            strip(&mut json);
            let bytes = serde_json::to_vec(&json).unwrap();
            ::disk::state::write(&path, &bytes, 0o600, ::disk::Lasting::Soon).unwrap();
        };
        let remove = |json: &mut serde_json::Value, at: &str, keys: &[&str]| {
            let object = json.pointer_mut(at).unwrap().as_object_mut().unwrap();
            keys.iter().for_each(|key| drop(object.remove(*key)));
        };
        edit(self.layout.group(&GroupName::new(group).unwrap()), &|json| remove(json, "/spec/desired/run/release", &["network"]));
        edit(self.layout.instances().join(id).join("record.json"), &|json| {
            remove(json, "/ground", &["six", "resolvers", "search"]);
            remove(json, "/release", &["network"]);
        });
    }

    /// The pid of its program.
    pub fn pid(&self, id: &str) -> i64 {
        self.pid_in(id, "started.json")
    }

    /// The most that a file in memory, which the keeper has open, and its own pages take up.
    pub fn keeper_bytes(&self) -> u64 {
        let proc = PathBuf::from(format!("/proc/{}", self.keeper.as_ref().unwrap().id()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let own: u64 = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
        let files = names(&proc.join("fd")).into_iter().map(|fd| proc.join("fd").join(fd));
        let memory = files.filter(|fd| std::fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().contains("memfd")));
        (own << 10) + memory.filter_map(|fd| Some(std::fs::metadata(fd).ok()?.len())).sum::<u64>()
    }

    /// The output of a program of this host.
    pub fn run(args: &[&str], input: &str) -> String {
        let mut child = Command::new(args[0]).args(&args[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{args:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// The pid that its shim recorded; the program may have printed something before.
    fn pid_in(&self, id: &str, file: &str) -> i64 {
        until(&format!("{file} of {id}"), || self.json(id, file)["pid"].as_i64().ok_or_else(|| "no pid".to_string()))
    }

    /// Of an instance's first process, as the host names it.
    pub fn uid_of(&self, id: &str) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid_in(id, "started.json"))).unwrap();
        status.lines().find_map(|l| l.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok()).unwrap()
    }

    pub fn kill_program(&self, id: &InstanceId) {
        kill(self.pid_in(id.as_str(), "started.json"));
    }

    pub fn kill_shim(&self, id: &InstanceId) {
        kill(self.pid_in(id.as_str(), "began"));
    }

    pub fn shim_pid(&self, id: &str) -> i64 {
        self.pid_in(id, "began")
    }

    /// As a fault of its own would.
    pub fn crash_shim(&self, id: &InstanceId) {
        sh(&format!("kill -ABRT {}", self.shim_pid(id.as_str())));
    }

    /// Its processes are stopped, and stay alive.
    pub fn freeze(&self, id: &InstanceId) {
        sh(&format!("kill -STOP {}", self.pid_in(id.as_str(), "started.json")));
    }

    pub fn happened(&self) -> Vec<api::fleet::Happened> {
        self.remote.happened(0).unwrap()
    }

    pub fn print_spent(&self) {
        for name in names(&self.layout.instances()) {
            println!("{name}: {}", self.json(&name, "started.json")["spent_ms"]);
        }
    }

    pub fn mark(&self) -> String {
        hex::encode(Sha256::digest(self.dir.canonicalize().unwrap().as_os_str().as_encoded_bytes()))[..8].to_string()
    }

    pub fn check_limit(&self, id: &InstanceId, path: &str, want: &str) {
        let path = Path::new("/sys/fs/cgroup").join(path.replace("MARK", &self.mark()).replace("ID", id.as_str()));
        match std::fs::read_to_string(&path) {
            Ok(text) => assert_eq!(text.trim(), want, "{}", path.display()),
            Err(_) => println!("no {} here: not a version 1 host", path.display()),
        }
    }

    pub fn check_born_once(&self) {
        let logs = self.layout.host().join("logs");
        for name in names(&logs) {
            let text = std::fs::read_to_string(logs.join(&name)).unwrap_or_default();
            assert!(text.matches("born").count() <= 1, "{name}: launched twice: {text}");
        }
    }

    pub fn tmp_groups_gone(&self) {
        for group in self.remote.all().unwrap() {
            if group.group.as_str().starts_with("tmp-") && group.desired != DesiredSeen::Gone {
                self.declare(2, self.gone(group.group.as_str()));
            }
        }
    }

    pub fn kill_some_shim(&self, random: u64) {
        let ids = names(&self.layout.instances());
        let shims: Vec<i64> = ids.iter().filter_map(|id| self.json(id, "began")["pid"].as_i64()).collect();
        if let Some(pid) = shims.get(random as usize % shims.len().max(1)) {
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
        }
    }

    /// Processes with exactly these arguments, each ended by a NUL.
    pub fn program_count(&self, line: &str) -> usize {
        let pids = names(Path::new("/proc")).into_iter().filter(|pid| pid.parse::<u32>().is_ok());
        pids.filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l == line.as_bytes())).count()
    }

    /// Shims, instance directories, cgroups, veths and mounts are those of these instances and no others.
    pub fn until_only(&self, ids: &[String]) {
        self.until_true("what is left", || self.is_only(ids));
    }

    /// As [`Self::until_only`], with the ids that the keeper reports.
    pub fn until_settled(&self, group: &str, good: impl Fn(&GroupSeen) -> bool) {
        self.until_true("settled", || {
            let seen = self.observe(group);
            let ids: Vec<String> = seen.instances.iter().map(|i| i.id.to_string()).collect();
            if good(&seen) { self.is_only(&ids) } else { Err(format!("{seen:?}")) }
        });
    }

    pub fn until_clean(&self) {
        self.until_true("what is left", || {
            self.is_only(&[])?;
            let mounts = lines("/proc/self/mountinfo", &self.dir.display().to_string());
            if mounts.is_empty() { Ok(()) } else { Err(format!("mounts: {mounts:?}")) }
        });
    }

    fn is_only(&self, ids: &[String]) -> Result<(), String> {
        let mut ids = ids.to_vec();
        ids.sort();
        let same = |what: &str, found: Vec<String>| if found == ids { Ok(()) } else { Err(format!("{what}: {found:?}, not {ids:?}")) };
        same("directories", names(&self.layout.instances()))?;
        same("containers", names(&self.layout.host().join("runtime")))?;
        for hierarchy in names(Path::new("/sys/fs/cgroup")) {
            let ours = Path::new("/sys/fs/cgroup").join(hierarchy).join(format!("afresh-{}", self.mark()));
            let found: Vec<String> = names(&ours).into_iter().filter(|name| ours.join(name).is_dir()).collect();
            if !found.is_empty() || !ids.is_empty() && ours.is_dir() {
                same("cgroups", found)?;
            }
        }
        let ports = names(&PathBuf::from(format!("/sys/class/net/afresh{}/brif", self.mark())));
        if ports.len() != ids.len() {
            return Err(format!("veths: {ports:?}"));
        }
        let mut shims = Vec::new();
        for pid in names(Path::new("/proc")).iter().filter(|pid| pid.parse::<u32>().is_ok()) {
            let line = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned();
            if let Some((_, id)) = line.trim_end_matches('\0').split_once(&format!("{}/", self.layout.instances().display())) {
                shims.push(id.to_string());
            }
        }
        shims.sort();
        same("shims", shims)?;
        let drained = names(&self.layout.targets().join("drained"));
        if !drained.is_empty() {
            return Err(format!("drained: {drained:?}"));
        }
        let loops = Command::new("losetup").arg("-a").output().unwrap().stdout;
        let loops = String::from_utf8_lossy(&loops).lines().filter(|l| l.contains(&self.dir.display().to_string())).count();
        let want = if ids.is_empty() { 0 } else { 2 };
        if loops == want { Ok(()) } else { Err(format!("{loops} loop devices, not {want}")) }
    }

    /// One thing of each kind without an owner, all with our mark.
    pub fn make_garbage(&self) {
        let mark = self.mark();
        let dir = self.layout.instances().join("ghost-r1-1-1");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all(self.layout.instances().join(".gone-ghost-r1-1-2/scratch")).unwrap();
        for hierarchy in names(Path::new("/sys/fs/cgroup")) {
            let ours = Path::new("/sys/fs/cgroup").join(hierarchy).join(format!("afresh-{mark}"));
            if ours.is_dir() {
                let _ = std::fs::create_dir(ours.join("ghost-r1-1-3"));
            }
        }
        std::fs::create_dir_all(self.layout.host().join("runtime/ghost-r1-1-4")).unwrap();
        let veth = format!("v{}ghost", &mark[..4]);
        sh(&format!("ip link add {veth} type veth peer name {veth}p && ip link set {veth} master afresh{mark} up"));
        let mounts = self.layout.host().join("mounts");
        let point = mounts.join("c".repeat(64));
        std::fs::create_dir_all(&point).unwrap();
        sh(&format!("mount -t erofs -o loop,ro {} {}", self.layout.object(&self.image).display(), point.display()));
        let object = self.layout.store().join("objects").join("d".repeat(64));
        std::fs::copy(self.layout.object(&self.image), &object).unwrap();
        sh(&format!("losetup -f {}", object.display()));
        std::fs::write(self.layout.targets().join("drained/ghost-r1-1-5"), "").unwrap();
        std::fs::write(self.layout.targets().join("ghost-r1-1.json"), "{}").unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("keeper log:\n{}", self.keeper_log());
        }
        let down = host::down(&self.layout);
        if !std::thread::panicking() {
            down.unwrap();
            assert_eq!(names(&self.layout.targets()), ["drained"], "no copy of a target file is left");
            assert!(!Path::new(&format!("/sys/class/net/afresh{}", self.mark())).exists());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn kill(pid: i64) {
    sh(&format!("kill -9 {pid}"));
}

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().unwrap().success(), "{script}");
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

fn lines(file: &str, with: &str) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().filter(|l| l.contains(with)).map(str::to_string).collect()
}

fn root_tree(dir: &Path, busybox: &Path) -> PathBuf {
    let tree = dir.join("tree");
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "www/cgi-bin"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    std::fs::copy(busybox, tree.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "cat", "test", "hostname", "id", "env", "grep", "kill", "true", "httpd", "touch", "pwd"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    std::fs::write(tree.join("www/healthz"), "ok\n").unwrap();
    let facts = tree.join("www/cgi-bin/facts");
    std::fs::write(
        &facts,
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho hostname=$(hostname)\nid\nenv\n\
         cat /proc/self/status\n(echo x > /app/x) 2>/dev/null && echo app-write=done || echo app-write=refused\n\
         (echo x > /sys/kernel/x) 2>/dev/null && echo sys-write=done || echo sys-write=refused\necho artifact=$(cat /app/code)\n",
    )
    .unwrap();
    std::fs::set_permissions(&facts, std::fs::Permissions::from_mode(0o755)).unwrap();
    tree
}

/// A program of this host and the libraries it is linked with, at their own paths.
fn bring(tree: &Path, program: &Path) {
    assert!(program.is_file(), "{}: it is missing; apt install perl-base", program.display());
    let out = Command::new("ldd").arg(program).output().expect("apt install libc-bin");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        let place = tree.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(file, place).unwrap();
    }
}

fn app_tree(dir: &Path) -> PathBuf {
    let tree = dir.join("app");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("code"), "the code").unwrap();
    tree
}

fn put(layout: &Layout, tree: &Path) -> Digest {
    let file = tree.with_extension("erofs");
    let out = Command::new("mkfs.erofs").arg("-zlz4").arg(&file).arg(tree).output().expect("apt install erofs-utils");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let bytes = std::fs::read(&file).unwrap();
    let digest = Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))).unwrap();
    let object = layout.object(&digest);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::rename(&file, object).unwrap();
    digest
}

pub fn get(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.starts_with("HTTP/1.0 200") || text.starts_with("HTTP/1.1 200") { Ok(text) } else { Err(std::io::Error::other(text)) }
}

/// How often a test kills: `AFRESH_KILLS` (ARCHITECTURE, "Tests").
pub fn kills() -> u64 {
    std::env::var("AFRESH_KILLS").map_or(20, |text| text.parse().expect("AFRESH_KILLS is a number"))
}

/// Seeded by the clock; the seed is printed, so that a failing run can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed {seed}");
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}
