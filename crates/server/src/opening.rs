//! The transaction that opens a rotation: it holds the decision of `control` against what the journal says now, and records it.

use crate::removal::removable;
use control::{Change, Desired, ObservedService, Target};
use journal::{Origin, Tx};
use model::{Fault, Release, RolloutId, RotationId, ServiceName, Time};

/// How often a service may change between observation and transaction before the request is refused.
const TRIES: usize = 5;
const CHANGED: &str = "world-moved";

/// Who changes what and why; goes into the journal.
#[derive(Clone)]
pub struct ChangeRequest<'a> {
    pub why: String,
    pub by: &'a str,
    pub at: Time,
    pub rollout: Option<&'a RolloutId>,
    /// Open a rotation even if nothing differs: a rollout counts it.
    pub always: bool,
}

/// Runs `f` again when a rotation was closed between observation and transaction.
pub fn retry_if_changed<T>(mut f: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    for _ in 1..TRIES {
        match f() {
            Err(fault) if fault.code == CHANGED => {}
            done => return done,
        }
    }
    f()
}

/// Records the desired state and opens a rotation to it; None: nothing differs.
pub fn open(tx: &Tx<'_>, observed: &ObservedService, desired: &Desired, request: &ChangeRequest<'_>) -> Result<Option<RotationId>, Fault> {
    let service = &desired.spec.name;
    tx.must_be_free(service)?;
    if tx.active(service)? != observed.summary.active {
        return Err(Fault::world(CHANGED, format!("another operation changed {service} just now")).hint("try again"));
    }
    tx.put_service(&desired.spec, request.by, request.at)?;
    number_above(tx, service, observed)?;
    let release = tx.put_release(&desired.release, request.at)?.release;
    let change = control::change(observed, desired, &release);
    if change == Change::Unchanged && !request.always {
        tx.put_in_force(service)?;
        return Ok(None);
    }
    let origin = Origin { service, rollout: request.rollout, at: request.at };
    let is_migrated = is_migrated(tx, observed, &release)?;
    let own_count = tx.in_force(service)?.map(|row| row.spec.count);
    let id = tx.open_rotation(&origin, |id, from| {
        let target = Target { id, from: from.as_ref(), own_count, is_migrated, why: &request.why };
        control::open(observed, desired, release, change, &target)
    })?;
    Ok(Some(id))
}

/// Opens a rotation that removes the service.
pub fn open_removal(
    tx: &Tx<'_>,
    service: &ServiceName,
    observed: &ObservedService,
    request: &ChangeRequest<'_>,
) -> Result<RotationId, Fault> {
    tx.must_be_free(service)?;
    let Some(row) = tx.in_force(service)? else { return Err(journal::no_service(service)) };
    let Some(active) = removable(tx, service)? else {
        return Err(Fault::yours("not-removable", format!("{service} has no release")));
    };
    number_above(tx, service, observed)?;
    let why = format!("removal of {service}; {}", request.why);
    let opened = control::open_removal(observed, row.spec, active, &why)?;
    tx.open_rotation(&Origin { service, rollout: None, at: request.at }, |_, _| Ok(opened))
}

/// Looked up in the transaction that opens the rotation. What the keeper remembers of migrations counts too: a journal may have been lost.
fn is_migrated(tx: &Tx<'_>, observed: &ObservedService, release: &Release) -> Result<bool, Fault> {
    if release.migrate.is_none() {
        return Ok(true);
    }
    let digest = release.digest();
    Ok(observed.inventory.has_migrated(&digest) || tx.migration(&release.service, &digest)?.is_some())
}

/// The next fence and rotation number are above those that keeper and balancer know.
fn number_above(tx: &Tx<'_>, service: &ServiceName, observed: &ObservedService) -> Result<(), Fault> {
    tx.outrank(service, observed.inventory.fence())?;
    tx.outnumber(service, observed.inventory.rotation())
}
