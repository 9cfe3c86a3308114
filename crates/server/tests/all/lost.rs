//! The journal is lost, or an older copy of it is put back by hand: what runs is never taken for what was asked for.

use crate::common::*;
use model::*;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What the servers that get traffic run, read off the world itself.
fn serving(house: &House) -> Vec<String> {
    let weights = house.fake.weights("web");
    let state = house.fake.state();
    let mut programs: Vec<String> = Vec::new();
    for (group, (_, spec, instances, _)) in &state.groups {
        if let GroupWish::Run { release, .. } = &spec.wish
            && weights.contains_key(group.as_str())
            && !instances.is_empty()
        {
            programs.push(release.run[0].clone());
        }
    }
    programs
}

/// Deploys `v2`; whatever comes of it, `promoted` may only be said where `v2` gets the traffic.
async fn never_falsely_promoted(house: &House, how: &str) {
    let opened = house.deploy(&web("v2")).await;
    let verdict = match &opened {
        Ok(opened) => house.end(&opened.rotations[0]).await.verdict,
        Err(_) => None,
    };
    let serves = serving(house);
    println!("{how}: {:?}, verdict {verdict:?}, the traffic goes to {serves:?}", opened.as_ref().map_err(|f| &f.code));
    assert!(verdict != Some(Verdict::Promoted) || serves == ["v2"], "{how}: promoted while {serves:?} serves");
    assert_eq!(serves.len(), 1, "{how}: nobody, or two releases, serve: {serves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_deleted_promotes_nothing_falsely() {
    let mut house = House::new().await;
    house.through(&web("v1")).await;
    house.stop().await;
    std::fs::remove_dir_all(house.dir.path().join("control")).unwrap();
    house.start().await;
    never_falsely_promoted(&house, "journal deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_control_put_back_by_hand_promotes_nothing_falsely() {
    let mut house = House::new().await;
    let (control, kept) = (house.dir.path().join("control"), house.dir.path().join("kept"));
    house.through(&web("v0")).await;
    house.stop().await;
    copy(&control, &kept);
    house.start().await;
    house.through(&web("v1")).await;
    house.stop().await;
    std::fs::remove_dir_all(&control).unwrap();
    copy(&kept, &control);
    house.start().await;
    never_falsely_promoted(&house, "older copy put back").await;
}
