//! What is in regions: images, snapshots, security groups, databases. First everything is listed, then each attribute is read.

use crate::ec2_calls::{Ec2, Groups, ListedRouteTable, ListedSnapshot, Only, group, prefix_list_ids, resolve};
use crate::parallel::ordered;
use crate::rds_calls::{ListedDbSnapshot, ListedInstance, Rds};
use crate::reading::{Failures, finding, mapped, unlisted};
use crate::told::{Event, Services};
use aws_client::{AwsError, Client, ErrorKind, Listed};
use guard::{Ami, Context, EbsSnapshot, Fact, Finding, IpPermission, RdsInstance, RdsSnapshot, Resource, RouteTable, SnapshotSharing};
use std::collections::BTreeMap;

/// What a call lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    Images,
    Snapshots,
    Groups,
    Instances,
    DbSnapshots { of_cluster: bool },
}

impl Listing {
    fn of(services: Services) -> Vec<Listing> {
        let ec2 = [Listing::Images, Listing::Snapshots, Listing::Groups];
        let rds = [Listing::Instances, Listing::DbSnapshots { of_cluster: false }, Listing::DbSnapshots { of_cluster: true }];
        let chosen = |of: [Listing; 3], on: bool| of.into_iter().filter(move |_| on);
        chosen(ec2, services.ec2).chain(chosen(rds, services.rds)).collect()
    }

    fn of_kind(kind: &str) -> Option<Listing> {
        Listing::of(Services::ALL).into_iter().find(|listing| listing.kind() == kind)
    }

    fn kind(self) -> &'static str {
        match self {
            Listing::Images => "ami",
            Listing::Snapshots => "ebs_snapshot",
            Listing::Groups => "security_group",
            Listing::Instances => "rds_instance",
            Listing::DbSnapshots { of_cluster: false } => "rds_snapshot",
            Listing::DbSnapshots { of_cluster: true } => "rds_cluster_snapshot",
        }
    }
}

enum Item {
    Image(String),
    Snapshot(ListedSnapshot),
    Group(String, Vec<IpPermission>),
    Instance(ListedInstance),
    DbSnapshot(ListedDbSnapshot),
}

impl Item {
    fn id(&self) -> &str {
        match self {
            Item::Image(id) | Item::Group(id, _) => id,
            Item::Snapshot(snapshot) => &snapshot.id,
            Item::Instance(instance) => &instance.id,
            Item::DbSnapshot(snapshot) => &snapshot.id,
        }
    }
}

/// What several resources of a region share.
struct Region {
    name: String,
    context: Context,
    failures: Failures,
    groups: Fact<Groups>,
    lists: BTreeMap<String, Fact<Vec<String>>>,
    routes: Fact<Vec<ListedRouteTable>>,
    default_subnets: Fact<Vec<(String, String)>>,
}

/// At the same time: each holds a page of some hundred kilobytes, read as a tree.
const LISTINGS: usize = 6;

const GROUPS: &str = "ec2:DescribeSecurityGroups";
const ROUTES: &str = "ec2:DescribeRouteTables";
const SUBNETS: &str = "ec2:DescribeSubnets";

pub fn scan(client: &Client, context: &Context, regions: &[String], services: Services, sink: &mut (dyn FnMut(Event) + Send)) {
    let units: Vec<(usize, Listing)> = (0..regions.len()).flat_map(|r| Listing::of(services).into_iter().map(move |l| (r, l))).collect();
    let mut items: Vec<(usize, Item)> = Vec::new();
    let mut done = 0;
    ordered(
        client.concurrency().min(LISTINGS),
        &units,
        |(region, listing)| (*region, *listing, list(client, &context.account_id, &regions[*region], *listing, None)),
        |(region, listing, (found, error))| {
            items.extend(found.into_iter().map(|item| (region, item)));
            if let Some(error) = error {
                sink(Event::found(unlisted(listing.kind(), &regions[region], &error)));
            }
            done += 1;
            sink(Event::Progress { what: "listings", done, of: units.len() });
        },
    );
    let names: Vec<(usize, &String)> = regions.iter().enumerate().collect();
    let mut shared: Vec<Region> = Vec::new();
    ordered(client.concurrency(), &names, |(index, name)| region(client, context, name, *index, &items), |region| shared.push(region));
    let of = items.len();
    let mut done = 0;
    ordered(
        client.concurrency(),
        &items,
        |(region, item)| judge(client, &shared[*region], item),
        |found| {
            done += 1;
            sink(Event::found(found));
            sink(Event::Progress { what: "resources", done, of });
        },
    );
}

