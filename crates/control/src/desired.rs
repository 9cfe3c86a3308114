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
    ServiceSpec { from_image, ..release.settings(spec) }
}
