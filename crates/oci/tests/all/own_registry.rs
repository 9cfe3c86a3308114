//! Debian's own registry, with TLS of an authority of its own and a password.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Gone when dropped.
pub struct Registry {
    child: Child,
    pub address: String,
    /// The certificate of its authority, and a directory with it as skopeo and buildah want it.
    pub ca: PathBuf,
    pub certs: PathBuf,
    /// A file with its password.
    pub auth: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(command: &mut Command) {
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
pub const HTPASSWD: &str = "u:$2b$04$UTWgA0gNLKlMAkIfP/kOwuETRdqXo39MNEmSB/nWOKoWeG9hCm6Y2\n";

impl Registry {
    /// Its files lie in `at`.
    pub fn start(at: &Path) -> Registry {
        let ca = certificates(at);
        fs::write(at.join("htpasswd"), HTPASSWD).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {0}/blobs}}}}\n\
             http: {{addr: '127.0.0.1:0', tls: {{certificate: {0}/r.crt, key: {0}/r.key}}}}\nauth: {{htpasswd: {{realm: r, path: {0}/htpasswd}}}}\n",
            at.display()
        );
        fs::write(at.join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        let mut child = command.arg("serve").arg(at.join("config.yml")).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|l| Some(l.ok()?.split_once("listening on ")?.1.split([',', '"']).next()?.to_string())).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = log.clone();
        // Its log is read to the end, so that it never waits for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| written.lock().unwrap().push(line)));
        let (certs, auth) = (at.join("certs"), at.join("auth.json"));
        fs::create_dir(&certs).unwrap();
        fs::copy(&ca, certs.join("ca.crt")).unwrap();
        fs::write(&auth, format!(r#"{{"auths":{{"{address}":{{"username":"u","password":"p w:d"}}}}}}"#)).unwrap();
        Registry { child, address, ca, certs, auth, log }
    }

    /// `HEAD /v2/shop/app/manifests/1.4 200`, each that was answered so far.
    pub fn requests(&self) -> Vec<String> {
        // The log comes after the answer.
        std::thread::sleep(Duration::from_millis(300));
        let log = self.log.lock().unwrap();
        let of = |line: &String| {
            let said: serde_json::Value = serde_json::from_str(line).ok()?;
            let text = |key: &str| said[key].as_str().map(str::to_string);
            Some(format!("{} {} {}", text("http.request.method")?, text("http.request.uri")?, said["http.response.status"]))
        };
        log.iter().filter(|line| line.contains("\"response completed")).filter_map(of).collect()
    }
}
