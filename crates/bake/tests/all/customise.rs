//! What a recipe adds to its packages, in a real image over the machine's own mirror. Run it with
//! `cargo test -p bake --test all customise:: -- --ignored --nocapture --test-threads 1` as root.

use crate::kit;
use bake::bake;
use model::ImageSpec;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// The last line gives something else each time.
const SCRIPT: &str = "set -eu
echo \"$CHANNEL\" > /etc/channel
chgrp adm /etc/shop/secret
install -d -o shop -g shop -m 0750 /srv/shop/state
cat /proc/sys/kernel/random/uuid > /etc/odd
";

fn seen(path: &Path) -> (u32, u32, u32) {
    let m = fs::symlink_metadata(path).unwrap();
    (m.mode() & 0o7777, m.uid(), m.gid())
}

/// Looks into the volume where the kernel mounts it.
fn within(volume: &Path, look: impl FnOnce(&Path)) {
    let at = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-o", "loop,ro"]).arg(volume).arg(at.path()).status().unwrap();
    assert!(mounted.success());
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(at.path())));
    assert!(Command::new("umount").arg(at.path()).status().unwrap().success());
    looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
#[ignore = "needs root and a mirror"]
fn what_a_recipe_adds_stands_in_the_image_and_is_told() {
    let dir = kit::Data::new();
    let store = kit::store(dir.path());
    let unit = "[Service]\nExecStart=/app/shop\n";
    let spec: ImageSpec = serde_json::from_value(json!({
        "name": "shop", "debian": "bookworm", "packages": [],
        "custom": {
            "users": { "shop": { "uid": 2000, "home": "/srv/shop", "groups": ["adm"] }, "plain": { "uid": 2001 } },
            "files": {
                "/etc/shop/secret": { "content": "x\n", "mode": 0o640 },
                "/usr/local/bin/it's": { "content": "#!/bin/sh\n", "mode": 0o4755 },
                "/etc/systemd/system/shop.service": { "content": unit },
            },
            "args": { "CHANNEL": "it's $HOME" }, "script": SCRIPT,
        },
    }))
    .unwrap();
    let baked = bake(&store, &spec, &mut |_| {}).unwrap();
    eprintln!("{} {:?} {:?}", baked.digest, baked.notes, baked.steps);
    within(&store.path(&baked.digest).unwrap(), |root| {
        assert_eq!(seen(&root.join("etc/shop/secret")), (0o640, 0, 4));
        assert_eq!(seen(&root.join("usr/local/bin/it's")), (0o4755, 0, 0));
        assert_eq!(fs::read_to_string(root.join("etc/systemd/system/shop.service")).unwrap(), unit);
        assert_eq!(fs::read_to_string(root.join("etc/channel")).unwrap(), "it's $HOME\n");
        assert_eq!((seen(&root.join("srv/shop")), seen(&root.join("srv/shop/state"))), ((0o755, 2000, 2000), (0o750, 2000, 2000)));
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert!(passwd.contains("shop:x:2000:2000::/srv/shop:/usr/sbin/nologin\n"), "{passwd}");
        assert!(passwd.contains("plain:x:2001:2001::/nonexistent:/usr/sbin/nologin\n"), "{passwd}");
        assert!(fs::read_to_string(root.join("etc/group")).unwrap().lines().any(|l| l == "adm:x:4:shop"));
    });
    let told = |start: &str| baked.notes.iter().find(|n| n.starts_with(start)).unwrap_or_else(|| panic!("{start}: {:?}", baked.notes));
    assert!(told("its script did not give the same result twice: 1 path differs: /etc/odd:").contains("bytes"));
    told("a script of the recipe ran");
    told("build arguments: CHANNEL=");

    let bill: Value = serde_json::from_slice(&fs::read(store.attested(&baked.digest).join("sbom.cdx.json")).unwrap()).unwrap();
    let names = |kind: &str| -> Vec<&str> {
        let all = bill["components"].as_array().unwrap().iter();
        all.filter(|c| c["type"] == kind).map(|c| c["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names("file"), ["/etc/shop/secret", "/etc/systemd/system/shop.service", "/usr/local/bin/it's"]);
    assert_eq!(names("library").len(), baked.packages.len());
    let properties = bill["metadata"]["properties"].to_string();
    assert!(properties.contains("afresh:script") && properties.contains("did not give the same result twice"), "{properties}");
}
