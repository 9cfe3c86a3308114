//! The caller of a request: identity, role, and the services that it may see and deploy.

use model::access::{Grant, Role};
use model::{Fault, Names, ServiceName, TierName};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Of a command in the audit.
const DETAIL_BYTES_MAX: usize = 1_000;

#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    name: String,
    grant: Grant,
    /// None: all.
    services: Option<BTreeSet<ServiceName>>,
    reason: Option<String>,
    /// What services are called as the request begins.
    names: Names,
    about: Mutex<BTreeSet<String>>,
    detail: Mutex<String>,
    consulted: AtomicBool,
}

impl Caller {
    /// `grant` and `services` name services by their ids.
    pub fn new(name: String, grant: Grant, services: Option<BTreeSet<ServiceName>>, reason: Option<String>, names: Names) -> Self {
        Self(Arc::new(Inner {
            name,
            grant,
            services,
            reason,
            names,
            about: Mutex::default(),
            detail: Mutex::default(),
            consulted: AtomicBool::new(false),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn role(&self) -> Role {
        self.0.grant.role
    }

    pub fn is_admin(&self) -> bool {
        self.role() == Role::Admin
    }

    /// Who calls and why, for the journal: `root`, `token:ci (release 1.4)`.
    pub fn signed(&self) -> String {
        match &self.0.reason {
            Some(reason) => format!("{} ({reason})", self.0.name),
            None => self.0.name.clone(),
        }
    }

    /// The services that the caller is for; None: all of them.
    pub fn services(&self) -> Option<&BTreeSet<ServiceName>> {
        self.0.consulted.store(true, Ordering::Relaxed);
        self.0.services.as_ref()
    }

    pub fn sees(&self, service: &ServiceName) -> bool {
        self.services().is_none_or(|all| all.contains(service))
    }

    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The id behind a name, or an id, that the caller wrote. Of a service that it may not see, it stays what was written: then no answer
    /// says that this is another's name.
    pub fn id_of(&self, written: &ServiceName) -> Result<ServiceName, Fault> {
        let names = self.names();
        let owner = names.owner_of(written);
        // Whether the caller may see what it asks for is still to be asked.
        if self.0.services.as_ref().is_some_and(|all| !all.contains(owner)) {
            return Ok(written.clone());
        }
        if names.former(written).is_some() {
            let now = names.name_of(owner);
            return Err(
                Fault::yours("renamed", format!("{written} was renamed to {now}")).hint(format!("write {now} instead of {written}"))
            );
        }
        Ok(owner.clone())
    }

    pub fn must_see(&self, service: &ServiceName) -> Result<(), Fault> {
        self.about(service.as_str());
        if self.sees(service) { Ok(()) } else { Err(self.not_for(service)) }
    }

    /// `tier`: the one that the service shall be in. A caller cannot move a service of another tier into one of its own: what is in the
    /// caller's tiers now is among its services, and an existing service of another tier is not.
    pub fn must_deploy(&self, service: &ServiceName, tier: Option<&TierName>, is_new: bool) -> Result<(), Fault> {
        self.about(service.as_str());
        self.must_have(Role::Deploy)?;
        let joins = is_new && tier.is_some_and(|tier| self.0.grant.tiers.contains(tier));
        let leaves = tier.is_some_and(|tier| !self.0.grant.services.contains(service) && !self.0.grant.tiers.contains(tier));
        match self.services() {
            None => Ok(()),
            Some(all) if (all.contains(service) && !leaves) || joins => Ok(()),
            Some(_) => Err(self.not_for(service)),
        }
    }

    pub fn must_have(&self, role: Role) -> Result<(), Fault> {
        if self.role() >= role {
            return Ok(());
        }
        let text = format!("{} has role {}; this call needs role {}", self.0.name, self.role().name(), role.name());
        Err(Fault::yours("forbidden", text).hint("an administrator can do it, or give a token with that role: `afresh token create`"))
    }

    /// For an existing path without a rule that says who may use it.
    pub fn must_have_rule(&self) -> Result<(), Fault> {
        Err(Fault::yours("forbidden", "no rule says who may make this call").hint("this is a bug of afresh: report it"))
    }

    pub fn not_for(&self, service: &ServiceName) -> Fault {
        Fault::yours("forbidden", format!("{} is not for service {service}", self.0.name))
            .hint("an administrator can do it, or give a token for that service: `afresh token create`")
    }

    /// Records a subject of the request for the audit.
    pub fn about(&self, what: &str) {
        let mut about = self.0.about.lock().unwrap_or_else(PoisonError::into_inner);
        if about.len() < 20 {
            about.insert(model::text::shown(what, 80));
        }
    }

    /// Records for the audit what exactly is asked for, such as a command.
    pub fn detail(&self, what: &str) {
        *self.0.detail.lock().unwrap_or_else(PoisonError::into_inner) = model::text::shown(what, DETAIL_BYTES_MAX);
    }

    pub fn details(&self) -> String {
        self.0.detail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn subjects(&self) -> String {
        let about = self.0.about.lock().unwrap_or_else(PoisonError::into_inner);
        about.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// A handler answered a caller for some services only without asking which: an internal error that must not pass as an answer.
    pub fn was_passed_over(&self) -> bool {
        self.0.services.is_some() && !self.0.consulted.load(Ordering::Relaxed)
    }
}
