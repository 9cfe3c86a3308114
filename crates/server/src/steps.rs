//! One step alone: observed at, or run. A step that is run goes the way of every rotation, through the journal and under the same guard.

use crate::access::{self, Caller};
use crate::app::App;
use crate::deploy::{self, ObservedService};
use crate::inventory::{self, Inventory};
use crate::observed_service;
use crate::status;
use api::control::{StepAnswer, StepRequest, StepState};
use journal::{Origin, Tx};
use model::{Event, EventLine, Fault, Fence, GroupName, GroupRelease, Opened, RotationId, ServiceName, Step, Time, Verdict, View};
use rotation::{Check, Provider, Rotation};
use std::time::{Duration, Instant};

/// A step that is run by hand is often true at once; so long its end is waited for before the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub fn check(app: &App, caller: &Caller, request: &StepRequest) -> Result<StepAnswer, Fault> {
    match request {
        StepRequest::Of { rotation, step } => {
            caller.must_deploy(&rotation.service(), None, false)?;
            check_of(app, rotation, *step)
        }
        StepRequest::Hand { service, step } => {
            access::step(app, caller, service, step)?;
            check_hand(app, service, step, &caller.signed())
        }
    }
}

pub fn run(app: &App, caller: &Caller, request: &StepRequest) -> Result<StepAnswer, Fault> {
    match request {
        StepRequest::Of { rotation, step } => {
            caller.must_deploy(&rotation.service(), None, false)?;
            let answer = check_of(app, rotation, *step)?;
            // The driver is at the current step already: running it is making it look again now.
            app.notifier.notify();
            Ok(StepAnswer { rotation: Some(rotation.clone()), ..answer })
        }
        StepRequest::Hand { service, step } => {
            access::step(app, caller, service, step)?;
            run_hand(app, service, step, &caller.signed())
        }
    }
}

fn answer(step: Step, check: Check) -> StepAnswer {
    let (state, why) = match check {
        Check::Satisfied(why) => (StepState::Satisfied, why),
        Check::NotYet(why) => (StepState::NotYet, why),
        Check::Refused(why) => (StepState::Refused, why),
    };
    StepAnswer { step, state, why, rotation: None }
}

fn check_of(app: &App, id: &RotationId, place: u32) -> Result<StepAnswer, Fault> {
    let r = app.database.read(|records| status::fold(records, id))?;
    let Some(planned) = r.plan.steps.get(place as usize) else {
        let told = format!("{id} has no step {place}: its plan has {} steps, from 0", r.plan.steps.len());
        return Err(Fault::yours("not-found", told).hint(format!("`afresh step list {id}` shows them")));
    };
    let step = planned.step.clone();
    // What is behind the cursor, or in a closed rotation, is told by the journal; nobody needs to be reached for it.
    let settled = r.closed.is_some() || place != r.cursor;
    let view = if settled { View { at: app.now(), ..View::default() } } else { rotation::observe(&r, &app.world())? };
    Ok(answer(step, rotation::check(&r, place, &view, app.now())))
}

fn current_spec(app: &App, service: &ServiceName) -> Result<model::ServiceSpec, Fault> {
    let row = app.database.read(|r| r.in_force(service))?;
    row.map(|r| r.spec).ok_or_else(|| journal::no_service(service))
}

fn look(app: &App, service: &ServiceName, step: &Step) -> Result<ObservedService, Fault> {
    let inventory = observed_service::retry_while_unreachable(app, || inventory::compare(app))?;
    let routed = matches!(step, Step::Shift { .. } | Step::Drain { .. });
    let mut observed = deploy::observe_with(app, service, routed, &inventory)?;
    must_be_its_own(service, step, &inventory)?;
    // A group named by hand may be one that no journal of late knows.
    if let Some(group) = step.group()
        && !observed.view.groups.contains_key(group)
    {
        observed.view.groups.insert(group.clone(), Provider::observe(&app.provider, group)?);
    }
    Ok(observed)
}

