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
        (_, Some(at)) => {
            let what = if one.behind.is_empty() { "its recipe or its mirrors differ".to_string() } else { one.behind.join(", ") };
            all.push(format!("not every package is the newest as of {} ({}): {what}", day(at), super::ago(at, one.now)));
        }
        _ => all.push("the mirrors were not checked yet".to_string()),
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
            all.push(format!("the next check of the mirrors is at {} ({}; {schedule})", day(at), in_time(at, one.now)))
        }
        (Some(schedule), None) => all.push(format!("its schedule ({schedule}) matches no time")),
        (None, _) if one.waits.is_some() => {}
        (None, _) => all.push("its recipe has no `rebuild`: it is baked by hand only".to_string()),
    }
    all.extend(one.notes.iter().map(|n| format!("note: {n}")));
    all.extend(one.alarms.iter().map(|a| format!("alarm: {a}")));
    all
}
