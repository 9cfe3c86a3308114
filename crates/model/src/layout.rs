//! Paths under the data directory. Paths only; nothing here touches a disk.

use crate::{Digest, GroupName, InstanceId};
use std::path::{Path, PathBuf};

/// ```text
/// DATA/
///   policy.json   which signatures this machine requires; signer.json: what it signs with. Both exist only if configured
///   run/          api.sock host.sock proxy.sock data.sock, lock files; all mode 0600
///   control/      afresh.db: journals, leases, releases, services
///   secrets/      values of secrets, encrypted, and the machine's key; root alone
///   store/        objects/<hex> by digest; manifests/<hex>.json; work/ for unfinished objects
///   host/         groups/<group>.json declared, instances/<id>/ bundle, log, exit
///   gateway.json  the host's addresses in its servers' network: written by the keeper for the balancer
///   service-names.json  names of renamed services: written by the control plane for the keeper
///   targets/      <group>.json: written by the keeper for the balancer; drained/<instance>: the balancer's answer
///   proxy/        routes/<route>.json declared
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn policy(&self) -> PathBuf {
        self.root.join("policy.json")
    }

    pub fn signer(&self) -> PathBuf {
        self.root.join("signer.json")
    }

    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn api_socket(&self) -> PathBuf {
        self.run().join("api.sock")
    }

    pub fn host_socket(&self) -> PathBuf {
        self.run().join("host.sock")
    }

    /// The balancer's control side.
    pub fn proxy_socket(&self) -> PathBuf {
        self.run().join("proxy.sock")
    }

    /// The balancer's data side.
    pub fn data_socket(&self) -> PathBuf {
        self.run().join("data.sock")
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("control/afresh.db")
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub fn object(&self, digest: &Digest) -> PathBuf {
        self.store().join("objects").join(digest.hex())
    }

    pub fn manifest(&self, digest: &Digest) -> PathBuf {
        self.store().join("manifests").join(format!("{}.json", digest.hex()))
    }

    pub fn host(&self) -> PathBuf {
        self.root.join("host")
    }

    pub fn groups(&self) -> PathBuf {
        self.host().join("groups")
    }

    pub fn group(&self, group: &GroupName) -> PathBuf {
        self.groups().join(format!("{group}.json"))
    }

    pub fn instances(&self) -> PathBuf {
        self.host().join("instances")
    }

    pub fn instance(&self, id: &InstanceId) -> PathBuf {
        self.instances().join(id.as_str())
    }

    /// What the program printed, both streams.
    pub fn log(&self, id: &InstanceId) -> PathBuf {
        self.host().join("logs").join(format!("{id}.log"))
    }

    pub fn gateway(&self) -> PathBuf {
        self.root.join("gateway.json")
    }

    pub fn service_names(&self) -> PathBuf {
        self.root.join("service-names.json")
    }

    pub fn targets(&self) -> PathBuf {
        self.root.join("targets")
    }

    pub fn target(&self, group: &GroupName) -> PathBuf {
        self.targets().join(format!("{group}.json"))
    }

    /// Written by the balancer once no request can be in flight to this instance any more.
    pub fn drained(&self, id: &InstanceId) -> PathBuf {
        self.targets().join("drained").join(id.as_str())
    }

    pub fn proxy(&self) -> PathBuf {
        self.root.join("proxy")
    }

    pub fn routes(&self) -> PathBuf {
        self.proxy().join("routes")
    }
}
