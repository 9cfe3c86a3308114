//! Volumes at plan, deploy and rollback: only what the host policy names, whoever asks, and only what is there.

use crate::common::*;
use api::control::*;
use model::{Fault, Volume, VolumeName};
use std::os::unix::fs::symlink;
use std::path::Path;

fn with_volume(program: &str, source: &Path) -> DeployRequest {
    let mut request = web(program);
    let spec = request.file.services.get_mut(&name("web")).unwrap();
    let (volume, source) = (VolumeName::new("fonts").unwrap(), source.to_str().unwrap().to_string());
    // Read-only, as the directories of these tests may be root's.
    spec.volumes.push(Volume { name: volume, source, at: "/fonts".to_string(), read_only: true });
    request
}

async fn plan(house: &House, request: &DeployRequest) -> Result<PlanAnswer, Fault> {
    house.client().post("/v1/plan", request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_one_that_the_policy_names_and_that_is_there() {
    let house = House::new().await;
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (fonts, other) = (dir.path().join("fonts"), dir.path().join("other"));
    std::fs::create_dir(&fonts).unwrap();
    std::fs::create_dir(&other).unwrap();
    symlink(&other, dir.path().join("link")).unwrap();
    let policy = |text: &str| std::fs::write(house.dir.path().join("policy.hcl"), text).unwrap();
    let code = |answer: Result<PlanAnswer, Fault>| answer.err().map_or(String::new(), |fault| fault.code);
    // The administrator asks.
    let request = with_volume("one", &fonts);
    assert_eq!(code(plan(&house, &request).await), "policy-volume");
    policy(&format!("volume \"{}/*\" {{ services = [\"api\"] }}", dir.path().display()));
    assert_eq!(code(plan(&house, &request).await), "policy-volume", "another service's");
    policy(&format!("volume \"{}/*\" {{ services = [\"web\"] }}", dir.path().display()));
    assert_eq!(code(plan(&house, &request).await), "");
    assert_eq!(code(plan(&house, &with_volume("one", &dir.path().join("link"))).await), "volume-refused");
    let first = house.through(&request).await;
    assert_eq!(first.verdict, Some(model::Verdict::Promoted), "{first:?}");
    let again = house.deploy(&request).await.unwrap();
    assert_eq!(again.unchanged, [name("web")], "the same volume is the same release");
    let second = house.through(&with_volume("one", &other)).await;
    assert_eq!(second.to.release.number, 2, "another volume is another release");
    // It is gone: nothing is opened, forward or back.
    std::fs::remove_dir(&fonts).unwrap();
    assert_eq!(code(plan(&house, &request).await), "volume-gone");
    assert_eq!(house.deploy(&request).await.err().map(|f| f.code), Some("volume-gone".to_string()));
    let back = RollbackRequest { service: name("web"), to: Some(1) };
    let back: Result<Opened, Fault> = house.client().post("/v1/rollback", &back).await;
    let fault = back.unwrap_err();
    assert!(fault.code == "volume-gone" && fault.message.contains("volume fonts"), "{fault:?}");
    // Unknown is not safe: what must be mounted is not known either.
    policy("volume");
    assert_eq!(code(plan(&house, &with_volume("two", &other)).await), "policy-invalid");
    assert_eq!(code(plan(&house, &web("two")).await), "", "a service without a volume does not need it");
}
