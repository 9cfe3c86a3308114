//! The journal is lost, or an older copy of it is put back by hand: what runs is never taken for what was asked for.

use crate::common::*;
use api::control::*;
use model::*;
use std::path::Path;

pub fn copy(from: &Path, to: &Path) {
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
        if let DesiredGroup::Run { release, .. } = &spec.desired
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

async fn adoptions(house: &House) -> Vec<Adoption> {
    house.client().get("/v1/adoptions").await.unwrap()
}

async fn adopt(house: &House, services: &[&str]) -> Result<Vec<Adoption>, Fault> {
    let request = AdoptRequest { services: services.iter().map(|s| name(s)).collect() };
    house.client().post("/v1/adopt", &request).await
}

/// Every way to change something is refused, everywhere it is said, and nothing in the world moves.
async fn held(house: &House) {
    let before = (house.fake.running(), house.fake.weights("web"), house.fake.state().launched);
    let back = RollbackRequest { service: name("web"), to: None };
    assert!(house.client().post::<_, api::control::Opened>("/v1/rollback", &back).await.is_err());
    for fault in [
        house.deploy(&web("v2")).await.err().map(|f| f.code),
        house.client().post::<_, PlanAnswer>("/v1/plan", &web("v2")).await.err().map(|f| f.code),
        house.client().post::<_, GcAnswer>("/v1/gc", &()).await.err().map(|f| f.code),
    ] {
        assert_eq!(fault.as_deref(), Some("journal-lacks-groups"));
    }
    let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
    assert!(
        health.troubles.iter().any(|t| t.contains("of web") && t.contains("afresh adopt") && t.contains("afresh restore")),
        "{health:?}"
    );
    assert_eq!(before, (house.fake.running(), house.fake.weights("web"), house.fake.state().launched));
}

async fn whole_again(house: &House) {
    let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
    assert_eq!(health.troubles, Vec::<String>::new());
    assert_eq!(adoptions(house).await, []);
    assert_eq!(adopt(house, &["web"]).await.unwrap_err().code, "nothing-to-adopt");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_taken_over_and_the_next_deploy_replaces_it() {
    let mut house = House::new().await;
    house.through(&web("v1")).await;
    house.stop().await;
    std::fs::remove_dir_all(house.dir.path().join("control")).unwrap();
    house.start().await;
    held(&house).await;
    let plan = adoptions(&house).await;
    assert_eq!((plan.len(), plan[0].count, plan[0].active.as_ref().unwrap().group.as_str()), (1, 3, "web-r1-1"));
    held(&house).await;
    let done = adopt(&house, &["web"]).await.unwrap();
    assert!(done[0].rotation.is_some(), "{done:?}");
    whole_again(&house).await;
    let status = house.status("web").await;
    assert_eq!((status.count, status.healthy, status.trouble, status.active.unwrap().release.number), (3, 3, None, 1));
    let unchanged = house.deploy(&web("v1")).await.unwrap();
    assert_eq!(unchanged.rotations.len(), 0, "what was taken over is what was asked for");
    never_falsely_promoted(&house, "after it was taken over").await;
    assert_eq!(serving(&house), ["v2"]);
    house.stop().await;
    house.start().await;
    whole_again(&house).await;
}

/// The older copy still has a rotation open, and a second group is left over from what it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_with_an_open_rotation_is_brought_up_to_what_runs() {
    let mut house = House::new().await;
    let (control, kept) = (house.dir.path().join("control"), house.dir.path().join("kept"));
    house.through(&web("v0")).await;
    house.fake.state().slow = true;
    let opened = house.deploy(&web("v1")).await.unwrap();
    house.until(&opened.rotations[0], |r| r.waits.is_some()).await;
    house.stop().await;
    copy(&control, &kept);
    house.start().await;
    house.ask(&opened.rotations[0], RotationCommand::Stop).await;
    house.end(&opened.rotations[0]).await;
    let opened = house.deploy(&web("v2")).await.unwrap();
    // Until a group is declared that the copy knows nothing of.
    let declared = || house.fake.state().groups.keys().any(|group| group.to_string().ends_with("-3"));
    house.until(&opened.rotations[0], |_| declared()).await;
    house.stop().await;
    house.fake.state().slow = false;
    std::fs::remove_dir_all(&control).unwrap();
    copy(&kept, &control);
    house.start().await;
    held(&house).await;
    let r = house.until(&RotationId::new("web.2").unwrap(), |r| r.waits.is_some()).await;
    assert!(r.waits.unwrap().why.contains("which its journal does not know"));
    adopt(&house, &["web"]).await.unwrap();
    whole_again(&house).await;
    assert_eq!(house.rotation(&RotationId::new("web.2").unwrap()).await.verdict, Some(Verdict::Stopped));
    let r = house.through(&web("v3")).await;
    assert_eq!(r.verdict, Some(Verdict::Promoted), "{r:#?}");
    assert_eq!((serving(&house), house.fake.running().len()), (vec!["v3".to_string()], 1), "what was left over is gone");
}