fn list(client: &Client, account: &str, region: &str, listing: Listing, only: Option<&str>) -> Listed<Item> {
    let (ec2, rds) = (Ec2 { client, region }, Rds { client, region });
    fn items<T>((found, error): Listed<T>, item: impl Fn(T) -> Item) -> Listed<Item> {
        (found.into_iter().map(item).collect(), error)
    }
    match listing {
        Listing::Images => items(ec2.images(account, Only(only)), Item::Image),
        Listing::Snapshots => items(ec2.snapshots(account, Only(only)), Item::Snapshot),
        Listing::Groups => items(ec2.groups(Only(only)), |(id, rules)| Item::Group(id, rules)),
        Listing::Instances => items(rds.instances(only), Item::Instance),
        Listing::DbSnapshots { of_cluster } => items(rds.snapshots(of_cluster, only), Item::DbSnapshot),
    }
}

/// Reads what the region's resources need beside themselves, and nothing that none of them needs.
fn region(client: &Client, context: &Context, name: &str, index: usize, items: &[(usize, Item)]) -> Region {
    let ec2 = Ec2 { client, region: name };
    let mut failures = Failures::default();
    let mut own = context.clone();
    own.partition = aws_client::partition(name).0.to_string();
    let here = || items.iter().filter(|(region, _)| *region == index).map(|(_, item)| item);
    if here().any(|i| matches!(i, Item::Snapshot(_))) {
        own.ebs_snapshot_sharing = match ec2.snapshot_sharing() {
            // Where the switch does not exist it is not on.
            Err(e) if e.kind == ErrorKind::Unimplemented => Fact::Known(SnapshotSharing::Unblocked),
            other => failures.fact(other),
        };
    }
    let open: Vec<&ListedInstance> = here()
        .filter_map(|i| if let Item::Instance(i) = i { Some(i) } else { None })
        .filter(|i| i.publicly_accessible != Some(false))
        .collect();
    let listed: Groups =
        here().filter_map(|i| if let Item::Group(id, rules) = i { Some((id.clone(), rules.clone())) } else { None }).collect();
    let is_listed = open.iter().flat_map(|i| &i.groups).all(|g| listed.contains_key(g));
    let groups = if is_listed {
        Fact::Known(listed)
    } else {
        mapped(whole(&mut failures, ec2.groups(Only::ALL)), |found| found.into_iter().collect())
    };
    let named = prefix_list_ids(groups.known().into_iter().flat_map(BTreeMap::values));
    let lists = named.into_iter().map(|id| (id.clone(), failures.fact(ec2.prefix_list(&id)))).collect();
    let routes = if open.is_empty() { Fact::denied(ROUTES) } else { whole(&mut failures, ec2.route_tables()) };
    let needs_default = open.iter().any(|i| i.subnets.is_none());
    let default_subnets = if needs_default { whole(&mut failures, ec2.default_subnets()) } else { Fact::denied(SUBNETS) };
    Region { name: name.into(), context: own, failures, groups, lists, routes, default_subnets }
}

/// Part of a listing proves nothing.
fn whole<T>(failures: &mut Failures, (found, error): Listed<T>) -> Fact<Vec<T>> {
    failures.fact(error.map_or(Ok(found), Err))
}

/// One resource, read as a scan reads it, with what its verdict rests on beside it. None: the region has no such resource.
pub fn one(client: &Client, context: &Context, name: &str, kind: &str, id: &str) -> Result<Option<(Resource, Context)>, AwsError> {
    let Some(listing) = Listing::of_kind(kind) else { return Ok(None) };
    let items: Vec<(usize, Item)> = match list(client, &context.account_id, name, listing, Some(id)) {
        (found, None) => found.into_iter().map(|item| (0, item)).collect(),
        (_, Some(e)) if e.kind == ErrorKind::NotFound => Vec::new(),
        (_, Some(e)) => return Err(e),
    };
    // What ignores the filter lists others too.
    let Some(at) = items.iter().position(|(_, item)| item.id() == id) else { return Ok(None) };
    let items = &items[at..=at];
    let region = region(client, context, name, 0, items);
    let (resource, _) = read(client, &region, &items[0].1);
    Ok(Some((resource, region.context)))
}

