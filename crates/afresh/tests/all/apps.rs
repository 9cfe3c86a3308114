//! A real application that is not ours, as `make apps` plays it: its client, in Python, accounts for every request.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
#[ignore = "needs root"]
fn caddy_is_upgraded_and_rolled_back_without_a_failed_request() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/apps.sh");
    let out = Command::new(script).arg("caddy").env("AFRESH", env!("CARGO_BIN_EXE_afresh")).stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    println!("{text}");
    assert!(out.status.success() && text.contains("1 passed, 0 failed"), "{:?}\n{text}", out.status.code());
}
