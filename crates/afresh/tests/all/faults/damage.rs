//! What the store holds, changed, cut short or removed on disk: every verb that reads it says so or does not need it, and a bake repairs it.

use super::house::House;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Changed,
    Cut,
    Gone,
}

fn harm(path: &Path, how: Harm) {
    let mut bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let _ = fs::remove_file(path);
    match how {
        Harm::Gone => return,
        Harm::Cut => bytes.truncate(bytes.len() / 2),
        // In the middle of a word or of a volume: still of the same length.
        Harm::Changed => {
            let at = bytes.len() * 2 / 3;
            let at = (at..bytes.len()).find(|n| bytes[*n].is_ascii_hexdigit() && bytes[*n] != b'0').unwrap_or(at);
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Every place that knows of the image, by what people call it.
fn places(house: &House, digest: &str) -> Vec<(&'static str, PathBuf)> {
    let hex = digest.trim_start_matches("sha256:");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(house.store("manifests").join(format!("{hex}.json"))).unwrap()).unwrap();
    let inputs = manifest["inputs"].as_str().unwrap().trim_start_matches("sha256:").to_string();
    let lock = house.store("locked").join(format!("{inputs}.lock"));
    let line = fs::read_to_string(&lock).unwrap();
    let tool: serde_json::Value = serde_json::from_str(line.lines().find(|l| l.contains("\"name\":\"tool\"")).unwrap()).unwrap();
    let attested = house.store("attested").join(hex);
    vec![
        ("package", house.store("packages").join(format!("{}.deb", tool["sha256"].as_str().unwrap()))),
        ("image", house.store("objects").join(hex)),
        ("manifest", house.store("manifests").join(format!("{hex}.json"))),
        ("lock", lock),
        ("bill of materials", attested.join("sbom.cdx.json")),
        ("provenance", attested.join("provenance.dsse.json")),
        ("current", house.store("current").join("base.json")),
        ("inputs", house.store("inputs").join(format!("{inputs}.json"))),
    ]
}

/// Codes by which a verb may end when this was damaged; none: it does not read it, or repairs it by itself.
fn codes(place: &str, how: Harm, verb: &str) -> &'static [&'static str] {
    match (place, how) {
        // It looks for what is newer than nothing.
        ("current", Harm::Gone) if verb == "check" => return &[""],
        ("current", Harm::Gone) => return &["no-such-image"],
        // Where the byte falls decides whether it still reads, and of what it then tells.
        ("current", Harm::Changed) => return &["object-missing", "store-damaged"],
        ("current", Harm::Cut) | ("manifest", Harm::Cut) => return &["store-damaged"],
        ("manifest", Harm::Changed) => return &["store-damaged", "signature-refused", "lock-damaged", "other-format", ""],
        ("manifest", Harm::Gone) => return &["object-missing"],
        _ => {}
    }
    match (place, verb, how) {
        ("image", "verify" | "rebuild" | "diff" | "emit", Harm::Gone) => &["object-missing"],
        ("image", "verify" | "rebuild" | "diff" | "emit", _) => &["object-corrupt"],
        ("lock", "rebuild", _) => &["lock-damaged"],
        ("bill of materials" | "provenance", "verify" | "rebuild", _) => &["signature-refused"],
        _ => &[""],
    }
}

#[test]
#[ignore = "needs root"]
fn what_was_harmed_on_disk_is_told_by_whoever_reads_it_and_baked_anew() {
    let mut house = House::new();
    let (_, first) = house.good_bake("first");
    house.put("tool", "2", &[]);
    house.mirror.publish();
    let (_, digest) = house.good_bake("second");
    let out = house.dir().join("oci").display().to_string();
    let verbs: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("check", vec!["image", "check", "base"]),
        ("diff", vec!["image", "diff", &first, "base"]),
        ("emit", vec!["image", "emit", "base", "--oci", &out]),
        ("rebuild", vec!["image", "verify", "base", "--rebuild"]),
        ("verify", vec!["image", "verify", "base"]),
    ]);
    for (place, path) in places(&house, &digest) {
        for how in [Harm::Changed, Harm::Cut, Harm::Gone] {
            // One kind of harm is enough for what a verb reads whole or not at all.
            let all = how == Harm::Changed || place == "image";
            let good = fs::read(&path).unwrap();
            for (verb, args) in verbs.iter().filter(|(v, _)| all || **v == "verify" || **v == "rebuild") {
                let _ = fs::remove_dir_all(&out);
                // What the verb before repaired is damaged again.
                let _ = fs::remove_file(&path);
                fs::write(&path, &good).unwrap();
                harm(&path, how);
                let said = house.run(&[args.as_slice(), &["--json"]].concat());
                let (code, ours) = (said.field("code"), codes(place, how, verb));
                println!("== {place} {how:?}: {} -> exit {}\n{}", args.join(" "), said.exit, said.stderr.trim_end());
                assert!(ours.contains(&code.as_str()), "{place} {how:?} {verb}: {code:?} is none of {ours:?}: {said:?}");
                assert!(code.is_empty() || !said.field("hint").is_empty(), "{place} {how:?} {verb}: what is to be done? {said:?}");
                assert_ne!(said.exit, 1, "{place} {how:?} {verb}: it is not an internal error");
            }
            let _ = fs::remove_file(&path);
            fs::write(&path, &good).unwrap();
            harm(&path, how);
            let (did, again) = house.good_bake(place);
            assert_eq!(again, digest, "{place} {how:?}");
            let said = house.run(&["image", "verify", "base", "--rebuild", "--json"]);
            assert_eq!(said.exit, 0, "{place} {how:?}: the bake ({did}) did not heal it: {said:?}");
            house.is_clean(place);
        }
    }
}

