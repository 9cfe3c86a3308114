//! What the demo plays: a first release, a second, two bad ones that go back, and a kill -9 of each control process.

use super::act::{self, Played};
use super::client::Client;
use super::report::Report;
use super::shop::Flaw;
use super::stage::Stage;
use crate::failure::Failure;
use crate::processes::Role;
use crate::show;
use api::control::RotationStatus;
use model::{Step, Verdict};

/// Version 1, before there is traffic.
pub async fn first(stage: &Stage) -> Result<Vec<Played>, Failure> {
    let opened = act::open(stage, 1, Flaw::None, None).await?;
    let rows = act::finish(stage, &opened, 1, Verdict::Promoted).await?;
    rows.iter().for_each(|row| tell(row, None));
    Ok(rows)
}

type Moment = fn(&RotationStatus) -> bool;

/// A version, who gets it, what is wrong with it, and who is killed while it comes.
struct Scene {
    version: u64,
    flaw: Flaw,
    only: Option<&'static str>,
    kill: Option<(Role, Moment)>,
}

const SCENES: [Scene; 6] = [
    Scene { version: 2, flaw: Flaw::None, only: None, kill: None },
    Scene { version: 3, flaw: Flaw::NeverHealthy, only: Some("web"), kill: None },
    Scene { version: 4, flaw: Flaw::FailsUnderTraffic, only: Some("web"), kill: None },
    Scene { version: 5, flaw: Flaw::None, only: None, kill: Some((Role::Serve, |r| web(r) && at(r, "soak"))) },
    Scene { version: 6, flaw: Flaw::None, only: Some("web"), kill: Some((Role::Host, |r| web(r) && at(r, "scale") && r.cursor > 2)) },
    Scene { version: 7, flaw: Flaw::None, only: Some("web"), kill: Some((Role::Proxy, |r| web(r) && (at(r, "shift") || at(r, "soak")))) },
];

fn web(rotation: &RotationStatus) -> bool {
    rotation.service.as_str() == "web" && rotation.verdict.is_none()
}

/// Whether such a step is under way now.
fn at(rotation: &RotationStatus, kind: &str) -> bool {
    let step: Option<&Step> = rotation.plan.steps.get(rotation.cursor as usize).map(|planned| &planned.step);
    rotation.step_started.is_some() && step.is_some_and(|step| step.kind() == kind)
}

pub async fn play(stage: &Stage, client: &Client, report: &mut Report) -> Result<(), Failure> {
    for scene in &SCENES {
        let expected = if scene.flaw == Flaw::None { Verdict::Promoted } else { Verdict::RolledBack };
        let opened = act::open(stage, scene.version, scene.flaw, scene.only).await?;
        if let Some((role, moment)) = scene.kill {
            let (_, over) = act::until(stage, &opened, moment).await?;
            if !over {
                let away = stage.kill(role).await?;
                report.kills += 1;
                let back = show::span(u64::try_from(away.as_millis()).unwrap_or(u64::MAX));
                show::note(format!("kill -9 {}: another one answers after {back}", role.name()));
            }
        }
        let rows = act::finish(stage, &opened, scene.version, expected).await?;
        rows.iter().for_each(|row| tell(row, Some(client)));
        if scene.flaw == Flaw::FailsUnderTraffic {
            report.bad.extend(rows.iter().map(|row| (row.id.clone(), scene.version)));
        }
        report.add(rows);
    }
    Ok(())
}

pub fn tell(row: &Played, client: Option<&Client>) {
    let from = row.from.as_deref().unwrap_or("nothing");
    let style = if row.verdict == row.expected { show::GREEN } else { show::RED };
    let verdict = show::paint(style.bold(), &row.verdict);
    let so_far = client.map_or_else(String::new, |c| format!("; {} requests so far, {} failed", c.sent(), c.failed()));
    show::note(format!("{} {from} -> {} (version {}): {verdict} in {:.1} s{so_far}", row.service, row.to, row.version, row.seconds));
}
