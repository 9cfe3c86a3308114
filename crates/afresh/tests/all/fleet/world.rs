//! A fleet of three busybox servers behind the real program, and a client that accounts for every request. The oracles are what the
//! servers and the listener answer, and the kernel's own lists; none of them asks the code that is judged whether it is healthy.

use api::Client;
use api::control::{DeployRequest, Opened, RotationStatus};
use model::{Digest, GroupName, GroupSeen, ImageName, InstanceId, InstanceState, Layout, Time};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::{Kind, Manifest, Store};

/// A loaded machine is no reason to fail. Against a program that does not do it at all, less is enough to see that.
pub fn patience() -> Duration {
    Duration::from_secs(std::env::var("AFRESH_FAULT_PATIENCE").ok().and_then(|s| s.parse().ok()).unwrap_or(60))
}

/// `AFRESH_PROGRAM` plays the same faults on another build.
fn program() -> PathBuf {
    std::env::var_os("AFRESH_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_afresh").into(), PathBuf::from)
}

const SCRIPT: &str = "busybox httpd -f -p 8080 -h /www & while [ ! -e /tmp/eat ]; do sleep 0.2; done; x=x; while :; do x=$x$x; done";

/// The recipe that the image of busybox passes for.
pub const IMAGE: &str = "image \"base\" {\n  debian = \"bookworm\"\n  packages = [\"busybox-static\"]\n}\n";

pub struct Fleet {
    pub data: PathBuf,
    pub listen: SocketAddr,
    up: Option<Child>,
    tokio: tokio::runtime::Runtime,
    /// What `up` said.
    log: PathBuf,
    image: Digest,
}

