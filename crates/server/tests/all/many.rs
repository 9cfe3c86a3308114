//! Many services: status answers from what is written down, asks keeper and balancer once, and holds no driver up.

use crate::common::*;
use api::control::*;
use journal::{Database, Origin};
use model::*;
use std::collections::BTreeMap;
use std::time::Duration;

const EARLY: &str = "an-early-rotation";
const LAST: &str = "end-of-the-last-one";

/// A journal of services that were deployed twice, the world that fits it, and one more service whose deploy waits for its servers.
async fn crowd(count: u32) -> (House, RotationId) {
    let mut house = House::new().await;
    house.stop().await;
    let database = Layout::new(house.dir.path()).database();
    let store = Database::open(&database).unwrap();
    let services: Vec<ServiceSpec> = (0..count).map(|n| spec(&format!("s{n}"), "back", "one", 1, None)).collect();
    for some in services.chunks(1_000) {
        let active = store.write(|tx| some.iter().map(|spec| deployed(tx, spec)).collect::<Result<Vec<_>, Fault>>()).unwrap();
        for (service, active) in some.iter().zip(active) {
            let desired = DesiredGroup::Run { release: active.release, count: 1, once: None };
            let declared = GroupSpec { group: active.group, service: service.name.clone(), desired };
            rotation::Provider::declare(&*house.fake, Stamp { fence: Fence(1), seq: 1 }, &declared).unwrap();
        }
    }
    drop(store);
    house.start().await;
    house.fake.state().slow = true;
    // It looks at the listeners of all the others.
    let patient = house.client().timeout(Duration::from_secs(300));
    let id = patient.post::<_, api::control::Opened>("/v1/deploy", &web("one")).await.unwrap().rotations.remove(0);
    house.until(&id, |r| r.waits.is_some() && r.cursor > 0).await;
    house.stop().await;
    // Whoever reads a closed journal now finds that it has rotted: the summaries alone are good.
    let mut bytes = std::fs::read(&database).unwrap();
    let mut flipped = 0;
    for word in [EARLY.as_bytes(), LAST.as_bytes()] {
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(word.len()).position(|w| w == word) {
            bytes[at + found] ^= 0x20;
            at += found + word.len();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 2 * count);
    std::fs::write(&database, bytes).unwrap();
    house.start().await;
    (house, id)
}

/// Two rotations, both over.
fn deployed(tx: &journal::Tx<'_>, spec: &ServiceSpec) -> Result<GroupRelease, Fault> {
    tx.put_service(spec, "me", Time(1))?;
    let release = tx.put_release(&Release::of(spec, digest('a'), None), Time(1))?.release;
    let mut active = None;
    for (number, why, end) in [(1, EARLY, "over"), (2, "a rotation", LAST)] {
        let origin = Origin { service: &spec.name, rollout: None, at: Time(1) };
        let group = GroupName::of(&spec.name, release.number, &RotationId::of(&spec.name, number)).unwrap();
        let to = GroupRelease { group, release: release.clone() };
        let opened = model::Opened { spec: spec.clone(), from: active, to: to.clone(), plan: Plan::default(), why: why.to_string() };
        let final_inventory = FinalInventory { active: Some(to.clone()), ..FinalInventory::default() };
        tx.put_closed(&origin, opened, &Event::Closed { verdict: Verdict::Promoted, why: end.to_string(), final_inventory })?;
        active = Some(to);
    }
    Ok(active.unwrap())
}

async fn all(house: &House) -> Vec<ServiceStatus> {
    house.client().timeout(Duration::from_secs(300)).get("/v1/services").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_many_services_folds_no_closed_journal_and_holds_no_driver_up() {
    status_of(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow without optimisation: it makes ten thousand journals"]
async fn status_of_ten_thousand_services() {
    status_of(10_000).await;
}

async fn status_of(count: u32) {
    let (house, id) = crowd(count).await;
    let asked = |house: &House| {
        let state = house.fake.state();
        (state.observed, state.listed)
    };
    let before = asked(&house);
    let begun = std::time::Instant::now();
    let services = all(&house).await;
    println!("{} services in {:?}", services.len(), begun.elapsed());
    let mut kinds: BTreeMap<(Option<String>, u32, u32), usize> = BTreeMap::new();
    for service in services.iter().filter(|s| s.service != name("web")) {
        *kinds.entry((service.trouble.clone(), service.count, service.healthy)).or_default() += 1;
    }
    assert_eq!(kinds, [((None, 1, 1), count as usize)].into(), "some were read from a closed journal");
    let (observed, listed) = (asked(&house).0 - before.0, asked(&house).1 - before.1);
    assert!(observed == 0 && listed <= 2, "the keeper was asked for {observed} groups and {listed} lists");
    // The keeper takes its time with the answer to another status: the driver goes on to the end.
    house.fake.hold_lists(true);
    let waiting = house.fake.state().held;
    let client = house.client().timeout(Duration::from_secs(300));
    let status = tokio::spawn(async move { client.get::<Vec<ServiceStatus>>("/v1/services").await.unwrap() });
    while house.fake.state().held == waiting {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.fake.state().slow = false;
    assert_eq!(house.end(&id).await.verdict, Some(Verdict::Promoted));
    assert!(!status.is_finished(), "the test held nothing");
    house.fake.hold_lists(false);
    let services = status.await.unwrap();
    assert_eq!(services.len(), count as usize + 1);
    assert_eq!(services.iter().find(|s| s.service == name("web")).unwrap().healthy, 3);
}
