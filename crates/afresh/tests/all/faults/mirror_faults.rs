//! A mirror that is away, lies, breaks off, is too old or is somebody else's.

use super::house::{House, Told};
use crate::mirror::{Dated, Sign, Spoil};

const AGAIN: &str = "try again";

fn world<'a>(code: &'a str, says: &[&'a str], hint: &'a str) -> Told<'a> {
    Told { exit: 7, code, says: says.to_vec(), hint }
}

/// Each fault meets a bake that has something new to take, and the bake after it takes that.
#[test]
#[ignore = "needs root"]
fn a_mirror_that_lies_is_not_believed() {
    let mut house = House::new();
    house.good_bake("first");
    let index = "dists/bookworm/main/binary-amd64/Packages";
    let cases = [
        ("index of other bytes", ("Packages", Spoil::OtherBytes), world("mirror-lies", &[index, "Hash Sum mismatch"], AGAIN)),
        ("index of another size", ("Packages", Spoil::Longer), world("mirror-lies", &[index, "unexpected size"], AGAIN)),
        ("index cut off", ("Packages", Spoil::CutOff), world("mirror-cut-off", &[index], AGAIN)),
        ("index answered with 500", ("Packages", Spoil::Status("500 Broken")), world("mirror-broken", &[index, "500"], AGAIN)),
        ("signed index cut off", ("InRelease", Spoil::CutOff), world("mirror-cut-off", &["bookworm/InRelease"], AGAIN)),
        ("signed index of other bytes", ("InRelease", Spoil::OtherBytes), world("index-unsigned", &["bookworm"], "Signed-By")),
        (
            "suite not there",
            ("InRelease", Spoil::Status("404 Gone")),
            Told { exit: 2, code: "no-sources", says: vec!["bookworm Release"], hint: "release's name" },
        ),
        ("package of other bytes", ("_amd64.deb", Spoil::OtherBytes), world("mirror-lies", &["pool/tool_", "Hash Sum mismatch"], AGAIN)),
        ("package of another size", ("_amd64.deb", Spoil::Longer), world("mirror-lies", &["pool/tool_"], AGAIN)),
        ("package without end", ("_amd64.deb", Spoil::Endless), world("mirror-lies", &["pool/tool_"], AGAIN)),
        ("package cut off", ("_amd64.deb", Spoil::CutOff), world("mirror-cut-off", &["pool/tool_"], AGAIN)),
        ("package gone", ("_amd64.deb", Spoil::Status("404 Gone")), world("package-gone", &["tool 2.11", "pool/tool_"], "bake again")),
    ];
    for (n, (what, spoil, told)) in cases.into_iter().enumerate() {
        house.put("tool", &format!("2.{n}"), &[]);
        house.mirror.publish();
        house.mirror.spoil(&[spoil]);
        house.fails(what, &["bake", "base"], &told);
        house.mirror.spoil(&[]);
        assert_eq!(house.good_bake(what).0, "baked", "{what}: the next bake recovers");
    }
    let address = house.mirror.address;
    house.mirror_is_at("127.0.0.1:1");
    let said = ["http://127.0.0.1:1/debian", "Could not connect"];
    house.fails("mirror away", &["bake", "base"], &world("mirror-unreachable", &said, "network"));
    house.fails("mirror away, looked for news", &["image", "check", "base"], &world("mirror-unreachable", &said, "network"));
    house.mirror_is_at("no-such-host.invalid");
    house.fails("mirror of no name", &["bake", "base"], &world("mirror-unreachable", &["no-such-host.invalid"], "network"));
    house.mirror_is_at(&address.to_string());
    assert_eq!(house.good_bake("mirror is back").0, "nothing");
}

#[test]
#[ignore = "needs root"]
fn an_index_that_is_old_or_somebody_else_s_is_not_taken() {
    let mut house = House::new();
    house.good_bake("first");
    for (what, dated, told) in [
        (
            "index expired",
            Dated { age_s: 20_000, valid_s: Some(10_000), ..Dated::default() },
            world("index-expired", &["bookworm/InRelease", "expired"], "Check-Valid-Until"),
        ),
        (
            "index of tomorrow (this clock went back)",
            Dated { age_s: -86_400, ..Dated::default() },
            world("index-expired", &["bookworm/InRelease", "not valid yet", "clock"], "date"),
        ),
        (
            "index of a stranger",
            Dated { sign: Sign::Stranger, ..Dated::default() },
            world("index-unsigned", &["bookworm", "NO_PUBKEY"], "Signed-By"),
        ),
        ("index of nobody", Dated { sign: Sign::Nobody, ..Dated::default() }, world("index-unsigned", &["bookworm"], "Signed-By")),
    ] {
        house.put("tool", &format!("3.{}", what.len()), &[]);
        house.mirror.publish_dated(dated);
        house.fails(what, &["bake", "base"], &told);
        house.mirror.publish();
        assert_eq!(house.good_bake(what).0, "baked", "{what}: the next bake recovers");
    }
}

