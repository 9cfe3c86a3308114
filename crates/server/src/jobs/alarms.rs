//! Jobs whose last run failed, and starts that were missed since the last one that succeeded.

use super::known::{self, OneJob};
use crate::app::App;
use api::fleet::Alarm;
use model::{Fault, Run, Time};

pub fn alarms(app: &App) -> Result<Vec<Alarm>, Fault> {
    let (jobs, _) = app.database.browse(known::all)?;
    Ok(jobs.iter().flat_map(of_job).collect())
}

fn of_job(one: &OneJob) -> Vec<Alarm> {
    let OneJob { service, job, .. } = one;
    let mut all = Vec::new();
    let ended: Vec<&Run> = one.runs.iter().filter(|run| run.exit.is_some()).collect();
    let alarm = |code: &str, text: String| Alarm::new(code, Some(service.clone()), text);
    // What a user stopped did not fail by itself.
    if let Some(run) = ended.first().filter(|run| run.stop.is_none())
        && let Some(exit) = run.exit.as_ref().filter(|exit| !exit.succeeded())
    {
        let attempt = run.job.as_ref().map_or(1, |start| start.attempt);
        let text = format!(
            "{service}: job {} failed in {} (attempt {attempt} of {}): {exit}; `afresh logs {}` shows its output",
            job.name,
            run.id,
            job.retries + 1,
            run.instance()
        );
        all.push(alarm("job-failed", text));
    }
    // Its end is by the keeper's clock, its beginning by ours.
    let when = |run: &&Run| Some(run.exit.as_ref().filter(|exit| exit.succeeded())?.at.max(run.asked));
    let succeeded = ended.iter().filter_map(when).max();
    let missed = one.state.iter().flat_map(|state| &state.missed).filter(|missed| missed.at > succeeded.unwrap_or(Time(0)));
    let (count, last) = missed.fold((0, None), |(count, _), missed| (count + missed.count, Some(missed)));
    if let Some(last) = last {
        let starts = if count == 1 { "a start".to_string() } else { format!("{count} starts") };
        let text = format!(
            "{service}: job {} missed {starts}: {}; `afresh job history {service} {}` shows them, `afresh job run {service} {}` starts it now",
            job.name, last.why, job.name, job.name
        );
        all.push(alarm("job-missed", text));
    }
    all
}
