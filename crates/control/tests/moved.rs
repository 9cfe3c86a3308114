//! What a name in a file stands for, and which renames it makes: every small case, against a table written by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use control::{KnownNames, resolve};
use model::*;
use std::collections::BTreeSet;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn spec(service: &str) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        tier: TierName::new("front").unwrap(),
        image: ImageName::new("base").unwrap(),
        recipe: None,
        artifact: None,
        run: vec!["one".into()],
        env: Default::default(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: None,
        count: 1,
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Rollout::default(),
        from_image: Default::default(),
    }
}

fn file(services: &[&str], moves: &[(&str, &str)]) -> ServiceFile {
    ServiceFile {
        services: services.iter().map(|service| (name(service), spec(service))).collect(),
        moved: moves.iter().map(|(from, to)| Moved { from: name(from), to: name(to) }).collect(),
        ..ServiceFile::default()
    }
}

/// `known`: each service by its id and the names that it had after that, the last of which is its name.
fn said(known: &[&[&str]], services: &[&str], moves: &[(&str, &str)]) -> String {
    let mut names = Names::default();
    for all in known {
        all[1..].iter().for_each(|new| names.rename(&name(all[0]), &name(new)));
    }
    let ids: BTreeSet<ServiceName> = known.iter().map(|all| name(all[0])).collect();
    match resolve(&file(services, moves), None, &KnownNames { names: &names, services: &ids }) {
        Err(fault) => fault.code,
        Ok(done) => {
            let ids = done.ids.iter().map(|(name, id)| format!("{name}={id}"));
            let renames = done.renames.iter().map(|r| format!("{}: {}->{}", r.service, r.from, r.to));
            ids.chain(renames).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn each_case_is_as_in_the_table() {
    let web: &[&str] = &["web"];
    let shop: &[&str] = &["web", "shop"];
    let store: &[&str] = &["web", "shop", "store"];
    let back: &[&str] = &["web", "shop", "web"];
    let chain = &[("shop", "store"), ("web", "shop")][..];
    let one = &[("web", "shop")][..];
    type Case<'a> = (&'a [&'a [&'a str]], &'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        // Without a move.
        (&[], &["web"], &[], "web=web"),
        (&[web], &["web"], &[], "web=web"),
        (&[shop], &["shop"], &[], "shop=web"),
        (&[shop], &["web"], &[], "name-is-former"),
        (&[store], &["shop"], &[], "name-is-former"),
        (&[back], &["web"], &[], "web=web"),
        (&[back], &["shop"], &[], "name-is-former"),
        // One move: before, after, and where there is nothing to move.
        (&[web], &["shop"], one, "shop=web web: web->shop"),
        (&[shop], &["shop"], one, "shop=web"),
        (&[], &["shop"], one, "shop=shop"),
        (&[&["shop"]], &["shop"], one, "shop=shop"),
        (&[back], &["shop"], one, "shop=web web: web->shop"),
        (&[shop], &["web"], &[("shop", "web")], "web=web web: shop->web"),
        // A name that another service has, had, or is keyed by.
        (&[web, &["shop"]], &["shop"], one, "moved-taken"),
        (&[web, &["api", "shop"]], &["shop"], one, "moved-taken"),
        (&[web, &["shop", "api"]], &["shop"], one, "name-is-former"),
        (&[web, &["x", "shop", "api"]], &["shop"], one, "name-is-former"),
        // Chains.
        (&[web], &["store"], chain, "store=web web: web->store"),
        (&[shop], &["store"], chain, "store=web web: shop->store"),
        (&[store], &["store"], chain, "store=web"),
        (&[web, &["shop"]], &["store"], chain, "moved-taken"),
        (&[], &["store"], chain, "store=store"),
        // A file that missed a rename gets no second service.
        (&[store], &["shop"], one, "name-is-former"),
        (&[store], &["other"], &[("web", "other")], "name-is-former"),
        (&[store], &["other"], &[("shop", "other")], "name-is-former"),
        // Two services, one file.
        (&[web, &["api"]], &["api", "shop"], one, "api=api shop=web web: web->shop"),
        (&[shop, &["api"]], &["api", "shop", "new"], one, "api=api new=new shop=web"),
    ];
    for (known, services, moves, want) in table {
        assert_eq!(said(known, services, moves), *want, "known {known:?}, the file has {services:?} and moves {moves:?}");
    }
}

/// A deploy of one service is not held up by what is wrong with another, and renames no other.
#[test]
fn a_deploy_of_one_service_concerns_that_one() {
    let mut names = Names::default();
    names.rename(&name("web"), &name("shop"));
    let ids = [name("web"), name("api")].into();
    let known = KnownNames { names: &names, services: &ids };
    let file = file(&["web", "job"], &[("api", "job")]);
    assert_eq!(resolve(&file, None, &known).unwrap_err().code, "name-is-former");
    assert_eq!(resolve(&file, Some(&name("job")), &known).unwrap().renames.len(), 1);
    let done = resolve(&file, Some(&name("other")), &known).unwrap();
    assert_eq!((done.renames.len(), &done.ids[&name("job")], &done.ids[&name("web")]), (0, &name("api"), &name("web")));
}
