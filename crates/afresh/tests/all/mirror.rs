//! A small apt repository: packages made with dpkg-deb, indexes signed with a throwaway key, served on loopback.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

pub const SUITE: &str = "bookworm";

/// One package as it stands in the index.
#[derive(Clone)]
struct Entry {
    control: String,
    path: String,
    bytes: Arc<Vec<u8>>,
}

/// A file and when it was put there, seconds since 1970.
type Files = BTreeMap<String, (Arc<Vec<u8>>, u64)>;
/// What was asked for and how many bytes of it were sent, since somebody asked.
type Asked = Arc<Mutex<Vec<(String, usize)>>>;
type Users = Arc<Mutex<BTreeSet<u32>>>;

/// What goes wrong with whatever path ends so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// As many bytes, one of them another.
    OtherBytes,
    /// One byte more than is said elsewhere.
    Longer,
    /// The whole length is told, half of it comes.
    CutOff,
    /// This answer and nothing with it.
    Status(&'static str),
    /// It says nothing of its length, and goes on until whoever asked has gone.
    Endless,
}

#[derive(Default)]
struct Shown {
    files: Files,
    spoilt: BTreeMap<String, Spoil>,
}

/// Who says that an index is theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sign {
    #[default]
    Own,
    /// Somebody with a key, whom nobody knows.
    Stranger,
    Nobody,
}

/// How an index is dated and signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dated {
    /// Seconds before now.
    pub age_s: i64,
    /// From its date on; none: forever.
    pub valid_s: Option<i64>,
    pub sign: Sign,
}

pub struct Mirror {
    work: PathBuf,
    shown: Arc<Mutex<Shown>>,
    asked: Asked,
    users: Users,
    packages: BTreeMap<String, Entry>,
    pub address: SocketAddr,
}

/// What a package is made of.
#[derive(Clone, Default)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: String,
    pub required: bool,
    pub depends: &'a str,
    /// Path from the root, text.
    pub files: Vec<(String, String)>,
    /// The newest entry first: version and what it says.
    pub changelog: Vec<(String, String)>,
    pub postinst: Option<&'a str>,
    /// Further files of the control part: name, text.
    pub control: Vec<(&'a str, String)>,
}

