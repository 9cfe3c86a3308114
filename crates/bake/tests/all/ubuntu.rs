//! An archive of Ubuntu's shape on loopback: one host for all pockets, one code name for all of them, main and universe, packages packed
//! with zstd, updates handed out to a share of machines, a key of its own. Ubuntu's own archive is not asked.
//! `cargo test -p bake --test all ubuntu:: -- --ignored --nocapture` as root; some seconds.

use crate::kit;
use model::{Fault, ImageSpec};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use store::{Lock, Store};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

fn run(c: &mut Command) -> Vec<u8> {
    let done = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    assert!(done.status.success(), "{c:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// A place (pocket and component) and the paragraphs of its index.
type Index = BTreeMap<(&'static str, &'static str), String>;

struct Archive {
    dir: tempfile::TempDir,
    index: Index,
    files: Files,
    address: std::net::SocketAddr,
}

const POCKETS: [&str; 4] = ["noble", "noble-updates", "noble-security", "noble-backports"];

impl Archive {
    fn new() -> Archive {
        let dir = tempfile::Builder::new().prefix("afresh-ubuntu-").tempdir().unwrap();
        // apt asks as a user of its own, which must be able to read the key.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let files = Files::default();
        let archive = Archive { address: serve(files.clone()), dir, index: Index::new(), files };
        for name in ["ubuntu", "stranger"] {
            let home = archive.dir.path().join(name);
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            let asked = home.join("asked");
            let text = format!(
                "Key-Type: EDDSA\nKey-Curve: ed25519\nName-Real: {name}\nName-Email: {name}@example.org\n%no-protection\n%commit\n"
            );
            fs::write(&asked, text).unwrap();
            run(archive.gpg(name).arg("--generate-key").arg(&asked));
            fs::write(archive.dir.path().join(format!("{name}.gpg")), run(archive.gpg(name).arg("--export"))).unwrap();
        }
        archive
    }

    fn gpg(&self, name: &str) -> Command {
        let mut c = Command::new("gpg");
        c.env("GNUPGHOME", self.dir.path().join(name)).args(["--batch", "--quiet", "--yes"]);
        c
    }

    /// `fields`: further lines of the control paragraph; `listed`: what only the index says.
    fn put(&mut self, place: (&'static str, &'static str), name: &str, version: &str, fields: &str, listed: &str, root: Option<&Path>) {
        let own = self.dir.path().join(format!("{name}_{version}"));
        let root = root.unwrap_or(&own);
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        fs::create_dir_all(root.join("usr/share").join(name)).unwrap();
        fs::write(root.join("usr/share").join(name).join("version"), version).unwrap();
        let control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: u <u@example.org>\n{fields}Description: u\n");
        fs::write(root.join("DEBIAN/control"), &control).unwrap();
        fs::set_permissions(root.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
        let out = self.dir.path().join("out.deb");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zzstd", "-z1", "--build"]).arg(root).arg(&out));
        let bytes = fs::read(&out).unwrap();
        let path = format!("pool/{}/{name}_{version}_amd64.deb", place.1);
        let sum = hex::encode(Sha256::digest(&bytes));
        let size = bytes.len();
        self.index.entry(place).or_default().push_str(&format!("{control}{listed}Filename: {path}\nSize: {size}\nSHA256: {sum}\n\n"));
        self.files.lock().unwrap().insert(format!("/ubuntu/{path}"), bytes);
    }

    /// As it is handed out: what security has is copied to updates, under the same sums.
    fn publish(&self, signer: &str) {
        for pocket in POCKETS {
            let mut sums = String::new();
            for component in ["main", "universe"] {
                let text = self.index.get(&(pocket, component)).cloned().unwrap_or_default();
                let path = format!("{component}/binary-amd64/Packages");
                sums.push_str(&format!(" {} {} {path}\n", hex::encode(Sha256::digest(text.as_bytes())), text.len()));
                self.files.lock().unwrap().insert(format!("/ubuntu/dists/{pocket}/{path}"), text.into_bytes());
            }
            let date = String::from_utf8(run(Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S UTC"]).env("LC_ALL", "C"))).unwrap();
            // Pockets have the release's code name, and no Valid-Until.
            let more = if pocket.ends_with("backports") { "NotAutomatic: yes\nButAutomaticUpgrades: yes\n" } else { "" };
            let text = format!(
                "Origin: Ubuntu\nLabel: Ubuntu\nSuite: {pocket}\nVersion: 24.04\nCodename: noble\nDate: {}\nArchitectures: amd64\nComponents: main universe\n{more}SHA256:\n{sums}",
                date.trim()
            );
            let plain = self.dir.path().join("Release");
            fs::write(&plain, text).unwrap();
            let signed = run(self.gpg(signer).args(["--clearsign", "--output", "-"]).arg(&plain));
            self.files.lock().unwrap().insert(format!("/ubuntu/dists/{pocket}/InRelease"), signed);
        }
    }

    /// A data directory whose owner wrote down where noble comes from; this machine's own apt knows nothing of it.
    fn store(&self, name: &str) -> Store {
        let data = self.dir.path().join(name);
        fs::create_dir_all(data.join("sources.d")).unwrap();
        let key = self.dir.path().join("ubuntu.gpg");
        let stanza = |suites: &str| {
            format!(
                "Types: deb\nURIs: http://{}/ubuntu\nSuites: {suites}\nComponents: main universe\nSigned-By: {}\n\n",
                self.address,
                key.display()
            )
        };
        let text = stanza("noble noble-updates noble-backports") + &stanza("noble-security");
        fs::write(data.join("sources.d/ubuntu.sources"), text).unwrap();
        kit::store(&data)
    }

    /// The least in which dpkg can configure, taken from this machine.
    fn base(&mut self) {
        let root = self.dir.path().join("base");
        let programs = "dpkg dpkg-deb dpkg-split dpkg-query dpkg-trigger dash rm tar diff cat true";
        let mut wanted: Vec<PathBuf> = programs.split(' ').map(|p| Path::new("/usr/bin").join(p)).collect();
        wanted.extend(["/usr/sbin/ldconfig", "/usr/sbin/start-stop-daemon"].map(PathBuf::from));
        let said = String::from_utf8_lossy(&Command::new("ldd").args(&wanted).output().unwrap().stdout).into_owned();
        let libraries = said.split_whitespace().filter(|w| w.starts_with('/') && !w.ends_with(':')).map(PathBuf::from);
        for file in wanted.clone().into_iter().chain(libraries) {
            let merged = if file.starts_with("/usr") { file.clone() } else { Path::new("/usr").join(file.strip_prefix("/").unwrap()) };
            let to = root.join(merged.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, &to).unwrap();
        }
        symlink("dash", root.join("usr/bin/sh")).unwrap();
        self.put(("noble", "main"), "ubuntu-base", "24.04", "Essential: yes\nPriority: required\n", "", Some(&root));
        self.put(("noble", "main"), "apt", "2.7", "Priority: important\n", "", None);
    }
}

fn serve(files: Files) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = files.clone();
            std::thread::spawn(move || answer(stream, &files));
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &Files) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut line) = (String::new(), String::new());
    let _ = reader.read_line(&mut first);
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    let found = files.lock().unwrap().get(first.split(' ').nth(1).unwrap_or("")).cloned();
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn spec(components: &[&str], packages: &[&str]) -> ImageSpec {
    let custom = serde_json::json!({ "components": components });
    serde_json::from_value(serde_json::json!({ "name": "u", "debian": "noble", "packages": packages, "custom": custom })).unwrap()
}

fn lock(store: &Store, spec: &ImageSpec) -> Result<Lock, Fault> {
    let lock = bake::lock(store, spec, &mut |_| {});
    match &lock {
        Ok(lock) => lock.packages.iter().for_each(|p| println!("{} {} from {}", p.name, p.version, p.suite)),
        Err(fault) => println!("{}: {}", fault.code, fault.message),
    }
    lock
}

#[test]
#[ignore = "needs root"]
fn pockets_components_and_keys_of_an_archive_of_ubuntu_s_shape() {
    let mut a = Archive::new();
    a.base();
    // In the release, newer in updates (to a tenth of machines at first), newest in security; security is copied to updates.
    a.put(("noble", "main"), "tool", "1-1", "", "", None);
    a.put(("noble-updates", "main"), "tool", "1-1ubuntu0.1", "", "Phased-Update-Percentage: 0\n", None);
    a.put(("noble-security", "main"), "tool", "1-1ubuntu0.2", "", "", None);
    let copy = a.index[&("noble-security", "main")].clone();
    a.index.get_mut(&("noble-updates", "main")).unwrap().push_str(&copy);
    // Newer in updates than in security.
    a.put(("noble-security", "main"), "later", "2-1ubuntu0.1", "Depends: tool\n", "", None);
    a.put(("noble-updates", "main"), "later", "2-1ubuntu0.2", "Depends: tool\n", "Phased-Update-Percentage: 0\n", None);
    // Of another component, and newer in backports, which nobody asked for.
    a.put(("noble", "universe"), "side", "3-1", "", "", None);
    a.put(("noble-updates", "universe"), "side", "3-1ubuntu0.1", "", "", None);
    a.put(("noble-backports", "universe"), "side", "9-1", "", "", None);
    a.publish("ubuntu");
    let store = a.store("data");

    let both = spec(&["main", "universe"], &["later", "side", "tool"]);
    let locked = lock(&store, &both).unwrap();
    let of = |name: &str| locked.packages.iter().find(|p| p.name == name).map(|p| (p.version.as_str(), p.suite.as_str())).unwrap();
    assert_eq!(of("tool"), ("1-1ubuntu0.2", "noble-security"), "security, also where updates has a copy");
    assert_eq!(of("later"), ("2-1ubuntu0.2", "noble-updates"), "the newest, for every machine and not for a share of them");
    assert_eq!(of("side"), ("3-1ubuntu0.1", "noble-updates"));
    assert!(
        locked.packages.iter().all(|p| p.url.starts_with(&format!("http://{}/ubuntu/pool/", a.address))),
        "nothing of this machine's mirrors"
    );
    let suites: Vec<&str> = locked.head.indexes.iter().map(|i| i.suite.as_str()).collect();
    assert_eq!(suites, ["noble-security", "noble-updates", "noble"], "each pocket by its own name");
    assert!(locked.head.indexes.iter().all(|i| i.origin == "Ubuntu"));

    bake::fetch(&store, &locked, &mut |_| {}).unwrap();
    let (manifest, _) = bake::build(&store, &locked, &mut |_| {}).unwrap();
    attest::attest(&store, &locked, &manifest, &attest::signing_key(&store).unwrap()).unwrap();
    assert!(manifest.packages.iter().any(|p| p.name == "side" && p.version == "3-1ubuntu0.1"), "{:?}", manifest.packages);
    let bill = fs::read_to_string(store.layout().store().join("attested").join(manifest.digest.hex()).join("sbom.cdx.json")).unwrap();
    assert!(bill.contains("pkg:deb/ubuntu/tool@1-1ubuntu0.2?arch=amd64&distro=noble"), "{bill}");

    // A backport comes when its pocket is asked for by name, and even then only where nothing else has it.
    let mut with_backports = both.clone();
    with_backports.custom.suites = vec!["noble-backports".into()];
    let locked = lock(&store, &with_backports).unwrap();
    assert_eq!(locked.packages.iter().find(|p| p.name == "side").unwrap().version, "3-1ubuntu0.1");

    assert_eq!(lock(&store, &spec(&[], &["side"])).unwrap_err().code, "unknown-package", "main alone has it not");
    assert_eq!(lock(&store, &spec(&["main", "multiverse"], &["tool"])).unwrap_err().code, "no-component");
    a.publish("stranger");
    assert_eq!(lock(&store, &both).unwrap_err().code, "index-unsigned");
    // Nobody wrote down where that one is, and Debian's mirrors have it not.
    let fault = lock(&a.store("other"), &ImageSpec { debian: "mantic".into(), ..both }).unwrap_err();
    assert!(fault.code == "no-sources" && fault.hint.unwrap().contains("sources.d"), "{}", fault.message);
}
