//! Makers of values for this crate's unit tests.

use model::{Drain, Fence, GroupName, GroupSpec, GroupWish, Health, ImageName, Limits, Release, ServiceName, Stamp};

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
        user: "65534:65534".to_string(),
        port: Some(8080),
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        route: None,
        checks: Vec::new(),
    }
}

pub fn run(group: &str, release: Release, count: u32) -> GroupSpec {
    let service = release.service.clone();
    GroupSpec { group: GroupName::new(group).unwrap(), service, wish: GroupWish::Run { release, count, once: None } }
}

pub fn gone(group: &str) -> GroupSpec {
    GroupSpec { group: GroupName::new(group).unwrap(), service: ServiceName::new("web").unwrap(), wish: GroupWish::Gone }
}
