//! A backup of a fleet that serves, restored under another identity: what is refused until somebody says that the original is gone, and
//! what is the same afterwards.

use super::world::{Fleet, Users};
use model::{GroupHeld, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// The fences that keeper and balancer hold.
fn fences(fleet: &Fleet) -> BTreeSet<u64> {
    let held: Vec<GroupHeld> = fleet.host("/v1/inventory").unwrap();
    held.into_iter().filter_map(|group| Some(group.seen.stamp?.fence.0)).collect()
}

/// Every rotation with all that its journal says, without what is observed now.
fn journals(fleet: &Fleet) -> Vec<Value> {
    let all: Vec<Value> = fleet.get("/v1/rotations").unwrap();
    all.into_iter()
        .map(|rotation| {
            let id = rotation["id"].as_str().unwrap().to_string();
            fleet.get(&format!("/v1/rotations/{id}/events")).unwrap_or(rotation)
        })
        .collect()
}

fn addresses(fleet: &Fleet) -> BTreeSet<String> {
    fleet.servers().into_iter().map(|(_, address)| address.ip().to_string()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_fleet_is_backed_up_under_load_and_restored_elsewhere() {
    let dir = tempfile::Builder::new().prefix("afresh-fleet-").tempdir().unwrap();
    let mut fleet = Fleet::new(dir.path(), "data");
    let (original, other) = (fleet.data.clone(), dir.path().join("other"));
    let file = dir.path().join("fleet.tar");
    let program = fleet.command(&[]).get_program().to_owned();
    let at = |data: &Path, args: &[&str]| {
        let mut c = std::process::Command::new(&program);
        let done = c.args(args).arg("--data-dir").arg(data).stdin(std::process::Stdio::null()).output().unwrap();
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
    };

    let users = Users::start(fleet.listen);
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let (code, said) = at(&original, &["backup", file.to_str().unwrap()]);
        took.push(begun.elapsed().as_millis());
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("not in it: volumes"), "{said}");
    }
    println!("5 backups of {} bytes: {took:?} ms each", fs::metadata(&file).unwrap().len());
    let (before, journals_then, servers_then) = (fences(&fleet), journals(&fleet), addresses(&fleet));

    // What the original gives out after the backup is not in it.
    let status = fleet.deploy("busybox httpd -f -p 8080 -h /www", "2m");
    assert_eq!(status.verdict, Some(Verdict::Promoted), "{}", status.why);
    let given: BTreeSet<u64> = before.union(&fences(&fleet)).copied().collect();

    // Beside the original nothing of the copy begins.
    let (code, said) = at(&other, &["restore", file.to_str().unwrap()]);
    assert!(code == 0 && said.contains("every digest is right") && !other.exists(), "{said}");
    print!("{said}");
    let (code, said) = at(&other, &["restore", file.to_str().unwrap(), "--yes"]);
    assert_eq!(code, 0, "{said}");
    print!("{said}");
    let data_plane = ["proxy", "--data-plane"];
    for args in [&["up"][..], &["host"], &["serve"], &["proxy"], &data_plane, &["down", "--yes"], &["down", "--purge", "--yes"]] {
        let (code, said) = at(&other, args);
        println!("afresh {}: exit {code}: {}", args.join(" "), said.lines().find(|line| line.contains("restored")).unwrap_or(&said));
        assert!(code == 7 && said.contains("restored-dir") && said.contains("--original-gone"), "{args:?}: {said}");
    }
    let (code, said) = at(&other, &["restore", file.to_str().unwrap(), "--yes"]);
    assert!(code == 2 && said.contains("not-empty"), "{said}");
    let (code, said) = at(&other, &["restore", "--original-gone"]);
    assert!(code == 2 && said.contains("not-confirmed"), "{said}");
    let (sent, failed) = users.finish();
    println!("{} of {sent} requests failed during backups, a deploy and the refusals", failed.values().sum::<u64>());
    assert!(failed.is_empty(), "{failed:?}");

    // The original goes; somebody says so.
    fleet.stop();
    let (code, said) = at(&original, &["down", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = at(&other, &["restore", "--original-gone", "--yes"]);
    assert!(code == 0 && said.contains("identity of its own"), "{said}");
    fleet.data = other;
    let since = Instant::now();
    fleet.start(&[]).unwrap();
    let took = fleet.until_whole(since, &[]).unwrap();
    println!("serves again {:.1} s after it was started elsewhere", took.as_secs_f64());
    assert!(addresses(&fleet).is_disjoint(&servers_then), "{servers_then:?} are the original's addresses");
    assert_eq!(journals(&fleet), journals_then, "journals are those of the backup");

    let status = fleet.deploy("exec busybox httpd -f -p 8080 -h /www", "2m");
    assert_eq!(status.verdict, Some(Verdict::Promoted), "{}", status.why);
    let newer: BTreeSet<u64> = fences(&fleet).difference(&before).copied().collect();
    assert!(!newer.is_empty() && newer.iter().all(|fence| fence > given.last().unwrap()), "{newer:?} after {given:?}");
    println!("fences of the original {given:?}, of the copy {newer:?}");
}
