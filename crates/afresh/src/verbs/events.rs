//! `events`: the journals and the keeper's own events, as they are and as they grow.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::names;
use crate::show;
use api::control::{ImageEvent, Numbered};
use api::fleet::Happened;
use clap::Args;
use model::{Event, RotationId, ServiceName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Print the events of rotations and servers, oldest first
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh events --follow --json | jq .event.event")]
pub struct Events {
    /// Keep printing new events, also across a restart of the control plane
    #[arg(short, long)]
    pub follow: bool,
    /// Start after this event number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Of that service, in names of rotations.
    #[arg(skip)]
    id: Option<ServiceName>,
    /// Print the events and alarms of images instead
    #[arg(long, conflicts_with_all = ["service", "after"])]
    pub images: bool,
}

impl Events {
    pub fn run(mut self, context: &Context) -> Result<Exit, Failure> {
        if self.images {
            return context.wait(self.of_images(context));
        }
        context.wait(async {
            if let Some(service) = &self.service
                && let Some(row) = names::find(context, service).await?
            {
                (self.service, self.id) = (Some(row.name), Some(row.id));
            }
            // After a number, and while it follows, the keeper's events come beside the journal and not between its lines.
            let mut fleet = Fleet::default();
            if !self.follow && self.after == 0 {
                fleet.ask(context).await;
            }
            if !self.follow {
                return self.follow(context, fleet).await;
            }
            let keeper = async {
                let mut fleet = Fleet::default();
                loop {
                    fleet.ask(context).await;
                    fleet.tell(&self, context, None);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::select! {
                ended = self.follow(context, fleet) => ended,
                () = keeper => Ok(Exit::Succeeded),
            }
        })
    }

    async fn follow(&self, context: &Context, mut fleet: Fleet) -> Result<Exit, Failure> {
        let mut after = self.after;
        let mut journals = BTreeMap::new();
        let mut connected = false;
        loop {
            match self.read(context, &mut after, &mut journals, &mut fleet).await {
                Ok(()) if !self.follow => {
                    fleet.tell(self, context, None);
                    return Ok(Exit::Succeeded);
                }
                Ok(()) => connected = true,
                // A first connection that fails is an error; a later one is retried: `after` says where to continue.
                Err(fault) if self.follow && fault.code == "unreachable" && (connected || after > self.after) => connected = true,
                Err(fault) => return Err(fault.into()),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Their histories are short: they are fetched again, and what was printed is left out.
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

    async fn read(
        &self,
        context: &Context,
        after: &mut u64,
        journals: &mut BTreeMap<RotationId, show::Journal>,
        fleet: &mut Fleet,
    ) -> Result<(), model::Fault> {
        let mut lines = context.api().lines(&format!("/v1/events?follow={}&after={after}", self.follow)).await?;
        while let Some(event) = lines.next::<Numbered>().await? {
            *after = event.number;
            fleet.tell(self, context, Some(event.line.at));
            let id = event.line.rotation.clone();
            if self.id.as_ref().or(self.service.as_ref()).is_some_and(|s| *s != id.service()) {
                continue;
            }
            if context.json {
                show::json(&event);
                continue;
            }
            let told = journals.entry(id.clone()).or_default().next(&event.line);
            show::line(format!("{:>6}  {told}", event.number));
            if matches!(event.line.event, Event::Closed { .. }) {
                journals.remove(&id);
            }
        }
        Ok(())
    }
}

/// The keeper's own events, and how many of them were printed.
#[derive(Default)]
struct Fleet {
    after: u64,
    rest: VecDeque<Happened>,
}

impl Fleet {
    /// A keeper that does not answer does not end the stream: a follower calls it again.
    async fn ask(&mut self, context: &Context) {
        match context.api().get::<Vec<Happened>>(&format!("/v1/fleet/events?after={}", self.after)).await {
            Ok(more) => {
                self.after = more.last().map_or(self.after, |last| last.number);
                self.rest.extend(more);
            }
            Err(fault) if self.after == 0 && self.rest.is_empty() => tracing::debug!("{fault}"),
            Err(_) => {}
        }
    }

    /// Up to this time.
    fn tell(&mut self, of: &Events, context: &Context, until: Option<model::Time>) {
        while let Some(one) = self.rest.front().filter(|one| until.is_none_or(|until| one.at <= until)) {
            if of.service.is_none() || one.service == of.service {
                if context.json {
                    show::json(one);
                } else {
                    show::line(format!("{:>6}  {}  {}", "", show::clock(one.at), one.text));
                }
            }
            self.rest.pop_front();
        }
    }
}
