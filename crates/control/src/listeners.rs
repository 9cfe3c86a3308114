//! Listeners: two services never have the same address.

use crate::desired::Desired;
use model::{Fault, GroupRelease, RouteAddress, ServiceName};

/// Within one request.
pub fn must_differ(all: &[&Desired]) -> Result<(), Fault> {
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            if let (Some(x), Some(y)) = (&a.release.route, &b.release.route)
                && x.listen.clashes(y.listen)
            {
                return Err(taken(&b.spec.name, Some(&a.spec.name), x.listen));
            }
        }
    }
    Ok(())
}

/// `others`: releases of other services that are active, or that an open rotation brings in. The fault names another service only where
/// `may_name` allows it.
pub fn must_be_free(all: &[&Desired], others: &[GroupRelease], may_name: impl Fn(&ServiceName) -> bool) -> Result<(), Fault> {
    for desired in all {
        let Some(route) = &desired.release.route else { continue };
        if let Some(other) = others.iter().find(|o| o.release.route.as_ref().is_some_and(|r| r.listen.clashes(route.listen))) {
            let by = Some(&other.release.service).filter(|service| may_name(service));
            return Err(taken(&desired.spec.name, by, route.listen));
        }
    }
    Ok(())
}

fn taken(service: &ServiceName, by: Option<&ServiceName>, listen: RouteAddress) -> Fault {
    let by = by.map_or("another service", ServiceName::as_str);
    Fault::yours("listen-taken", format!("{service}: {by} already listens on {listen}")).hint(match listen {
        RouteAddress::Edge(_) => "give each route its own `listen`",
        RouteAddress::Internal(_) => "give one of them another port: route { internal = true  port = 8081 }",
    })
}
