//! Looks after every run that is not over, until it is. A supervised part: after a panic or a kill it begins again from the rows.

use super::advance::{self, Next, TO_END, TO_RUN};
use crate::app::App;
use crate::log_once::LogOnce;
use model::{DesiredGroup, Fault, GroupSpec, Run};
use rotation::{GroupInventory, Provider};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Somebody may sit before a terminal for the first seconds of a run.
const YOUNG_MS: u64 = 10_000;
const YOUNG_EVERY: Duration = Duration::from_millis(50);
const OLD_EVERY: Duration = Duration::from_millis(500);

pub fn keep(app: &Arc<App>) {
    let mut log = LogOnce::default();
    while !app.is_stopping() {
        let count = app.notifier.count();
        let open = match app.database.read(|r| r.open_runs()) {
            Ok(open) => open,
            Err(fault) => {
                log.warn("cannot read the open runs", &fault);
                Vec::new()
            }
        };
        let mut waits = BTreeMap::new();
        let mut failed = None;
        for run in &open {
            match step(app, run) {
                Ok(Some(why)) => drop(waits.insert(run.id.clone(), why)),
                Ok(None) => {}
                // One run that cannot be looked after holds up no other.
                Err(fault) => failed = Some(fault.message),
            }
        }
        app.run_waits.set(waits);
        app.parts.attempted("runs", failed);
        let now = app.now();
        let is_young = open.iter().any(|run| now.since(run.asked) < YOUNG_MS || run.stop.is_some());
        app.notifier.wait(count, if is_young { YOUNG_EVERY } else { OLD_EVERY });
    }
}

/// Steps of one run until it has to wait. Why it waits, if there is a reason.
fn step(app: &App, run: &Run) -> Result<Option<String>, Fault> {
    let seen = Provider::observe(&app.provider, &run.group);
    match advance::next(run, &seen, app.now()) {
        Next::Wait(why) => Ok(why),
        Next::Record(new) => record(app, run, *new),
        Next::Declare => match declare(app, run) {
            Ok(()) => Ok(None),
            Err(fault) => match advance::refused(run, &fault, app.now()) {
                Next::Record(new) => record(app, run, *new),
                _ => Ok(Some(fault.message)),
            },
        },
        Next::Retire => retire(app, run).map(|()| None),
        Next::Kill => {
            retire(app, run)?;
            app.provider.kill_ending(&run.group).map(|()| None)
        }
    }
}

/// Only over the row that was decided on: a stop that came meanwhile is not overwritten.
fn record(app: &App, old: &Run, new: Run) -> Result<Option<String>, Fault> {
    app.database.write(|tx| if tx.run(&old.id)?.as_ref() == Some(old) { tx.put_run(&new) } else { Ok(()) })?;
    if let (None, Some(exit)) = (&old.exit, &new.exit) {
        tracing::info!(run = %new.id, "{}", exit.how());
    }
    Ok(None)
}

fn declare(app: &App, run: &Run) -> Result<(), Fault> {
    let service = run.service();
    let row = app.database.read(|r| r.release(&service, run.release))?;
    let Some(release) = row.map(|row| row.release) else {
        return Err(Fault::yours("not-found", format!("{service} has no release {}", run.release)));
    };
    let desired = DesiredGroup::Run { release, count: 1, once: Some(run.one_shot()) };
    Provider::declare(&app.provider, TO_RUN, &GroupSpec { group: run.group.clone(), service, desired })
}

fn retire(app: &App, run: &Run) -> Result<(), Fault> {
    let spec = GroupSpec { group: run.group.clone(), service: run.service(), desired: DesiredGroup::Gone };
    Provider::declare(&app.provider, TO_END, &spec)
}