/// Every group that a step names belongs to the service: as it was declared, and where nobody declared it yet, by its name.
fn must_be_its_own(service: &ServiceName, step: &Step, inventory: &Inventory) -> Result<(), Fault> {
    let mut named: Vec<&GroupName> = step.group().into_iter().collect();
    match step {
        Step::Check { of, .. } => named.push(of),
        Step::Shift { weights, .. } => named.extend(weights.keys()),
        _ => {}
    }
    for group in named {
        let by_name = group.parts().map(|(owner, ..)| owner).filter(|owner| owner != service);
        if let Some(owner) = inventory.other_owner(group, service).or(by_name.as_ref()) {
            return Err(Fault::yours("another-service", format!("{group} belongs to {owner}, not to {service}"))
                .hint(format!("name the service whose group it is: `--service {owner}`")));
        }
    }
    Ok(())
}

fn opening(
    observed: &ObservedService,
    spec: &model::ServiceSpec,
    step: &Step,
    from: Option<GroupRelease>,
    by: &str,
) -> Result<Opened, Fault> {
    let plan = rotation::single(spec, step, &observed.view, observed.known_groups())?;
    let of = match step {
        Step::Check { of, .. } => Some(of),
        step => step.group(),
    };
    let named = of.and_then(|group| {
        let release = observed.known.releases.get(group)?.clone();
        Some(GroupRelease { group: group.clone(), release })
    });
    let Some(to) = named.or_else(|| from.clone()) else {
        return Err(Fault::yours("no-such-group", format!("{}: no journal says what would run there", spec.name))
            .hint("`afresh instances` shows the groups there are"));
    };
    let why = format!("one step by hand ({}), asked for by {by}", step.kind());
    Ok(Opened { spec: spec.clone(), from, to, plan, why })
}

/// Whether it is true now, if it were begun now; nothing is opened and nothing declared.
fn check_hand(app: &App, service: &ServiceName, step: &Step, by: &str) -> Result<StepAnswer, Fault> {
    let spec = current_spec(app, service)?;
    let observed = look(app, service, step)?;
    let opened = match opening(&observed, &spec, step, observed.known.active.clone(), by) {
        Ok(opened) => opened,
        Err(fault) => return Ok(answer(step.clone(), Check::Refused(fault.message))),
    };
    let id = RotationId::of(service, 0);
    let at = Time(observed.view.at.0.saturating_sub(1));
    let r = Rotation::fold(&[EventLine { rotation: id, seq: 0, at, fence: Fence(0), event: Event::Opened(opened) }])?;
    let mut view = observed.view;
    for object in r.objects() {
        let has = app.images.has(&object)?;
        view.objects.insert(object, has);
    }
    Ok(answer(step.clone(), rotation::check_unopened(r, &view, app.now())))
}

fn run_hand(app: &App, service: &ServiceName, step: &Step, by: &str) -> Result<StepAnswer, Fault> {
    let id = {
        let _alone = app.deploy_lock();
        let spec = current_spec(app, service)?;
        app.database.read(|r| r.must_be_free(service))?;
        let observed = look(app, service, step)?;
        let open = |tx: &Tx<'_>| {
            tx.open_rotation(&Origin { service, rollout: None, at: app.now() }, |_, from| opening(&observed, &spec, step, from, by))
        };
        match app.database.write(open) {
            Ok(id) => id,
            // The guard's no is an answer; a service that is busy or unknown is not.
            Err(fault) if fault.blame == model::Blame::Yours && fault.code != "busy" => {
                return Ok(answer(step.clone(), Check::Refused(fault.message)));
            }
            Err(fault) => return Err(fault),
        }
    };
    let begun = Instant::now();
    loop {
        let heard = app.notifier.count();
        let r = app.database.read(|records| status::fold(records, &id))?;
        let check = match &r.closed {
            Some(closed) if closed.verdict == Verdict::Promoted => Some(Check::Satisfied(closed.why.clone())),
            Some(closed) => Some(Check::Refused(closed.why.clone())),
            None if begun.elapsed() >= ANSWER_WITHIN || app.is_stopping() => {
                let waits = app.waiting(&r).map_or_else(|| "it has begun".to_string(), |w| w.why);
                Some(Check::NotYet(waits))
            }
            None => None,
        };
        if let Some(check) = check {
            return Ok(StepAnswer { rotation: Some(id), ..answer(step.clone(), check) });
        }
        app.notifier.wait(heard, Duration::from_millis(100));
    }
}
