//! Steps and counts as text, as `afresh why` shows them.

use model::{GroupName, GroupSeen, ServiceName, Step};
use std::collections::BTreeMap;

/// What a step does: "scale web-r42-7 to 3".
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::Bake { image, .. } => format!("bake {image}"),
        Step::Check { group, command, .. } => format!("check {group}: {}", command.join(" ")),
        Step::Migrate { group, command, .. } => format!("migrate {group}: {}", command.join(" ")),
        Step::Scale { group, count } => format!("scale {group} to {count}"),
        Step::Shift { weights, .. } => format!("shift traffic to {}", display_weights(weights)),
        Step::Soak { group, for_ms, .. } => format!("soak {group} for {}", span(*for_ms)),
        Step::Drain { group, .. } => format!("drain {group}"),
        Step::Retire { group } => format!("retire {group}"),
    }
}

/// A group that the step names and that is not the service's own.
pub(crate) fn foreign<'a>(service: &ServiceName, step: &'a Step) -> Option<&'a GroupName> {
    step.groups().into_iter().find(|group| !owned(service, group))
}

/// A group's name says which service owns it: [`GroupName::of`] makes every name.
pub(crate) fn owned(service: &ServiceName, group: &GroupName) -> bool {
    group.parts().is_some_and(|(of, _, _)| of == *service)
}

pub(crate) fn display_weights(weights: &BTreeMap<GroupName, u32>) -> String {
    let parts: Vec<String> = weights.iter().filter(|(_, w)| **w > 0).map(|(g, w)| format!("{g} {w} %")).collect();
    if parts.is_empty() { "nobody".to_string() } else { parts.join(", ") }
}

/// `; health check GET /: 500 "no"; last death: exit 1, "..."`, or empty where nothing is known.
pub(crate) fn failure_suffix(group: Option<&GroupSeen>) -> String {
    group.and_then(GroupSeen::failure).map_or_else(String::new, |failure| format!("; {failure}"))
}

/// ` (last: exit 1, "...")`, or empty.
pub(crate) fn last_death(group: &GroupSeen) -> String {
    group.last_death.as_ref().map_or_else(String::new, |death| format!(" (last: {death})"))
}

/// "1 server", "3 servers".
pub(crate) fn servers(count: u32) -> String {
    if count == 1 { "1 server".to_string() } else { format!("{count} servers") }
}

/// "1.5 s", "300 ms", "5 min".
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min", ms / 60_000),
    }
}