impl Fleet {
    /// Nothing runs.
    pub fn empty(dir: &Path, name: &str) -> Fleet {
        let data = dir.join(name);
        // Below the ports that the kernel gives to whoever asks for any.
        let first = 20_000 + (std::process::id() % 9_000) as u16;
        let free =
            (first..first + 1_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(|a| std::net::TcpListener::bind(a).is_ok());
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let image = busybox(&Layout::new(&data), dir);
        Fleet { data, listen: free.unwrap(), up: None, tokio, log: dir.join(format!("{name}.log")), image }
    }

    /// Its processes run, and no server.
    pub fn bare(dir: &Path, name: &str) -> Fleet {
        let mut fleet = Fleet::empty(dir, name);
        fleet.start(&[]).unwrap();
        fleet
    }

    /// With three healthy servers, deployed as everybody does it.
    pub fn new(dir: &Path, name: &str) -> Fleet {
        let fleet = Fleet::bare(dir, name);
        let status = fleet.deploy(SCRIPT, "2m");
        assert_eq!(status.verdict, Some(model::Verdict::Promoted), "{}\n{}", status.why, fleet.said_by_up());
        fleet
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.data)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(program());
        c.arg("--data-dir").arg(&self.data).args(args).env("AFRESH_UPKEEP_CLOCK", "off").stdin(Stdio::null());
        c
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn start(&mut self, args: &[&str]) -> Result<(), String> {
        let log = fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut c = self.command(&[&["up"], args].concat());
        let mut up = c.stdout(log.try_clone().unwrap()).stderr(log).process_group(0).spawn().unwrap();
        let begun = Instant::now();
        while !self.run(&["status", "--json"]).status.success() {
            if let Some(status) = up.try_wait().unwrap() {
                return Err(format!("`up` ended ({status}): {}", self.said_by_up().lines().last().unwrap_or_default()));
            }
            if begun.elapsed() > patience() {
                return Err(format!("`up` does not answer: {}", self.said_by_up().lines().last().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.up = Some(up);
        Ok(())
    }

    pub fn said_by_up(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `up` and its three end; servers and traffic go on.
    pub fn stop(&mut self) {
        if let Some(mut up) = self.up.take() {
            send(up.id(), Signal::SIGTERM);
            up.wait().unwrap();
        }
    }

    /// After `up` was killed.
    pub fn reap(&mut self) {
        if let Some(mut up) = self.up.take() {
            up.wait().unwrap();
        }
    }

    /// A release that runs this script, to its rotation's end. A step may take `within`.
    pub fn deploy(&self, script: &str, within: &str) -> RotationStatus {
        self.deploy_service(&self.service(script, within))
    }

    /// What [`Fleet::deploy`] deploys.
    pub fn service(&self, script: &str, within: &str) -> String {
        format!(
            "service \"web\" {{\n  tier = \"web\"\n  image = image.base\n  run = [\"sh\", \"-c\", {}]\n  port = 8080\n  count = 3\n  \
             health {{ path = \"/healthz\"  every = \"200ms\"  timeout = \"1s\"  healthy_for = \"200ms\" }}\n  drain {{ within = \"1s\" }}\n  \
             limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  route {{ listen = \"{}\"  answer_timeout = \"2s\" }}\n  \
             rollout {{ waves = [\"100%\"]  soak = \"200ms\"  within = \"{within}\" }}\n}}\n",
            serde_json::to_string(script).unwrap(),
            self.listen
        )
    }

    /// A service on `image.base`, to its rotation's end.
    pub fn deploy_service(&self, service: &str) -> RotationStatus {
        self.end(&self.begin_deploy(service))
    }

    pub fn end(&self, id: &model::RotationId) -> RotationStatus {
        let path = format!("/v1/rotations/{id}");
        let api = self.api();
        let begun = Instant::now();
        loop {
            // The control plane may be killed meanwhile.
            let status: Result<RotationStatus, model::Fault> = self.tokio.block_on(api.get(&path));
            match status {
                Ok(status) if status.verdict.is_some() => return status,
                status => assert!(begun.elapsed() < Duration::from_secs(240), "{status:?}\n{}", self.said_by_up()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn api(&self) -> Client {
        Client::unix(self.layout().api_socket()).timeout(Duration::from_secs(30))
    }

    /// From the API, or the error of it.
    pub fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, model::Fault> {
        self.tokio.block_on(self.api().get(path))
    }

    /// From the keeper, or its error.
    pub fn host<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, model::Fault> {
        self.tokio.block_on(Client::unix(self.layout().host_socket()).timeout(Duration::from_secs(5)).get(path))
    }

    pub fn begin_deploy(&self, service: &str) -> model::RotationId {
        self.change(service).rotations[0].clone()
    }

    /// What a deploy opens, which may be nothing.
    pub fn change(&self, service: &str) -> Opened {
        let text = format!("{IMAGE}{service}");
        let file = config::parse(&text, "afresh.hcl").unwrap_or_else(|d| panic!("{}", config::render(&d, &text, "afresh.hcl", false)));
        let images = BTreeMap::from([(ImageName::new("base").unwrap(), self.image.clone())]);
        let request = DeployRequest {
            file,
            service: None,
            images,
            artifacts: BTreeMap::new(),
            release: None,
            remove: Vec::new(),
            keep_artifacts: false,
            secrets: BTreeMap::new(),
            keep_secrets: false,
            secrets_not_stored: false,
            unbaked: Default::default(),
            break_glass: None,
        };
        self.tokio.block_on(self.api().post("/v1/deploy", &request)).unwrap()
    }

    pub fn group(&self) -> GroupName {
        GroupName::new("web-r1-1").unwrap()
    }

    fn seen(&self) -> Option<GroupSeen> {
        let keeper = Client::unix(self.layout().host_socket()).timeout(Duration::from_secs(5));
        self.tokio.block_on(keeper.get(&format!("/v1/groups/{}", self.group()))).ok()
    }

    /// Id and address of those that the keeper calls running.
    pub fn servers(&self) -> Vec<(InstanceId, SocketAddr)> {
        let seen = self.seen().map_or(Vec::new(), |seen| seen.instances);
        seen.into_iter()
            .filter(|i| i.state == InstanceState::Running && i.healthy_ms.is_some())
            .filter_map(|i| Some((i.id, i.addr?)))
            .collect()
    }

    /// Three servers that answer themselves, none of `but` among them, and the listener answers; or what is missing.
    pub fn whole(&self, but: &[InstanceId]) -> Result<(), String> {
        let servers = self.servers();
        let answering = servers.iter().filter(|(_, addr)| get(*addr, "/healthz", 2_000).is_ok()).count();
        if answering != 3 || servers.len() != 3 {
            return Err(format!(
                "{answering} of {} servers answer: {:?}",
                servers.len(),
                servers.iter().map(|s| s.0.as_str()).collect::<Vec<_>>()
            ));
        }
        if let Some((id, _)) = servers.iter().find(|(id, _)| but.contains(id)) {
            return Err(format!("{id} is still there"));
        }
        get(self.listen, "/healthz", 5_000).map(drop).map_err(|why| format!("the listener: {why}"))
    }

    /// How long it took, or what is still missing.
    pub fn until_whole(&self, since: Instant, but: &[InstanceId]) -> Result<Duration, String> {
        loop {
            match self.whole(but) {
                Ok(()) => return Ok(since.elapsed()),
                Err(why) if since.elapsed() > patience() => return Err(format!("not whole after {:?}: {why}", patience())),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Everything that somebody who looks is told: `events`, `why`, `status`, and the alarms, with the exit code of the check.
    pub fn said(&self) -> (i32, String) {
        let check = self.run(&["status", "--check"]);
        let mut all = String::from_utf8_lossy(&check.stdout).into_owned();
        for args in [&["events"][..], &["why", "web"], &["status"]] {
            all.push_str(&String::from_utf8_lossy(&self.run(args).stdout));
        }
        (check.status.code().unwrap_or(-1), all)
    }

    /// Waits until `status --check` says one of these and fails for it.
    pub fn until_said(&self, what: &str) -> Result<String, String> {
        let begun = Instant::now();
        loop {
            let (code, all) = self.said();
            let line = all.lines().find(|line| line.contains(what)).map(|line| line.trim().to_string());
            match line {
                Some(line) if code == 8 => return Ok(line),
                _ if begun.elapsed() > patience() => return Err(format!("exit {code}, and {what:?} is not reported")),
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn json(&self, id: &InstanceId, file: &str) -> Value {
        let bytes = fs::read(self.layout().instance(id).join(file)).unwrap_or_default();
        serde_json::from_slice(disk::state::content(&bytes)).unwrap_or_default()
    }

    pub fn program_pid(&self, id: &InstanceId) -> u32 {
        u32::try_from(self.json(id, "started.json")["pid"].as_u64().unwrap()).unwrap()
    }

    /// Every process of a server.
    pub fn freeze(&self, id: &InstanceId) {
        let first = self.program_pid(id);
        let mut all = vec![first];
        for pid in fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse::<u32>().ok());
            if parent == Some(first) {
                all.push(pid);
            }
        }
        all.into_iter().for_each(|pid| send(pid, Signal::SIGSTOP));
    }

    pub fn kill_role(&self, role: &str) {
        let lock = fs::read_to_string(self.layout().run().join(format!("process-{role}.lock"))).unwrap();
        send(lock.trim().parse().unwrap(), Signal::SIGKILL);
    }

    pub fn kill_data_plane(&self) {
        let data = Client::unix(self.layout().data_socket()).timeout(Duration::from_secs(5));
        let health: api::paths::Health = self.tokio.block_on(data.get("/v1/health")).unwrap();
        send(health.pid, Signal::SIGKILL);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.said_by_up());
        }
        let _ = self.run(&["down", "--yes"]);
        if let Some(mut up) = self.up.take() {
            let _ = up.wait();
        }
    }
}

pub fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

/// An image of busybox and a page, put into the store as a bake puts it.
fn busybox(layout: &Layout, dir: &Path) -> Digest {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|p| p.is_file());
    let tree = dir.join("tree");
    if !tree.is_dir() {
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "www/cgi-bin"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy(busybox.expect("apt install busybox-static"), tree.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep", "touch", "cat", "busybox-httpd", "sha256sum", "tr"] {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(tree.join("www/healthz"), "ok\n").unwrap();
        let eat = tree.join("www/cgi-bin/eat");
        fs::write(&eat, "#!/bin/sh\ntouch /tmp/eat\nprintf 'Content-Type: text/plain\\r\\n\\r\\nok\\n'\n").unwrap();
        fs::set_permissions(&eat, fs::Permissions::from_mode(0o755)).unwrap();
        // An upload: a file of the volume, named by the client, that says which server wrote it.
        let put = tree.join("www/cgi-bin/put");
        fs::write(
            &put,
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho $AFRESH_INSTANCE > /uploads/$QUERY_STRING && echo ok\n",
        )
        .unwrap();
        fs::set_permissions(&put, fs::Permissions::from_mode(0o755)).unwrap();
        // Which value of a secret this server has, without the value.
        let sum = tree.join("www/cgi-bin/sum");
        fs::write(&sum, "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nprintf %s \"$URL\" | sha256sum\necho ok\n").unwrap();
        fs::set_permissions(&sum, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let store = Store::open(layout).unwrap();
    let work = layout.store().join("work/hand.erofs");
    let made = Command::new("mkfs.erofs").arg("-zlz4").arg(&work).arg(&tree).output().expect("apt install erofs-utils");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bytes = fs::read(&work).unwrap();
    let digest = Digest::new(format!("sha256:{}", hex::encode(sha2::Sha256::digest(&bytes)))).unwrap();
    let file = config::parse(&format!("{IMAGE}service \"x\" {{ tier = \"x\" image = image.base run = [\"x\"] count = 0 }}"), "x").unwrap();
    let recipe = bake::recipe::digest(file.images.values().next().unwrap());
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "kind": Kind::Image, "recipe": recipe, "name": "base", "digest": digest, "bytes": bytes.len(), "inputs": digest, "made": Time(1),
    }))
    .unwrap();
    store.put(&work, &manifest).unwrap();
    store.set_current(&ImageName::new("base").unwrap(), &digest).unwrap();
    digest
}

/// The whole answer, if its status is 200 and it ends as the servers' pages do.
pub fn get(addr: SocketAddr, path: &str, within_ms: u64) -> Result<String, String> {
    let answer = answer(addr, path, within_ms)?;
    if answer.ends_with("ok\n") { Ok(answer) } else { Err("status 200".to_string()) }
}

/// As it comes, if its status is 200.
pub fn answer(addr: SocketAddr, path: &str, within_ms: u64) -> Result<String, String> {
    let within = Duration::from_millis(within_ms);
    let told = |what: &'static str| move |e: std::io::Error| format!("{what}: {}", e.kind());
    let mut stream = TcpStream::connect_timeout(&addr, within).map_err(told("connect"))?;
    stream.set_read_timeout(Some(within)).and_then(|()| stream.set_write_timeout(Some(within))).map_err(told("socket"))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").map_err(told("send"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(told("receive"))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split(' ').nth(1) {
        Some("200") => Ok(answer),
        Some(status) => Err(format!("status {status}")),
        None => Err("no answer".to_string()),
    }
}

/// Sends at a fixed rate whether or not earlier requests were answered, retries nothing, and keeps what became of each.
pub struct Users {
    stop: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<Result<(), String>>>>,
    pace: std::thread::JoinHandle<u64>,
}

const EVERY: Duration = Duration::from_millis(20);

impl Users {
    pub fn start(listen: SocketAddr) -> Users {
        Users::with(listen, || ())
    }

    /// From the network of somebody else.
    pub fn start_in(network: fs::File, listen: SocketAddr) -> Users {
        Users::with(listen, move || nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap())
    }

    /// The threads that ask are begun by one that `enter` was run in, and are where it is.
    fn with(listen: SocketAddr, enter: impl FnOnce() + Send + 'static) -> Users {
        let (stop, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, books) = (stop.clone(), ends.clone());
        let pace = std::thread::spawn(move || {
            enter();
            let (begun, mut sent) = (Instant::now(), 0u64);
            let mut open = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let due = begun + EVERY * u32::try_from(sent).unwrap();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                sent += 1;
                let books = books.clone();
                open.push(std::thread::spawn(move || {
                    let end = get(listen, "/healthz", 10_000).map(drop);
                    books.lock().unwrap().push(end);
                }));
            }
            open.into_iter().for_each(|one| one.join().unwrap());
            sent
        });
        Users { stop, ends, pace }
    }

    /// Sent, and what those got that failed.
    pub fn finish(self) -> (u64, BTreeMap<String, u64>) {
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.pace.join().unwrap();
        let ends = self.ends.lock().unwrap();
        assert_eq!(ends.len() as u64, sent, "every request is accounted for");
        let mut failed = BTreeMap::new();
        ends.iter().filter_map(|end| end.as_ref().err()).for_each(|why| *failed.entry(why.clone()).or_insert(0) += 1);
        (sent, failed)
    }
}
