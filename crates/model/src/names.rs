//! Names of services. A service keeps for life the id under which it was first deployed; a rename changes only what users call it.
//!
//! ```text
//! web, id web ──(moved web -> shop)──▶ shop, id web ──(moved shop -> store)──▶ store, id web      former names: web (the id), shop
//! ```
//!
//! Ids, current and former names are one namespace: none of them is ever another service's. So what was written with an older name (a
//! token, the host policy, a running program) never comes to mean another service.

use crate::ServiceName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The names that services have or had beside their ids. A service that was never renamed is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeMap<ServiceName, Named>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The service's id.
    pub service: ServiceName,
    /// What users call it now; false: a former name.
    pub current: bool,
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn rows(&self) -> impl Iterator<Item = (&ServiceName, &Named)> {
        self.0.iter()
    }

    pub fn get(&self, name: &ServiceName) -> Option<&Named> {
        self.0.get(name)
    }

    /// The service is called `name` from now on; by its id: it has its first name back.
    pub fn rename(&mut self, service: &ServiceName, name: &ServiceName) {
        self.0.values_mut().filter(|named| named.service == *service).for_each(|named| named.current = false);
        if name != service {
            self.0.insert(name.clone(), Named { service: service.clone(), current: true });
        }
    }

    /// Keeps what is not known yet of this name.
    pub fn add(&mut self, name: ServiceName, named: Named) {
        self.0.entry(name).or_insert(named);
    }

    /// The id of what is called so now; a text that is no name of a renamed service stands for itself.
    pub fn id_of<'a>(&'a self, name: &'a ServiceName) -> &'a ServiceName {
        self.0.get(name).filter(|named| named.current).map_or(name, |named| &named.service)
    }

    /// What users call the service with this id.
    pub fn name_of<'a>(&'a self, id: &'a ServiceName) -> &'a ServiceName {
        self.0.iter().find(|(_, named)| named.current && named.service == *id).map_or(id, |(name, _)| name)
    }

    /// The service whose former name this is. Its id is not among them: it means the service permanently.
    pub fn former(&self, name: &ServiceName) -> Option<&ServiceName> {
        self.0.get(name).filter(|named| !named.current).map(|named| &named.service)
    }

    /// The service that has or had this name, or this id.
    pub fn owner_of<'a>(&'a self, name: &'a ServiceName) -> &'a ServiceName {
        self.0.get(name).map_or(name, |named| &named.service)
    }

    /// All names of the service with this id, current and former, without the id.
    pub fn others_of<'a>(&'a self, id: &'a ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        self.0.iter().filter(move |(_, named)| named.service == *id).map(|(name, _)| name)
    }

    /// The services that these names mean now, by id. A former name means none: who is to have a renamed service is named again.
    pub fn ids_of(&self, names: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        names.iter().map(|name| self.id_of(name).clone()).collect()
    }
}

/// `moved { from = service.web  to = service.shop }` of a service file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moved {
    pub from: ServiceName,
    pub to: ServiceName,
}

/// The names from which a service of the file was moved, the nearest first. A file's moves have no circle; what has one ends all the same.
pub fn moved_from<'a>(moves: &'a [Moved], to: &'a ServiceName) -> Vec<&'a ServiceName> {
    let mut all = Vec::new();
    let mut at = to;
    while let Some(step) = moves.iter().find(|step| step.to == *at).filter(|step| !all.contains(&&step.from) && step.from != *to) {
        at = &step.from;
        all.push(at);
    }
    all
}

/// Of a file that was cut down to these services: moves that lead to none of them would be errors in it.
pub fn keep_moves_to<T>(moves: &mut Vec<Moved>, services: &BTreeMap<ServiceName, T>) {
    let kept: BTreeSet<Moved> = services
        .keys()
        .flat_map(|service| {
            let chain: Vec<&ServiceName> = std::iter::once(service).chain(moved_from(moves, service)).collect();
            chain.windows(2).map(|step| Moved { from: step[1].clone(), to: step[0].clone() }).collect::<Vec<_>>()
        })
        .collect();
    moves.retain(|moved| kept.contains(moved));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    #[test]
    fn a_service_is_found_by_its_name_and_by_its_id_and_its_former_names_are_known() {
        let [web, shop, store, api] = ["web", "shop", "store", "api"].map(name);
        let mut names = Names::default();
        names.rename(&web, &shop);
        assert_eq!((names.id_of(&shop), names.name_of(&web), names.id_of(&web)), (&web, &shop, &web));
        names.rename(&web, &store);
        assert_eq!((names.id_of(&store), names.name_of(&web), names.former(&shop)), (&web, &store, Some(&web)));
        assert_eq!((names.id_of(&shop), names.owner_of(&shop)), (&shop, &web), "a former name means nothing by itself");
        assert_eq!(names.others_of(&web).collect::<Vec<_>>(), [&shop, &store]);
        assert_eq!((names.id_of(&api), names.name_of(&api), names.former(&api)), (&api, &api, None));
        names.rename(&web, &web);
        assert_eq!((names.name_of(&web), names.former(&store)), (&web, Some(&web)), "its first name again");
        assert_eq!(names.ids_of(&[web.clone(), store.clone()].into()), [web, store].into(), "no grant follows a former name");
    }

    #[test]
    fn moves_are_followed_back_and_a_circle_ends() {
        let moved = |from: &str, to: &str| Moved { from: name(from), to: name(to) };
        let [a, b, c] = ["a", "b", "c"].map(name);
        assert_eq!(moved_from(&[moved("a", "b"), moved("b", "c")], &c), [&b, &a]);
        assert_eq!(moved_from(&[moved("b", "c"), moved("a", "b"), moved("c", "a")], &c), [&b, &a]);
        assert!(moved_from(&[moved("a", "b")], &a).is_empty());
        let mut moves = vec![moved("a", "b"), moved("b", "c"), moved("x", "y")];
        keep_moves_to(&mut moves, &[(c, ())].into());
        assert_eq!(moves, [moved("a", "b"), moved("b", "c")]);
    }
}
