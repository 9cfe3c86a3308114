//! A deploy: the ids behind the names of its file, and the renames that it makes.

use crate::access::Caller;
use crate::app::App;
use crate::opening::ChangeRequest;
use api::control::{DeployRequest, Renamed};
use control::{KnownNames, Rename};
use journal::Tx;
use model::{Fault, Names, ServiceName};

/// A request with ids in place of names.
pub struct Named {
    pub request: DeployRequest,
    pub renames: Vec<Rename>,
    /// As they are once the renames are made.
    pub names: Names,
}

impl Named {
    pub fn renamed(&self) -> Vec<Renamed> {
        self.renames.iter().map(|rename| Renamed { from: rename.from.clone(), to: rename.to.clone() }).collect()
    }
}

/// Under the lock of deploys: nothing is renamed meanwhile.
pub fn of_request(app: &App, caller: &Caller, request: &DeployRequest) -> Result<Named, Fault> {
    let names = super::all(app)?;
    let services = app.database.browse(|r| r.service_names())?.into_iter().collect();
    let only = request.service.as_ref();
    if let Some(only) = only.filter(|only| !request.file.services.contains_key(*only)) {
        let all: Vec<&str> = request.file.services.keys().map(ServiceName::as_str).collect();
        return Err(Fault::yours("not-found", format!("the file has no service {only}")).hint(format!("it has: {}", all.join(", "))));
    }
    let known = KnownNames { names: &names, services: &services };
    let resolved = control::resolve(&request.file, only, &known).map_err(|fault| without_others(caller, request, &names, fault))?;
    for Rename { to, from, .. } in &resolved.renames {
        let spec = &request.file.services[to];
        // Of the service itself the caller is asked for, as at every deploy. Its new name must be the caller's too: whoever is for a
        // service of that name sees and deploys this one from now on.
        caller.must_deploy(to, Some(&spec.tier), true)?;
        caller.about(from.as_str());
    }
    let id = |name: &ServiceName| control::id_in(&resolved, &names, name);
    let translated = DeployRequest {
        file: control::with_ids(&request.file, &resolved, &names),
        service: only.map(id),
        artifacts: request.artifacts.iter().map(|(name, digest)| (id(name), digest.clone())).collect(),
        secrets: request.secrets.iter().map(|(name, versions)| (id(name), versions.clone())).collect(),
        remove: request.remove.iter().map(|name| caller.id_of(name)).collect::<Result<_, Fault>>()?,
        ..request.clone()
    };
    let mut after = names.clone();
    resolved.renames.iter().for_each(|rename| after.rename(&rename.service, &rename.to));
    Ok(Named { request: translated, renames: resolved.renames, names: after })
}

/// Why a name cannot be used may name another service: whoever may not see it is not told.
fn without_others(caller: &Caller, request: &DeployRequest, names: &Names, fault: Fault) -> Fault {
    let moved = request.file.moved.iter().flat_map(|moved| [&moved.from, &moved.to]);
    let mut all = request.file.services.keys().chain(moved);
    all.find(|name| !caller.sees(names.owner_of(name))).map_or(fault, |other| caller.not_for(other))
}

/// In the transaction that accepts the deploy.
pub fn record(tx: &Tx<'_>, renames: &[Rename], change: &ChangeRequest<'_>) -> Result<(), Fault> {
    renames.iter().try_for_each(|rename| tx.rename(&rename.service, &rename.to, change.by, change.at))
}
