//! What is to be done next for a job, from its state, its runs and the time. Pure: the same is decided after every crash.
//!
//! ```text
//! new, or another calendar ─▶ settle until now        paused, or nothing is active ─▶ settle until now: nothing is missed
//! due ─▶ only the newest is started, within its deadline; what was due before it is missed, never run in a burst
//!         └ its run before has not ended ─▶ forbid: wait      replace: stop that one, then wait
//! the newest run failed ─▶ after a pause that grows, another attempt, unless it is due again
//! ```
//! A time is settled in the transaction that writes its run, so no crash starts one twice, nor a clock that is set.

use crate::Timetable;
use model::{Job, JobStart, JobState, Missed, Overlap, Run, RunId, Time};

/// The pause before the second attempt; it doubles, up to the longest.
const BACKOFF_MS: u64 = 30_000;
const BACKOFF_MS_MAX: u64 = 600_000;
/// A time that is settled further ahead than this shows that the clock was ahead and was set back.
const AHEAD_MS_MAX: u64 = 24 * 3_600_000;

/// One job, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct JobKnown<'a> {
    pub job: &'a Job,
    pub table: &'a Timetable,
    /// None: it is new.
    pub state: Option<&'a JobState>,
    /// Of this job, the newest first.
    pub runs: &'a [Run],
    pub now: Time,
    /// Why its service can run nothing now.
    pub hindered: Option<&'a str>,
    /// Why no job at all can be started now.
    pub no_room: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStep {
    /// Until when nothing happens, if that is known; and why it waits, if there is something to say.
    Wait { until: Option<Time>, why: Option<String> },
    /// Write this.
    Settle(JobState),
    /// The run before is in the way.
    Stop(RunId),
    /// Write this and a run, in one transaction.
    Start { state: JobState, start: JobStart },
}

pub fn job_step(known: &JobKnown<'_>) -> JobStep {
    let JobKnown { job, table, now, .. } = *known;
    let calendar = job.calendar();
    let state = match known.state {
        Some(state) if state.calendar == calendar && state.settled <= now.plus(AHEAD_MS_MAX) => state,
        old => return JobStep::Settle(JobState { calendar, settled: now, ..old.cloned().unwrap_or_default() }),
    };
    let open = known.runs.iter().find(|run| run.exit.is_none());
    let paused = state.paused.as_ref().map(|pause| format!("paused by {}", pause.by));
    if let Some(why) = paused.or(known.hindered.map(str::to_string)) {
        // What comes due meanwhile is not missed: it is known why it does not run.
        return match table.next(state.settled) {
            Some(due) if due <= now => JobStep::Settle(JobState { settled: now, ..state.clone() }),
            until => JobStep::Wait { until, why: Some(why) },
        };
    }
    let due = due(table, job.deadline_ms, state.settled, now);
    let mut settled = state.clone();
    if let Some((first, last, count)) = due.missed {
        let why = match open {
            Some(run) => format!("{} had not ended", run.id),
            None => known.no_room.unwrap_or("nothing was there to start it in time").to_string(),
        };
        settled.settled = last;
        settled.miss(Missed { first, last, count, why, at: now });
    }
    let Some(at) = due.newest else {
        return if due.missed.is_some() { JobStep::Settle(settled) } else { retry(known, open) };
    };
    // The clock was set back since: it has been started.
    if known.runs.iter().any(|run| run.job.as_ref().is_some_and(|start| start.due == Some(at))) {
        return JobStep::Settle(JobState { settled: at, ..settled });
    }
    let waits = match (open, known.no_room) {
        (Some(run), _) if job.overlap == Overlap::Replace && run.stop.is_none() => return JobStep::Stop(run.id.clone()),
        (Some(run), _) => Some(format!("{} has not ended", run.id)),
        (None, no_room) => no_room.map(str::to_string),
    };
    match waits {
        None => JobStep::Start {
            state: JobState { settled: at, ..settled },
            start: JobStart { name: job.name.clone(), due: Some(at), attempt: 1 },
        },
        Some(_) if due.missed.is_some() => JobStep::Settle(settled),
        Some(why) => {
            let late = at.plus(job.deadline_ms).plus(1);
            JobStep::Wait { until: table.next(now).into_iter().chain([late]).min(), why: Some(why) }
        }
    }
}

