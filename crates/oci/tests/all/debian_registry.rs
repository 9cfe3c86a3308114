//! Debian's own registry, with TLS of an authority of its own and a password; images go there with skopeo.

use crate::images::{Pack, dir, file, of_items};
use crate::stores::{limits, place};
use oci::{Options, resolve};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Registry {
    child: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn certificates(at: &Path) -> PathBuf {
    let openssl = |line: &str| run(Command::new("openssl").args(line.split(' ')).current_dir(at));
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=own -addext basicConstraints=critical,CA:TRUE",
    );
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout r.key -out r.csr -subj /CN=registry");
    fs::write(at.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl("x509 -req -in r.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out r.crt -days 2 -extfile ext");
    at.join("ca.crt")
}

/// The user is `u`, the password `p w:d`.
const HTPASSWD: &str = "u:$2b$04$UTWgA0gNLKlMAkIfP/kOwuETRdqXo39MNEmSB/nWOKoWeG9hCm6Y2\n";

fn start(at: &Path) -> Registry {
    fs::write(at.join("htpasswd"), HTPASSWD).unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {0}/blobs}}}}\n\
         http: {{addr: '127.0.0.1:0', tls: {{certificate: {0}/r.crt, key: {0}/r.key}}}}\nauth: {{htpasswd: {{realm: r, path: {0}/htpasswd}}}}\n",
        at.display()
    );
    fs::write(at.join("config.yml"), config).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(at.join("config.yml"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.find_map(|l| Some(l.ok()?.split_once("listening on ")?.1.split([',', '"']).next()?.to_string())).unwrap();
    // Its log is read to the end, so that it never waits for us.
    std::thread::spawn(move || lines.for_each(drop));
    Registry { child, address }
}

#[test]
#[ignore = "needs root, docker-registry and skopeo"]
fn an_image_is_pulled_with_a_password_from_a_registry_of_its_own_authority() {
    let place = place();
    let at = place.dir.path();
    let ca = certificates(at);
    let registry = start(at);
    let image = of_items(&[vec![dir("d"), file("d/f", "x").owner(5, 6)], vec![file("g", "y")]], Pack::Gzip);
    let layout = place.layout(&image);
    let name = format!("{}/shop/app:1.4", registry.address);
    let certs = at.join("certs");
    fs::create_dir(&certs).unwrap();
    fs::copy(&ca, certs.join("ca.crt")).unwrap();
    let mut push = Command::new("skopeo");
    push.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-creds", "u:p w:d", "--dest-cert-dir"]).arg(&certs);
    run(push.arg(format!("{layout}:t")).arg(format!("docker://{name}")));

    let auth = at.join("auth.json");
    let options = Options { auth: Some(auth.clone()), ca: Some(ca.clone()), limits: limits(), ..Options::default() };
    fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"username":"u","password":"p w:d"}}}}}}"#, registry.address)).unwrap();
    let pulled = place.pull(&name, &options).unwrap();
    let container = pulled.manifest.container.clone().unwrap();
    assert_eq!((&container.manifest, container.layers.len(), pulled.did), (&image.digest(), 2, store::Did::Baked));
    assert_eq!(place.pull(&format!("{name}@{}", image.digest()), &options).unwrap().did, store::Did::Nothing);

    let untrusted = resolve(&name, &Options { ca: None, ..options.clone() }).err().unwrap();
    assert_eq!(untrusted.code, "registry-untrusted", "{untrusted:?}");
    let nobody = resolve(&name, &Options { auth: None, ..options.clone() }).err().unwrap();
    assert!(nobody.code == "registry-refused" && nobody.message.contains("without a password"), "{nobody:?}");
    let missing = resolve(&name.replace("1.4", "1.5"), &options).err().unwrap();
    assert_eq!(missing.code, "no-such-image", "{missing:?}");
    fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"username":"u","password":"wrong"}}}}}}"#, registry.address)).unwrap();
    let wrong = resolve(&name, &options).err().unwrap();
    assert!(wrong.code == "registry-refused" && !format!("{wrong:?}").contains("wrong\""), "{wrong:?}");

    let helper = Helper::install();
    fs::write(&auth, format!(r#"{{"credHelpers":{{"{}":"{}"}}}}"#, registry.address, helper.name)).unwrap();
    assert_eq!(resolve(&name, &options).unwrap().container.manifest, image.digest());
    fs::write(&auth, r#"{"credsStore":"nobody-has-this"}"#).unwrap();
    assert_eq!(resolve(&name, &options).err().unwrap().code, "tool-missing");
}

/// A helper where programs are looked for; gone when dropped.
struct Helper {
    name: String,
    at: PathBuf,
}

impl Helper {
    fn install() -> Helper {
        let name = format!("afresh-test-{}", std::process::id());
        let at = PathBuf::from(format!("/usr/local/bin/docker-credential-{name}"));
        fs::write(&at, "#!/bin/sh\nread server\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"u\",\"Secret\":\"p w:d\"}' \"$server\"\n")
            .unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
        Helper { name, at }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.at);
    }
}
