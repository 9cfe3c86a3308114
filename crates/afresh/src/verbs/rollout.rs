//! `rollout`: rotations of several services, tier by tier: commands to an open one, and the status of any.

use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{CommandRequest, Opened, RolloutCommanded, RotationStatus};
use clap::{Args, Subcommand};
use model::{RolloutEnd, RolloutId, RolloutSeen, RotationCommand, ServiceName};
use std::fmt::Display;

/// List, show, pause, resume, abort or stop rollouts
#[derive(Args, Debug)]
#[command(
    after_help = "A rollout has one rotation for each service, tier by tier. A command reaches the rotations that are open, and decides whether \
                  further ones are opened.\n\nExample:\n  afresh rollout pause rollout.3\n  afresh rollout show 3 --follow"
)]
pub struct RolloutVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List rollouts, newest first
    #[command(after_help = "Example:\n  afresh rollout list")]
    List(List),
    /// Show a rollout: its tiers, their rotations, how it ended
    #[command(after_help = "Example:\n  afresh rollout show rollout.3 --follow")]
    Show(Show),
    /// Pause a rollout: pause its open rotations, open no further ones
    #[command(after_help = "Example:\n  afresh rollout pause rollout.3")]
    Pause(Which),
    /// Resume a paused rollout
    #[command(after_help = "Example:\n  afresh rollout resume rollout.3")]
    Resume(Which),
    /// Abort a rollout: roll its open rotations back, open no further ones
    #[command(after_help = "Services that it promoted already keep the new release; `afresh rollback SERVICE` rolls them back.\n\n\
                      Example:\n  afresh rollout abort rollout.3")]
    Abort(Which),
    /// Stop a rollout here and leave all releases as they are
    #[command(after_help = "Example:\n  afresh rollout stop rollout.3")]
    Stop(Which),
}

#[derive(Args, Debug)]
pub struct Which {
    /// A rollout: `rollout.3` or `3`
    #[arg(value_name = "ROLLOUT", value_parser = rollout_id)]
    pub rollout: RolloutId,
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    pub which: Which,
    /// Follow it to its end; the exit code is its verdict
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args, Debug)]
pub struct List {
    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

fn rollout_id(text: &str) -> Result<RolloutId, String> {
    let id = text.parse().map_or_else(|_| RolloutId::new(text).ok(), |number| Some(RolloutId::of(number)));
    id.filter(|id| id.as_str().starts_with("rollout.")).ok_or_else(|| "a rollout is written rollout.3 or 3".to_string())
}

impl RolloutVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            match self.what {
                What::List(what) => list(context, &what).await,
                What::Show(what) => show_one(context, &what).await,
                What::Pause(which) => command(context, &which.rollout, RotationCommand::Pause).await,
                What::Resume(which) => command(context, &which.rollout, RotationCommand::Resume).await,
                What::Abort(which) => command(context, &which.rollout, RotationCommand::Rollback).await,
                What::Stop(which) => command(context, &which.rollout, RotationCommand::Stop).await,
            }
        })
    }
}

async fn command(context: &Context, id: &RolloutId, command: RotationCommand) -> Result<Exit, Failure> {
    let request = CommandRequest { command };
    let done: RolloutCommanded = context.api().post(&format!("/v1/rollouts/{id}/command"), &request).await?;
    if context.json {
        show::json(&serde_json::json!({ "rollout": id, "command": command, "reached": done }));
        return Ok(Exit::Succeeded);
    }
    let reached = if done.rotations.is_empty() { "no rotation of it is open".to_string() } else { names(&done.rotations) };
    show::line(format!("{id}: {}: {reached}; follow it with: afresh rollout show {id} --follow", show::command(command)));
    if !done.waiting.is_empty() {
        let then = match command {
            RotationCommand::Pause => "not begun until it is resumed",
            RotationCommand::Resume => "still to come",
            RotationCommand::Rollback | RotationCommand::Stop => "not begun, and will not be",
        };
        show::line(format!("{then}: {}", names(&done.waiting)));
    }
    if command == RotationCommand::Rollback {
        for service in &done.promoted {
            show::line(format!("{service} was promoted already and keeps the new release: `afresh rollback {service}` rolls it back"));
        }
    }
    Ok(Exit::Succeeded)
}

fn names(all: &[impl Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn show_one(context: &Context, what: &Show) -> Result<Exit, Failure> {
    let id = &what.which.rollout;
    let seen: RolloutSeen = context.api().get(&format!("/v1/rollouts/{id}")).await?;
    if what.follow {
        return follow(context, &Opened { rollout: Some(id.clone()), ..Opened::default() }).await;
    }
    let mut rotations = Vec::new();
    for (rotation, _) in &seen.rotations {
        rotations.push(context.api().get::<RotationStatus>(&format!("/v1/rotations/{rotation}")).await?);
    }
    if context.json {
        show::json(&serde_json::json!({ "rollout": seen, "rotations": rotations }));
        return Ok(Exit::Succeeded);
    }
    if let (Some(end), why) = (seen.end, &seen.why) {
        show::line(format!("{id}: {}: {}", end_word(end), why.as_deref().unwrap_or("no reason is recorded")));
    }
    let snapshot = show::tree::Snapshot { rollout: Some(seen), rotations };
    show::tree::tree(&snapshot, show::now()).iter().for_each(show::line);
    Ok(Exit::Succeeded)
}

fn end_word(end: RolloutEnd) -> &'static str {
    match end {
        RolloutEnd::Promoted => "promoted",
        RolloutEnd::Halted => "halted",
    }
}

async fn list(context: &Context, what: &List) -> Result<Exit, Failure> {
    let rows: Vec<RolloutSeen> = context.api().get(&format!("/v1/rollouts?limit={}", what.limit)).await?;
    if context.json {
        show::json(&rows);
        return Ok(Exit::Succeeded);
    }
    let now = show::now();
    let cells = |r: &RolloutSeen| {
        let services: Vec<&ServiceName> = r.plan.tiers.iter().flat_map(|(_, all)| all).map(|(spec, _)| &spec.name).collect();
        let done = r.rotations.iter().filter(|(_, verdict)| verdict.is_some()).count();
        let state = match (r.end, &r.paused) {
            (Some(end), _) => end_word(end).to_string(),
            (None, Some(by)) => format!("paused by {by}, {done} of {} done", services.len()),
            (None, None) => format!("open, {done} of {} done", services.len()),
        };
        let why = r.why.clone().unwrap_or_else(|| r.plan.why.clone());
        vec![r.id.to_string(), state, show::ago(r.at, now), names(&services), why]
    };
    show::line(show::table(&["rollout", "state", "opened", "services", "why"], rows.iter().map(cells).collect()));
    Ok(Exit::Succeeded)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rollout_is_named_by_its_number_too() {
        for good in ["rollout.3", "3"] {
            assert_eq!(super::rollout_id(good).unwrap().as_str(), "rollout.3");
        }
        for bad in ["web.3", "rollout", "", "three"] {
            assert!(super::rollout_id(bad).is_err(), "{bad:?} was taken");
        }
    }
}
