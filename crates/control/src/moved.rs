//! Names in a service file to ids, and the renames that its `moved` blocks make. Nothing else of a deploy knows names.
//!
//! ```text
//!            is `to` a name of now?  yes ─▶ nothing to do (of `from`, if that is the same service or none)
//! from ─▶ to                         no  ─▶ is `from` a name of now?  yes ─▶ rename       no ─▶ `to` is a new service
//! ```

use model::{Allowed, Fault, Names, ServiceFile, ServiceName, moved_from};
use std::collections::{BTreeMap, BTreeSet};

/// What services are called, and which there are.
#[derive(Clone, Copy, Debug)]
pub struct KnownNames<'a> {
    pub names: &'a Names,
    /// The ids of all services that the journal has.
    pub services: &'a BTreeSet<ServiceName>,
}

/// `service` is the id; `from` and `to` are names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub service: ServiceName,
    pub from: ServiceName,
    pub to: ServiceName,
}

/// What the names in a file stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The id of each service of the file, by its name in it.
    pub ids: BTreeMap<ServiceName, ServiceName>,
    pub renames: Vec<Rename>,
}

impl KnownNames<'_> {
    /// The id of the service that is called so now.
    fn called(&self, name: &ServiceName) -> Option<&ServiceName> {
        let id = self.names.get(name).filter(|named| named.current).map(|named| &named.service);
        id.or_else(|| self.services.get(name).filter(|id| self.names.name_of(id) == *id))
    }

    /// The service that this is the id or a former name of, and is not called so now.
    fn was(&self, name: &ServiceName) -> Option<&ServiceName> {
        let id = self.names.former(name).or_else(|| self.services.get(name))?;
        (self.names.name_of(id) != name).then_some(id)
    }
}

/// `only`: the one service that is deployed; what is wrong with others does not concern it, and they are not renamed.
pub fn resolve(file: &ServiceFile, only: Option<&ServiceName>, known: &KnownNames<'_>) -> Result<Resolved, Fault> {
    let mut resolved = Resolved::default();
    for name in file.services.keys() {
        let is_deployed = only.is_none_or(|only| only == name);
        let id = match id(file, name, known) {
            Ok((id, rename)) => {
                resolved.renames.extend(rename.filter(|_| is_deployed));
                id
            }
            Err(_) if !is_deployed => known.names.owner_of(name).clone(),
            Err(fault) => return Err(fault),
        };
        resolved.ids.insert(name.clone(), id);
    }
    Ok(resolved)
}

fn id(file: &ServiceFile, name: &ServiceName, known: &KnownNames<'_>) -> Result<(ServiceName, Option<Rename>), Fault> {
    match (rename(file, name, known)?, known.called(name), known.was(name)) {
        (Some(rename), ..) => Ok((rename.service.clone(), Some(rename))),
        (None, Some(id), _) => Ok((id.clone(), None)),
        (None, None, Some(id)) => Err(is_former(name, known.names.name_of(id))),
        (None, None, None) => Ok((name.clone(), None)),
    }
}

/// The rename that gives a service of the file this name.
fn rename(file: &ServiceFile, to: &ServiceName, known: &KnownNames<'_>) -> Result<Option<Rename>, Fault> {
    let earlier = moved_from(&file.moved, to);
    let called: Vec<&ServiceName> = earlier.iter().copied().filter(|from| known.called(from).is_some()).collect();
    match (called.as_slice(), known.called(to)) {
        ([], Some(_)) => Ok(None),
        ([], None) => match earlier.iter().find_map(|from| Some((from, known.was(from)?))) {
            // Otherwise a file that missed a rename would deploy a second service beside the first.
            Some((from, id)) if known.was(to) != Some(id) => Err(is_former(from, known.names.name_of(id))),
            _ => Ok(None),
        },
        ([from, ..], Some(_)) => Err(Fault::yours("moved-taken", format!("cannot rename {from} to {to}: both are services here"))
            .hint(format!("remove one of them first (`--remove {from}`), choose another name, or delete the block `moved`"))),
        ([from, other, ..], None) => {
            let text = format!("cannot rename {from} to {to}: {other} is moved to the same name, and both are services here");
            Err(Fault::yours("moved-taken", text).hint("a rename joins no services: give one of them a block and a name of its own"))
        }
        ([from], None) => {
            let service = known.called(from).expect("it was found above").clone();
            match known.was(to).filter(|owner| **owner != service) {
                Some(owner) => Err(is_former(to, known.names.name_of(owner))),
                None => Ok(Some(Rename { service, from: (*from).clone(), to: to.clone() })),
            }
        }
    }
}

fn is_former(name: &ServiceName, now: &ServiceName) -> Fault {
    Fault::yours("name-is-former", format!("{name} is a former name, or the id, of the service that is called {now} now"))
        .hint(format!("write `service \"{now}\"` and service.{now}; another service needs another name, so that nothing that was written for {name} means it"))
}

/// The file with ids in place of names: keys, specs and `allow`. Moves are not in it any more.
pub fn with_ids(file: &ServiceFile, resolved: &Resolved, names: &Names) -> ServiceFile {
    let mut file = file.clone();
    file.moved.clear();
    let services = std::mem::take(&mut file.services);
    for (name, mut spec) in services {
        spec.name = id_in(resolved, names, &name);
        for allowed in &mut spec.network.allow {
            if let Allowed::Service(name) = allowed {
                *name = id_in(resolved, names, name);
            }
        }
        // Two names of one service are one.
        let allow = std::mem::take(&mut spec.network.allow);
        for allowed in allow {
            if !spec.network.allow.contains(&allowed) {
                spec.network.allow.push(allowed);
            }
        }
        file.services.insert(spec.name.clone(), spec);
    }
    file
}

/// The id behind a name in a request: of a service of its file, or of one that another file deployed. There an older name does too.
pub fn id_in(resolved: &Resolved, names: &Names, name: &ServiceName) -> ServiceName {
    resolved.ids.get(name).unwrap_or_else(|| names.owner_of(name)).clone()
}
