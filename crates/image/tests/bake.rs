//! Real bakes over the machine's own mirror. Run them with
//! `cargo test -p image --test bake -- --ignored --nocapture --test-threads 1` as root.

use image::{Did, Progress, Store, bake};
use model::{ImageSpec, Layout};

fn spec(packages: &[&str]) -> ImageSpec {
    serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": packages })).unwrap()
}

fn quiet(_: Progress) {}

#[test]
#[ignore = "needs root and a mirror"]
fn bakes_once_and_then_has_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let store = Store::open(&layout).unwrap();
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
    let store = Store::open(&Layout::new(dir.path())).unwrap();
    let fault = bake(&store, &spec(&["pyhton3-minimal"]), &mut quiet).unwrap_err();
    eprintln!("{}: {} — {:?}", fault.code, fault.message, fault.hint);
    assert_eq!(fault.code, "unknown-package");
    assert_eq!(fault.hint.as_deref(), Some("did you mean python3-minimal?"));
}
