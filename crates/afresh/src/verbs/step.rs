//! `step`: one step alone, under the same guards and in the same journal as a rotation's.

use super::follow::follow;
use super::step_hand::Run;
use super::step_place::Place;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{Opened, RotationStatus, StepAnswer, StepRequest, StepState};
use clap::{Args, Subcommand};
use model::Fault;
use std::time::Duration;

/// List, show, check or run single steps
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh step list web.7\n  afresh step check web.7/4\n  afresh step run web.7/4")]
pub struct StepVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List the steps of a rotation
    #[command(after_help = "Example:\n  afresh step list web.7")]
    List {
        /// A rotation (`web.7`), or a service for its open or last one (`web`)
        rotation: String,
    },
    /// Show one step
    #[command(after_help = "Example:\n  afresh step show web.7/4")]
    Show {
        /// Rotation and place: `web.7/4`
        step: Place,
    },
    /// Check whether a step's condition holds now
    #[command(
        after_help = "Exits with 0 if it is satisfied, 3 if not yet, 4 if it is refused.\n\nExample:\n  afresh step check web.7/4 || echo not yet"
    )]
    Check {
        /// Rotation and place: `web.7/4`
        step: Place,
    },
    /// Declare a step's state, again or by hand
    #[command(
        after_help = "Nothing is changed where the state holds already.\n\nExample:\n  afresh step run web.7/4\n  afresh step run scale web-r42-7 --count 3\n  afresh step run shift web --weights web-r42-7=100\n  afresh step run drain web-r41-6 --within 30s"
    )]
    Run(Run),
}

/// The control plane waits a while for what was declared before it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl StepVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            match self.what {
                What::List { rotation } => list(context, &rotation).await,
                What::Show { step } => show_one(context, &step).await,
                What::Check { step } => {
                    let request = StepRequest::Of { rotation: step.rotation, step: step.step };
                    Ok(tell(context, &answer(context, "/v1/steps/check", &request).await?))
                }
                What::Run(run) => {
                    let request = run.request(context).await?;
                    let by_hand = matches!(request, StepRequest::Hand { .. });
                    match answer(context, "/v1/steps/run", &request).await? {
                        // It continues in a rotation of its own: follow that.
                        StepAnswer { state: StepState::NotYet, rotation: Some(rotation), .. } if by_hand => {
                            follow(context, &Opened { rotations: vec![rotation], ..Opened::default() }).await
                        }
                        answer => Ok(tell(context, &answer)),
                    }
                }
            }
        })
    }
}

async fn answer(context: &Context, path: &str, request: &StepRequest) -> Result<StepAnswer, Failure> {
    Ok(context.api().timeout(ANSWER_WITHIN).post(path, request).await?)
}

fn tell(context: &Context, answer: &StepAnswer) -> Exit {
    if context.json {
        show::json(answer);
    } else {
        let (word, style) = match answer.state {
            StepState::Satisfied => ("satisfied", show::GREEN),
            StepState::NotYet => ("not yet", show::YELLOW),
            StepState::Refused => ("refused", show::RED),
        };
        let journal = answer.rotation.as_ref().map_or_else(String::new, |r| format!(" (journal {r})"));
        let what = format!("{} {}", answer.step.kind(), show::step(&answer.step));
        show::line(format!("{what}: {}: {}{journal}", show::paint(style.bold(), word), answer.why));
    }
    match answer.state {
        StepState::Satisfied => Exit::Succeeded,
        StepState::NotYet => Exit::NotYet,
        StepState::Refused => Exit::Refused,
    }
}

async fn list(context: &Context, rotation: &str) -> Result<Exit, Failure> {
    let id = super::rotation::find(context, rotation).await?;
    let status: RotationStatus = context.api().get(&format!("/v1/rotations/{id}")).await?;
    if context.json {
        show::json(&status.plan.steps);
        return Ok(Exit::Succeeded);
    }
    let rows = (0u32..).zip(&status.plan.steps).map(|(n, planned)| {
        let state = match n.cmp(&status.cursor) {
            std::cmp::Ordering::Less => "satisfied",
            _ if status.verdict.is_some() => "",
            std::cmp::Ordering::Equal if status.step_started.is_some() => "started",
            _ => "",
        };
        let wave = planned.wave.map_or_else(String::new, |w| w.to_string());
        let what = show::step(&planned.step);
        vec![format!("{id}/{n}"), wave, planned.step.kind().to_string(), what, planned.capacity.to_string(), state.to_string()]
    });
    show::line(show::table(&["step", "wave", "kind", "declares", "capacity", "state"], rows.collect()));
    Ok(Exit::Succeeded)
}

async fn show_one(context: &Context, place: &Place) -> Result<Exit, Failure> {
    let status: RotationStatus = context.api().get(&format!("/v1/rotations/{}", place.rotation)).await?;
    let planned = status.plan.steps.get(place.step as usize).ok_or_else(|| {
        let text = format!("{} has {}", place.rotation, show::times(status.plan.steps.len() as u64, "step"));
        Fault::yours("no-such-step", text).hint("steps are counted from 0; `afresh step list` shows them")
    })?;
    if context.json {
        show::json(planned);
        return Ok(Exit::Succeeded);
    }
    show::line(format!("{} {}", planned.step.kind(), show::step(&planned.step)));
    show::line(format!("lowest capacity while it runs: {}, floor {}", planned.capacity, status.plan.floor));
    if place.step == status.cursor
        && let Some(waits) = &status.waits
    {
        show::line(format!("waits: {}", waits.why));
    }
    Ok(Exit::Succeeded)
}
