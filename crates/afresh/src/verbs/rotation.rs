//! `rotation`: asks of an open rotation, and a look at any.

use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{CommandRequest, Opened, RotationStatus, ServiceStatus};
use clap::{Args, Subcommand};
use model::{EventLine, Fault, RotationCommand, RotationId, ServiceName};

/// Pause, resume, return, stop or show a rotation
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh rotation pause web\n  afresh rotation show web.7 --follow")]
pub struct RotationVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// Start no further step; what was started is waited for
    #[command(after_help = "Example:\n  afresh rotation pause web.7")]
    Pause(Which),
    /// Go on after a pause
    #[command(after_help = "Example:\n  afresh rotation resume web.7")]
    Resume(Which),
    /// Give the new release up and go back to the old
    #[command(after_help = "Example:\n  afresh rotation return web.7")]
    Return(Which),
    /// End it as it stands now, neither forward nor back
    #[command(after_help = "Example:\n  afresh rotation stop web.7")]
    Stop(Which),
    /// Show one: its steps, its journal, its verdict
    #[command(after_help = "Example:\n  afresh rotation show web.7 --follow")]
    Show(Show),
    /// List them, newest first
    #[command(after_help = "Example:\n  afresh rotation list web")]
    List(List),
}

#[derive(Args, Debug)]
pub struct Which {
    /// A rotation (`web.7`), or a service for its open one (`web`)
    #[arg(value_name = "ROTATION")]
    pub rotation: String,
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    pub which: Which,
    /// Stay until it is closed; the exit code is its verdict
    #[arg(long)]
    pub follow: bool,
}

#[derive(Args, Debug)]
pub struct List {
    /// Only of this service
    pub service: Option<ServiceName>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

impl RotationVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            match self.what {
                What::Pause(which) => ask(context, &which, RotationCommand::Pause).await,
                What::Resume(which) => ask(context, &which, RotationCommand::Resume).await,
                What::Return(which) => ask(context, &which, RotationCommand::Rollback).await,
                What::Stop(which) => ask(context, &which, RotationCommand::Stop).await,
                What::Show(what) => show_one(context, &what).await,
                What::List(what) => list(context, &what).await,
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
            .hint("`afresh rotation list` lists them")
    })?;
    let status: ServiceStatus = context.api().get(&format!("/v1/services/{service}")).await?;
    if let Some(open) = status.rotation {
        return Ok(open.id);
    }
    let rows: Vec<RotationStatus> = context.api().get(&format!("/v1/rotations?service={service}&limit=1")).await?;
    let last = rows.into_iter().next().map(|row| row.id);
    last.ok_or_else(|| Fault::yours("not-found", format!("{service} had no rotation yet")).into())
}

async fn ask(context: &Context, which: &Which, ask: RotationCommand) -> Result<Exit, Failure> {
    let id = find(context, &which.rotation).await?;
    let request = CommandRequest { command: ask };
    let _: serde_json::Value = context.api().post(&format!("/v1/rotations/{id}/command"), &request).await?;
    if context.json {
        show::json(&serde_json::json!({ "rotation": id, "asked": ask }));
    } else {
        show::line(format!("{id}: asked; watch it with: afresh rotation show {id} --follow"));
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
