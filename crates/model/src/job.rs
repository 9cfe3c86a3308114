//! Jobs: commands of a service that run by a calendar. Each start is a run of the release that is active then.

use crate::{JobName, Time};
use serde::{Deserialize, Serialize};

/// A job of a service, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub name: JobName,
    /// `hourly`, `daily`, `weekly`, or five fields of cron.
    pub schedule: String,
    /// Whose clock the schedule is read by, `Europe/Berlin`. None: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    pub run: Vec<String>,
    #[serde(default)]
    pub overlap: Overlap,
    /// A start that is later than this after its time is missed.
    pub deadline_ms: u64,
    /// A run is ended when it has run for this time, and has failed then.
    pub within_ms: u64,
    /// How often a run that fails is tried again.
    #[serde(default)]
    pub retries: u32,
}

impl Job {
    pub const DEADLINE_MS: u64 = 3_600_000;
    pub const RETRIES_MAX: u32 = 10;

    /// What its times follow from. A job that gets another calendar has missed nothing of it.
    pub fn calendar(&self) -> String {
        format!("{} {}", self.schedule, self.timezone.as_deref().unwrap_or("UTC"))
    }
}

/// What happens when a job is due and its run before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It waits for that one, until its own deadline.
    #[default]
    Forbid,
    /// That one is stopped.
    Replace,
}

/// Which start of a job a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStart {
    pub name: JobName,
    /// When it was due. None: somebody started it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// From 1; more after failures.
    pub attempt: u32,
}

/// What is remembered of a job beside its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// [`Job::calendar`] when this was written.
    pub calendar: String,
    /// What was due until then was started or is missed. Nothing of it is started again.
    pub settled: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<JobPause>,
    /// The oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPause {
    pub by: String,
    pub at: Time,
}

/// Starts that were due and did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub first: Time,
    pub last: Time,
    /// How many; [`Missed::COUNT_MAX`] says that there were more.
    pub count: u64,
    pub why: String,
    /// When that was found.
    pub at: Time,
}

impl Missed {
    pub const COUNT_MAX: u64 = 1_000;
    const KEPT: usize = 20;
}

impl JobState {
    pub fn miss(&mut self, missed: Missed) {
        self.missed.push(missed);
        let old = self.missed.len().saturating_sub(Missed::KEPT);
        self.missed.drain(..old);
    }
}
