//! Debian's own registry, with TLS of an authority of its own and a password; images go there with skopeo.

use crate::images::{Pack, dir, file, of_items};
use crate::own_registry::{Registry, run};
use crate::stores::{limits, place};
use oci::{Options, resolve, tag_digest};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

#[test]
#[ignore = "needs root, docker-registry and skopeo"]
fn an_image_is_pulled_with_a_password_from_a_registry_of_its_own_authority() {
    let place = place();
    let at = place.dir.path();
    let registry = Registry::start(at);
    let ca = registry.ca.clone();
    let image = of_items(&[vec![dir("d"), file("d/f", "x").owner(5, 6)], vec![file("g", "y")]], Pack::Gzip);
    let layout = place.layout(&image);
    let name = format!("{}/shop/app:1.4", registry.address);
    let mut push = Command::new("skopeo");
    push.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-creds", "u:p w:d", "--dest-cert-dir"]).arg(&registry.certs);
    run(push.arg(format!("{layout}:t")).arg(format!("docker://{name}")));

    let auth = registry.auth.clone();
    let options = Options { auth: Some(auth.clone()), ca: Some(ca.clone()), limits: limits(), ..Options::default() };
    let pulled = place.pull(&name, &options).unwrap();
    let container = pulled.manifest.container.clone().unwrap();
    assert_eq!((&container.manifest, container.layers.len(), pulled.did), (&image.digest(), 2, store::Did::Baked));
    assert_eq!(place.pull(&format!("{name}@{}", image.digest()), &options).unwrap().did, store::Did::Nothing);

    // A look at a tag that did not move is one request for its head.
    let before = registry.requests().len();
    assert_eq!(tag_digest(&name, &options).unwrap(), Some(image.digest()));
    let asked: Vec<String> = registry.requests().split_off(before).into_iter().filter(|line| !line.contains(" 401")).collect();
    assert_eq!(asked, ["HEAD /v2/shop/app/manifests/1.4 200"]);

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

#[test]
#[ignore = "needs root, docker-registry and skopeo"]
fn an_image_is_pushed_with_what_is_said_of_it() {
    let place = place();
    let registry = Registry::start(place.dir.path());
    let image = of_items(&[vec![dir("d"), file("d/f", "x")], vec![file("g", "y")]], Pack::Gzip);
    let layout = PathBuf::from(place.layout(&image).trim_start_matches("oci:"));
    let name = format!("{}/pushed/base:2026-11-28", registry.address);
    let options = Options { auth: Some(registry.auth.clone()), ca: Some(registry.ca.clone()), limits: limits(), ..Options::default() };
    let said =
        |text: &str| oci::Referrer { media_type: "application/vnd.cyclonedx+json", name: "sbom.cdx.json", bytes: text.as_bytes().to_vec() };
    let push = |said: &[oci::Referrer], options: &Options| oci::push(&layout, &name.parse().unwrap(), options, said, &mut |_, _| {});
    let pushed = push(&[said("{\"a\":1}")], &options).unwrap();
    assert_eq!((&pushed.manifest, pushed.referrers.len(), pushed.sent), (&image.digest(), 1, 5));
    assert_eq!(place.pull(&name, &options).unwrap().manifest.container.unwrap().manifest, image.digest());
    // Again: nothing is sent, and the list of what refers to it has each once.
    assert_eq!(push(&[said("{\"a\":1}")], &options).unwrap().sent, 0);
    assert_eq!(push(&[said("{\"a\":2}")], &options).unwrap().sent, 1);
    let raw = |tag: &str| {
        let mut c = Command::new("skopeo");
        c.args(["inspect", "--raw", "--creds", "u:p w:d", "--cert-dir"]).arg(&registry.certs);
        let done = c.arg(format!("docker://{}/pushed/base:{tag}", registry.address)).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    };
    let index = raw(&format!("sha256-{}", image.digest().hex()));
    let listed: Vec<&str> = index["manifests"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
    assert!(listed.len() == 2 && listed[0] == pushed.referrers[0].as_str(), "{index}");
    assert_eq!(index["manifests"][0]["artifactType"], "application/vnd.cyclonedx+json");
    let nobody = push(&[], &Options { auth: None, ..options.clone() }).unwrap_err();
    assert!(nobody.code == "registry-refused", "{nobody:?}");
}

/// What curl prints.
fn curl(registry: &Registry, args: &[&str]) -> String {
    let done = Command::new("curl").args(["-sSf", "--http1.1", "-u", "u:p w:d", "--cacert"]).arg(&registry.ca).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// As cosign does it: a payload, its signature by openssl, both beside the image.
fn sign(registry: &Registry, at: &std::path::Path, key: &str, image: &model::Digest, (of, as_repository): (&model::Digest, &str)) {
    let identity = format!("{}/{as_repository}", registry.address);
    let payload = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{identity}"}},"image":{{"docker-manifest-digest":"{of}"}},"type":"cosign container image signature"}},"optional":null}}"#
    );
    fs::write(at.join("payload"), &payload).unwrap();
    let signed = format!("openssl dgst -sha256 -sign {key} payload | base64 -w0");
    let signature = Command::new("sh").args(["-c", &signed]).current_dir(at).output().unwrap();
    let base = format!("https://{}/v2/shop/app", registry.address);
    let upload = |bytes: &[u8]| {
        fs::write(at.join("blob"), bytes).unwrap();
        let head = curl(registry, &["-D", "-", "-X", "POST", &format!("{base}/blobs/uploads/")]);
        let to = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().trim().to_string();
        let digest = disk::files::digest_of(bytes);
        let data = format!("@{}", at.join("blob").display());
        curl(
            registry,
            &["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", &data, &format!("{to}&digest={digest}")],
        );
        serde_json::json!({ "digest": digest, "size": bytes.len() })
    };
    let (mut config, mut layer) = (upload(b"{}"), upload(payload.as_bytes()));
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    layer["mediaType"] = "application/vnd.dev.cosign.simplesigning.v1+json".into();
    layer["annotations"] = serde_json::json!({ "dev.cosignproject.cosign/signature": String::from_utf8(signature.stdout).unwrap() });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let to = format!("{base}/manifests/sha256-{}.sig", image.hex());
    curl(registry, &["-X", "PUT", "-H", &format!("Content-Type: {kind}"), "-d", &manifest.to_string(), &to]);
}

#[test]
#[ignore = "needs root, docker-registry, skopeo, curl and openssl"]
fn only_a_signature_of_this_image_by_a_key_that_counts_admits_it() {
    let place = place();
    let at = place.dir.path();
    let registry = Registry::start(at);
    let image = of_items(&[vec![file("g", "y")]], Pack::Gzip);
    let name = format!("{}/shop/app:1", registry.address);
    let mut push = Command::new("skopeo");
    push.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-creds", "u:p w:d", "--dest-cert-dir"]).arg(&registry.certs);
    run(push.arg(format!("{}:t", place.layout(&image))).arg(format!("docker://{name}")));
    let keys = ["own", "other"].map(|who| {
        let make =
            format!("openssl ecparam -genkey -name prime256v1 -noout -out {who}.key && openssl ec -in {who}.key -pubout -out {who}.pub");
        run(Command::new("sh").args(["-c", &make]).current_dir(at));
        oci::CosignKey::parse(&fs::read_to_string(at.join(format!("{who}.pub"))).unwrap()).unwrap()
    });
    let options = Options { auth: Some(registry.auth.clone()), ca: Some(registry.ca.clone()), limits: limits(), ..Options::default() };
    let asks = |key: usize| Options { keys: vec![keys[key].clone()], ..options.clone() };
    let why = |options: &Options| place.pull(&name, options).map(drop).map_err(|f| format!("{}: {}", f.code, f.message));
    assert!(why(&asks(0)).unwrap_err().contains("signature-refused: nobody signed"));
    sign(&registry, at, "own.key", &image.digest(), (&model::Digest::of(b"another image"), "shop/app"));
    assert!(why(&asks(0)).unwrap_err().contains("none of 1 signatures"), "a signature of another image");
    sign(&registry, at, "own.key", &image.digest(), (&image.digest(), "shop/other"));
    let other = why(&asks(0)).unwrap_err();
    assert!(other.contains("signature-refused") && other.contains("/shop/other"), "a signature for another repository: {other}");
    sign(&registry, at, "own.key", &image.digest(), (&image.digest(), "shop/app"));
    assert!(why(&asks(1)).unwrap_err().contains("none of 1 signatures"), "by another key");
    assert!(place.left().is_empty(), "nothing was kept of what was refused");
    let pulled = place.pull(&name, &asks(0)).unwrap();
    assert_eq!(pulled.manifest.notes, [format!("signed with cosign by {}", keys[0].line())]);
    // Also what is there is not used by whom another key counts for; and an archive carries no signature.
    assert!(why(&asks(1)).is_err());
    let local = place.pull(&place.layout(&image), &asks(0)).unwrap_err();
    assert!(local.code == "signature-refused" && local.message.contains("no image of a registry"), "{local:?}");
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
