//! A disk is made from real packages, twice under disturbance, and booted in QEMU to an answer of its service.
//! Needs root, mmdebstrap, erofs-utils, qemu-system-x86, ovmf and a mirror; takes minutes under TCG:
//! `cargo test -p emit --test all emit_boot:: -- --ignored --nocapture --test-threads=1`. With EMIT_WORK=DIR images are kept there and used again.

use crate::kit;
use bake::Baked;
use emit::{Artifact, DiskInputs, Kit, boot};
use emit::{MachineKit, Which};
use model::{Drain, Health, ImageSpec, Layout, Limits, Network, Release};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use store::Store;

const SOURCES: [&str; 3] = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
];
const SYSTEMD: [&str; 4] = ["python3", "systemd", "systemd-sysv", "dbus"];
const WITHIN: Duration = Duration::from_secs(240);
struct Work {
    dir: PathBuf,
}

/// One for all tests of a run: images, kit and artifact are made once. What an earlier run left is removed.
fn work() -> &'static Work {
    static WORK: std::sync::OnceLock<Work> = std::sync::OnceLock::new();
    WORK.get_or_init(|| {
        let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emit");
        let dir = std::env::var_os("EMIT_WORK").map_or_else(
            || {
                for old in std::fs::read_dir(&own).into_iter().flatten().flatten() {
                    if !Path::new("/proc").join(old.file_name()).exists() {
                        std::fs::remove_dir_all(old.path()).unwrap();
                    }
                }
                own.join(std::process::id().to_string())
            },
            PathBuf::from,
        );
        std::fs::create_dir_all(&dir).unwrap();
        Work { dir }
    })
}