/// Nothing is due: the newest run may have failed.
fn retry(known: &JobKnown<'_>, open: Option<&Run>) -> JobStep {
    let JobKnown { job, table, now, .. } = *known;
    let until = known.state.and_then(|state| table.next(state.settled.max(now)));
    let wait = |until, why| JobStep::Wait { until, why };
    if open.is_some() {
        return wait(until, None);
    }
    let Some((run, start)) = known.runs.first().and_then(|run| Some((run, run.job.as_ref()?))) else { return wait(until, None) };
    let Some(exit) = run.exit.as_ref().filter(|exit| !exit.succeeded() && run.stop.is_none()) else { return wait(until, None) };
    if start.due.is_none() || start.attempt > job.retries {
        return wait(until, None);
    }
    let at = exit.at.plus(backoff(start.attempt));
    if now < at {
        let soonest = until.into_iter().chain([at]).min();
        return wait(soonest, Some(format!("{} failed ({}); attempt {} comes", run.id, exit.how(), start.attempt + 1)));
    }
    match (known.no_room, known.state) {
        (None, Some(state)) => JobStep::Start { state: state.clone(), start: JobStart { attempt: start.attempt + 1, ..start.clone() } },
        (why, _) => wait(until, why.map(str::to_string)),
    }
}

/// After this many attempts.
fn backoff(attempts: u32) -> u64 {
    BACKOFF_MS.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF_MS_MAX)
}

/// What has come due and is not settled.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// It can still be started.
    newest: Option<Time>,
    /// First, last, and how many, up to [`Missed::COUNT_MAX`].
    missed: Option<(Time, Time, u64)>,
}

