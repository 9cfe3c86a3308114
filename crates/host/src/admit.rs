//! Who may say no before an object becomes the root of a machine, or its code: a check of signatures, say. The host itself knows of none, and
//! must not: what is asked for is decided by whoever starts it.

use model::{Digest, Fault};
use std::fmt;
use std::sync::Arc;

/// What an object is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Root,
    /// The service's own code.
    Code,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Of a group that never had a server.
    First,
    /// Of a group that had one: what died is replaced, or more are wanted.
    More,
}

type Question = dyn Fn(Role, &Digest, Launch) -> Result<(), Fault> + Send + Sync;

/// IssuedCommand at once, each time, for each object of a group that has no server yet, with its bytes checked already. A group that has begun
/// is not asked about: it keeps its count whatever the policy says since, also under a keeper that was restarted. A refusal becomes the group's trouble, as
/// a corrupted object does, and the question is asked again later.
#[derive(Clone)]
pub struct Admit(Arc<Question>);

impl Admit {
    pub fn new(ask: impl Fn(Role, &Digest, Launch) -> Result<(), Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Nothing is asked for.
    pub fn all() -> Self {
        Self::new(|_, _, _| Ok(()))
    }

    pub fn ask(&self, role: Role, object: &Digest, launch: Launch) -> Result<(), Fault> {
        (self.0)(role, object, launch)
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admit")
    }
}
