//! One step by hand: tested, or run. A step that is run is a rotation of its own: it goes through the journal and under the same guard.

use crate::access::{self, Caller};
use crate::app::App;
use crate::observed_service;
use crate::status;
use api::control::{StepAnswer, StepRequest, StepState};
use control::{ObservedService, must_own_groups, open_manual_step};
use journal::{Origin, Tx};
use model::{Blame, Event, EventLine, Fault, Fence, Opened, RotationId, ServiceName, ServiceSpec, Step, Time, Verdict, View};
use rotation::{Provider, Rotation, StepStatus};
use std::time::{Duration, Instant};

/// A manual step is often satisfied at once; the answer waits this long for its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub fn check(app: &App, caller: &Caller, request: &StepRequest) -> Result<StepAnswer, Fault> {
    match request {
        StepRequest::Of { rotation, step } => {
            caller.must_deploy(&rotation.service(), None, false)?;
            check_planned(app, rotation, *step)
        }
        StepRequest::Hand { service, step } => {
            access::step(app, caller, service, step)?;
            check_manual(app, service, step, &caller.signed())
        }
    }
}

pub fn run(app: &App, caller: &Caller, request: &StepRequest) -> Result<StepAnswer, Fault> {
    match request {
        StepRequest::Of { rotation, step } => {
            caller.must_deploy(&rotation.service(), None, false)?;
            let answer = check_planned(app, rotation, *step)?;
            // The driver works on the current step already: running it means that the driver observes again now.
            app.notifier.notify();
            Ok(StepAnswer { rotation: Some(rotation.clone()), ..answer })
        }
        StepRequest::Hand { service, step } => {
            access::step(app, caller, service, step)?;
            run_manual(app, service, step, &caller.signed())
        }
    }
}

fn answer(step: Step, status: StepStatus) -> StepAnswer {
    let (state, why) = match status {
        StepStatus::Satisfied(why) => (StepState::Satisfied, why),
        StepStatus::NotYet(why) => (StepState::NotYet, why),
        StepStatus::Refused(why) => (StepState::Refused, why),
    };
    StepAnswer { step, state, why, rotation: None }
}

fn check_planned(app: &App, id: &RotationId, place: u32) -> Result<StepAnswer, Fault> {
    let r = app.database.read(|records| status::fold(records, id))?;
    let Some(planned) = r.plan.steps.get(place as usize) else {
        let text = format!("{id} has no step {place}: its plan has {} steps, from 0", r.plan.steps.len());
        return Err(Fault::yours("not-found", text).hint(format!("`afresh step list {id}` shows them")));
    };
    let step = planned.step.clone();
    // A step that is not the current one, or of a closed rotation, is answered from the journal; keeper and balancer need not answer.
    let settled = r.closed.is_some() || place != r.cursor;
    let view = if settled { View { at: app.now(), ..View::default() } } else { rotation::observe(&r, &app.world())? };
    Ok(answer(step, rotation::step_status(&r, place, &view, app.now())))
}

fn spec_in_force(app: &App, service: &ServiceName) -> Result<ServiceSpec, Fault> {
    let row = app.database.read(|r| r.in_force(service))?;
    row.map(|r| r.spec).ok_or_else(|| journal::no_service(service))
}

fn observe(app: &App, service: &ServiceName, step: &Step) -> Result<ObservedService, Fault> {
    let inventory = observed_service::compare(app)?;
    let routed = matches!(step, Step::Shift { .. } | Step::Drain { .. });
    let mut observed = observed_service::observe_with(app, service, routed, &inventory)?;
    must_own_groups(service, step, &inventory)?;
    // The group of a manual step may be one that no recent journal names.
    if let Some(group) = step.group()
        && !observed.view.groups.contains_key(group)
    {
        observed.view.groups.insert(group.clone(), Provider::observe(&app.provider, group)?);
    }
    Ok(observed)
}

fn why(step: &Step, by: &str) -> String {
    format!("one step by hand ({}), requested by {by}", step.kind())
}

/// Whether the step would be satisfied if it began now. Opens and declares nothing.
fn check_manual(app: &App, service: &ServiceName, step: &Step, by: &str) -> Result<StepAnswer, Fault> {
    let spec = spec_in_force(app, service)?;
    let observed = observe(app, service, step)?;
    let opened = match open_manual_step(&observed, &spec, step, observed.summary.active.clone(), &why(step, by)) {
        Ok(opened) => opened,
        Err(fault) => return Ok(answer(step.clone(), StepStatus::Refused(fault.message))),
    };
    let id = RotationId::of(service, 0);
    let at = Time(observed.view.at.0.saturating_sub(1));
    let r = Rotation::fold(&[EventLine { rotation: id, seq: 0, at, fence: Fence(0), event: Event::Opened(opened) }])?;
    let mut view = observed.view;
    for object in r.objects() {
        let has = app.images.has(&object)?;
        view.objects.insert(object, has);
    }
    Ok(answer(step.clone(), rotation::unopened_step_status(r, &view, app.now())))
}

fn run_manual(app: &App, service: &ServiceName, step: &Step, by: &str) -> Result<StepAnswer, Fault> {
    let id = {
        let _alone = app.deploy_lock();
        let spec = spec_in_force(app, service)?;
        app.database.read(|r| r.must_be_free(service))?;
        let observed = observe(app, service, step)?;
        let opened = |from| -> Result<Opened, Fault> { open_manual_step(&observed, &spec, step, from, &why(step, by)) };
        let open = |tx: &Tx<'_>| tx.open_rotation(&Origin { service, rollout: None, at: app.now() }, |_, from| opened(from));
        match app.database.write(open) {
            Ok(id) => id,
            // A refusal by the guard is an answer; a service that is busy or unknown is an error.
            Err(fault) if fault.blame == Blame::Yours && fault.code != "busy" => {
                return Ok(answer(step.clone(), StepStatus::Refused(fault.message)));
            }
            Err(fault) => return Err(fault),
        }
    };
    wait_for_end(app, id, step)
}

fn wait_for_end(app: &App, id: RotationId, step: &Step) -> Result<StepAnswer, Fault> {
    let begun = Instant::now();
    loop {
        let count = app.notifier.count();
        let r = app.database.read(|records| status::fold(records, &id))?;
        let status = match &r.closed {
            Some(closed) if closed.verdict == Verdict::Promoted => Some(StepStatus::Satisfied(closed.why.clone())),
            Some(closed) => Some(StepStatus::Refused(closed.why.clone())),
            None if begun.elapsed() >= ANSWER_WITHIN || app.is_stopping() => {
                let waits = app.waiting(&r).map_or_else(|| "it has begun".to_string(), |w| w.why);
                Some(StepStatus::NotYet(waits))
            }
            None => None,
        };
        if let Some(status) = status {
            return Ok(StepAnswer { rotation: Some(id), ..answer(step.clone(), status) });
        }
        app.notifier.wait(count, Duration::from_millis(100));
    }
}
