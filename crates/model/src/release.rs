//! One release: image × artifact × settings, pinned by digest. It never changes.

use crate::{
    Check, Digest, Drain, FromContainer, Health, ImageName, Limits, Migrate, Network, PinnedSecrets, Route, SecretName, SecretVersion,
    ServiceName, ServiceSpec, Volume,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything an instance needs, and nothing about how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub service: ServiceName,
    /// Grows by one with each release of the service: `web@r42`.
    pub number: u64,
    pub image_name: ImageName,
    /// The erofs file of the machine's root.
    pub image: Digest,
    /// The erofs file of the code; mounted read-only at `/app`, which is also the working directory.
    #[serde(default)]
    pub artifact: Option<Digest>,
    pub run: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "PinnedSecrets::is_empty")]
    pub secrets: PinnedSecrets,
    pub user: String,
    #[serde(default)]
    pub port: Option<u16>,
    pub health: Health,
    pub drain: Drain,
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Left out where it is closed, as it was before there was any: a release of then keeps its digest.
    #[serde(default = "Network::closed", skip_serializing_if = "Network::is_closed")]
    pub network: Network,
    #[serde(default)]
    pub route: Option<Route>,
    #[serde(default)]
    pub checks: Vec<Check>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// What it has from its container image. None: its image is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<FromContainer>,
}

impl Release {
    /// A service of a service file, pinned to digests. It has no number yet.
    pub fn of(spec: &ServiceSpec, image: Digest, artifact: Option<Digest>) -> Self {
        Self {
            service: spec.name.clone(),
            number: 0,
            image_name: spec.image.clone(),
            image,
            artifact,
            run: spec.run.clone(),
            env: spec.env.clone(),
            secrets: PinnedSecrets { used: spec.secrets.clone(), ..PinnedSecrets::default() },
            user: spec.user.clone(),
            port: spec.port,
            health: spec.health.clone(),
            drain: spec.drain.clone(),
            limits: spec.limits.clone(),
            volumes: spec.volumes.clone(),
            exclusive: spec.exclusive,
            network: spec.network.clone(),
            route: spec.route.clone(),
            checks: spec.checks.clone(),
            migrate: spec.migrate.clone(),
            container: None,
        }
    }

    /// Its settings as a service file would have them; what no release has is that of `spec`: count, tier, jobs and rollout.
    pub fn settings(&self, spec: &ServiceSpec) -> ServiceSpec {
        ServiceSpec {
            image: self.image_name.clone(),
            run: self.run.clone(),
            env: self.env.clone(),
            secrets: self.secrets.used.clone(),
            user: self.user.clone(),
            port: self.port,
            health: self.health.clone(),
            drain: self.drain.clone(),
            limits: self.limits.clone(),
            volumes: self.volumes.clone(),
            exclusive: self.exclusive,
            network: self.network.clone(),
            route: self.route.clone(),
            checks: self.checks.clone(),
            migrate: self.migrate.clone(),
            ..spec.clone()
        }
    }

    /// With these versions of the secrets that it uses.
    #[must_use]
    pub fn pinned(self, versions: &BTreeMap<SecretName, SecretVersion>) -> Self {
        Self { secrets: PinnedSecrets::of(&self.secrets.used, versions), ..self }
    }

    /// SHA-256 over number and content: proves that a server runs exactly this release. After a lost journal the same number may be given
    /// to other code, so the number alone proves nothing.
    pub fn digest(&self) -> Digest {
        // Plain data with text keys; serde_json cannot fail on it.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// `web@r42`
    pub fn label(&self) -> String {
        format!("{}@r{}", self.service, self.number)
    }
}
