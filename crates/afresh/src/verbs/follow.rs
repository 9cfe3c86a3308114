//! Following rotations to their end: a tree drawn in place on a terminal, line by line elsewhere.
//!
//! It only reads. Ending it (Ctrl-C) changes nothing. It waits for a control plane that does not answer.

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::show::{self, live::Block, tree::Snapshot};
use api::Client;
use api::control::{Opened, RotationStatus};
use model::{EventLine, Fault, RolloutEnd, RotationId, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(200);
/// A reason may quote what a server printed, which may differ each time.
const WAITS_MAX: usize = 200;
/// How long it waits for a control plane that does not answer; deploys continue without the follower.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// Follows what was opened; the verdicts give the exit code.
pub async fn follow(context: &Context, opened: &Opened) -> Result<Exit, Failure> {
    let mut follower = Follower::new(context, opened);
    let mut away: Option<Instant> = None;
    loop {
        match follower.poll().await {
            Ok(()) => away = None,
            Err(fault) if fault.code == "unreachable" && away.is_none_or(|since| since.elapsed() < AWAY_MAX) => {
                if away.is_none() {
                    follower.say("the control plane does not answer; waiting for it, servers and traffic are not affected");
                }
                away.get_or_insert_with(Instant::now);
            }
            Err(fault) => return Err(fault.into()),
        }
        if away.is_none() {
            follower.draw();
            if follower.over() {
                return Ok(follower.end());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_EVERY) => {}
            _ = tokio::signal::ctrl_c() => {
                follower.leave();
                return Ok(Exit::NotYet);
            }
        }
    }
}

enum Output {
    Tree(Block),
    Lines,
    Json,
}

struct Follower {
    api: Client,
    opened: Opened,
    snapshot: Snapshot,
    output: Output,
    /// For each rotation the next event to print, and what was read before it.
    told: BTreeMap<RotationId, (u64, show::Journal)>,
    /// What each rotation was said to wait for, numbers aside.
    waits: BTreeSet<(RotationId, String)>,
}

impl Follower {
    fn new(context: &Context, opened: &Opened) -> Self {
        let output = match (context.json, show::live_terminal()) {
            (true, _) => Output::Json,
            (false, true) => Output::Tree(Block::new()),
            (false, false) => Output::Lines,
        };
        let snapshot = Snapshot::default();
        Self { api: context.api(), opened: opened.clone(), snapshot, output, told: BTreeMap::new(), waits: BTreeSet::new() }
    }

    async fn poll(&mut self) -> Result<(), Fault> {
        let mut snapshot = Snapshot::default();
        let mut ids = self.opened.rotations.clone();
        if let Some(rollout) = &self.opened.rollout {
            let seen: model::RolloutSeen = self.api.get(&format!("/v1/rollouts/{rollout}")).await?;
            ids = seen.rotations.iter().map(|(id, _)| id.clone()).collect();
            snapshot.rollout = Some(seen);
        }
        // Removals run beside the rollout.
        for id in ids.into_iter().chain(self.opened.removing.clone()) {
            let status: RotationStatus = self.api.get(&format!("/v1/rotations/{id}")).await?;
            snapshot.rotations.push(status);
            // After the status, so that a wait is printed after the step that waits.
            if !matches!(self.output, Output::Tree(_)) {
                self.news(&id).await?;
            }
        }
        self.snapshot = snapshot;
        Ok(())
    }

    /// Prints the events that came since.
    async fn news(&mut self, id: &RotationId) -> Result<(), Fault> {
        let (from, mut journal) = self.told.remove(id).unwrap_or_default();
        let lines: Vec<EventLine> = self.api.get(&format!("/v1/rotations/{id}/events?from={from}")).await?;
        let mut next = from;
        for line in &lines {
            let told = journal.next(line);
            match self.output {
                Output::Json => show::json(line),
                _ => show::line(told),
            }
            next = line.seq + 1;
        }
        self.told.insert(id.clone(), (next, journal));
        Ok(())
    }

    fn draw(&mut self) {
        match &mut self.output {
            Output::Tree(block) => block.draw(&show::tree::tree(&self.snapshot, show::now())),
            Output::Json => {}
            Output::Lines => {
                for rotation in &self.snapshot.rotations {
                    let Some(waits) = &rotation.waits else { continue };
                    // Once for each step and reason: the reason's numbers change with every poll.
                    let key = format!("{}/{} {}", rotation.plan.steps.len(), rotation.cursor, show::without_numbers(&waits.why));
                    if self.waits.len() < WAITS_MAX && self.waits.insert((rotation.id.clone(), key)) {
                        let until = waits.until.map_or_else(String::new, |u| format!(", until {}", show::clock(u)));
                        show::line(format!("{}  {:<10}  waits: {}{until}", show::clock(show::now()), rotation.id.to_string(), waits.why));
                    }
                }
            }
        }
    }

    fn say(&mut self, text: &str) {
        if let Output::Tree(block) = &mut self.output {
            block.keep();
        }
        show::note(text);
    }

    fn over(&self) -> bool {
        let is_ended = self.snapshot.rollout.as_ref().is_none_or(|rollout| rollout.end.is_some());
        is_ended && self.snapshot.rotations.iter().all(|r| r.verdict.is_some())
    }

    fn end(&self) -> Exit {
        let verdicts: Vec<Verdict> = self.snapshot.rotations.iter().filter_map(exit::verdict_of).collect();
        let halted = self.snapshot.rollout.as_ref().is_some_and(|r| r.end == Some(RolloutEnd::Halted));
        let exit = match exit::of_verdicts(&verdicts) {
            Exit::Succeeded if halted => Exit::Partial,
            exit => exit,
        };
        match self.output {
            Output::Json => show::json(&serde_json::json!({
                "exit": exit.code(),
                "rollout": self.snapshot.rollout.as_ref().map(|r| &r.id),
                "rotations": self.snapshot.rotations,
            })),
            Output::Tree(_) => {}
            Output::Lines => show::tree::tree(&self.snapshot, show::now()).iter().for_each(show::line),
        }
        exit
    }

    fn leave(&mut self) {
        let back = match (self.snapshot.rotations.iter().find(|r| r.verdict.is_none()), self.opened.rotations.first()) {
            (Some(open), _) => format!("afresh rotation show {} --follow", open.id),
            (None, Some(first)) => format!("afresh rotation show {first} --follow"),
            (None, None) => "afresh status".to_string(),
        };
        self.say(&format!("\nleft running; follow it again with: {back}\nor see: afresh status"));
    }
}
