//! One deploy of the demo: opened, watched to its end, its verdict held against what is expected.

use super::shop::{self, Flaw};
use super::stage::Stage;
use crate::failure::Failure;
use crate::show;
use crate::verbs::desired;
use api::control::{DeployRequest, Opened, RotationStatus};
use model::{EventLine, Fault, RolloutSeen, RotationId, ServiceName, Verdict};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Far longer than any rotation of the shop: only a rotation that hangs takes this time.
const OVER_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    pub id: RotationId,
    pub service: String,
    pub from: Option<String>,
    pub to: String,
    /// Of the shop's code.
    pub version: u64,
    pub verdict: String,
    pub expected: String,
    pub seconds: f64,
    pub why: String,
}

/// Packs the version and opens its deploy: of one service, or of all tier by tier.
pub async fn open(stage: &Stage, version: u64, flaw: Flaw, only: Option<&str>) -> Result<Opened, Failure> {
    open_with(stage, version, flaw, only, |_| {}).await
}

/// As [`open`], with something changed in the request.
pub async fn open_with(
    stage: &Stage,
    version: u64,
    flaw: Flaw,
    only: Option<&str>,
    change: impl Fn(&mut DeployRequest),
) -> Result<Opened, Failure> {
    let app = shop::version(&stage.shop, version, flaw)?;
    let service = only.map(|name| ServiceName::new(name).map_err(|e| Fault::ours("bad-name", e.to_string()))).transpose()?;
    let mut request = {
        // The file names one folder for all; here each version has its own. Only the first has news to tell: the bake.
        let quiet = crate::context::Context { json: version > 1 || stage.context.json, ..stage.context.clone() };
        let desired = desired::Desired { service: service.clone(), artifact: Some(app), ..desired::Desired::default() };
        desired::request(&quiet, &desired, desired::Images::Bake)?
    };
    change(&mut request);
    Ok(stage.context.api().post("/v1/deploy", &request).await?)
}

/// What is open now of what was opened: a rollout opens its rotations one after the other.
pub async fn rotations(stage: &Stage, opened: &Opened) -> Result<(Vec<RotationStatus>, bool), Fault> {
    let api = stage.context.api();
    let (ids, over) = match &opened.rollout {
        Some(rollout) => {
            let seen: RolloutSeen = api.get(&format!("/v1/rollouts/{rollout}")).await?;
            (seen.rotations.iter().map(|(id, _)| id.clone()).collect(), seen.end.is_some())
        }
        None => (opened.rotations.clone(), true),
    };
    let mut rows = Vec::new();
    for id in ids {
        rows.push(api.get::<RotationStatus>(&format!("/v1/rotations/{id}")).await?);
    }
    let over = over && rows.iter().all(|row| row.verdict.is_some());
    Ok((rows, over))
}

/// Waits until the moment has come in one of the rotations, or all are over. The control plane may be away meanwhile.
pub async fn until(stage: &Stage, opened: &Opened, moment: impl Fn(&RotationStatus) -> bool) -> Result<(Vec<RotationStatus>, bool), Fault> {
    let began = Instant::now();
    loop {
        match rotations(stage, opened).await {
            Ok((rows, over)) if over || rows.iter().any(&moment) => return Ok((rows, over)),
            Err(fault) if fault.code != "unreachable" => return Err(fault),
            _ if began.elapsed() > OVER_WITHIN => {
                let text = format!("{:?} is not over after {OVER_WITHIN:?}", opened.rotations);
                return Err(Fault::ours("rotation-hangs", text).hint("up.log in the demo's directory has what the processes said"));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Waits for the end and gives the lines of the table.
pub async fn finish(stage: &Stage, opened: &Opened, version: u64, expected: Verdict) -> Result<Vec<Played>, Fault> {
    let (rows, _) = until(stage, opened, |_| false).await?;
    Ok(rows.iter().map(|row| played(row, version, expected)).collect())
}

fn played(row: &RotationStatus, version: u64, expected: Verdict) -> Played {
    #[allow(clippy::cast_precision_loss, reason = "a rotation lasts minutes, not millennia")]
    let seconds = row.closed.unwrap_or_default().since(row.opened) as f64 / 1_000.0;
    Played {
        id: row.id.clone(),
        service: row.service.to_string(),
        from: row.from.as_ref().map(|s| format!("r{}", s.release.number)),
        to: format!("r{}", row.to.release.number),
        version,
        verdict: row.verdict.map_or("open", |v| show::verdict(v, row.removes)).to_string(),
        expected: show::verdict(expected, false).to_string(),
        seconds,
        why: row.why.clone(),
    }
}

pub async fn events(stage: &Stage, rotation: &RotationId) -> Result<Vec<EventLine>, Fault> {
    stage.context.api().get(&format!("/v1/rotations/{rotation}/events?from=0")).await
}