/// An old index has a good signature, and as long as it is valid nothing else is wrong with it.
#[test]
#[ignore = "needs root"]
fn a_mirror_that_goes_back_in_time_brings_no_old_packages() {
    let mut house = House::new();
    house.mirror.publish_dated(Dated { age_s: 3600, ..Dated::default() });
    let (_, first) = house.good_bake("first");
    let old = house.mirror.shown();
    house.put("tool", "2", &[]);
    house.mirror.publish();
    let (_, second) = house.good_bake("second");
    assert_ne!(first, second);
    let new = house.mirror.shown();
    house.mirror.show(old);
    // Its lists are there: the newer index stays in force, and that is told.
    let said = house.bake();
    println!("== mirror gone back: exit {}\n{}{}", said.exit, said.stderr, said.stdout);
    assert_eq!((said.exit, said.json()["digest"].as_str()), (0, Some(second.as_str())));
    assert!(said.json()["notes"].to_string().contains("has gone back in time"), "{said:?}");
    // Its lists are not: an image of old packages would be called the newest.
    std::fs::remove_dir_all(house.store("apt").join(house.apt_dir())).unwrap();
    let told = world("index-replayed", &["bookworm_InRelease", "gone back in time"], "newest.json");
    house.fails("mirror gone back, lists lost", &["bake", "base"], &told);
    house.mirror.show(new);
    assert_eq!(house.good_bake("mirror is where it was"), ("nothing".into(), second));
}

#[test]
#[ignore = "needs root"]
fn a_package_that_is_not_there_gets_a_near_name() {
    let mut house = House::new();
    house.good_bake("first");
    house.packages = vec!["tol".into()];
    let told = |hint| Told { exit: 2, code: "unknown-package", says: vec!["bookworm"], hint };
    house.fails("unknown package with a near name", &["bake", "base"], &told("did you mean tool?"));
    house.packages = vec!["zzzzqqq".into()];
    house.fails("unknown package with none", &["bake", "base"], &told("apt-cache search"));
    house.packages = vec!["tool".into()];
    house.good_bake("name mended");
}

#[test]
#[ignore = "needs root"]
fn nobody_is_believed_without_a_signature_unless_the_recipe_says_so() {
    let mut house = House::new();
    if let Some(other) = std::env::var_os("AFRESH_PROGRAM") {
        std::fs::copy(other, house.program()).unwrap();
    }
    house.good_bake("first");
    let address = house.trusts_the_mirror();
    house.put("tool", "2", &[]);
    house.mirror.publish_dated(Dated { sign: Sign::Stranger, ..Dated::default() });
    let says = vec!["Trusted: yes", address.as_str()];
    house.fails("a mirror that a stranger signs", &["bake", "base"], &Told { exit: 2, code: "unsigned-source", says, hint: "Signed-By" });
    house.more = "  allow_unsigned = [\"http://elsewhere.example/debian\"]\n".into();
    assert_eq!(house.bake().exit, 2, "another address is another archive");
    house.more = format!("  allow_unsigned = [\"{address}\"]\n");
    let said = house.bake();
    println!("== allowed by the recipe: {}{}", said.stdout, said.stderr);
    assert_eq!(said.exit, 0);
    let noted = format!("indexes without a signature are believed, as the recipe says: {address}");
    assert!(said.json()["images"][0]["notes"].to_string().contains(&noted) || said.stdout.contains(&noted), "{said:?}");
    let json = said.json();
    let hex = json["digest"].as_str().unwrap().trim_start_matches("sha256:").to_string();
    let provenance = std::fs::read_dir(house.store("attested").join(hex)).unwrap().flatten().map(|e| e.path());
    let papers: Vec<_> = provenance.filter(|p| std::fs::read_to_string(p).is_ok_and(|t| shown(&t).contains(&noted))).collect();
    println!("== noted in {papers:?}");
    assert!(papers.len() >= 2, "the bill and the provenance: {papers:?}");
    assert!(house.run(&["image", "verify", "base"]).stdout.contains(&noted), "where the image is looked at");
}

/// A statement's payload is in base64.
fn shown(text: &str) -> String {
    use base64::Engine;
    let payload = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|v| v["payload"].as_str().map(str::to_string));
    let decoded = payload.and_then(|p| base64::engine::general_purpose::STANDARD.decode(p).ok());
    decoded.map_or(text.to_string(), |d| String::from_utf8_lossy(&d).into_owned())
}

/// What parses the answers of a mirror is not root, and apt finds nothing to complain of.
#[test]
#[ignore = "needs root"]
fn whoever_talks_to_a_mirror_is_not_root() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let house = House::new();
    // As on a machine whose owner reads the keys alone.
    std::fs::set_permissions(house.dir().join("mirror/etc/month.gpg"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let apt = nix::unistd::User::from_name("_apt").unwrap().expect("Debian has this user").uid.as_raw();
    house.good_bake("the first");
    assert_eq!(house.mirror.users(), [apt].into(), "lists and packages");
    let packages: Vec<_> = std::fs::read_dir(house.store("packages")).unwrap().flatten().map(|e| e.metadata().unwrap()).collect();
    let files: Vec<_> = packages.iter().filter(|m| m.is_file()).map(|m| (m.uid(), m.mode() & 0o777)).collect();
    assert!(!files.is_empty() && files.iter().all(|of| *of == (0, 0o444)), "{files:?}");
    house.mirror_is_at("127.0.0.1:1");
    let told = Told { exit: 7, code: "mirror-unreachable", says: vec!["Connection refused"], hint: "network" };
    let said = house.fails("no mirror", &["bake", "base"], &told);
    assert!(!said.stderr.contains("_apt") && !said.stdout.contains("_apt"), "{said:?}");
}
