//! Container images as people have them: built with buildah from ordinary Dockerfiles, in Debian's own registry with a password and TLS of its
//! own authority; deployed, upgraded by a tag that moves while users are there, rolled back. As root.

use crate::fleet::world::{Users, answer};
use crate::own_registry::{Registry, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A loaded machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(180);

/// Each serves `/healthz`, and says which version it is. The second version differs in all that an image says of itself.
const KINDS: [&str; 3] = ["debian", "alpine", "distroless"];

struct House {
    dir: tempfile::TempDir,
    registry: Registry,
    listen: BTreeMap<&'static str, SocketAddr>,
    up: Option<Child>,
}

/// Ports that are free together.
fn free_ports() -> Vec<SocketAddr> {
    let held: Vec<TcpListener> = KINDS.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|one| one.local_addr().unwrap()).collect()
}

impl House {
    fn new() -> House {
        let dir = tempfile::Builder::new().prefix("afresh-container-").tempdir().unwrap();
        let at = dir.path().join("registry");
        fs::create_dir(&at).unwrap();
        let registry = Registry::start(&at);
        let listen = KINDS.into_iter().zip(free_ports()).collect();
        House { dir, registry, listen, up: None }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn reference(&self, kind: &str) -> String {
        format!("{}/shop/{kind}:1", self.registry.address)
    }

    fn buildah(&self, args: &[&str]) -> Command {
        let mut c = Command::new("buildah");
        c.arg("--root").arg(self.at("storage")).arg("--runroot").arg(self.at("runroot")).args(["--storage-driver", "vfs"]).args(args);
        c
    }

    /// Builds the Dockerfile in the directory of this kind, and pushes it under the same tag.
    fn push(&self, kind: &str) {
        let name = format!("localhost/{kind}");
        let at = self.at(kind);
        run(self.buildah(&["bud", "--isolation", "chroot", "--format", "docker", "--layers=false", "-t", &name]).arg(&at));
        let certs = self.registry.certs.display().to_string();
        let to = format!("docker://{}", self.reference(kind));
        run(&mut self.buildah(&["push", "--creds", "u:p w:d", "--cert-dir", &certs, &name, &to]));
    }

    /// What skopeo says that the tag leads to.
    fn digest(&self, kind: &str) -> String {
        let mut c = Command::new("skopeo");
        c.args(["inspect", "--creds", "u:p w:d", "--cert-dir"]).arg(&self.registry.certs).arg(format!("docker://{}", self.reference(kind)));
        let done = c.output().unwrap();
        let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        said["Digest"].as_str().unwrap().to_string()
    }

    fn write_file(&self) {
        let registry =
            format!("registry {{\n    auth = \"{}\"\n    ca = \"{}\"\n  }}", self.registry.auth.display(), self.registry.ca.display());
        let mut text = String::new();
        for (kind, listen) in &self.listen {
            let reference = self.reference(kind);
            // Of the Debian image everything is left to it; the others have no shell or no health check that could be run.
            let health =
                if *kind == "debian" { "" } else { "  health { path = \"/healthz\"  every = \"200ms\"  healthy_for = \"200ms\" }\n" };
            text += &format!(
                "image \"{kind}\" {{\n  oci = \"{reference}\"\n  rebuild = \"daily\"\n  {registry}\n}}\n\
                 service \"{kind}\" {{\n  tier = \"web\"\n  image = image.{kind}\n  count = 2\n  env {{ FROM_SERVICE = \"yes\" }}\n{health}  \
                 drain {{ within = \"1s\" }}\n  limits {{ memory = \"64MiB\"  cpu = 0.5  pids = 64 }}\n  route {{ listen = \"{listen}\" }}\n  \
                 rollout {{ waves = [\"1\", \"100%\"]  soak = \"500ms\"  within = \"2m\" }}\n}}\n"
            );
        }
        fs::write(self.at("afresh.hcl"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_afresh"));
        c.args(args).arg("--data-dir").arg(self.at("data")).arg("--file").arg(self.at("afresh.hcl")).stdin(Stdio::null());
        c
    }

    /// Its exit code and all that it said.
    fn verb(&self, args: &[&str]) -> (i32, String) {
        let done = self.command(args).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        println!("$ afresh {}\n{said}(exit {})", args.join(" "), done.status.code().unwrap_or(-1));
        (done.status.code().unwrap_or(-1), said)
    }

    fn json(&self, args: &[&str]) -> Value {
        let done = self.command(args).arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{args:?}: {said}{}", String::from_utf8_lossy(&done.stderr)))
    }

    fn start(&mut self) {
        let log = fs::File::create(self.at("up.log")).unwrap();
        let mut c = self.command(&["up"]);
        self.up = Some(c.stdout(log.try_clone().unwrap()).stderr(log).process_group(0).spawn().unwrap());
        self.until("up answers", |house| house.command(&["status", "--json"]).output().unwrap().status.success());
    }

    fn until(&self, what: &str, look: impl Fn(&House) -> bool) {
        let begun = Instant::now();
        while !look(self) {
            let log = || fs::read_to_string(self.at("up.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn says(&self, kind: &str) -> String {
        answer(self.listen[kind], "/healthz", 5_000)
            .map_or_else(|why| why, |all| all.split("\r\n\r\n").nth(1).unwrap_or_default().trim().to_string())
    }

    /// Of the release that is active.
    fn release(&self, kind: &str) -> Value {
        let rows = self.json(&["release", "list", kind]);
        rows.as_array().unwrap().iter().find(|row| row["role"] == "active").unwrap()["release"].clone()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut up) = self.up.take() {
            let _ = self.command(&["down", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            let _ = up.wait();
        }
    }
}

fn busybox() -> &'static Path {
    ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|p| p.is_file()).expect("apt install busybox-static")
}

/// The directories that the three are built in.
fn sources(house: &House, version: &str) {
    let (port, uid) = if version == "one" { (8080, 4711) } else { (9090, 4712) };
    for kind in KINDS {
        let at = house.at(kind);
        fs::create_dir_all(at.join("www")).unwrap();
        fs::write(at.join("www/healthz"), format!("{kind} {version} ok\n")).unwrap();
        fs::copy(busybox(), at.join("busybox")).unwrap();
    }
    let debian = format!(
        "FROM scratch\nADD root.tar /\nRUN echo 'web:x:{uid}:{uid}::/www:/bin/sh' >> /etc/passwd && rm -rf /var/cache/apt /usr/share/doc\n\
         COPY busybox /usr/local/bin/busybox\nCOPY www /www\nENV GREETING={version} PATH=/usr/local/bin:/usr/bin:/bin\nEXPOSE {port}\nUSER web\nWORKDIR /www\n\
         STOPSIGNAL SIGTERM\nHEALTHCHECK --interval=200ms --timeout=2s CMD busybox wget -q -O - http://127.0.0.1:$PORT/healthz\n\
         CMD [\"busybox\", \"httpd\", \"-f\", \"-p\", \"{port}\"]\n"
    );
    fs::write(house.at("debian/Dockerfile"), debian).unwrap();
    // As Alpine has it: busybox, its links, and apk's database.
    let alpine = format!(
        "FROM scratch\nCOPY root /\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         RUN echo 'web:x:{uid}:{uid}::/srv:/bin/sh' >> /etc/passwd && rm -f /etc/removed\nCOPY --chown=web www /srv/www\nENV GREETING={version}\nEXPOSE {port}/tcp\nUSER {uid}\n\
         WORKDIR /srv\nENTRYPOINT [\"/bin/sh\", \"-c\", \"exec httpd -f -p {port} -h www\"]\n"
    );
    let root = house.at("alpine/root");
    for dir in ["etc", "lib/apk/db", "bin", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n"),
        ("etc/removed", "x\n"),
        ("lib/apk/db/installed", "P:busybox\nV:1.36.1-r29\nA:x86_64\no:busybox\n\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\n"),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(house.at("alpine/Dockerfile"), alpine).unwrap();
    // A program and its files, no shell and no package manager.
    let distroless = format!(
        "FROM scratch\nCOPY busybox /httpd\nCOPY --chown={uid}:{uid} www /www\nEXPOSE {port}\nUSER {uid}:{uid}\n\
         ENTRYPOINT [\"/httpd\", \"-f\"]\nCMD [\"-p\", \"{port}\", \"-h\", \"/www\"]\n"
    );
    fs::write(house.at("distroless/Dockerfile"), distroless).unwrap();
}

/// Every file below, whose bytes hold one of these.
fn holding(at: &Path, needles: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holding(&path, needles));
        } else if kind.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            found.extend(needles.iter().any(|needle| text.contains(needle)).then_some(path));
        }
    }
    found
}

#[test]
#[ignore = "needs root, docker-registry, buildah, skopeo, mmdebstrap and a mirror of Debian"]
fn three_images_are_deployed_upgraded_under_load_and_rolled_back() {
    let mut house = House::new();
    sources(&house, "one");
    let root = house.at("debian/root.tar");
    run(Command::new("mmdebstrap").args(["--quiet", "--variant=essential", "bookworm"]).arg(&root));
    KINDS.iter().for_each(|kind| house.push(kind));
    house.write_file();
    house.start();

    // Nothing is there yet: a plan says so, and a deploy pulls.
    let (code, planned) = house.verb(&["plan"]);
    assert!(code == 0 && planned.contains(&format!("a deploy pulls {} first", house.reference("debian"))), "{planned}");
    let (code, said) = house.verb(&["deploy", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let first: BTreeMap<&str, String> = KINDS.into_iter().map(|kind| (kind, house.digest(kind))).collect();
    for kind in KINDS {
        assert_eq!(house.says(kind), format!("{kind} one ok"));
        assert!(said.contains(&format!("{} at {}", house.reference(kind), first[kind])), "{kind}: {said}");
    }
    assert!(
        said.contains(
            "from its image: run = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\"], user = \"4711:4711\", port = 8080, health"
        ),
        "{said}"
    );
    for row in house.json(&["image", "list"]).as_array().unwrap() {
        let kind = row["name"].as_str().unwrap();
        assert_eq!(
            (row["reference"].as_str().unwrap(), row["manifest"].as_str().unwrap()),
            (house.reference(kind).as_str(), first[kind].as_str())
        );
        let packages = row["packages"].as_u64().unwrap();
        assert!(matches!((kind, packages), ("debian", 50..) | ("alpine", 2) | ("distroless", 0)), "{row}");
        let (code, verified) = house.verb(&["image", "verify", kind]);
        assert!(code == 0 && verified.contains(&first[kind]), "{verified}");
    }
    let debian = house.release("debian");
    assert_eq!((&debian["container"]["env"]["GREETING"], &debian["container"]["workdir"]), (&Value::from("one"), &Value::from("/www")));

    // A tag that did not move is nothing new, and costs one request.
    let asked = house.registry.requests().len();
    assert_eq!(house.verb(&["image", "check", "debian"]).0, 0);
    let asked: Vec<String> = house.registry.requests().split_off(asked).into_iter().filter(|line| !line.ends_with(" 401")).collect();
    assert_eq!(asked, ["HEAD /v2/shop/debian/manifests/1 200"]);

    // The tags move, while users are there. Command, port, user and variables are the new image's.
    sources(&house, "two");
    KINDS.iter().for_each(|kind| house.push(kind));
    let users: Vec<Users> = KINDS.iter().map(|kind| Users::start(house.listen[kind])).collect();
    for kind in KINDS {
        assert_eq!(house.verb(&["image", "check", kind]).0, 3, "it is something new");
        house.verb(&["image", "rebuild", kind]);
    }
    house.until("the new images are everywhere", |house| KINDS.iter().all(|kind| house.says(kind) == format!("{kind} two ok")));
    let is_quiet = |house: &House| {
        KINDS.iter().all(|kind| {
            house.json(&["image", "history", kind])["images"].as_array().unwrap().len() == 2 && house.release(kind)["number"] == 2
        })
    };
    house.until("the rollouts end", is_quiet);
    let debian = house.release("debian");
    assert_eq!(
        (&debian["port"], &debian["user"], &debian["container"]["env"]["GREETING"]),
        (&Value::from(9090), &Value::from("4712:4712"), &Value::from("two"))
    );
    println!("upgraded: {:?}", finished(users));

    // Back to what was before, with its own command.
    let users: Vec<Users> = KINDS.iter().map(|kind| Users::start(house.listen[kind])).collect();
    for kind in KINDS {
        assert_eq!(house.verb(&["rollback", kind, "--yes"]).0, 0);
        assert_eq!(house.says(kind), format!("{kind} one ok"));
    }
    println!("rolled back: {:?}", finished(users));
    assert_eq!(house.release("debian")["port"], 8080);

    // A current image that cannot be read is an error: nothing was compared with it.
    let current = house.json(&["image", "check", "distroless"])["current"].as_str().unwrap().replace("sha256:", "");
    let manifest = house.at("data/store/manifests").join(format!("{current}.json"));
    let whole = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    let (_, said) = house.verb(&["image", "check", "distroless"]);
    assert!(said.contains("error[store-damaged]"), "{said}");

    // Nothing that was written holds the password, in its plain form or as it is sent.
    assert_eq!(holding(&house.at("data"), &["p w:d", "dTpwIHc6ZA"]), Vec::<PathBuf>::new());
    let log = fs::read_to_string(house.at("up.log")).unwrap();
    assert!(!log.contains("p w:d") && !log.contains("dTpwIHc6ZA"), "{log}");
}

/// Sent of each; none failed.
fn finished(users: Vec<Users>) -> Vec<u64> {
    let ends: Vec<_> = users.into_iter().map(Users::finish).collect();
    assert!(ends.iter().all(|(sent, failed)| *sent > 100 && failed.is_empty()), "{ends:?}");
    ends.into_iter().map(|(sent, _)| sent).collect()
}
