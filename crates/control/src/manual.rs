//! One step that a user runs by hand: a rotation with a plan of this one step.

use crate::inventory::Inventory;
use crate::observed::ObservedService;
use model::{Fault, GroupName, GroupRelease, Opened, ServiceName, ServiceSpec, Step};

/// Every group that the step names belongs to the service: as it was declared, and where nobody declared it yet, by its name.
pub fn must_own_groups(service: &ServiceName, step: &Step, inventory: &Inventory) -> Result<(), Fault> {
    let mut named: Vec<&GroupName> = step.group().into_iter().collect();
    match step {
        Step::Check { of, .. } | Step::Migrate { of, .. } => named.push(of),
        Step::Shift { weights, .. } => named.extend(weights.keys()),
        _ => {}
    }
    for group in named {
        let by_name = group.parts().map(|(owner, ..)| owner).filter(|owner| owner != service);
        if let Some(owner) = inventory.other_owner(group, service).or(by_name.as_ref()) {
            return Err(Fault::yours("another-service", format!("{group} belongs to {owner}, not to {service}"))
                .hint(format!("name the service that owns the group: `--service {owner}`")));
        }
    }
    Ok(())
}

/// The first event of the rotation. `from`: the active group and release.
pub fn open_manual_step(
    observed: &ObservedService,
    spec: &ServiceSpec,
    step: &Step,
    from: Option<GroupRelease>,
    why: &str,
) -> Result<Opened, Fault> {
    let plan = rotation::plan_manual_step(spec, step, &observed.view, observed.summary.known_groups())?;
    let of = match step {
        Step::Check { of, .. } | Step::Migrate { of, .. } => Some(of),
        step => step.group(),
    };
    let named = of.and_then(|group| {
        let release = observed.summary.releases.get(group)?.clone();
        Some(GroupRelease { group: group.clone(), release })
    });
    let Some(to) = named.or_else(|| from.clone()) else {
        return Err(Fault::yours("no-such-group", format!("{}: no journal says what the group would run", spec.name))
            .hint("`afresh instance list` shows the groups of each service"));
    };
    Ok(Opened { spec: spec.clone(), from, to, plan, why: why.to_string() })
}
