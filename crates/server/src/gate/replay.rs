//! What rules would have done to the deploys of the last days, before anyone turns them on. The journals have what was deployed: nothing is
//! kept for this.

use super::facts::{Lives, of_named_recipe, of_past};
use crate::app::App;
use api::guard::{ReplayAnswer, ReplayRequest, ReplayRow};
use guard::rules::{Facts, RuleSet, replay as replay_rules};
use journal::{Lists, RotationRow};
use model::{Event, Fault, Opened, RolloutId, Time};
use std::collections::BTreeMap;

/// Rotations that are read for one answer.
const ROTATIONS_MAX: u64 = 2_000;
const DAYS_MAX: u32 = 366;
const RULES_BYTES_MAX: usize = 1 << 20;
const DAY_MS: u64 = 86_400_000;

pub fn replay(app: &App, request: &ReplayRequest) -> Result<ReplayAnswer, Fault> {
    if request.rules.len() > RULES_BYTES_MAX || !(1..=DAYS_MAX).contains(&request.days) {
        let text = format!("rules have at most {RULES_BYTES_MAX} bytes, and 1 to {DAYS_MAX} days are replayed");
        return Err(Fault::yours("bad-request", text));
    }
    let set = RuleSet::load(&request.rules)
        .map_err(|e| Fault::yours("bad-rules", e.to_string()).hint("`afresh guard rules --text` shows how rules are written"))?;
    let since = Time(app.now().0.saturating_sub(u64::from(request.days) * DAY_MS));
    let (deploys, left_out) = app.database.browse(|r| deploys_since(r, since))?;
    let mut lives = Lives::default();
    let changes = deploys.iter().map(|deploy| facts(app, &mut lives, deploy)).collect::<Result<Vec<_>, Fault>>()?;
    let rows = replay_rules(&set, &changes).into_iter().map(|row| ReplayRow {
        sentence: format!("{} in the last {} days", row.sentence(), request.days),
        rule: row.rule,
        denied: row.denied,
        cannot_tell: row.cannot_tell,
    });
    Ok(ReplayAnswer { days: request.days, deploys: changes.len(), left_out, rules: rows.collect() })
}

type Deploy = Vec<(Time, Opened)>;

/// Rotations that one request opened are one deploy. What the gate never judges is not among them.
fn deploys_since(r: &Lists<'_>, since: Time) -> Result<(Vec<Deploy>, bool), Fault> {
    let rows = r.rotations(None, ROTATIONS_MAX)?;
    let is_full = rows.len() as u64 == ROTATIONS_MAX;
    let (mut alone, mut rollouts): (Vec<Deploy>, BTreeMap<RolloutId, Option<Deploy>>) = Default::default();
    for RotationRow { id, rollout, .. } in rows {
        let Some(line) = r.first_line(&id)? else { continue };
        if line.at < since {
            return Ok((all(alone, rollouts), false));
        }
        let Event::Opened(opened) = line.event else { continue };
        if api::control::is_removal(&opened) || is_rollback(&opened) {
            continue;
        }
        match rollout {
            None => alone.push(vec![(line.at, opened)]),
            Some(rollout) => {
                if !rollouts.contains_key(&rollout) {
                    let by_user = r.rollout(&rollout)?.is_some_and(|row| !row.plan.by_upkeep);
                    rollouts.insert(rollout.clone(), by_user.then(Deploy::new));
                }
                rollouts.get_mut(&rollout).into_iter().flatten().for_each(|deploy| deploy.push((line.at, opened.clone())));
            }
        }
    }
    Ok((all(alone, rollouts), is_full))
}

fn all(alone: Vec<Deploy>, rollouts: BTreeMap<RolloutId, Option<Deploy>>) -> Vec<Deploy> {
    alone.into_iter().chain(rollouts.into_values().flatten()).collect()
}

fn is_rollback(opened: &Opened) -> bool {
    opened.from.as_ref().is_some_and(|from| from.release.number > opened.to.release.number)
}

fn facts(app: &App, lives: &mut Lives, deploy: &Deploy) -> Result<Vec<Facts>, Fault> {
    let mut all = Vec::new();
    for (at, opened) in deploy {
        all.push(of_past(app, lives, *at, &opened.spec, &opened.to.release)?);
        all.push(of_named_recipe(app, lives, &opened.spec)?);
    }
    Ok(all)
}
