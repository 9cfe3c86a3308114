//! `events`: the journal, as it was and as it grows.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageEvent, Numbered};
use clap::Args;
use model::{Event, Plan, RotationId, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Print the journals of all rotations, oldest first
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh events --follow --json | jq .event.event")]
pub struct Events {
    /// Stay and print what comes; a control plane that restarts is waited for
    #[arg(long)]
    pub follow: bool,
    /// Begin behind this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Instead of rotations: what becomes of images, and the alarms of their upkeep
    #[arg(long, conflicts_with_all = ["service", "after"])]
    pub images: bool,
}

impl Events {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.images {
            return context.wait(self.of_images(context));
        }
        context.wait(async {
            let mut after = self.after;
            let mut plans = BTreeMap::new();
            let mut connected = false;
            loop {
                match self.read(context, &mut after, &mut plans).await {
                    Ok(()) if !self.follow => return Ok(Exit::Succeeded),
                    Ok(()) => connected = true,
                    // A first connection that fails is told; a later one is tried again: `after` says where to go on.
                    Err(fault) if self.follow && fault.code == "unreachable" && (connected || after > self.after) => connected = true,
                    Err(fault) => return Err(fault.into()),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
    }

    /// Their stories are short, so they are asked for again and what was told is left out.
    async fn of_images(&self, context: &Context) -> Result<Exit, Failure> {
        let mut told: BTreeSet<ImageEvent> = BTreeSet::new();
        loop {
            match context.api().get::<Vec<ImageEvent>>("/v1/images/events").await {
                Ok(events) => {
                    for event in events.into_iter().filter(|e| !told.contains(e)).collect::<Vec<_>>() {
                        if context.json {
                            show::json(&event);
                        } else {
                            let of = event.digest.as_ref().map_or_else(String::new, |d| format!(" {}", d.short()));
                            show::line(format!("{}  {}{of}  {}", show::upkeep::day(event.at), event.image, event.text));
                        }
                        told.insert(event);
                    }
                }
                Err(fault) if self.follow && fault.code == "unreachable" && !told.is_empty() => {}
                Err(fault) => return Err(fault.into()),
            }
            if !self.follow {
                return Ok(Exit::Succeeded);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn read(&self, context: &Context, after: &mut u64, plans: &mut BTreeMap<RotationId, Plan>) -> Result<(), model::Fault> {
        let mut lines = context.api().lines(&format!("/v1/events?follow={}&after={after}", self.follow)).await?;
        while let Some(event) = lines.next::<Numbered>().await? {
            *after = event.number;
            let id = event.line.rotation.clone();
            if self.service.as_ref().is_some_and(|s| *s != id.service()) {
                continue;
            }
            if context.json {
                show::json(&event);
                continue;
            }
            show::line(format!("{:>6}  {}", event.number, show::sentence(&event.line, plans.get(&id))));
            match event.line.event {
                Event::Opened(opened) => drop(plans.insert(id, opened.plan)),
                Event::PlanReplaced { plan, .. } => drop(plans.insert(id, plan)),
                Event::Closed { .. } => drop(plans.remove(&id)),
                _ => {}
            }
        }
        Ok(())
    }
}
