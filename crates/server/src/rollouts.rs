//! Rollouts: opens what `rotation::next` says is next. A rotation and its place in the rollout are recorded in one transaction, so that a
//! kill at any point opens nothing twice.

use crate::access::Caller;
use crate::admission::{Exempt, must_be_admitted};
use crate::app::App;
use crate::observed_service::observe_once;
use crate::opening::{self, ChangeRequest, retry_if_changed};
use api::control::RolloutCommanded;
use control::Desired;
use journal::RolloutRow;
use model::{Blame, Fault, RolloutEnd, RolloutId, RotationCommand, ServiceName, Verdict};
use rotation::Next;
use std::collections::BTreeMap;

pub fn advance(app: &App) -> Result<(), Fault> {
    let mut first = Ok(());
    for row in app.database.read(|r| r.open_rollouts())? {
        // A rollout that cannot continue must not hold up the others.
        if let Err(fault) = advance_one(app, &row) {
            first = first.and(Err(fault));
        }
    }
    first
}

/// For the open rotations of a rollout, and for what it has not begun: paused it opens nothing, aborted or stopped it never will.
pub fn command(app: &App, caller: &Caller, id: &RolloutId, command: RotationCommand) -> Result<RolloutCommanded, Fault> {
    // Nothing is opened meanwhile.
    let _alone = app.deploy_lock();
    let row = app.database.read(|r| r.rollout(id))?.ok_or_else(|| journal::no_rollout(id))?;
    let services: Vec<ServiceName> = row.plan.tiers.iter().flat_map(|(_, all)| all).map(|(spec, _)| spec.name.clone()).collect();
    services.iter().try_for_each(|service| caller.must_deploy(service, None, false))?;
    let by = caller.signed();
    let commanded = app.database.write(|tx| {
        let mut done = RolloutCommanded::default();
        // Also refuses a rollout that has ended.
        tx.pause_rollout(id, (command == RotationCommand::Pause).then_some(by.as_str()))?;
        let begun = tx.rotations_of(id)?;
        for rotation in &begun {
            match tx.verdict(rotation)? {
                None => {
                    tx.command(&rotation.id, command, &by, app.now())?;
                    done.rotations.push(rotation.id.clone());
                }
                Some(Verdict::Promoted) => done.promoted.push(rotation.service.clone()),
                Some(Verdict::RolledBack | Verdict::Stopped) => {}
            }
        }
        done.waiting = services.into_iter().filter(|s| begun.iter().all(|r| r.service != *s)).collect();
        let word = match command {
            RotationCommand::Pause | RotationCommand::Resume => return Ok(done),
            RotationCommand::Rollback => "aborted",
            RotationCommand::Stop => "stopped",
        };
        // Open rotations end by themselves; the rollout ends now, so that no further one is opened.
        tx.end_rollout(id, RolloutEnd::Halted, &format!("{word} by {by}"))?;
        Ok(done)
    })?;
    app.notifier.notify();
    Ok(commanded)
}

fn advance_one(app: &App, row: &RolloutRow) -> Result<(), Fault> {
    loop {
        match rotation::next(&row.plan, &opened(app, &row.id)?) {
            Next::Wait => return Ok(()),
            Next::End(end) => return finish(app, &row.id, end, &reason(app, row, end)?),
            Next::Open(..) if row.paused.is_some() => return Ok(()),
            Next::Open(places, tier) => {
                let Some((_, services)) = row.plan.tiers.get(tier) else {
                    return Err(Fault::ours("no-such-tier", format!("{} has no tier {tier}", row.id)));
                };
                for place in places {
                    let Some((spec, release)) = services.get(place) else { continue };
                    let desired = Desired { spec: spec.clone(), release: release.clone() };
                    match open(app, row, &desired) {
                        Ok(()) => {}
                        // A user's own deploy of this service is in progress: its end wakes this loop.
                        Err(fault) if fault.code == "busy" => return Ok(()),
                        Err(fault) if fault.blame == Blame::World => return Err(fault),
                        Err(fault) => return finish(app, &row.id, RolloutEnd::Halted, &fault.message),
                    }
                }
            }
        }
    }
}

fn opened(app: &App, id: &RolloutId) -> Result<BTreeMap<ServiceName, Option<Verdict>>, Fault> {
    app.database.read(|r| r.rotations_of(id)?.into_iter().map(|row| Ok((row.service.clone(), r.verdict(&row)?))).collect())
}

fn open(app: &App, row: &RolloutRow, desired: &Desired) -> Result<(), Fault> {
    let _alone = app.deploy_lock();
    let service = &desired.spec.name;
    retry_if_changed(|| {
        app.database.read(|r| r.must_be_free(service))?;
        // Much may have changed since the rollout was requested.
        must_be_admitted(app, None, &[desired], &Exempt::default())?;
        let observed = observe_once(app, service, desired.release.route.is_some())?;
        let why = format!("{}: {}", row.id, row.plan.why);
        let change = ChangeRequest { why, by: row.id.as_str(), at: app.now(), rollout: Some(&row.id), always: true };
        app.database.write(|tx| {
            let is_opened = |r: &journal::RotationRow| r.service == *service;
            let ended = tx.rollout(&row.id)?.is_none_or(|r| r.end.is_some() || r.paused.is_some());
            if ended || tx.rotations_of(&row.id)?.iter().any(is_opened) {
                return Ok(());
            }
            opening::open(tx, &observed, desired, &change).map(drop)
        })
    })
}

fn finish(app: &App, id: &RolloutId, end: RolloutEnd, why: &str) -> Result<(), Fault> {
    tracing::info!(rollout = %id, ?end, why, "ended");
    app.database.write(|tx| tx.end_rollout(id, end, why))
}

fn reason(app: &App, row: &RolloutRow, end: RolloutEnd) -> Result<String, Fault> {
    if end == RolloutEnd::Promoted {
        return Ok("every rotation was promoted".to_string());
    }
    let failed: Vec<String> = opened(app, &row.id)?
        .into_iter()
        .filter_map(|(service, verdict)| match verdict {
            Some(Verdict::RolledBack) => Some(format!("{service} was rolled back")),
            Some(Verdict::Stopped) => Some(format!("{service} was stopped")),
            Some(Verdict::Promoted) | None => None,
        })
        .collect();
    Ok(format!("{}; later tiers were not started", failed.join(", ")))
}
