//! Real bakes over the machine's own mirror. Run them with
//! `cargo test -p bake --test all bake:: -- --ignored --nocapture --test-threads 1` as root.

use crate::kit::{self, factory};
use bake::{Progress, bake};
use model::{ImageSpec, Layout};
use store::Did;

fn spec(packages: &[&str]) -> ImageSpec {
    serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": packages })).unwrap()
}

fn quiet(_: Progress) {}

#[test]
#[ignore = "needs root and a mirror"]
fn bakes_once_and_then_has_nothing_to_do() {
    let dir = kit::Data::new();
    let layout = Layout::new(dir.path());
    let store = kit::store(layout.root());
    let spec = spec(&["ca-certificates", "curl", "python3-minimal", "systemd"]);
    let mut last = String::new();
    let mut shown = 0;
    let baked = bake(&store, &spec, &mut |p| {
        shown += 1;
        last = format!("{} {:?} {}", p.step, p.percent(), p.text);
    })
    .unwrap();
    eprintln!(
        "{} {} bytes, {} packages, {shown} lines of progress, last {last}; {:?}",
        baked.digest,
        baked.bytes,
        baked.packages.len(),
        baked.steps
    );
    assert_eq!(baked.did, Did::Baked);
    let again = bake(&store, &spec, &mut quiet).unwrap();
    eprintln!("again: {:?} because {}; {:?}", again.did, again.why, again.steps);
    assert_eq!((again.did, &again.digest), (Did::Nothing, &baked.digest));
    assert_eq!(store.current(&spec.name).unwrap(), Some(baked.digest));
    assert_eq!(std::fs::read_dir(layout.store().join("work")).unwrap().count(), 0);
    for third_party in ["google-cloud-cli", "nodejs"] {
        assert!(!baked.packages.iter().any(|p| p.name == third_party));
    }
}

#[test]
#[ignore = "needs root and a mirror"]
fn a_wrong_name_gets_a_near_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = kit::store(dir.path());
    let fault = bake(&store, &spec(&["pyhton3-minimal"]), &mut quiet).unwrap_err();
    eprintln!("{}: {} — {:?}", fault.code, fault.message, fault.hint);
    assert_eq!(fault.code, "unknown-package");
    assert_eq!(fault.hint.as_deref(), Some("did you mean python3-minimal?"));
}

/// Some disturbances need a private mount namespace: they put another file over one of the machine's. What starts the sandbox gives
/// scripts another clock, from a library that lies among the packages, which they see.
const CLOCK: &str = r#"
lib=$(ls /usr/lib/*/faketime/libfaketime.so.1) || exit 9
mkdir -p "$T/data/store/packages"; cp "$lib" "$T/data/store/packages/"; cp /usr/bin/setpriv "$T/setpriv.real"
cat > "$T/setpriv" <<EOF
#!/bin/sh
case "\$*" in *afresh-sandbox*) export LD_PRELOAD=/tmp/packages/libfaketime.so.1 FAKETIME=-400d NO_FAKE_STAT=1; echo with another clock >> $T/dates;; esac
exec $T/setpriv.real "\$@"
EOF
chmod 755 "$T/setpriv"; mount --bind "$T/setpriv" /usr/bin/setpriv
"#;
const LITTLE_MEMORY: &str = "printf 'MemTotal: 1000 kB\\nMemAvailable: 1000 kB\\n' > $T/meminfo; mount --bind $T/meminfo /proc/meminfo";

/// One bake, with what `script` does to its surroundings; the first words that it printed.
fn disturbed(name: &str, script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "set -e; T={}; RUN=; {script}\nexec $RUN {} $T/data fresh base systemd ca-certificates curl python3-minimal",
        dir.path().display(),
        factory().display()
    );
    kit::lend(&dir.path().join("data"));
    let out = std::process::Command::new("unshare").args(["--mount", "--uts", "bash", "-c", &script]).output().unwrap();
    kit::keep(&dir.path().join("data"));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{name}: {said} {}", String::from_utf8_lossy(&out.stderr));
    eprintln!("{name}: {said}{}", std::fs::read_to_string(dir.path().join("dates")).unwrap_or_default());
    said.split(' ').next().unwrap().to_string()
}

#[test]
#[ignore = "needs root, a mirror, faketime, and some minutes"]
fn ten_disturbances_give_one_digest() {
    // What only changes how the program is started is done to one bake; which of them it was is looked for when it differs.
    let surroundings = [
        ("host name", "hostname elsewhere.example"),
        ("TMPDIR", "mkdir -p $T/tmp; export TMPDIR=$T/tmp"),
        ("umask", "umask 0077"),
        ("locale", "export LANG=tr_TR.UTF-8 LC_ALL=C LANGUAGE=tr"),
        ("time zone", "export TZ=Pacific/Kiritimati"),
        (
            "user's environment",
            "export HOME=$T USER=eve LOGNAME=eve SOURCE_DATE_EPOCH=1 DEBIAN_FRONTEND=readline PYTHONPATH=/x PERL5OPT=-w DPKG_FORCE=all APT_CONFIG=/x",
        ),
        ("one core", "RUN='taskset -c 0'"),
    ];
    let all = surroundings.map(|(_, script)| script).join("; ");
    let plain = disturbed("nothing", "");
    for (name, script) in [("clock", CLOCK), ("tree on a disk: file order", LITTLE_MEMORY)] {
        assert_eq!(disturbed(name, script), plain, "{name}");
    }
    if disturbed("surroundings", &all) != plain {
        let guilty: Vec<&str> =
            surroundings.iter().filter(|(name, script)| disturbed(name, script) != plain).map(|(name, _)| *name).collect();
        panic!("another digest with: {guilty:?}");
    }
}

/// Killed at moments spread over a whole bake: nothing is left, and the next one makes the image.
#[test]
#[ignore = "needs root, a mirror and some minutes"]
fn killed_at_any_moment_leaves_nothing_half_made() {
    let dir = tempfile::tempdir().unwrap();
    let args = [dir.path().to_str().unwrap(), "fresh", "base", "ca-certificates"];
    let moments = [30, 3, 80, 14, 130, 8, 60, 20, 100, 45];
    for tenths in moments.into_iter().take(kit::kills()) {
        let mut child = std::process::Command::new(factory())
            .args(args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(tenths * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let ours = |text: String| text.contains(args[0]);
        assert!(!ours(std::fs::read_to_string("/proc/self/mounts").unwrap()), "a mount is left after {tenths}");
        let processes = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        let left: Vec<String> =
            String::from_utf8_lossy(&processes.stdout).lines().filter(|l| ours((*l).to_string())).map(str::to_string).collect();
        assert!(left.is_empty(), "processes are left after {tenths}: {left:?}");
        let store = kit::store(dir.path());
        assert_eq!(std::fs::read_dir(dir.path().join("store/work")).unwrap().count(), 0);
        let (_, bad) = store.list().unwrap();
        assert!(bad.is_empty(), "{bad:?}");
    }
    let layout = Layout::new(dir.path());
    let store = kit::store(layout.root());
    let baked = bake(&store, &spec(&["ca-certificates"]), &mut quiet).unwrap();
    store.verify(&baked.digest).unwrap();
    let again = bake::verify_rebuild(&store, &baked.digest, &mut quiet).unwrap();
    eprintln!("{:?} {} again {} {:?}", baked.did, baked.digest, again.again, again.steps);
    assert!(again.is_same(), "{:?}", again.differences);
}
