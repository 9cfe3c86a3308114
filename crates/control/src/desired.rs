//! A service's desired state and the release that it shall run.

use model::{Release, ServiceSpec};

/// The release has no number of its own before the journal gives it one.
#[derive(Clone, Debug)]
pub struct Desired {
    pub spec: ServiceSpec,
    pub release: Release,
}

impl Desired {
    /// An earlier release: it brings all its settings with it; count, tier and rollout are those of `spec`.
    pub fn earlier(spec: &ServiceSpec, release: Release) -> Self {
        Self { spec: with_settings(spec, &release), release }
    }
}

/// `spec` with the settings of `release`; count, tier and rollout stay.
pub fn with_settings(spec: &ServiceSpec, release: &Release) -> ServiceSpec {
    let from_image = release.container.as_ref().map(|c| c.left.clone()).unwrap_or_default();
    let release = release.clone().silent(&from_image);
    ServiceSpec {
        image: release.image_name.clone(),
        run: release.run.clone(),
        env: release.env.clone(),
        secrets: release.secrets.used.clone(),
        user: release.user.clone(),
        port: release.port,
        health: release.health.clone(),
        drain: release.drain.clone(),
        limits: release.limits.clone(),
        volumes: release.volumes.clone(),
        exclusive: release.exclusive,
        network: release.network.clone(),
        route: release.route.clone(),
        checks: release.checks.clone(),
        migrate: release.migrate.clone(),
        from_image,
        ..spec.clone()
    }
}
