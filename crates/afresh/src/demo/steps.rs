//! `afresh step run` on every kind of step twice: the second run must change nothing, as the keeper's and the balancer's counters show.

use super::act;
use super::report::Report;
use super::shop::Flaw;
use super::stage::Stage;
use crate::failure::Failure;
use crate::show;
use api::Client;
use api::control::{CommandRequest, InstanceRow};
use api::host::HostCounters;
use api::paths::COUNTERS;
use api::proxy::ProxyCounters;
use model::{Fault, InstanceState, RotationCommand, Verdict};
use serde::Serialize;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const SETTLING_EVERY: Duration = Duration::from_millis(200);
/// A minute.
const SETTLING_READS_MAX: u32 = 300;

/// What a second run of a step must not change.
#[derive(Debug, PartialEq, Serialize)]
struct Counters {
    host: HostCounters,
    proxy: ProxyCounters,
    ids: Vec<String>,
    is_draining: bool,
}

pub async fn play(stage: &Stage, report: &mut Report) -> Result<(), Failure> {
    // Stopped in its first wave, a rotation leaves two groups: traffic can be shifted to one, and the other drained and retired, manually.
    let opened = act::open(stage, 2, Flaw::None, Some("web")).await?;
    let (rows, _) = act::until(stage, &opened, |r| r.plan.steps.get(r.cursor as usize).is_some_and(|s| s.step.kind() == "soak")).await?;
    let first = rows.first().ok_or_else(|| Fault::ours("no-rotation", "the deploy opened no rotation"))?;
    let (old, new) = match &first.from {
        Some(from) => (from.group.to_string(), first.to.group.to_string()),
        None => return Err(Fault::ours("no-active", "version 1 does not stand").into()),
    };
    let ask = CommandRequest { command: RotationCommand::Stop };
    let _: serde_json::Value = stage.context.api().post(&format!("/v1/rotations/{}/command", first.id), &ask).await?;
    report.add(act::finish(stage, &opened, 2, Verdict::Stopped).await?);

    let all_old = format!("{old}=100");
    let steps: [&[&str]; 8] = [
        &["bake", "base", "--service", "web"],
        &["shift", "web", "--weights", &all_old],
        &["drain", &new, "--within", "5s"],
        &["retire", &new],
        &["scale", &old, "--count", "4"],
        &["soak", &old, "--for", "500ms"],
        &["check", &old, "--", "python3", "-c", "print('well')"],
        &["scale", &old, "--count", "3"],
    ];
    let mut told = Vec::new();
    for step in steps {
        let text = step.join(" ");
        let first = run(stage, step)?;
        let before = settled(stage).await?;
        let second = run(stage, step)?;
        let after = settled(stage).await?;
        show::note(format!(
            "step run {text}\n  1st: {}\n  2nd: {}\n  counters {}",
            first.1,
            second.1,
            if before == after { "unchanged" } else { "CHANGED" }
        ));
        if (first.0, second.0) != (0, 0) {
            report.wrong.push(format!("step run {text}: exit codes {} and {}", first.0, second.0));
        }
        if before != after {
            report.wrong.push(format!("step run {text}: the second run changed {before:?} to {after:?}"));
        }
        told.push(json!({ "step": text, "first": first.1, "second": second.1, "before": before, "after": after }));
    }
    report.extra.insert("steps", json!(told));
    Ok(())
}

/// The counters once nothing changes any more: a step that scales in is satisfied while the servers it takes away still drain.
async fn settled(stage: &Stage) -> Result<Counters, Fault> {
    let mut last = counters(stage).await?;
    for _ in 0..SETTLING_READS_MAX {
        tokio::time::sleep(SETTLING_EVERY).await;
        let now = counters(stage).await?;
        if now == last && !now.is_draining {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// Counters of both, and who runs: ids too, so that a replacement that kept the counts would be seen.
async fn counters(stage: &Stage) -> Result<Counters, Fault> {
    let layout = &stage.context.layout;
    let rows: Vec<InstanceRow> = stage.context.api().get("/v1/instances").await?;
    let mut ids: Vec<String> = rows.iter().map(|row| row.seen.id.to_string()).collect();
    ids.sort();
    let is_draining = rows.iter().any(|row| row.seen.state == InstanceState::Draining);
    let host = Client::unix(layout.host_socket()).get(COUNTERS).await?;
    let proxy = Client::unix(layout.proxy_socket()).get(COUNTERS).await?;
    Ok(Counters { host, proxy, ids, is_draining })
}

/// The real command, as a user would type it.
fn run(stage: &Stage, step: &[&str]) -> Result<(i32, String), Fault> {
    let exe = std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))?;
    let out = Command::new(exe).arg("--data-dir").arg(stage.context.data_dir()).args(["step", "run"]).args(step).output();
    let out = out.map_err(|e| Fault::world("io", format!("cannot run afresh: {e}")))?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).trim().to_string()))
}
