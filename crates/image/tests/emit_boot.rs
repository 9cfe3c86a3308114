//! A disk is made from real packages, twice under disturbance, and booted in QEMU to an answer of its service.
//! Needs root, mmdebstrap, erofs-utils, qemu-system-x86, ovmf and a mirror; takes minutes under TCG:
//! `cargo test -p image --test emit_boot -- --ignored --nocapture`. With EMIT_WORK=DIR trees are kept there and used again.

use image::emit::{self, Artifact, DiskInputs, Kit, boot};
use model::{Drain, Health, Limits, Release};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOURCES: [&str; 3] = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
];
const WITHIN: Duration = Duration::from_secs(240);
const WEB: &str = r#"
import os, http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kernel, uid, cwd = os.uname().release, os.getuid(), os.getcwd()
        body = f"hello from {os.environ['AFRESH_SERVICE']}@r{os.environ['AFRESH_RELEASE']}, greeting={os.environ['GREETING']}, kernel {kernel}, uid {uid}, in {cwd}\n".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): print("asked:", *a, flush=True)
print("the service is up", flush=True)
http.server.HTTPServer(("", int(os.environ["PORT"])), H).serve_forever()
"#;

struct Work {
    dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

fn work() -> Work {
    match std::env::var_os("EMIT_WORK") {
        Some(dir) => {
            std::fs::create_dir_all(&dir).unwrap();
            Work { dir: dir.into(), _temp: None }
        }
        None => {
            let temp = tempfile::Builder::new().prefix("afresh-emit-").tempdir().unwrap();
            Work { dir: temp.path().to_path_buf(), _temp: Some(temp) }
        }
    }
}

fn well(c: &mut Command) {
    let done = c.output().unwrap();
    assert!(done.status.success(), "{c:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Work {
    fn kit(&self) -> Kit {
        let at = self.dir.join("kit");
        if !at.exists() {
            emit::extract_kit("bookworm", &SOURCES.map(String::from), &at).unwrap();
        }
        Kit::open(&at).unwrap()
    }

    /// A root as the product bakes one: erofs with lz4hc.
    fn root(&self, name: &str, packages: &str) -> PathBuf {
        let (tree, out) = (self.dir.join(name), self.dir.join(format!("{name}.erofs")));
        if !out.exists() {
            let mut c = Command::new("mmdebstrap");
            c.args(["--quiet", "--variant=minbase", "--format=directory", "bookworm"]).arg(format!("--include={packages}"));
            well(c.arg(&tree).args(SOURCES).env("SOURCE_DATE_EPOCH", "1790000000"));
            std::fs::write(tree.join("etc/machine-id"), "").unwrap();
            std::fs::remove_file(tree.join("etc/resolv.conf")).ok();
            std::fs::remove_file(tree.join("etc/hostname")).ok();
            self.pack(&tree, &out);
        }
        out
    }

    fn artifact(&self) -> PathBuf {
        let (dir, out) = (self.dir.join("app"), self.dir.join("app.erofs"));
        if !out.exists() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("web.py"), WEB).unwrap();
            self.pack(&dir, &out);
        }
        out
    }

    fn pack(&self, tree: &Path, out: &Path) {
        let mut c = Command::new("mkfs.erofs");
        c.args(["-zlz4hc,9", "-U", "00000000-0000-4000-8000-000000000000", "-T1790000000", "--quiet"]);
        well(c.arg(out).arg(tree));
    }
}

fn release() -> Release {
    Release {
        service: "web".parse().unwrap(),
        number: 7,
        image_name: "base".parse().unwrap(),
        image: digest_of(b"image"),
        artifact: None,
        run: ["python3", "-u", "web.py"].map(String::from).into(),
        env: [("GREETING".to_string(), "it's $fine".to_string())].into(),
        user: "65534:65534".to_string(),
        port: Some(8080),
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        route: None,
        checks: Vec::new(),
    }
}

fn digest_of(_: &[u8]) -> model::Digest {
    format!("sha256:{}", "0".repeat(64)).parse().unwrap()
}

fn show(what: &str, report: &boot::BootReport) {
    println!(
        "=== {what}: {:.1} s to HTTP ===\n--- answer ---\n{}\n--- console ---\n{}",
        report.seconds_to_http, report.answer, report.console
    );
}

fn expect_hello(report: &boot::BootReport) {
    assert!(report.answer.contains("hello from web@r7, greeting=it's $fine"), "{}", report.answer);
    assert!(report.answer.contains("uid 65534, in /app"), "{}", report.answer);
    assert!(report.console.contains("afresh: root is /dev/"), "{}", report.console);
    assert!(report.console.contains("afresh: app is /dev/"), "{}", report.console);
}

#[test]
#[ignore = "needs root, a mirror and QEMU; minutes"]
fn a_plain_image_boots_to_its_service() {
    let work = work();
    let (kit, root, app, release) = (work.kit(), work.root("plain", "python3"), work.artifact(), release());
    let out = work.dir.join("plain.disk");
    let inputs =
        DiskInputs { root_erofs: &root, kit: &kit, artifact: Some(Artifact::Inside(&app)), release: Some(&release), cmdline_extra: "" };
    let begun = Instant::now();
    let emitted = emit::disk(&inputs, &out).unwrap();
    println!("emitted in {:.2} s: {}", begun.elapsed().as_secs_f64(), serde_json::to_string_pretty(&emitted).unwrap());
    let report = boot::prove(&out, None, 8080, WITHIN).unwrap();
    show("plain", &report);
    expect_hello(&report);
    assert_eq!(std::fs::metadata(&out).unwrap().len(), emitted.bytes);
}
