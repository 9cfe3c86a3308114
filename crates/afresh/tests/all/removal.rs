//! A removal as a user sees it: the program over a control plane whose world is in memory.

use crate::world::*;
use model::{Layout, Verdict};
use std::process::Command;

fn afresh(house: &House, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    let socket = Layout::new(house.dir.path()).api_socket();
    let done = tokio::task::block_in_place(|| command.args(args).arg("--host").arg(socket).env("NO_COLOR", "1").output().unwrap());
    let told = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("$ afresh {}\n{told}exit {:?}", args.join(" "), done.status.code());
    (done.status.code(), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_ends_with_0_and_is_called_removed() {
    let house = House::new().await;
    let web = || spec("web", "front", "one", 1, Some("127.0.0.1:8080"));
    let both = request(vec![web(), spec("worker", "back", "one", 1, None)], None);
    house.until_rollout(&house.deploy(&both).await.unwrap().rollout.unwrap()).await;
    let mut only = request(vec![spec("worker", "back", "one", 1, None)], None);
    only.remove = vec![name("web")];
    let id = house.deploy(&only).await.unwrap().removing.remove(0);
    // Followed, it ends as what was asked for.
    let (code, told) = afresh(&house, &["rotation", "show", id.as_str(), "--follow"]);
    assert!(code == Some(0) && told.contains("removal of web@r1") && told.contains("removed"), "{told}");
    assert!(!told.contains("returned") && !told.contains("rolling back"), "{told}");
    assert_eq!(house.rotation(&id).await.verdict, Some(Verdict::RolledBack));
    for args in [&["rotation", "list", "web"][..], &["events", "--service", "web"]] {
        let (code, told) = afresh(&house, args);
        assert!(code == Some(0) && told.contains("removed") && !told.contains("returned"), "{told}");
    }
    let (_, told) = afresh(&house, &["release", "list", "web"]);
    assert!(told.contains("previous") && !told.contains("active"), "{told}");
}