pub fn run(command: &mut Command) -> String {
    let done = command.stderr(Stdio::piped()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Mirror {
    pub fn new(work: &Path) -> Mirror {
        let work = work.join("mirror");
        fs::create_dir_all(work.join("packages")).unwrap();
        let mut mirror = Mirror {
            shown: Arc::default(),
            asked: Asked::default(),
            users: Users::default(),
            packages: BTreeMap::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            work,
        };
        mirror.make_key("gnupg");
        let public = mirror.gpg("gnupg").args(["--export"]).output().unwrap().stdout;
        fs::write(mirror.work.join("key.gpg"), public).unwrap();
        mirror.address = serve(mirror.shown.clone(), mirror.asked.clone(), mirror.users.clone());
        mirror
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// The users whose processes asked since the last call.
    pub fn users(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.users.lock().unwrap())
    }

    fn make_key(&self, home: &str) {
        fs::create_dir_all(self.work.join(home)).unwrap();
        fs::set_permissions(self.work.join(home), fs::Permissions::from_mode(0o700)).unwrap();
        let key = "Key-Type: EDDSA\nKey-Curve: ed25519\nName-Real: A month\nName-Email: month@example.org\n%no-protection\n%commit\n";
        let asked = self.work.join("key");
        fs::write(&asked, key).unwrap();
        run(self.gpg(home).args(["--generate-key"]).arg(&asked));
    }

    fn gpg(&self, home: &str) -> Command {
        let mut c = Command::new("gpg");
        c.env("GNUPGHOME", self.work.join(home)).args(["--batch", "--quiet", "--yes"]);
        c
    }

    /// A directory that stands for /etc/apt: this mirror alone.
    pub fn etc(&self) -> PathBuf {
        let etc = self.work.join("etc");
        for part in ["sources.list.d", "apt.conf.d", "preferences.d", "trusted.gpg.d", "auth.conf.d"] {
            fs::create_dir_all(etc.join(part)).unwrap();
        }
        // Written once: a control plane that bakes may be reading it.
        if etc.join("sources.list.d/month.sources").exists() {
            return etc;
        }
        let key = fs::read(self.work.join("key.gpg")).unwrap();
        fs::write(etc.join("month.gpg"), key).unwrap();
        let source =
            format!("Types: deb\nURIs: http://{}/debian\nSuites: {SUITE}\nComponents: main\nSigned-By: /etc/apt/month.gpg\n", self.address);
        fs::write(etc.join("sources.list.d/month.sources"), source).unwrap();
        etc
    }

    /// Packs it; the one before of this name is dropped from the index, as mirrors do.
    pub fn put(&mut self, package: &Package) {
        let root = self.work.join("packages").join(package.name);
        let _ = fs::remove_dir_all(&root);
        for (path, text) in &package.files {
            write(&root.join(path), text, 0o644);
        }
        if !package.changelog.is_empty() {
            let entry = |(version, text): &(String, String)| {
                format!(
                    "{} ({version}) {SUITE}; urgency=medium\n\n  * {text}\n\n -- A month <month@example.org>  Sun, 01 Nov 2026 00:00:00 +0000\n",
                    package.name
                )
            };
            let doc = root.join("usr/share/doc").join(package.name);
            write(&doc.join("changelog.Debian"), &package.changelog.iter().map(entry).collect::<Vec<_>>().join("\n"), 0o644);
            run(Command::new("gzip").arg("-n9").arg(doc.join("changelog.Debian")));
        }
        self.pack(package, &root);
    }

    /// As [`Mirror::put`], over a tree that is there.
    pub fn pack(&mut self, package: &Package, root: &Path) {
        let essential = if package.required { "Essential: yes\nPriority: required\n" } else { "Priority: optional\n" };
        let depends = if package.depends.is_empty() { String::new() } else { format!("Depends: {}\n", package.depends) };
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: amd64\nMaintainer: A month <month@example.org>\n{essential}{depends}Description: for a month\n",
            package.name, package.version
        );
        write(&root.join("DEBIAN/control"), &control, 0o644);
        if let Some(text) = package.postinst {
            write(&root.join("DEBIAN/postinst"), text, 0o755);
        }
        for (name, text) in &package.control {
            write(&root.join("DEBIAN").join(name), text, if text.starts_with("#!") { 0o755 } else { 0o644 });
        }
        let out = self.work.join("out.deb");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zgzip", "-z1", "--build"]).arg(root).arg(&out));
        self.put_file(package.name, &package.version, control, fs::read(&out).unwrap());
    }

    /// A package file made elsewhere, whatever is in it; `control` is what the index says of it.
    pub fn put_file(&mut self, name: &str, version: &str, control: String, bytes: Vec<u8>) {
        let path = format!("pool/{name}_{version}_amd64.deb");
        self.packages.insert(name.to_string(), Entry { control, path, bytes: Arc::new(bytes) });
    }

    /// What is answered wrongly from now on, by how paths end; nothing: everything is answered correctly again.
    pub fn spoil(&self, what: &[(&str, Spoil)]) {
        self.shown.lock().unwrap().spoilt = what.iter().map(|(ending, how)| ((*ending).to_string(), *how)).collect();
    }

    /// What it shows now, for a later [`Mirror::show`].
    pub fn shown(&self) -> Files {
        self.shown.lock().unwrap().files.clone()
    }

    /// Shows an earlier state again.
    pub fn show(&self, files: Files) {
        self.shown.lock().unwrap().files = files;
    }

    /// Makes what was put since visible, all at once.
    pub fn publish(&self) {
        self.publish_dated(Dated::default());
    }

    pub fn publish_dated(&self, dated: Dated) {
        let mut index = String::new();
        let mut files: BTreeMap<String, Arc<Vec<u8>>> = BTreeMap::new();
        for entry in self.packages.values() {
            let sum = hex::encode(Sha256::digest(&*entry.bytes));
            index.push_str(&format!("{}Filename: {}\nSize: {}\nSHA256: {sum}\n\n", entry.control, entry.path, entry.bytes.len()));
            files.insert(format!("/debian/{}", entry.path), entry.bytes.clone());
        }
        let sum = hex::encode(Sha256::digest(index.as_bytes()));
        let until = dated.valid_s.map_or(String::new(), |s| format!("Valid-Until: {}\n", date(s - dated.age_s)));
        let release = format!(
            "Origin: Month\nLabel: Month\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\n{until}Architectures: amd64\nComponents: main\nSHA256:\n {sum} {} main/binary-amd64/Packages\n",
            date(-dated.age_s),
            index.len()
        );
        files.insert(format!("/debian/dists/{SUITE}/InRelease"), Arc::new(self.signed(dated.sign, &release)));
        files.insert(format!("/debian/dists/{SUITE}/main/binary-amd64/Packages"), Arc::new(index.into_bytes()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let held = &mut self.shown.lock().unwrap().files;
        // A file that is the same keeps its time, as on a mirror.
        let dated = |(path, bytes): (String, Arc<Vec<u8>>)| match held.get(&path) {
            Some((old, at)) if *old == bytes => (path, (bytes, *at)),
            // Of a second in which there was another already, the time would not tell them apart.
            other => (path, (bytes, other.map_or(now, |(_, at)| now.max(at + 1)))),
        };
        *held = files.into_iter().map(dated).collect();
    }

    fn signed(&self, sign: Sign, release: &str) -> Vec<u8> {
        let (plain, signed) = (self.work.join("Release"), self.work.join("InRelease"));
        fs::write(&plain, release).unwrap();
        let home = match sign {
            Sign::Own => "gnupg",
            Sign::Stranger => "stranger",
            Sign::Nobody => return release.as_bytes().to_vec(),
        };
        if !self.work.join(home).exists() {
            self.make_key(home);
        }
        run(self.gpg(home).args(["--clearsign", "--output"]).arg(&signed).arg(&plain));
        fs::read(signed).unwrap()
    }

    /// The least in which dpkg can configure and Python can serve, taken from this machine.
    pub fn base(&mut self) {
        let modules = Path::new("/usr/lib/python3.11");
        let mut wanted = vec![PathBuf::from("/usr/bin/python3.11")];
        for part in ["asyncio", "collections", "concurrent", "encodings", "email", "http", "importlib", "json", "logging", "re", "urllib"] {
            tree(&modules.join(part), &mut wanted);
        }
        let own = fs::read_dir(modules).unwrap().map(|e| e.unwrap().path());
        wanted.extend(own.filter(|p| p.extension().is_some_and(|e| e == "py")));
        tree(&modules.join("lib-dynload"), &mut wanted);
        self.base_with(wanted, &[("python3.11", "usr/bin/python3")]);
    }

    /// The least in which dpkg can configure, and these files of this machine.
    pub fn base_with(&mut self, more: Vec<PathBuf>, links: &[(&str, &str)]) {
        let root = self.work.join("packages/month-base");
        fs::create_dir_all(&root).unwrap();
        let programs = [
            "/usr/bin/dpkg",
            "/usr/bin/dpkg-deb",
            "/usr/bin/dpkg-split",
            "/usr/bin/dpkg-query",
            "/usr/bin/dpkg-trigger",
            "/usr/bin/dash",
            "/usr/bin/rm",
            "/usr/bin/tar",
            "/usr/bin/diff",
            "/usr/bin/cat",
            "/usr/bin/test",
            "/usr/bin/true",
            "/usr/sbin/ldconfig",
            "/usr/sbin/start-stop-daemon",
        ];
        let mut wanted: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
        wanted.extend(more);
        let mut libraries: Vec<PathBuf> = Vec::new();
        for file in wanted.iter().filter(|p| p.extension().is_none_or(|e| e == "so" || e == "11")) {
            let said = Command::new("ldd").arg(file).output().unwrap();
            let paths = String::from_utf8_lossy(&said.stdout).into_owned();
            libraries.extend(paths.split_whitespace().filter(|w| w.starts_with('/') && !w.ends_with(':')).map(PathBuf::from));
        }
        libraries.sort();
        libraries.dedup();
        for file in wanted.iter().chain(&libraries) {
            // Merged: /lib/x and /usr/lib/x are one.
            let place = if file.starts_with("/usr") { file.clone() } else { Path::new("/usr").join(file.strip_prefix("/").unwrap()) };
            let to = root.join(place.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, &to).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        symlink("dash", root.join("usr/bin/sh")).unwrap();
        links.iter().for_each(|(to, at)| symlink(to, root.join(at)).unwrap());
        let package = Package { name: "month-base", version: "1".into(), required: true, ..Package::default() };
        self.pack(&package, &root);
        self.put(&Package {
            name: "apt",
            required: false,
            files: vec![("usr/share/doc/apt/README".into(), "not the real one\n".into())],
            ..package
        });
    }
}

fn tree(from: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "__pycache__") {
            tree(&path, all);
        } else if path.is_file() {
            all.push(path);
        }
    }
}

/// As release files write it, so many seconds from now.
fn date(from_now_s: i64) -> String {
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let at = format!("@{}", now + from_now_s);
    run(Command::new("date").args(["-u", "-d", &at, "+%a, %d %b %Y %H:%M:%S UTC"]).env("LC_ALL", "C")).trim().to_string()
}

fn serve(shown: Arc<Mutex<Shown>>, asked: Asked, users: Users) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (shown, asked) = (shown.clone(), asked.clone());
            users.lock().unwrap().extend(user_of(&stream));
            std::thread::spawn(move || answer(stream, &shown, &asked));
        }
    });
    address
}

