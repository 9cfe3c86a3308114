//! Container images of a layout on this machine, whose name leads to another image from one bake to the next.

use bake::{Options, bake_with};
use disk::files;
use guard::waiver::Waiver;
use model::{ImageSpec, Layout};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use store::Store;

/// An image with one file, whose config says that it was made then.
fn write(at: &Path, created: &str) {
    write_files(at, created, &[("created", 0o644, created)]);
}

fn write_files(at: &Path, created: &str, files_of_layer: &[(&str, u32, &str)]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, content) in files_of_layer {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let layer = tar.into_inner().unwrap();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let rootfs = json!({ "type": "layers", "diff_ids": [files::digest_of(&layer)] });
    let config =
        json!({ "architecture": arch, "os": "linux", "created": created, "config": { "Cmd": ["x"] }, "rootfs": rootfs }).to_string();
    let blob = |kind: &str, bytes: &[u8]| -> Value {
        let digest = files::digest_of(bytes);
        fs::create_dir_all(at.join("blobs/sha256")).unwrap();
        fs::write(at.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len() })
    };
    let (config, layer) = (blob("config.v1+json", config.as_bytes()), blob("layer.v1.tar", &layer));
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
    let manifests = [blob("manifest.v1+json", manifest.as_bytes())];
    fs::write(at.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string()).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
#[ignore = "needs root: files of many users"]
fn an_older_image_is_taken_by_hand_only() {
    let dir = tempfile::tempdir().unwrap();
    let (at, store) = (dir.path().join("image"), Store::open(&Layout::new(dir.path().join("data"))).unwrap());
    let oci = json!({ "reference": format!("oci:{}", at.display()) });
    let spec: ImageSpec = serde_json::from_value(json!({ "name": "app", "oci": oci })).unwrap();
    let bake = |candidate| bake_with(&store, &spec, &Options { candidate, ..Options::default() }, &mut |_| {});
    write(&at, "2026-06-02T00:00:00Z");
    let newer = bake(false).unwrap().digest;
    write(&at, "2026-06-01T00:00:00Z");
    let fault = bake(true).unwrap_err();
    assert!(fault.code == "tag-went-back" && !fault.again, "{fault:?}");
    assert_eq!(store.current(&spec.name).unwrap(), Some(newer));
    let older = bake(false).unwrap().digest;
    assert_eq!(store.current(&spec.name).unwrap(), Some(older), "who bakes it by hand means it");
    write(&at, "2026-06-03T00:00:00Z");
    bake(true).unwrap();
}

#[test]
#[ignore = "needs root: files of many users"]
fn an_image_with_a_secret_is_not_made_and_what_else_is_exposed_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let (at, store) = (dir.path().join("image"), Store::open(&Layout::new(dir.path().join("data"))).unwrap());
    let oci = json!({ "reference": format!("oci:{}", at.display()) });
    let spec: ImageSpec = serde_json::from_value(json!({ "name": "app", "oci": oci })).unwrap();
    let bake = || bake_with(&store, &spec, &Options::default(), &mut |_| {});
    let redis = ("etc/redis/redis.conf", 0o644, "bind 0.0.0.0\nprotected-mode no\n");
    for (path, mode, content) in [
        ("root/.pgpass", 0o600, "db:5432:shop:app:tr0ub4dor77\n"),
        ("opt/app/.env", 0o600, "PORT=80\nDB_PASSWORD=tr0ub4dor77\n"),
        ("etc/profile.d/x.sh", 0o666, "true\n"),
    ] {
        write_files(&at, "2026-06-01T00:00:00Z", &[redis, (path, mode, content)]);
        let fault = bake().unwrap_err();
        let shown = format!("{} {}", fault.message, fault.hint.clone().unwrap());
        assert_eq!((fault.code.as_str(), store.current(&spec.name).unwrap()), ("exposed-in-image", None), "{shown}");
        assert!(shown.contains(&format!("/{path}")) && shown.contains("of the layer sha256:") && !shown.contains("tr0ub4dor77"), "{shown}");
        assert!(!shown.contains("redis.conf"), "what only has to be noted stops nothing: {shown}");
    }
    assert_eq!(store.list().unwrap().0.len(), 0, "nothing of it is in the store");
    write_files(&at, "2026-06-01T00:00:00Z", &[redis]);
    let baked = bake().unwrap();
    assert!(baked.notes.iter().any(|note| note.starts_with("exposed: /etc/redis/redis.conf")), "{:?}", baked.notes);
    let open = bake::OpenImage::open(&store, &baked.digest).unwrap();
    assert_eq!(fs::read_to_string(open.root().join("etc/redis/redis.conf")).unwrap(), redis.2);
    assert!(fs::write(open.root().join("x"), "x").is_err(), "it is mounted read-only");
}