fn well(c: &mut Command) {
    let done = c.output().unwrap();
    assert!(done.status.success(), "{c:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn kit_spec() -> ImageSpec {
    serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": [] })).unwrap()
}

/// Locked once, then from the lock and the package store of that data directory.
fn kit_in(data: &Path) -> MachineKit {
    emit::kit(&Store::open(&Layout::new(data)).unwrap(), &kit_spec(), Which::Kept, &mut |_| {}).unwrap()
}

impl Work {
    fn kit(&self) -> MachineKit {
        let data = self.dir.join("data");
        static LOCKED: std::sync::Once = std::sync::Once::new();
        LOCKED.call_once(|| {
            let lock = emit::lock_kit(&Store::open(&Layout::new(&data)).unwrap(), &kit_spec(), &mut |_| {}).unwrap();
            kit::lend_some(&data, |name| lock.packages.iter().any(|p| name == format!("{}.deb", p.sha256)));
        });
        let kit = kit_in(&data);
        kit::keep(&data);
        kit
    }

    fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// An image of these packages, as the product bakes it; the second of the same is the first.
    fn bake(&self, name: &str, packages: &[&str]) -> Baked {
        let spec = serde_json::json!({ "name": name, "debian": "bookworm", "packages": packages });
        let spec = serde_json::from_value(spec).unwrap();
        kit::lend(&self.images());
        let baked = bake::bake(&kit::store(&self.images()), &spec, &mut |_| {}).unwrap();
        kit::keep(&self.images());
        baked
    }

    fn root(&self, baked: &Baked) -> PathBuf {
        kit::store(&self.images()).path(&baked.digest).unwrap()
    }

    fn plain(&self) -> PathBuf {
        self.root(&self.bake("plain", &["python3"]))
    }

    fn systemd(&self) -> Baked {
        self.bake("systemd", &SYSTEMD)
    }

    /// The repository's own example service.
    fn artifact(&self) -> PathBuf {
        let out = self.dir.join("shop.erofs");
        if !out.exists() {
            let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/app");
            self.pack(&shop, &out);
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
        run: ["python3", "web.py"].map(String::from).into(),
        env: [("NOTE".to_string(), "it's $fine".to_string())].into(),
        secrets: Default::default(),
        user: "65534:65534".to_string(),
        port: Some(8080),
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::closed(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        container: None,
    }
}

fn digest_of(_: &[u8]) -> model::Digest {
    format!("sha256:{}", "0".repeat(64)).parse().unwrap()
}

fn show(what: &str, report: &boot::BootReport) {
    println!(
        "=== {what}: {:.1} s to HTTP, off after {:?} s ===\n--- answer ---\n{}\n--- console ---\n{}",
        report.seconds_to_http, report.seconds_to_off, report.answer, report.console
    );
}

fn ask(disk: &Path, artifact: Option<&Path>) -> Result<boot::BootReport, model::Fault> {
    boot::run(&boot::Proof {
        disk,
        artifact,
        port: 8080,
        path: "/hello?id=boot",
        within: WITHIN,
        memory_mib: 1024,
        off_within: Some(WITHIN),
    })
}

fn expect_hello(report: &boot::BootReport) {
    assert!(report.answer.starts_with("HTTP/1.1 200"), "{}", report.answer);
    let body: serde_json::Value = serde_json::from_str(report.answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body, serde_json::json!({ "service": "web", "version": 1, "id": "boot" }));
    assert!(report.console.contains("afresh: root is /dev/vda2, checked against"), "{}", report.console);
    assert!(report.console.contains("afresh: app is /dev/vd"), "{}", report.console);
}

fn emit_to(out: &Path, kit: &Kit, root: &Path, artifact: Artifact) -> emit::Emitted {
    let release = release();
    let inputs = DiskInputs { root_erofs: root, kit, artifact: Some(artifact), release: Some(&release), cmdline_extra: "" };
    let begun = Instant::now();
    let emitted = emit::disk(&inputs, out).unwrap();
    println!("emitted in {:.2} s: {}", begun.elapsed().as_secs_f64(), serde_json::to_string(&emitted).unwrap());
    assert_eq!(std::fs::metadata(out).unwrap().len(), emitted.bytes);
    emitted
}

/// Another program's answer to what a system with these packages is. It bakes once in a run of all tests, and here.
#[test]
#[ignore = "needs root, a mirror and mmdebstrap"]
fn a_bake_installs_what_mmdebstrap_installs() {
    let work = work();
    let tree = work.dir.join("mmdebstrap");
    let mut c = Command::new("mmdebstrap");
    c.args(["--quiet", "--variant=minbase", "--format=directory", "bookworm"]).arg(format!("--include={}", SYSTEMD.join(",")));
    well(c.arg(&tree).args(SOURCES).env("SOURCE_DATE_EPOCH", "1790000000"));
    let mut c = Command::new("dpkg-query");
    c.arg(format!("--admindir={}", tree.join("var/lib/dpkg").display())).args(["-W", "-f", "${db:Status-Abbrev}${Package} ${Version}\n"]);
    let said = c.output().unwrap();
    assert!(said.status.success(), "{c:?}: {}", String::from_utf8_lossy(&said.stderr));
    let theirs: std::collections::BTreeSet<String> = String::from_utf8(said.stdout).unwrap().lines().map(str::to_string).collect();
    let ours = work.systemd().packages.iter().map(|p| format!("ii {} {}", p.name, p.version)).collect();
    assert_eq!(theirs, ours);
    println!("{} packages, the same by both", theirs.len());
    std::fs::remove_dir_all(tree).unwrap();
}

#[test]
#[ignore = "needs root, a mirror and QEMU; a minute"]
fn a_plain_image_boots_to_its_service() {
    let work = work();
    let out = work.dir.join("plain.disk");
    emit_to(&out, &work.kit().kit, &work.plain(), Artifact::Inside(&work.artifact()));
    let report = ask(&out, None).unwrap();
    show("plain, the code a part of the disk", &report);
    expect_hello(&report);
    assert!(report.console.contains("handing over to the plain runner"));
    assert!(report.console.contains("power button: the service gets TERM and at most 30 seconds"), "{}", report.console);
    assert!(report.seconds_to_off.unwrap() < 25.0, "the service ended by itself");
}

#[test]
#[ignore = "needs root, a mirror and QEMU; a minute"]
fn the_code_may_come_on_a_disk_of_its_own() {
    let work = work();
    let (out, second, app) = (work.dir.join("apart.disk"), work.dir.join("apart-app.disk"), work.artifact());
    let emitted = emit_to(&out, &work.kit().kit, &work.plain(), Artifact::Apart(&app));
    assert!(emitted.part("app").is_none());
    emit::volume(&app, &second).unwrap();
    let report = ask(&out, Some(&second)).unwrap();
    show("plain, the code on a disk of its own", &report);
    expect_hello(&report);
    assert!(report.console.contains("afresh: app is /dev/vdb1"), "{}", report.console);
}

#[test]
#[ignore = "needs root, a mirror and QEMU; a minute"]
fn an_image_with_systemd_boots_into_it() {
    let work = work();
    let out = work.dir.join("systemd.disk");
    emit_to(&out, &work.kit().kit, &work.root(&work.systemd()), Artifact::Inside(&work.artifact()));
    let report = ask(&out, None).unwrap();
    show("systemd", &report);
    expect_hello(&report);
    assert!(report.console.contains("handing over to systemd"));
    assert!(report.seconds_to_off.unwrap() < 85.0, "it ended by itself");
}

/// One bit of the root, then one of the code, is turned over on the disk: the machine must not come to serve.
#[test]
#[ignore = "needs root, a mirror and QEMU; minutes"]
fn a_changed_bit_is_found_by_the_kernel() {
    let work = work();
    let (good, bad) = (work.dir.join("whole.disk"), work.dir.join("changed.disk"));
    let emitted = emit_to(&good, &work.kit().kit, &work.plain(), Artifact::Inside(&work.artifact()));
    let mebibyte = |bytes: u64| bytes.next_multiple_of(1 << 20);
    let root_at = (1 << 20) + mebibyte(emitted.part("esp").unwrap().bytes);
    let app_at = root_at + mebibyte(emitted.part("root").unwrap().bytes) + mebibyte(emitted.part("root-hash").unwrap().bytes);
    for (what, at) in [("root", root_at + 1024 + 16), ("app", app_at + 1024 + 16)] {
        std::fs::copy(&good, &bad).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&bad).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        drop(file);
        let fault = ask(&bad, None).unwrap_err();
        println!("=== one bit of the {what} changed ===\n{fault}");
        assert_eq!(fault.code, "does-not-boot");
        assert!(fault.message.contains(&format!("afresh: cannot boot: the {what} volume cannot be mounted")), "{fault}");
        assert!(fault.message.contains("verity"), "{fault}");
    }
}

/// Each time in a process of its own, with another TMPDIR, umask, time zone, locale, host name, directory and owner of the inputs' copies.
#[test]
#[ignore = "needs root and a mirror; a minute"]
fn disk_and_layout_are_the_same_bytes_under_disturbance() {
    let work = work();
    work.kit();
    let (root, app) = (work.plain(), work.artifact());
    let mut digests = std::collections::BTreeSet::new();
    for (i, (umask, zone, locale)) in
        [("022", "UTC", "C"), ("077", "Asia/Kolkata", "de_DE.UTF-8"), ("000", "America/St_Johns", "tr_TR")].iter().enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join(format!("kit-{i}"));
        well(Command::new("cp").arg("-a").arg(work.dir.join("data")).arg(&copy));
        let script = format!("umask {umask}; hostname h{i}; exec \"$@\"");
        let mut c = Command::new("unshare");
        c.args(["--uts", "--mount", "--", "sh", "-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
        c.args(["--ignored", "--exact", "--nocapture", "emit_boot::emit_once"]).current_dir(dir.path()).env_clear();
        c.envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("TZ", zone), ("LC_ALL", locale)]).env("TMPDIR", dir.path());
        c.env("EMIT_KIT", &copy).env("EMIT_ROOT", &root).env("EMIT_APP", &app).env("EMIT_OUT", dir.path());
        let done = c.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
        let line = text.lines().find(|l| l.contains("emitted once:")).unwrap().to_string();
        println!("umask {umask}, TZ {zone}, {locale}: {line}");
        digests.insert(line[line.find("emitted once:").unwrap()..].to_string());
    }
    assert_eq!(digests.len(), 1);
}

/// A part of the test above, run by it.
#[test]
#[ignore = "run by another test"]
fn emit_once() {
    let Some(out) = std::env::var_os("EMIT_OUT").map(PathBuf::from) else { return };
    let var = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let (kit, root, app, release) = (kit_in(&var("EMIT_KIT")), var("EMIT_ROOT"), var("EMIT_APP"), release());
    let inputs =
        DiskInputs { root_erofs: &root, kit: &kit.kit, artifact: Some(Artifact::Inside(&app)), release: Some(&release), cmdline_extra: "" };
    let disk = emit::disk(&inputs, &out.join("disk")).unwrap();
    let meta = emit::Meta { name: "web:r7".into(), epoch: 1_790_000_000, release: Some(&release), ..Default::default() };
    let layout = emit::oci(&root, &out.join("oci"), &meta).unwrap();
    println!("emitted once: disk {} {} bytes, oci {} {} bytes", disk.digest, disk.bytes, layout.digest, layout.bytes);
}