/// Whose socket the other end of a connection on this machine is.
fn user_of(stream: &TcpStream) -> Option<u32> {
    let address = |port: u16| format!("0100007F:{port:04X}");
    let (from, to) = (address(stream.peer_addr().ok()?.port()), address(stream.local_addr().ok()?.port()));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|w| w.len() > 7 && w[1] == from && w[2] == to)?[7]
        .parse()
        .ok()
}

/// One request a connection: apt asks few.
fn answer(mut stream: TcpStream, shown: &Mutex<Shown>, asked: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut since = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        if let Some(date) = line.strip_prefix("If-Modified-Since:") {
            since = date.trim().to_string();
        }
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or("").to_string();
    let (found, spoilt) = {
        let shown = shown.lock().unwrap();
        (shown.files.get(&path).cloned(), shown.spoilt.iter().find(|(ending, _)| path.ends_with(ending.as_str())).map(|(_, how)| *how))
    };
    let date = found.as_ref().map(|(_, at)| http_date(*at)).unwrap_or_default();
    let (mut status, body) = match found {
        Some(_) if since == date && spoilt.is_none() => ("304 Not Modified", Arc::new(Vec::new())),
        Some((body, _)) => ("200 OK", body),
        None => ("404 Not Found", Arc::new(Vec::new())),
    };
    let mut body = body.to_vec();
    match spoilt {
        Some(Spoil::OtherBytes) => body.iter_mut().rev().take(1).for_each(|b| *b ^= 1),
        Some(Spoil::Longer) => body.push(b'\n'),
        Some(Spoil::Status(other)) => {
            status = other;
            body.clear();
        }
        Some(Spoil::Endless) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            return;
        }
        Some(Spoil::CutOff) | None => {}
    }
    let sent = if spoilt == Some(Spoil::CutOff) { body.len() / 2 } else { body.len() };
    asked.lock().unwrap().push((path, sent));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: {date}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
}

/// `Sun, 22 Nov 2026 19:00:00 GMT`
fn http_date(at: u64) -> String {
    let stamp = jiff::Timestamp::from_second(i64::try_from(at).unwrap()).unwrap();
    stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
