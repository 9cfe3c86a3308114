//! Makers of values for this crate's unit tests.

use crate::admit::{Admit, Permit};
use crate::firewall::Firewall;
use crate::keeper::{Config, Keeper, make_dirs};
use crate::log_settings::{LogSettings, TOTAL_BYTES_MIN};
use crate::net::Network;
use crate::record::{Placement, Record, Started};
use crate::state::{Instance, State};
use model::{
    DesiredGroup, Drain, Fence, GroupName, GroupSpec, Health, ImageName, InstanceId, Layout, Limits, Release, ServiceName, Stamp, Time,
};
use std::path::PathBuf;
use std::sync::Arc;

/// A keeper over its own directory, with neither a network nor a runtime: it decides and writes, but cannot launch anything.
pub struct TestKeeper {
    pub keeper: Arc<Keeper>,
    _tasks: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl TestKeeper {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        make_dirs(&layout).unwrap();
        let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nowhere = PathBuf::from("/no/such/program");
        let config = Config {
            layout,
            program: nowhere.clone(),
            shim_args: Vec::new(),
            subnet: None,
            runtime: None,
            logs: LogSettings { total_bytes: TOTAL_BYTES_MIN, forward: None },
            admit: Admit::new(|_, _, _| Ok(())),
            permit: Permit::none(),
        };
        let network = Network { bridge: "afresh-no".to_string(), subnet: "198.18.7.0/24".parse().unwrap(), prefix: None };
        let keeper = Arc::new(Keeper::new(config, network, Firewall::absent(), nowhere, tasks.handle().clone()));
        Self { keeper, _tasks: tasks, _dir: dir }
    }
}

pub fn record(release: Release) -> Record {
    Record { release, ..instance(1).record }
}

/// `web-r1-1-<number>`, recorded for a declaration of stamp (1, 1) and not launched.
pub fn instance(number: u64) -> Instance {
    let (id, group) = (InstanceId::new(format!("web-r1-1-{number}")).unwrap(), GroupName::new("web-r1-1").unwrap());
    let placement = Placement {
        runtime: PathBuf::new(),
        runtime_state: PathBuf::new(),
        cgroup: String::new(),
        image_mount: PathBuf::new(),
        artifact_mount: None,
        mounts: PathBuf::new(),
        log: PathBuf::new(),
        bridge: String::new(),
        veth: String::new(),
        gateway: [198, 18, 7, 1].into(),
        address: [198, 18, 7, u8::try_from(number + 1).unwrap()].into(),
        six: None,
        search: Vec::new(),
        secrets: None,
        ids: None,
        mount_points: Default::default(),
    };
    Instance::new(Record { id, group, number, release: release(1), once: None, stamp: Some(stamp(1, 1)), created: Time(0), placement })
}

pub fn instances(numbers: &[u64]) -> State {
    let all = numbers.iter().map(|number| instance(*number)).map(|one| (one.record.id.clone(), one));
    State { instances: all.collect(), ..State::default() }
}

/// A pid of no running process.
pub fn started() -> Started {
    Started { pid: i32::MAX, pid_start: 1, at: Time(0), spent_ms: Vec::new() }
}

pub fn stamp(fence: u64, seq: u64) -> Stamp {
    Stamp { fence: Fence(fence), seq }
}

pub fn release(number: u64) -> Release {
    Release {
        service: ServiceName::new("web").unwrap(),
        number,
        image_name: ImageName::new("base").unwrap(),
        image: model::Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
        artifact: Some(model::Digest::new(format!("sha256:{}", "b".repeat(64))).unwrap()),
        run: vec!["/bin/serve".to_string(), "--port".to_string(), "8080".to_string()],
        env: [("MODE".to_string(), "test".to_string())].into(),
        secrets: Default::default(),
        user: "65534:65534".to_string(),
        port: Some(8080),
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: model::Network::closed(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        container: None,
    }
}

pub fn run(group: &str, release: Release, count: u32) -> GroupSpec {
    let service = release.service.clone();
    GroupSpec { group: GroupName::new(group).unwrap(), service, desired: DesiredGroup::Run { release, count, once: None } }
}

pub fn gone(group: &str) -> GroupSpec {
    GroupSpec { group: GroupName::new(group).unwrap(), service: ServiceName::new("web").unwrap(), desired: DesiredGroup::Gone }
}
