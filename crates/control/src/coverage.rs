//! Whether the journals cover what runs. Running groups that no journal names mean that the journal was lost, or that an older copy of it
//! was put in its place: then nothing of the service is changed.

use crate::inventory::ServiceInventory;
use crate::summary::Summary;
use model::{DesiredGroup, DesiredSeen, Fault, GroupHeld, GroupName, ServiceName};
use std::collections::BTreeSet;

pub const NOT_COVERED: &str = "journal-lacks-groups";

/// Whether a group has servers, or would get some, that count as the service's own.
pub fn is_running(group: &GroupHeld) -> bool {
    let declared = matches!(group.seen.desired, DesiredSeen::Run { .. });
    // A one-shot is no server.
    let once = matches!(group.spec.as_ref().map(|s| &s.desired), Some(DesiredGroup::Run { once: Some(_), .. }));
    let lost = group.spec.is_none() && !group.seen.instances.is_empty() && group.seen.group.run().is_none();
    lost || (declared && !once)
}

/// Running groups that no journal names. `made`: whether the rotation that a group's name carries is in the journal and made it, which is
/// cheap to find out. `summary` is read only where it did not.
pub fn unknown_groups<E>(
    inventory: &ServiceInventory,
    made: impl Fn(&GroupName) -> Result<bool, E>,
    summary: impl FnOnce() -> Result<Summary, E>,
) -> Result<BTreeSet<GroupName>, E> {
    let mut unknown = BTreeSet::new();
    for group in inventory.groups.iter().filter(|g| is_running(g)).map(|g| &g.seen.group) {
        if !made(group)? {
            unknown.insert(group.clone());
        }
    }
    if !unknown.is_empty() {
        let summary = summary()?;
        unknown.retain(|group| !summary.groups.contains(group));
    }
    Ok(unknown)
}

/// Why nothing of the service is changed. `is_known`: the journal has the service.
pub fn uncovered(service: &ServiceName, groups: &BTreeSet<GroupName>, is_known: bool) -> Fault {
    let names: Vec<&str> = groups.iter().map(GroupName::as_str).collect();
    let whose = if is_known { "which its journal does not know" } else { "and the journal does not know the service" };
    let text = format!(
        "the keeper runs {} of {service}, {whose}: the journal was lost, or replaced by an older copy. Nothing of {service} is changed",
        names.join(", ")
    );
    let hint = "`afresh adopt` shows what would be taken over, or stop serve and run `afresh restore` to restore the backup";
    Fault::world(NOT_COVERED, text).hint(hint).again(false)
}
