//! State of images, for `status` and `why`. Pure: answers of the API in, text out.

use super::words::span;
use api::control::ImageUpkeep;
use model::Time;

pub const HEAD: [&str; 7] = ["image", "current", "age", "max age", "patched", "next check", "now"];

pub fn row(one: &ImageUpkeep) -> Vec<String> {
    let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_string());
    vec![
        one.name.to_string(),
        or(one.current.as_ref().map(|d| d.short().to_string()), "none"),
        or(one.age_ms.map(span), ""),
        or(one.max_age_ms.map(span), "any"),
        patched(one),
        or(one.next_look.map(|at| in_time(at, one.now)), "by hand"),
        or(one.waits.as_ref().map(|w| w.why.clone()), ""),
    ]
}

fn patched(one: &ImageUpkeep) -> String {
    match (one.newest, one.checked) {
        (Some(true), Some(at)) => format!("fully, {}", super::ago(at, one.now)),
        (Some(_), Some(at)) if one.tag_moved => format!("tag moved, {}", super::ago(at, one.now)),
        // The note beside it says why.
        (Some(false), Some(at)) if one.behind.is_empty() && one.reference.is_some() => format!("not known, {}", super::ago(at, one.now)),
        (Some(false), Some(at)) if one.behind.is_empty() => format!("no, {}", super::ago(at, one.now)),
        (Some(false), Some(at)) => format!("{} behind, {}", super::times(one.behind.len() as u64, "package"), super::ago(at, one.now)),
        _ => "not known".to_string(),
    }
}

fn in_time(at: Time, now: Time) -> String {
    if at > now { format!("in {}", span(at.since(now))) } else { "due".to_string() }
}

/// `2026-11-22 04:10 UTC`
pub fn day(at: Time) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{} ms", at.0), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Everything about one, in sentences.
pub fn sentences(one: &ImageUpkeep) -> Vec<String> {
    let mut all = Vec::new();
    let age = one.age_ms.map(span).unwrap_or_default();
    let max = one.max_age_ms.map_or_else(String::new, |max| format!(" (max_age {})", span(max)));
    match &one.current {
        Some(digest) => all.push(format!("{} is current, {age} old{max}", digest.short())),
        None => all.push("there is no current image".to_string()),
    }
    match (one.newest, one.checked) {
        (Some(true), Some(at)) => all.push(format!("every package of it is the newest as of {} ({})", day(at), super::ago(at, one.now))),
        (_, Some(at)) if one.tag_moved => {
            all.push(format!("its name leads to another image as of {} ({}): {}", day(at), super::ago(at, one.now), one.behind.join(", ")));
        }
        (_, Some(at)) if one.reference.is_some() && one.behind.is_empty() => {
            all.push(format!(
                "its name still leads to it as of {} ({}); whether every package is the newest is not known",
                day(at),
                super::ago(at, one.now)
            ));
        }
        (_, Some(at)) if one.reference.is_some() => {
            let (at, ago) = (day(at), super::ago(at, one.now));
            all.push(format!(
                "not every package is the newest as of {at} ({ago}): {}; it must be built and pushed again",
                one.behind.join(", ")
            ));
        }
        (_, Some(at)) => {
            let what = if one.behind.is_empty() { "its recipe or its mirrors differ".to_string() } else { one.behind.join(", ") };
            all.push(format!("not every package is the newest as of {} ({}): {what}", day(at), super::ago(at, one.now)));
        }
        _ => all.push(format!("{} not checked yet", if one.reference.is_some() { "its name was" } else { "the mirrors were" })),
    }
    if let Some((digest, state, why)) = &one.held_up {
        let why = why.strip_prefix(&format!("{state}: ")).unwrap_or(why);
        all.push(format!("the newer {} is {state}: {why}", digest.short()));
    }
    all.extend(one.trouble.clone());
    if let Some(waits) = &one.waits {
        let until = waits.until.map_or_else(String::new, |u| format!(", until {} ({})", day(u), in_time(u, one.now)));
        all.push(format!("{}{until}", waits.why));
    }
    match (&one.rebuild, one.next_look) {
        (Some(schedule), Some(at)) => {
            let whom = one.reference.as_ref().map_or("the mirrors".to_string(), |name| format!("what {name} leads to"));
            all.push(format!("the next check of {whom} is at {} ({}; {schedule})", day(at), in_time(at, one.now)))
        }
        (Some(schedule), None) => all.push(format!("its schedule ({schedule}) matches no time")),
        (None, _) if one.waits.is_some() => {}
        (None, _) if one.reference.is_some() => {
            all.push(format!("its recipe has no `rebuild`: it is pulled by hand only, by `afresh bake {}`", one.name));
        }
        (None, _) => all.push("its recipe has no `rebuild`: it is baked by hand only".to_string()),
    }
    all.extend(one.notes.iter().map(|n| format!("note: {n}")));
    all.extend(one.alarms.iter().map(|a| format!("alarm: {a}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a reader: a container image whose tag moved was said to be one package behind, and its registry was called mirrors.
    #[test]
    fn a_container_image_is_not_spoken_of_as_a_recipe_of_packages() {
        let one = |value: serde_json::Value| {
            let mut all = serde_json::json!({ "name": "app", "now": 9_000_000, "checked": 1_800_000, "newest": false });
            let (object, more) = (all.as_object_mut().unwrap(), value.as_object().unwrap().clone());
            object.extend(more);
            serde_json::from_value::<ImageUpkeep>(all).unwrap()
        };
        let name = "r.example/app:1";
        let moved = one(
            serde_json::json!({ "reference": name, "tag_moved": true, "behind": ["r.example/app:1 aa -> bb"], "rebuild": "hourly", "next_look": 9_900_000 }),
        );
        assert!(patched(&moved).starts_with("tag moved, "), "{}", patched(&moved));
        let unknown = one(serde_json::json!({ "reference": name }));
        assert!(patched(&unknown).starts_with("not known, "), "{}", patched(&unknown));
        let behind = one(serde_json::json!({ "reference": name, "behind": ["curl 1 -> 2"] }));
        assert!(patched(&behind).starts_with("1 package behind, "), "{}", patched(&behind));
        assert!(sentences(&behind).iter().any(|text| text.ends_with("it must be built and pushed again")), "{:?}", sentences(&behind));
        for container in [moved, unknown, behind, one(serde_json::json!({ "reference": name, "checked": null }))] {
            let said = sentences(&container).join("; ");
            assert!(!said.contains("mirror") && !said.contains("baked"), "{said}");
        }
        let debian = one(serde_json::json!({ "behind": ["curl 1 -> 2"], "rebuild": "daily", "next_look": 9_900_000 }));
        assert!(sentences(&debian).join("; ").contains("the next check of the mirrors"), "{:?}", sentences(&debian));
    }
}