/// Nobody can take a sample key out of somebody else's image: who says that it opens nothing answers for it, for a time.
#[test]
#[ignore = "needs root: files of many users"]
fn a_false_alarm_is_waived_as_the_refusal_says_for_this_evidence_and_this_time() {
    let dir = tempfile::tempdir().unwrap();
    let (at, store) = (dir.path().join("image"), Store::open(&Layout::new(dir.path().join("data"))).unwrap());
    let oci = json!({ "reference": format!("oci:{}", at.display()) });
    let spec: ImageSpec = serde_json::from_value(json!({ "name": "app", "oci": oci })).unwrap();
    let bake = |waivers: &[Waiver]| bake_with(&store, &spec, &Options { waivers: waivers.to_vec(), ..Options::default() }, &mut |_| {});
    let sample = ("opt/it's/.env", 0o644, "DB_PASSWORD=tr0ub4dor77\n");
    write_files(&at, "2026-06-01T00:00:00Z", &[sample, ("root/.pgpass", 0o600, "db:5432:shop:app:tr0ub4dor77\n")]);
    let hint = bake(&[]).unwrap_err().hint.unwrap();
    let commands: Vec<&str> = hint.split('`').filter(|part| part.starts_with("afresh guard waive ")).collect();
    let now_s = i64::try_from(files::now().0 / 1000).unwrap();
    let day = 86_400;
    let waiver = |command: &str, (granted_s, expires_s)| {
        // What a shell makes of it.
        let words = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {command}")]).output().unwrap().stdout;
        let words = String::from_utf8(words).unwrap();
        let [_, _, _, rule, resource, _, evidence, "--control-plane"] = words.lines().collect::<Vec<_>>()[..] else { panic!("{words}") };
        let [rule, resource, evidence] = [rule, resource, evidence].map(str::to_string);
        let (owner, reason, ticket) = ("ann@example.org".into(), "a sample".into(), "OPS-17".into());
        Waiver { rule, resource, evidence, owner, reason, ticket, granted_s, expires_s }
    };
    let live = (now_s - day, now_s + 7 * day);
    let all: Vec<Waiver> = commands.iter().map(|command| waiver(command, live)).collect();
    assert_eq!(all.iter().map(|w| w.resource.as_str()).collect::<Vec<_>>(), ["/opt/it's/.env", "/root/.pgpass"], "{hint}");

    let shown = bake(&all[..1]).unwrap_err().message;
    assert!(shown.contains("/root/.pgpass") && !shown.contains(".env"), "each needs its own: {shown}");
    for (dates, why) in [
        ((now_s - 3 * day, now_s - day), "the waiver of ann@example.org expired on "),
        ((now_s + day, now_s + 2 * day), "the waiver of ann@example.org begins on "),
        ((now_s - day, now_s + 20 * day), "it lasts longer than 14 days"),
    ] {
        let shown = bake(&commands.iter().map(|command| waiver(command, dates)).collect::<Vec<_>>()).unwrap_err().message;
        assert!(shown.contains(why), "{shown}");
    }
    let other = Waiver { evidence: all[1].evidence.clone(), ..all[0].clone() };
    assert_eq!(bake(&[other, all[1].clone()]).unwrap_err().code, "exposed-in-image");

    let baked = bake(&all).unwrap();
    let manifest = store.manifest(&baked.digest).unwrap();
    for resource in ["/opt/it's/.env", "/root/.pgpass"] {
        let is_on_record =
            |notes: &[String]| notes.iter().any(|n| n.starts_with("waived by ann@example.org until ") && n.contains(resource));
        assert!(is_on_record(&baked.notes) && is_on_record(&manifest.notes), "{:?}", manifest.notes);
    }
    assert!(manifest.notes.iter().any(|note| note.contains("(OPS-17: a sample)") && !note.contains("tr0ub4dor")), "{:?}", manifest.notes);
    // Another secret at the same place is another exposure.
    write_files(&at, "2026-06-02T00:00:00Z", &[sample, ("opt/sample.pem", 0o644, &key("a"))]);
    let hint = bake(&all).unwrap_err().hint.unwrap();
    let of_key = [all[0].clone(), waiver(hint.split('`').nth(1).unwrap(), live)];
    bake(&of_key).unwrap();
    write_files(&at, "2026-06-03T00:00:00Z", &[sample, ("opt/sample.pem", 0o644, &key("b"))]);
    assert_eq!(bake(&of_key).unwrap_err().code, "exposed-in-image");
}

fn key(word: &str) -> String {
    let body = format!("MII7lC4HwWWwlE73yTC3K8KiGBiFllsU6fauasxR1uyXzKY7GkkCb9wrZozozjA{word}");
    ["-----BEGIN ", "PRIVATE", " KEY-----\n", &body, "\n", &body, "\n-----END ", "PRIVATE", " KEY-----\n"].concat()
}