fn judge(client: &Client, region: &Region, item: &Item) -> Finding {
    let (resource, failures) = read(client, region, item);
    finding(&resource, &region.context, &failures, Some(&region.name))
}

fn read(client: &Client, region: &Region, item: &Item) -> (Resource, Failures) {
    let (ec2, rds) = (Ec2 { client, region: &region.name }, Rds { client, region: &region.name });
    let mut failures = region.failures.clone();
    let resource = match item {
        Item::Image(id) => Resource::Ami(Ami { id: id.clone(), launch_permission: failures.fact(ec2.launch_permission(id)) }),
        Item::Snapshot(s) => {
            let permission = failures.fact(ec2.create_volume_permission(&s.id));
            Resource::EbsSnapshot(EbsSnapshot {
                id: s.id.clone(),
                encrypted: Fact::Known(s.encrypted),
                create_volume_permission: permission,
            })
        }
        Item::Group(id, rules) => {
            let mut rules = rules.clone();
            resolve(&mut rules, &region.lists);
            Resource::SecurityGroup(group(id, rules))
        }
        Item::Instance(instance) => Resource::RdsInstance(database(instance, region)),
        Item::DbSnapshot(s) => {
            let encrypted = s.encrypted.map_or_else(|| Fact::denied("rds:DescribeDBSnapshots"), Fact::Known);
            Resource::RdsSnapshot(RdsSnapshot {
                id: s.id.clone(),
                of_cluster: s.of_cluster,
                encrypted,
                restore: failures.fact(rds.restore(s)),
            })
        }
    };
    (resource, failures)
}

fn database(instance: &ListedInstance, region: &Region) -> RdsInstance {
    let ingress = region.groups.known().and_then(|groups| {
        let mut rules: Vec<IpPermission> =
            instance.groups.iter().map(|id| groups.get(id).cloned()).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        resolve(&mut rules, &region.lists);
        Some(rules)
    });
    RdsInstance {
        id: instance.id.clone(),
        port: instance.port,
        publicly_accessible: instance.publicly_accessible.map_or_else(|| Fact::denied("rds:DescribeDBInstances"), Fact::Known),
        ingress: ingress.map_or_else(|| Fact::denied(GROUPS), Fact::Known),
        route_tables: tables(instance, region),
        has_ipv6: instance.has_ipv6,
    }
}

/// Of each subnet its own table, or the main one of its VPC.
fn tables(instance: &ListedInstance, region: &Region) -> Fact<Vec<RouteTable>> {
    let Some(routes) = region.routes.known() else { return Fact::denied(ROUTES) };
    let subnets: Vec<(&String, &String)> = match (&instance.subnets, region.default_subnets.known()) {
        (Some((ids, vpc)), _) => ids.iter().map(|id| (id, vpc)).collect(),
        // Without a subnet group it is in the default VPC.
        (None, Some(subnets)) if !subnets.is_empty() => subnets.iter().map(|(id, vpc)| (id, vpc)).collect(),
        (None, _) => return Fact::denied(SUBNETS),
    };
    let table = |(subnet, vpc): (&String, &String)| {
        let own = routes.iter().find(|t| t.subnets.contains(subnet));
        own.or_else(|| routes.iter().find(|t| t.is_main && t.vpc == *vpc)).map(|t| t.table.clone())
    };
    subnets.into_iter().map(table).collect::<Option<Vec<_>>>().map_or_else(|| Fact::denied(ROUTES), Fact::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_listing_is_no_fact() {
        let mut failures = Failures::default();
        let error = AwsError::broken("ec2:DescribeRouteTables", "cut off");
        assert_eq!(whole(&mut failures, (vec![1], None)), Fact::Known(vec![1]));
        assert_eq!(whole(&mut failures, (vec![1], Some(error))), Fact::denied("ec2:DescribeRouteTables"));
    }
}