fn due(table: &Timetable, deadline_ms: u64, settled: Time, now: Time) -> Due {
    let none = Due { newest: None, missed: None };
    let Some(first) = table.next(settled).filter(|at| *at <= now) else { return none };
    let in_time = Time(now.0.saturating_sub(deadline_ms));
    let after = |at: Time| table.next(at).filter(|next| *next <= now);
    // The newest is looked for from where it would be in time, so that a year that was missed costs no more than a day.
    let mut newest = if first >= in_time { Some(first) } else { table.next(Time(in_time.0.saturating_sub(1))).filter(|at| *at <= now) };
    while let Some(next) = newest.and_then(after) {
        newest = Some(next);
    }
    let (mut last, mut count) = (first, 0);
    let mut one = Some(first);
    while let Some(at) = one.filter(|at| newest.is_none_or(|newest| *at < newest)) {
        (last, count) = (at, count + 1);
        if count >= Missed::COUNT_MAX {
            // So many that their number does not matter. They are settled up to where the newest begins, or until now.
            last = newest.map_or(now, |newest| Time(newest.0 - 1));
            break;
        }
        one = after(at);
    }
    Due { newest, missed: (count > 0).then_some((first, last, count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Exit, RunStop, ServiceName};

    const MIN: u64 = 60_000;

    fn job(schedule: &str, overlap: Overlap, retries: u32) -> Job {
        let (name, run) = ("nightly".parse().unwrap(), vec!["report".to_string()]);
        let (schedule, timezone) = (schedule.to_string(), None);
        Job { name, schedule, timezone, run, overlap, deadline_ms: 60 * MIN, within_ms: 60 * MIN, retries }
    }

    fn run(number: u64, due: Option<u64>, attempt: u32, exit: Option<Exit>) -> Run {
        let id = RunId::of(&ServiceName::new("web").unwrap(), number);
        Run {
            group: Run::group_of(&id, 1).unwrap(),
            id,
            release: 1,
            command: vec!["report".to_string()],
            env: Default::default(),
            by: "job nightly".to_string(),
            asked: Time(0),
            within_ms: 1,
            launch_by: Time(0),
            stop: None,
            exit,
            is_over: false,
            job: Some(JobStart { name: "nightly".parse().unwrap(), due: due.map(Time), attempt }),
        }
    }

    fn state(job: &Job, settled: u64) -> JobState {
        JobState { calendar: job.calendar(), settled: Time(settled), ..JobState::default() }
    }

    fn decide(job: &Job, state: &JobState, runs: &[Run], now: u64) -> JobStep {
        let table = Timetable::of(job).unwrap();
        job_step(&JobKnown { job, table: &table, state: Some(state), runs, now: Time(now), hindered: None, no_room: None })
    }

    fn started(step: &JobStep) -> (u64, u64, u32, usize) {
        match step {
            JobStep::Start { state, start } => (start.due.unwrap().0, state.settled.0, start.attempt, state.missed.len()),
            other => panic!("{other:?}"),
        }
    }

    /// 1970-01-01T00:00 is minute 0; `0 * * * *` is due at each full hour.
    #[test]
    fn only_the_newest_is_started_and_what_was_before_it_is_missed() {
        let job = job("0 * * * *", Overlap::Forbid, 0);
        let s = state(&job, 30 * MIN);
        assert_eq!(decide(&job, &s, &[], 59 * MIN), JobStep::Wait { until: Some(Time(60 * MIN)), why: None });
        assert_eq!(started(&decide(&job, &s, &[], 60 * MIN)), (60 * MIN, 60 * MIN, 1, 0));
        assert_eq!(started(&decide(&job, &s, &[], 119 * MIN)), (60 * MIN, 60 * MIN, 1, 0), "late, within its deadline");
        let JobStep::Start { state: after, start } = decide(&job, &s, &[], 305 * MIN) else { panic!() };
        assert_eq!((start.due, after.settled), (Some(Time(300 * MIN)), Time(300 * MIN)));
        let [missed] = &after.missed[..] else { panic!("{after:?}") };
        assert_eq!((missed.first, missed.last, missed.count), (Time(60 * MIN), Time(240 * MIN), 4));
        assert_eq!(
            decide(&job, &after, &[run(1, Some(300 * MIN), 1, None)], 306 * MIN),
            JobStep::Wait { until: Some(Time(360 * MIN)), why: None }
        );
    }

    #[test]
    fn what_is_too_late_is_missed_and_not_started() {
        let daily = Job { deadline_ms: 30 * MIN, ..job("0 3 * * *", Overlap::Forbid, 0) };
        let day = 24 * 60 * MIN;
        let JobStep::Settle(after) = decide(&daily, &state(&daily, 0), &[], 3 * day) else { panic!() };
        assert_eq!((after.missed[0].count, after.settled), (3, Time(2 * day + 180 * MIN)));
        assert_eq!(decide(&daily, &after, &[], 3 * day), JobStep::Wait { until: Some(Time(3 * day + 180 * MIN)), why: None });
        // Two years of minutes: as quickly, one start, and the rest is one line.
        let minutes = job("* * * * *", Overlap::Forbid, 0);
        let now = 2 * 365 * day;
        let JobStep::Start { state: after, start } = decide(&minutes, &state(&minutes, 0), &[], now) else { panic!() };
        assert_eq!((start.due, after.missed[0].count, after.settled), (Some(Time(now)), Missed::COUNT_MAX, Time(now)));
    }

    #[test]
    fn a_run_before_that_has_not_ended_holds_it_up_or_is_stopped() {
        for overlap in [Overlap::Forbid, Overlap::Replace] {
            let job = job("0 * * * *", overlap, 0);
            let s = state(&job, 60 * MIN);
            let mut before = run(1, Some(60 * MIN), 1, None);
            let step = decide(&job, &s, std::slice::from_ref(&before), 125 * MIN);
            if overlap == Overlap::Replace {
                assert_eq!(step, JobStep::Stop(before.id.clone()));
                before.stop = Some(RunStop { by: "job nightly".to_string(), at: Time(1), kill: false });
            }
            let step = decide(&job, &s, std::slice::from_ref(&before), 125 * MIN);
            assert!(matches!(&step, JobStep::Wait { why: Some(why), .. } if why.contains("web.x1")), "{step:?}");
            // Its own deadline passes, and it is due again: that is missed, the newer waits.
            let JobStep::Settle(after) = decide(&job, &s, std::slice::from_ref(&before), 185 * MIN) else { panic!() };
            assert_eq!((after.missed[0].count, after.settled), (1, Time(120 * MIN)));
            assert!(after.missed[0].why.contains("web.x1"));
            before.exit = Some(Exit::new(0, Time(186 * MIN)));
            assert_eq!(started(&decide(&job, &after, &[before], 187 * MIN)), (180 * MIN, 180 * MIN, 1, 1));
        }
    }

    #[test]
    fn a_failure_is_tried_again_after_growing_pauses_and_not_for_ever() {
        let job = job("0 3 * * *", Overlap::Forbid, 2);
        let due = 180 * MIN;
        let s = state(&job, due);
        let failed = |number, attempt, at| run(number, Some(due), attempt, Some(Exit::new(1, Time(at))));
        let mut runs = vec![failed(1, 1, due + 1_000)];
        assert!(matches!(decide(&job, &s, &runs, due + 2_000), JobStep::Wait { until: Some(Time(at)), .. } if at == due + 31_000));
        assert_eq!(started(&decide(&job, &s, &runs, due + 31_000)), (due, due, 2, 0));
        runs.insert(0, failed(2, 2, due + 40_000));
        assert!(matches!(decide(&job, &s, &runs, due + 90_000), JobStep::Wait { until: Some(Time(at)), .. } if at == due + 100_000));
        assert_eq!(started(&decide(&job, &s, &runs, due + 100_000)), (due, due, 3, 0));
        runs.insert(0, failed(3, 3, due + 110_000));
        assert!(matches!(decide(&job, &s, &runs, due + 9_000_000), JobStep::Wait { why: None, .. }), "no attempt is left");
        // Nobody tries again what a user stopped or started, or what ended well.
        let mut stopped = failed(1, 1, due);
        stopped.stop = Some(RunStop { by: "me".to_string(), at: Time(1), kill: false });
        for other in [stopped, run(1, None, 1, Some(Exit::new(1, Time(due)))), run(1, Some(due), 1, Some(Exit::new(0, Time(due))))] {
            assert!(matches!(decide(&job, &s, &[other], due + 9_000_000), JobStep::Wait { why: None, .. }));
        }
        // An end that nobody saw is a failure.
        let lost = Exit { lost: true, ..Exit::new(0, Time(due)) };
        assert_eq!(started(&decide(&job, &s, &[run(1, Some(due), 1, Some(lost))], due + 60_000)).2, 2);
        assert_eq!([1, 2, 3, 5, 6, 60].map(backoff), [30_000, 60_000, 120_000, 480_000, 600_000, 600_000]);
    }

    #[test]
    fn a_clock_that_is_set_starts_nothing_twice() {
        let job = job("0 * * * *", Overlap::Forbid, 0);
        let day = 24 * 60 * MIN;
        // Back by an hour: what was due is settled.
        let s = state(&job, 300 * MIN);
        let ran = run(1, Some(300 * MIN), 1, Some(Exit::new(0, Time(0))));
        assert!(matches!(decide(&job, &s, std::slice::from_ref(&ran), 241 * MIN), JobStep::Wait { .. }));
        // A year ahead for a moment, and back: its settled time is given up, and what it started is not started again.
        let far = state(&job, 365 * day);
        let JobStep::Settle(back) = decide(&job, &far, std::slice::from_ref(&ran), 299 * MIN) else { panic!() };
        assert_eq!(back.settled, Time(299 * MIN));
        assert_eq!(decide(&job, &back, &[ran], 301 * MIN), JobStep::Settle(state(&job, 300 * MIN)));
    }

    #[test]
    fn new_changed_paused_and_hindered_jobs_miss_nothing() {
        let job = job("0 * * * *", Overlap::Forbid, 0);
        let table = Timetable::of(&job).unwrap();
        let known = JobKnown { job: &job, table: &table, state: None, runs: &[], now: Time(500 * MIN), hindered: None, no_room: None };
        assert_eq!(job_step(&known), JobStep::Settle(state(&job, 500 * MIN)), "new");
        let old = JobState { calendar: "another".to_string(), ..state(&job, 0) };
        assert_eq!(job_step(&JobKnown { state: Some(&old), ..known }), JobStep::Settle(state(&job, 500 * MIN)), "another calendar");
        let plain = state(&job, 0);
        let hindered = JobKnown { state: Some(&plain), hindered: Some("web is parked"), ..known };
        assert_eq!(job_step(&hindered), JobStep::Settle(state(&job, 500 * MIN)));
        let later = state(&job, 500 * MIN);
        assert!(
            matches!(job_step(&JobKnown { state: Some(&later), ..hindered }), JobStep::Wait { why: Some(why), .. } if why == "web is parked")
        );
        let paused = JobState { paused: Some(model::JobPause { by: "me".to_string(), at: Time(1) }), ..later.clone() };
        assert!(
            matches!(job_step(&JobKnown { state: Some(&paused), ..known }), JobStep::Wait { why: Some(why), .. } if why == "paused by me")
        );
        // No room: it waits within its deadline.
        let full = JobKnown { state: Some(&later), now: Time(541 * MIN), no_room: Some("16 jobs run"), ..known };
        assert!(matches!(job_step(&full), JobStep::Wait { why: Some(why), .. } if why == "16 jobs run"));
        let JobStep::Settle(missed) = job_step(&JobKnown { now: Time(602 * MIN), ..full }) else { panic!() };
        assert_eq!(missed.missed[0].why, "16 jobs run");
    }
}
