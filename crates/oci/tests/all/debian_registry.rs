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
