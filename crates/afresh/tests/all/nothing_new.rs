//! What a look at the mirrors costs: requests and bytes, counted by the mirror itself, and what is done. As root.

use crate::mirror::{self, Mirror, Package};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

struct House {
    dir: tempfile::TempDir,
    mirror: Mirror,
}

impl House {
    /// A verb where /etc/apt is the mirror's alone, its answer, its exit code, and what the mirror was asked for.
    fn verb(&self, args: &[&str]) -> (Value, i32, Vec<(String, usize)>) {
        let script = "mount --bind \"$1\" /etc/apt && shift && exec \"$@\"";
        let begun = Instant::now();
        let done = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"])
            .arg(self.mirror.etc())
            .arg(env!("CARGO_BIN_EXE_afresh"))
            .args(args)
            .arg("--json")
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .arg("--file")
            .arg(self.dir.path().join("afresh.hcl"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let answer = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or(Value::Null);
        let asked = self.mirror.asked();
        let bytes: usize = asked.iter().map(|(_, n)| n).sum();
        println!("{:<34} {:.2} s, {} requests, {bytes} bytes: {answer}", args.join(" "), begun.elapsed().as_secs_f64(), asked.len());
        (answer, done.status.code().unwrap_or(-1), asked)
    }

    fn put(&mut self, name: &str, version: &str) {
        let files = vec![(format!("usr/share/{name}/version"), version.to_string())];
        let (version, depends) = (version.to_string(), "month-base");
        self.mirror.put(&Package { name, version, depends, files, ..Package::default() });
        self.mirror.publish();
    }
}

fn names(asked: &[(String, usize)]) -> Vec<&str> {
    let mut names: Vec<&str> = asked.iter().map(|(path, _)| Path::new(path).file_name().unwrap().to_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
#[ignore = "needs root"]
fn what_a_look_at_the_mirrors_costs() {
    let dir = tempfile::Builder::new().prefix("afresh-nothing-").tempdir().unwrap();
    let mut mirror = Mirror::new(dir.path());
    mirror.base();
    let mut house = House { dir, mirror };
    std::fs::write(
        house.dir.path().join("afresh.hcl"),
        format!("image \"base\" {{\n  debian = \"{}\"\n  packages = [\"in-it\"]\n}}\n", mirror::SUITE),
    )
    .unwrap();
    house.put("in-it", "1");
    house.put("not-in-it", "1");
    let (baked, code, _) = house.verb(&["bake", "base"]);
    assert_eq!((&baked["did"], code), (&Value::from("baked"), 0));

    // The same content: one question, no byte, no list read, nothing resolved.
    for _ in 0..2 {
        let (again, _, asked) = house.verb(&["bake", "base"]);
        assert_eq!((&again["did"], &again["digest"]), (&Value::from("nothing"), &baked["digest"]));
        assert_eq!(names(&asked), ["InRelease"]);
        assert_eq!(asked[0].1, 0, "{asked:?}");
        assert!(again["seconds"].get("lock").is_none(), "{again}");
        let (check, code, asked) = house.verb(&["image", "check", "base"]);
        assert_eq!((&check["newest"], &check["same_indexes"], code), (&Value::from(true), &Value::from(true), 0));
        assert_eq!((names(&asked), asked[0].1), (vec!["InRelease"], 0));
    }

    // New content, the same lock: the index and its list come, no package.
    house.put("not-in-it", "2");
    let (check, code, asked) = house.verb(&["image", "check", "base"]);
    assert_eq!((&check["newest"], &check["same_indexes"], code), (&Value::from(true), &Value::from(false), 0));
    assert_eq!(names(&asked), ["InRelease", "Packages"]);
    let (again, _, asked) = house.verb(&["bake", "base"]);
    assert_eq!((&again["did"], &again["digest"], names(&asked)), (&Value::from("nothing"), &baked["digest"], vec!["InRelease"]));

    // A new package: told first, then the package comes, and nothing that is there already.
    house.put("in-it", "2");
    let (check, code, asked) = house.verb(&["image", "check", "base"]);
    assert_eq!((&check["newest"], code), (&Value::from(false), 3));
    assert_eq!(check["behind"], serde_json::json!([{ "name": "in-it", "from": "1", "to": "2" }]));
    assert_eq!(names(&asked), ["InRelease", "Packages"]);
    let (newer, _, asked) = house.verb(&["bake", "base"]);
    assert_eq!(newer["did"], "baked");
    assert_ne!(newer["digest"], baked["digest"]);
    assert_eq!(names(&asked), ["InRelease", "in-it_2_amd64.deb"]);
    assert!(newer["seconds"].get("lock").is_none(), "it was chosen by the look before: {newer}");
}
