//! What of a recipe's images somebody should know. Pure.

use crate::calendar::told;
use crate::state::{Life, State};
use model::{Digest, ServiceName, Time};
use std::collections::BTreeSet;

/// In sentences. `users`: services and the images that they stand on.
pub fn alarms(life: &Life, users: &[(ServiceName, Digest)], now: Time) -> Vec<String> {
    let mut all = Vec::new();
    let standing: BTreeSet<&Digest> = users.iter().map(|(_, on)| on).collect();
    let max_age = life.recipe.as_ref().and_then(|r| r.max_age_ms);
    for one in life.images.iter().filter(|i| standing.contains(&i.digest)) {
        let age = now.since(one.patched);
        if max_age.is_some_and(|max| age > max) {
            let max = told(max_age.unwrap_or_default());
            all.push(format!(
                "{} {} was last known to hold the newest of everything {} ago; max_age is {max}",
                life.name,
                one.digest.short(),
                told(age)
            ));
        }
        if matches!(one.state, State::Bad | State::Revoked) {
            let why = one.story.last().map_or("", |t| t.text.as_str());
            all.push(format!("services stand on {} {}, which is {why}", life.name, one.digest.short()));
        }
    }
    if let Some(current) = life.current() {
        for (service, on) in users.iter().filter(|(service, on)| current.leaves_out(service, on)) {
            let why = current.left_out.get(service).map_or("", |left| left.why.as_str());
            let (name, new) = (&life.name, current.digest.short());
            all.push(format!("{service} stays on {name} {}: it cannot run on the current image {new}: {why}", on.short()));
        }
    }
    if let Some((bad, current)) = life.withheld().filter(|_| !standing.is_empty()) {
        let why = bad.story.last().map_or("", |t| t.text.as_str());
        all.push(format!(
            "{name} {} is {why}; services stay on {}: `afresh image rebuild {name} --again` tries it again",
            bad.digest.short(),
            current.digest.short(),
            name = life.name
        ));
    }
    if let Some(trouble) = life.trouble.as_ref().filter(|t| t.times > 1 || t.until.is_none() || t.interrupted) {
        all.push(format!("{}: the {} fails since {} ago: {}", life.name, trouble.during, told(now.since(trouble.since)), trouble.why));
    }
    all
}
