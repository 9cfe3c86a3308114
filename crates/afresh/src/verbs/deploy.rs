//! `plan` and `deploy`: show the plan, ask for consent, open the rotations, follow them. What is sent is made in `desired`.

use super::desired::{Desired, Images, request};
use super::follow::follow;
use super::guard::objection;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{DeployRequest, Opened, PlanAnswer, Removal, Renamed};
use api::guard::Objection;
use clap::Args;
use guard::secrets::Detector;
use model::ServiceName;

/// Show the steps a deploy would take; nothing is baked or changed
#[derive(Args, Debug)]
#[command(
    after_help = "Each step is shown with the serving capacity during it. The code is packed into the store, so that its digest is known; `afresh gc` \
                  deletes what no release uses.\n\n\
                  A secret with a `command` is read by running that command here with your rights, as its value decides whether there is a new release; each \
                  command is printed before it runs. --keep-secrets runs none, nor do `validate` and `fmt`: begin with these on a file that is not yours.\n\n\
                  What a rule of the control plane denies is shown first, with its place in the file and the fix, and the exit code is 4.\n\n\
                  With --exit-code it exits with 0 if there is nothing to change, 2 if there are changes, 1 on any error or denial, as Terraform's \
                  -detailed-exitcode.\n\nExample:\n  afresh plan web --artifact ./build\n  afresh plan --exit-code || echo not up to date"
)]
pub struct Plan {
    #[command(flatten)]
    pub desired: Desired,
    /// Exit with 0 if there is nothing to change, 2 if there are changes, 1 on an error
    #[arg(long)]
    pub exit_code: bool,
}

/// Deploy a service, or all tier by tier, and follow it to its end
#[derive(Args, Debug)]
#[command(
    after_help = "The plan is printed first and must be confirmed: at a terminal, or with --yes. Ctrl-C leaves the deploy running.\n\n\
                  A service whose code neither the file nor --artifact names keeps the artifact that is active; --no-artifact drops it.\n\n\
                  Commands of secrets run here with your rights, and each is printed before it runs; --keep-secrets runs none.\n\n\
                  The exit code is the verdict: 0 promoted, 5 rolled back, 6 partial; 2 without --yes where no terminal is.\n\n\
                  What a rule of the control plane denies (`afresh guard rules --control-plane`) is refused before anything begins.\n\n\
                  Example:\n  afresh deploy web --artifact ./build\n  afresh deploy --remove old-web --yes"
)]
pub struct Deploy {
    #[command(flatten)]
    pub desired: Desired,
    #[command(flatten)]
    pub deploying: Deploying,
}

/// Whether it is confirmed, and followed.
#[derive(Args, Debug)]
pub struct Deploying {
    /// Return as soon as the deploy has begun
    #[arg(long)]
    pub no_follow: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// The request is for some services of the file: the others are no news.
    #[arg(skip)]
    pub is_part: bool,
}

impl Plan {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match (self.plan(context), self.exit_code) {
            (Ok(answer), true) if answer.gate.denied => Ok(Exit::PLAN_FAILED),
            (Ok(answer), true) => Ok(if has_changes(&answer) { Exit::PLAN_CHANGES } else { Exit::Succeeded }),
            (Err(failure), true) => {
                failure.print(context.json);
                Ok(Exit::PLAN_FAILED)
            }
            (Ok(answer), false) => Ok(if answer.gate.denied { Exit::Refused } else { Exit::Succeeded }),
            (Err(failure), false) => Err(failure),
        }
    }

    fn plan(&self, context: &Context) -> Result<PlanAnswer, Failure> {
        let request = request(context, &self.desired, Images::Plan)?;
        let answer: PlanAnswer = context.wait(async { Ok(context.api().post("/v1/plan", &request).await?) })?;
        if context.json {
            show::json(&answer);
        } else {
            print_gate(context, &answer);
            print_plan(&answer);
        }
        Ok(answer)
    }
}

impl Deploy {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = request(context, &self.desired, Images::Bake)?;
        deploy(context, &request, &self.deploying)
    }
}

