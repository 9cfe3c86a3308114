//! `rotation`: commands to an open rotation, and the status of any.

use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{CommandRequest, Opened, RotationStatus, ServiceStatus};
use clap::{Args, Subcommand};
use model::{EventLine, Fault, RotationCommand, RotationId, ServiceName};

/// List, show, pause, resume, abort or stop rotations
#[derive(Args, Debug)]
#[command(
    after_help = "A rotation takes one service from one release to another; `afresh rollout` commands those of several services.\n\n\
                  Example:\n  afresh rotation pause web\n  afresh rotation show web.7 --follow"
)]
pub struct RotationVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List rotations, newest first
    #[command(after_help = "Example:\n  afresh rotation list web")]
    List(List),
    /// Show a rotation: its steps, its journal, its verdict
    #[command(after_help = "Example:\n  afresh rotation show web.7 --follow")]
    Show(Show),
    /// Pause a rotation: finish the step that was started, begin no other
    #[command(after_help = "Example:\n  afresh rotation pause web.7")]
    Pause(Which),
    /// Resume a paused rotation
    #[command(after_help = "Example:\n  afresh rotation resume web.7")]
    Resume(Which),
    /// Abort a rotation: give the new release up and roll back
    #[command(alias = "return", after_help = "Example:\n  afresh rotation abort web.7")]
    Abort(Which),
    /// Stop a rotation here and leave both releases as they are
    #[command(after_help = "Example:\n  afresh rotation stop web.7")]
    Stop(Which),
}

#[derive(Args, Debug)]
pub struct Which {
    /// A rotation (`web.7`), or a service for its open one (`web`)
    #[arg(value_name = "ROTATION|SERVICE")]
    pub rotation: String,
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
    /// Only of this service
    pub service: Option<ServiceName>,
    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

impl RotationVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            match self.what {
                What::List(what) => list(context, &what).await,
                What::Show(what) => show_one(context, &what).await,
                What::Pause(which) => command(context, &which, RotationCommand::Pause).await,
                What::Resume(which) => command(context, &which, RotationCommand::Resume).await,
                What::Abort(which) => command(context, &which, RotationCommand::Rollback).await,
                What::Stop(which) => command(context, &which, RotationCommand::Stop).await,
            }
        })
    }
}

/// `web.7`, or `web`: its open rotation, else its last.
pub async fn find(context: &Context, text: &str) -> Result<RotationId, Failure> {
    if let Ok(rotation) = RotationId::new(text) {
        return Ok(rotation);
    }
    let service = ServiceName::new(text).map_err(|_| {
        Fault::yours("bad-name", format!("{text:?} is neither a rotation (web.7) nor a service (web)"))
            .hint("`afresh rotation list` lists rotations")
    })?;
    let status: ServiceStatus = context.api().get(&format!("/v1/services/{service}")).await?;
    if let Some(open) = status.rotation {
        return Ok(open.id);
    }
    let rows: Vec<RotationStatus> = context.api().get(&format!("/v1/rotations?service={service}&limit=1")).await?;
    let last = rows.into_iter().next().map(|row| row.id);
    last.ok_or_else(|| Fault::yours("not-found", format!("{service} had no rotation yet")).into())
}

async fn command(context: &Context, which: &Which, command: RotationCommand) -> Result<Exit, Failure> {
    let id = find(context, &which.rotation).await?;
    let request = CommandRequest { command };
    let _: serde_json::Value = context.api().post(&format!("/v1/rotations/{id}/command"), &request).await?;
    if context.json {
        show::json(&serde_json::json!({ "rotation": id, "command": command }));
    } else {
        show::line(format!("{id}: {}; follow it with: afresh rotation show {id} --follow", show::command(command)));
    }
    Ok(Exit::Succeeded)
}

async fn show_one(context: &Context, what: &Show) -> Result<Exit, Failure> {
    let id = find(context, &what.which.rotation).await?;
    if what.follow {
        return follow(context, &Opened { rotations: vec![id], ..Opened::default() }).await;
    }
    let status: RotationStatus = context.api().get(&format!("/v1/rotations/{id}")).await?;
    if context.json {
        show::json(&status);
        return Ok(Exit::Succeeded);
    }
    let lines: Vec<EventLine> = context.api().get(&format!("/v1/rotations/{id}/events?from=0")).await?;
    let mut journal = show::Journal::default();
    for line in &lines {
        show::line(journal.next(line));
    }
    show::line("");
    let snapshot = show::tree::Snapshot { rollout: None, rotations: vec![status] };
    show::tree::tree(&snapshot, show::now()).iter().for_each(show::line);
    Ok(Exit::Succeeded)
}

async fn list(context: &Context, what: &List) -> Result<Exit, Failure> {
    let service = what.service.as_ref().map_or_else(String::new, |s| format!("service={s}&"));
    let rows: Vec<RotationStatus> = context.api().get(&format!("/v1/rotations?{service}limit={}", what.limit)).await?;
    if context.json {
        show::json(&rows);
        return Ok(Exit::Succeeded);
    }
    let now = show::now();
    let cells = |r: &RotationStatus| {
        vec![
            r.id.to_string(),
            r.from.as_ref().map_or_else(String::new, |s| format!("r{}", s.release.number)),
            format!("r{}", r.to.release.number),
            r.verdict
                .map_or_else(|| format!("open, step {} of {}", r.cursor, r.plan.steps.len()), |v| show::verdict(v, r.removes).to_string()),
            show::ago(r.opened, now),
            show::span(r.closed.unwrap_or(now).since(r.opened)),
            r.why.clone(),
        ]
    };
    show::line(show::table(&["rotation", "from", "to", "verdict", "opened", "took", "why"], rows.iter().map(cells).collect()));
    Ok(Exit::Succeeded)
}