/// `afresh up` over a house; ended with its servers when dropped.
struct Up(std::process::Child, Box<dyn Fn() -> std::process::Command>);

impl Up {
    fn begin(house: &House) -> Up {
        let log = fs::File::create(house.dir().join("up.log")).unwrap();
        let child = house.command(&["up"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let begun = std::time::Instant::now();
        while house.run(&["status"]).exit != 0 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "up does not answer");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let (program, data) = (house.program().to_path_buf(), house.data.clone());
        let down = move || {
            let mut c = std::process::Command::new(&program);
            c.args(["down", "--yes"]).arg("--data-dir").arg(&data).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            c
        };
        Up(child, Box::new(down))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = (self.1)().status();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn a_deploy_bakes_anew_what_was_harmed_and_says_so() {
    let mut house = House::new();
    let service = |n: u32| {
        format!(
            "service \"s\" {{\n  tier = \"t\"\n  image = image.base\n  run = [\"/usr/bin/sleep\", \"100{n}\"]\n  count = 1\n  health {{ every = \"200ms\"  healthy_for = \"200ms\" }}\n  \
             rollout {{ waves = [\"100%\"]  soak = \"200ms\"  within = \"40s\" }}\n}}\n"
        )
    };
    house.services = service(0);
    let (_, digest) = house.good_bake("first");
    let all = places(&house, &digest);
    let _up = Up::begin(&house);
    let said = house.run(&["deploy", "--yes"]);
    assert_eq!(said.exit, 0, "{said:?}\n{}", fs::read_to_string(house.dir().join("up.log")).unwrap());
    for (n, (place, how)) in
        [("image", Harm::Changed), ("image", Harm::Gone), ("current", Harm::Cut), ("manifest", Harm::Cut)].into_iter().enumerate()
    {
        let path = &all.iter().find(|(p, _)| *p == place).unwrap().1;
        harm(path, how);
        let list = house.run(&["image", "list"]);
        println!("== {place} {how:?}: images -> exit {}\n{}{}", list.exit, list.stdout, list.stderr);
        let told = match (place, how) {
            ("image", Harm::Gone) => "object-missing",
            ("manifest", Harm::Cut) => "store-damaged",
            _ => "",
        };
        assert!(list.stderr.contains(told), "{place} {how:?}: {list:?}");
        // Another command, so that there is something to deploy: it bakes what is corrupt again, and says so.
        let services = service(u32::try_from(n).unwrap() + 1);
        let file = house.dir().join("afresh.hcl");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(&house.services, &services)).unwrap();
        house.services = services;
        let said = house.run(&["deploy", "--yes"]);
        println!("== {place} {how:?}: deploy -> exit {}\n{}{}", said.exit, said.stderr, said.stdout);
        assert_eq!(said.exit, 0, "{place} {how:?}: {said:?}");
        let said = house.run(&["image", "verify", "base", "--json"]);
        assert_eq!((said.exit, said.json()["digest"].as_str()), (0, Some(digest.as_str())), "{place} {how:?}: {said:?}");
    }
}
