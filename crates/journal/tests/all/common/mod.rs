//! Small whole records for the tests.

use journal::{Database, Origin};
use model::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

pub fn spec(service: &str, count: u32) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        tier: TierName::new("web").unwrap(),
        image: ImageName::new("base").unwrap(),
        recipe: None,
        artifact: None,
        run: vec!["/app/run".into()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: None,
        count,
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Rollout::default(),
        from_image: Default::default(),
    }
}

pub fn release(service: &str, code: &str) -> Release {
    let s = spec(service, 1);
    Release {
        service: s.name,
        number: 0,
        image_name: s.image,
        image: Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
        artifact: None,
        run: vec![code.into()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: s.user,
        port: None,
        health: s.health,
        drain: s.drain,
        limits: s.limits,
        volumes: Vec::new(),
        exclusive: false,
        network: Network::closed(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        container: None,
    }
}

/// Records the desired state and the release and opens a rotation to it.
pub fn open(store: &Database, service: &str, code: &str, at: u64) -> Result<RotationId, Fault> {
    store.write(|tx| {
        let spec = spec(service, 2);
        tx.put_service(&spec, "me", Time(at))?;
        let row = tx.put_release(&release(service, code), Time(at))?;
        tx.open_rotation(&Origin { service: &spec.name, rollout: None, at: Time(at) }, |id, from| {
            let group = GroupName::of(&id.service(), row.release.number, id).unwrap();
            let to = GroupRelease { group, release: row.release };
            Ok(Opened { spec: spec.clone(), from, to, plan: Plan::default(), why: "a test".into() })
        })
    })
}

pub fn satisfied(step: u32, seen: &str) -> Event {
    Event::StepSatisfied { step, seen: seen.into() }
}

/// Closes with the release the rotation was opened for as the active one.
pub fn close(store: &Database, rotation: &RotationId, verdict: Verdict, at: u64) -> GroupRelease {
    use rotation::Journal;
    let lines = Journal::read(store, rotation, 0).unwrap();
    let Event::Opened(opened) = &lines[0].event else { panic!("line 0 is {:?}", lines[0]) };
    let active = if verdict == Verdict::Promoted { Some(opened.to.clone()) } else { opened.from.clone() };
    let lease = store.take(&rotation.service(), "closer", Time(u64::MAX / 4), 1).unwrap();
    let final_inventory = FinalInventory { active: active.clone(), ..FinalInventory::default() };
    let event = Event::Closed { verdict, why: "a test".into(), final_inventory };
    store.append(&lease, rotation, lines.len() as u64, Time(at), &event).unwrap();
    store.release(&lease).unwrap();
    active.unwrap_or_else(|| opened.to.clone())
}

pub struct Dir(pub tempfile::TempDir);

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn db(&self) -> PathBuf {
        self.0.path().join("control/afresh.db")
    }
    pub fn store(&self) -> Database {
        Database::open(&self.db()).unwrap()
    }
}

/// A database as a fixture's statements make it.
pub fn from_text(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(text).unwrap();
}
