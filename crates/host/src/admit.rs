//! Admission: callbacks that may refuse an object before it becomes the root or the code of a server, such as a check of signatures, and a
//! directory before it becomes a volume. The host itself has no policy and must not have one: the process that starts it decides.

use model::{Digest, Fault, ImageName, ServiceName, Volume, volume};
use std::fmt;
use std::sync::Arc;

/// What an object is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// The image, by the name that the release has of it.
    Root(&'a ImageName),
    /// The service's own code.
    Code,
}

/// When it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Of a group that never had a server.
    First,
    /// Of a group that had one: a dead server is replaced, or the count grows.
    More,
}

type Question = dyn Fn(Role<'_>, &Digest, Launch) -> Result<(), Fault> + Send + Sync;

/// Called for each object of a group that has no server yet, at every attempt, after its bytes were verified. It is not called for a
/// group that has had a server: that keeps its count whatever the policy says since, also under a restarted keeper. A refusal becomes
/// the group's trouble, as a corrupt object does, and admission is tried again later.
#[derive(Clone)]
pub struct Admit(Arc<Question>);

impl Admit {
    pub fn new(ask: impl Fn(Role<'_>, &Digest, Launch) -> Result<(), Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Admits everything.
    pub fn all() -> Self {
        Self::new(|_, _, _| Ok(()))
    }

    pub fn ask(&self, role: Role<'_>, object: &Digest, launch: Launch) -> Result<(), Fault> {
        (self.0)(role, object, launch)
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admit")
    }
}

/// The code of a refusal by the rules, as opposed to rules that cannot be read.
pub const REFUSED: &str = "policy-volume";

type Rules = dyn Fn(&ServiceName, &Volume) -> Result<volume::Permitted, Fault> + Send + Sync;

/// Called for each volume before a server that has it is made. A group that has had a server keeps its volumes, as it keeps its objects, and
/// with them what must be mounted (`needs`). While the rules cannot be read no server with a volume starts, as they also say that.
#[derive(Clone)]
pub struct Permit(Arc<Rules>);

impl Permit {
    pub fn new(ask: impl Fn(&ServiceName, &Volume) -> Result<volume::Permitted, Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Permits no volume.
    pub fn none() -> Self {
        Self::new(|service, volume| Err(Fault::yours(REFUSED, format!("{service}: volume {}: no volume is permitted here", volume.name))))
    }

    pub fn ask(&self, service: &ServiceName, volume: &Volume) -> Result<volume::Permitted, Fault> {
        (self.0)(service, volume)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