/// Shows the plan, asks, deploys, and follows it.
pub fn deploy(context: &Context, request: &DeployRequest, how: &Deploying) -> Result<Exit, Failure> {
    context.wait(async {
        let mut answer: PlanAnswer = context.api().post("/v1/plan", request).await?;
        if how.is_part {
            answer.removals.clear();
        }
        if context.json {
            show::json(&answer);
        } else {
            print_gate(context, &answer);
            print_plan(&answer);
        }
        if answer.gate.denied {
            show::note("nothing was deployed: what is denied above is to be fixed, or waived");
            return Ok(Exit::Refused);
        }
        if has_changes(&answer) && !confirmed(how.yes, "deploy this")? {
            show::note("nothing was changed");
            return Ok(Exit::Refused);
        }
        let opened: Opened = context.api().post("/v1/deploy", request).await?;
        if how.no_follow || (opened.rotations.is_empty() && opened.rollout.is_none() && opened.removing.is_empty()) {
            print_opened(context, &opened, &answer.settings);
            return Ok(Exit::Succeeded);
        }
        print_unchanged(context, &opened, &answer.settings);
        follow(context, &opened).await
    })
}

fn has_changes(answer: &PlanAnswer) -> bool {
    replaces_servers(answer) || !answer.settings.is_empty() || !answer.renamed.is_empty()
}

fn replaces_servers(answer: &PlanAnswer) -> bool {
    !answer.rotations.is_empty() || answer.removals.iter().any(|removal| removal.plan.is_some())
}

/// What the gate objects to, with its place in the user's own file.
fn print_gate(context: &Context, answer: &PlanAnswer) {
    let shown: Vec<&Objection> = answer.gate.objections.iter().filter(|o| o.disposition != "observed").collect();
    let file = context.read().ok().zip(Detector::built_in().ok()).filter(|_| !shown.is_empty());
    for one in shown {
        let name = context.file.display().to_string();
        let places = file.as_ref().map(|(text, detector)| objection::places(&name, text, one, detector)).unwrap_or_default();
        objection::print(one, &places);
    }
    if let Some(fault) = &answer.gate.fault {
        show::line(format!("{} {}", show::paint(show::RED.bold(), "denied:"), show::safe_line(&fault.message)));
    }
}

pub fn print_plan(answer: &PlanAnswer) {
    answer.renamed.iter().for_each(|renamed| show::line(show::renamed(renamed)));
    for rotation in &answer.rotations {
        show::line(show::plan(rotation));
    }
    for removal in &answer.removals {
        if let Some(plan) = &removal.plan {
            show::line(show::removal(removal, plan));
        }
    }
    for note in &answer.notes {
        let at = note.at.map_or_else(String::new, |at| format!(" ({})", show::upkeep::day(at)));
        show::line(format!("{}: {}{at}", show::paint(show::BOLD, &note.service), note.text));
    }
    if !has_changes(answer) {
        show::line("nothing to change: the active releases are as requested");
    } else if !replaces_servers(answer) && !answer.settings.is_empty() {
        show::line("no server is replaced: only settings change");
    }
    if let Some(left) = left_alone(&answer.removals) {
        show::line(left);
    }
}

/// More names than this help nobody.
const NAMES_SHOWN: usize = 5;

/// They may be another file's: nothing is removed that is not named.
fn left_alone(removals: &[Removal]) -> Option<String> {
    let left: Vec<&str> = removals.iter().filter(|r| r.plan.is_none()).map(|r| r.service.as_str()).collect();
    let first = left.first()?;
    let names = left.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = left.len().checked_sub(NAMES_SHOWN).filter(|n| *n > 0).map_or_else(String::new, |n| format!(" and {n} more"));
    Some(format!("not in this file and left as they are: {names}{more} (`--remove {first}` removes one)"))
}

/// `settings`: services whose settings changed.
fn print_unchanged(context: &Context, opened: &Opened, settings: &[ServiceName]) {
    if !context.json {
        for Renamed { from, to } in &opened.renamed {
            show::line(format!("{to}: it was {from}, and is called {to} from now on"));
        }
        for service in &opened.unchanged {
            let what = if settings.contains(service) { "its settings changed" } else { "unchanged" };
            show::line(format!("{service}: {what}, the active release is as requested"));
        }
    }
}

/// What was opened, for who does not follow it.
pub fn print_opened(context: &Context, opened: &Opened, settings: &[ServiceName]) {
    if context.json {
        show::json(opened);
        return;
    }
    print_unchanged(context, opened, settings);
    for rotation in &opened.rotations {
        show::line(format!("{rotation}: opened; follow it with: afresh rotation show {rotation} --follow"));
    }
    for rotation in &opened.removing {
        show::line(format!("{rotation}: opened, it removes the service; follow it with: afresh rotation show {rotation} --follow"));
    }
    if let Some(rollout) = &opened.rollout {
        show::line(format!("{rollout}: opened; follow it with: afresh rollout show {rollout} --follow"));
    }
}
