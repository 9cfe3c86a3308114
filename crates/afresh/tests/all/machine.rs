//! The whole machine: real images, real servers, real kills. Each plays the demo's shop over a data directory of its own.
//!
//! They need root and some minutes, so they are left out of a plain `cargo test`: `make e2e` runs them all.

use serde_json::Value;
use std::process::Command;

/// Plays, passes on what is said, and gives the object of the last line.
fn demo(args: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.args(["demo", "--json"]).args(args).stderr(std::process::Stdio::inherit());
    let out = command.output().expect("the program was built with this test");
    let text = String::from_utf8(out.stdout).expect("it prints text");
    let last = text.lines().last().unwrap_or_default();
    println!("{last}");
    (out.status.code().unwrap_or(-1), serde_json::from_str(last).expect("the last line is one object"))
}

fn good(args: &[&str]) -> Value {
    let (code, object) = demo(args);
    assert_eq!((code, &object["failed"], &object["wrong"]), (0, &Value::from(0), &Value::from(Vec::<Value>::new())));
    object
}

#[test]
#[ignore = "needs root"]
fn the_demo_ends_well() {
    let object = good(&["--rate", "400", "--requests", "20000"]);
    assert!(object["requests"].as_u64().unwrap() >= 20_000);
    assert_eq!(object["kills"], 3);
    for rotation in object["rotations"].as_array().unwrap() {
        assert_eq!(rotation["verdict"], rotation["expected"], "{rotation}");
    }
}

/// How often a test kills: `AFRESH_KILLS` (ARCHITECTURE, "Tests").
pub fn kills() -> u64 {
    std::env::var("AFRESH_KILLS").map_or(20, |text| text.parse().expect("AFRESH_KILLS is a number"))
}

#[test]
#[ignore = "needs root"]
fn kills_of_serve_and_host_at_random_moments_change_nothing() {
    let kills = kills();
    let object = good(&["--chaos", &kills.to_string(), "--rate", "500"]);
    assert_eq!(object["kills"], 2 * kills);
    let promoted = object["rotations"].as_array().unwrap().iter().filter(|r| r["verdict"] == "promoted").count();
    assert_eq!(promoted as u64, 2 * kills + 2);
}

#[test]
#[ignore = "needs root"]
fn a_rotation_with_nothing_to_wait_for_is_quick() {
    let object = good(&["--measure", "5", "--rate", "100"]);
    // The target is 2 s on a quiet machine; a busy one is no reason to fail.
    assert!(object["median_to_all_traffic_ms_1_wave"].as_u64().unwrap() < 10_000, "{object}");
}

#[test]
#[ignore = "needs root"]
fn every_kind_of_step_run_twice_changes_nothing_the_second_time() {
    let object = good(&["--steps", "--rate", "100"]);
    let steps = object["steps"].as_array().unwrap();
    for kind in ["bake", "check", "scale", "shift", "soak", "drain", "retire"] {
        assert!(steps.iter().any(|s| s["step"].as_str().unwrap().starts_with(kind)), "{kind} was left out");
    }
}
