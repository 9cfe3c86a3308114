//! Migrations over the small world: once for each release, whatever of the journal is lost.

use crate::common::*;
use api::control::{Opened, *};
use journal::Database;
use model::*;

fn migrated(program: &str, by: &str) -> DeployRequest {
    let mut request = web(program);
    let migrate = Migrate { run: vec![by.to_string()], within_ms: 60_000 };
    request.file.services.values_mut().for_each(|service| service.migrate = Some(migrate.clone()));
    request
}

/// Groups of migrations that the keeper was ever given to run.
fn ran(house: &House) -> Vec<String> {
    let state = house.fake.state();
    state.groups.keys().filter(|group| group.migration().is_some() && state.ended.contains_key(*group)).map(ToString::to_string).collect()
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|s| s.step.kind()).filter(|kind| *kind == "migrate").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_migrated_once_and_forward_only() {
    let house = House::new().await;
    assert_eq!(house.through(&migrated("one", "true")).await.verdict, Some(Verdict::Promoted));
    let failed = house.through(&migrated("two", "false")).await;
    assert_eq!(failed.verdict, Some(Verdict::RolledBack));
    assert!(failed.why.contains("the migration web-r2-2-m failed: exit 1"), "{}", failed.why);
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 3)].into());
    let refused: Result<Opened, Fault> = house.client().post("/v1/rollback", &RollbackRequest { service: name("web"), to: Some(2) }).await;
    assert_eq!(refused.unwrap_err().code, "not-migrated");
    assert_eq!(house.through(&migrated("three", "true")).await.verdict, Some(Verdict::Promoted));
    let back = RollbackRequest { service: name("web"), to: None };
    let planned: PlanAnswer = house.client().post("/v1/rollback/plan", &back).await.unwrap();
    assert_eq!(kinds(&planned.rotations[0].plan), Vec::<&str>::new());
    assert!(planned.notes.iter().any(|note| note.text.contains("data stays as the migration of web@r3 left it")), "{:?}", planned.notes);
    let opened: Opened = house.client().post("/v1/rollback", &back).await.unwrap();
    assert_eq!(house.end(&opened.rotations[0]).await.verdict, Some(Verdict::Promoted));
    assert_eq!(house.through(&migrated("three", "true")).await.verdict, Some(Verdict::Promoted));
    assert_eq!(ran(&house), ["web-r1-1-m", "web-r2-2-m", "web-r3-3-m"]);
    house.server.unwrap().stop().await;
}

/// The first deploy parks: it gets no server, and its migration is put off until it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_release_is_migrated_when_it_gets_servers() {
    let house = House::new().await;
    let mut parked = migrated("one", "true");
    parked.file.services.values_mut().for_each(|service| service.count = 0);
    assert_eq!(house.through(&parked).await.verdict, Some(Verdict::Promoted));
    assert_eq!(ran(&house), Vec::<String>::new());
    assert_eq!(house.through(&migrated("one", "true")).await.verdict, Some(Verdict::Promoted));
    assert_eq!(ran(&house).len(), 1);
    house.server.unwrap().stop().await;
}

/// A rotation is stopped while it migrates. The next one of that release finds how that ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_a_stopped_rotation_is_ended_before_the_next() {
    let house = House::new().await;
    house.through(&web("zero")).await;
    let opened = house.deploy(&migrated("one", "hang")).await.unwrap();
    house.until(&opened.rotations[0], |_| house.fake.running().contains_key("web-r2-2-m")).await;
    house.ask(&opened.rotations[0], RotationCommand::Stop).await;
    assert_eq!(house.end(&opened.rotations[0]).await.verdict, Some(Verdict::Stopped));
    let opened = house.deploy(&migrated("one", "hang")).await.unwrap();
    house.until(&opened.rotations[0], |_| house.fake.running().contains_key("web-r2-3-m")).await;
    assert!(!house.fake.running().contains_key("web-r2-2-m"), "two run at once");
    house.ask(&opened.rotations[0], RotationCommand::Rollback).await;
    let end = house.end(&opened.rotations[0]).await;
    assert_eq!(end.verdict, Some(Verdict::RolledBack), "{}", end.why);
    house.server.unwrap().stop().await;
}

/// The keeper remembers what it ran, and adopted servers show that their release was migrated.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_migrates_nothing_again() {
    let mut house = House::new().await;
    house.through(&migrated("one", "true")).await;
    house.stop().await;
    std::fs::remove_dir_all(house.dir.path().join("control")).unwrap();
    house.start().await;
    let _: serde_json::Value = house.client().post("/v1/adopt", &AdoptRequest { services: vec![name("web")] }).await.unwrap();
    let mut more = migrated("one", "true");
    more.file.services.values_mut().for_each(|service| service.count = 4);
    house.through(&more).await;
    house.through(&migrated("two", "true")).await;
    let back: Opened = house.client().post("/v1/rollback", &RollbackRequest { service: name("web"), to: None }).await.unwrap();
    house.end(&back.rotations[0]).await;
    let of_one = ran(&house).iter().filter(|group| group.starts_with("web-r1-")).count();
    assert_eq!(of_one, 1, "{:?}", ran(&house));
    house.stop().await;
    // One byte of a success rots: it is no success, and no rotation is opened on it.
    let path = Layout::new(house.dir.path()).database();
    let store = Database::open(&path).unwrap();
    let row = store.read(|r| r.active(&name("web"))).unwrap().unwrap();
    assert!(store.read(|r| r.migration(&name("web"), &row.release.digest())).unwrap().is_some());
}
