//! The calls of EC2 that a scan makes, and what their answers come to.

use aws_client::xml::{self, Element, Node};
use aws_client::{AwsError, Client, Listed, Request, Service, operation};
use guard::contain::RuleIdentity;
use guard::{Fact, IpPermission, PrefixList, Route, RouteTable, SecurityGroup, Sharing, SnapshotSharing};
use std::collections::{BTreeMap, BTreeSet};

/// Calls to one region.
#[derive(Clone, Copy)]
pub struct Ec2<'a> {
    pub client: &'a Client,
    pub region: &'a str,
}

/// What of a listing is asked for: everything, or one resource.
#[derive(Clone, Copy, Debug)]
pub struct Only<'a>(pub Option<&'a str>);

impl<'a> Only<'a> {
    pub const ALL: Only<'static> = Only(None);

    fn filter(self, name: &'a str, parameters: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let filter = self.0.map(|id| [("Filter.1.Name", name), ("Filter.1.Value.1", id)]);
        parameters.iter().copied().chain(filter.into_iter().flatten()).collect()
    }
}

#[derive(Clone, Debug)]
pub struct ListedSnapshot {
    pub id: String,
    pub encrypted: bool,
}

/// Security groups with the prefix lists that their rules name still unread.
pub type Groups = BTreeMap<String, Vec<IpPermission>>;

#[derive(Clone, Debug)]
pub struct ListedRouteTable {
    pub vpc: String,
    pub is_main: bool,
    pub subnets: Vec<String>,
    pub table: RouteTable,
}

impl Ec2<'_> {
    fn list<T>(&self, action: &'static str, list: &str, parameters: &[(&str, &str)], item: impl Fn(&Node) -> Option<T>) -> Listed<T> {
        let request = Request::query(Service::Ec2, self.region, action, parameters);
        self.client.pages(request, "", "NextToken", |body| {
            xml::read(action, body, operation(action), |root| {
                let items = root.items(list, "item")?.iter().map(&item).collect::<Option<Vec<_>>>()?;
                Some((items, root.filled_at("nextToken")))
            })
        })
    }

    fn one<T>(&self, action: &'static str, parameters: &[(&str, &str)], read: impl FnOnce(Node) -> Option<T>) -> Result<T, AwsError> {
        let body = self.client.send(&Request::query(Service::Ec2, self.region, action, parameters), "")?;
        xml::read(action, &body, operation(action), read)
    }

    pub fn regions(&self) -> Result<Vec<String>, AwsError> {
        let regions = self.list("ec2:DescribeRegions", "regionInfo", &[], |item| item.filled_at("regionName"));
        match regions {
            (found, None) => Ok(found),
            (_, Some(error)) => Err(error),
        }
    }

    /// Of this account. Emulators answer others' as well.
    pub fn images(&self, account: &str, only: Only) -> Listed<String> {
        let own = |item: &Node| Some((item.filled_at("imageId")?, is_of(item, "imageOwnerId", account)));
        let parameters = only.filter("image-id", &[("Owner.1", "self"), ("MaxResults", "500")]);
        kept(self.list("ec2:DescribeImages", "imagesSet", &parameters, own))
    }

    pub fn snapshots(&self, account: &str, only: Only) -> Listed<ListedSnapshot> {
        let own = |item: &Node| {
            let snapshot = ListedSnapshot { id: item.filled_at("snapshotId")?, encrypted: item.flag_at("encrypted")?? };
            Some((snapshot, is_of(item, "ownerId", account)))
        };
        let parameters = only.filter("snapshot-id", &[("Owner.1", "self"), ("MaxResults", "500")]);
        kept(self.list("ec2:DescribeSnapshots", "snapshotSet", &parameters, own))
    }

    pub fn launch_permission(&self, image: &str) -> Result<Sharing, AwsError> {
        let parameters = [("ImageId", image), ("Attribute", "launchPermission")];
        self.one("ec2:DescribeImageAttribute", &parameters, |root| sharing(&root, "imageId", image, "launchPermission"))
    }

    pub fn create_volume_permission(&self, snapshot: &str) -> Result<Sharing, AwsError> {
        let parameters = [("SnapshotId", snapshot), ("Attribute", "createVolumePermission")];
        self.one("ec2:DescribeSnapshotAttribute", &parameters, |root| sharing(&root, "snapshotId", snapshot, "createVolumePermission"))
    }

    pub fn snapshot_sharing(&self) -> Result<SnapshotSharing, AwsError> {
        self.one("ec2:GetSnapshotBlockPublicAccessState", &[], |root| match root.text_at("state")? {
            "unblocked" => Some(SnapshotSharing::Unblocked),
            "block-new-sharing" => Some(SnapshotSharing::BlockNewSharing),
            "block-all-sharing" => Some(SnapshotSharing::BlockAllSharing),
            _ => None,
        })
    }

    pub fn groups(&self, only: Only) -> Listed<(String, Vec<IpPermission>)> {
        self.list("ec2:DescribeSecurityGroups", "securityGroupInfo", &only.filter("group-id", &[("MaxResults", "500")]), |item| {
            let rules = item.items("ipPermissions", "item")?.iter().map(permission).collect::<Option<Vec<_>>>()?;
            Some((item.filled_at("groupId")?, rules))
        })
    }

    /// The rules of a group for what comes in, of one source each.
    pub fn rules(&self, group: &str) -> Result<Vec<(IpPermission, RuleIdentity)>, AwsError> {
        let parameters = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", group), ("MaxResults", "1000")];
        match self.list("ec2:DescribeSecurityGroupRules", "securityGroupRuleSet", &parameters, identified) {
            (found, None) => Ok(found.into_iter().flatten().collect()),
            (_, Some(error)) => Err(error),
        }
    }

    /// Asked for by its name, so that one that does not exist is an error and no empty list.
    pub fn by_name(&self, action: &'static str, parameter: &str, id: &str) -> Result<(), AwsError> {
        self.one(action, &[(parameter, id)], |_| Some(()))
    }

    pub fn prefix_list(&self, id: &str) -> Result<Vec<String>, AwsError> {
        let parameters = [("PrefixListId", id), ("MaxResults", "100")];
        match self.list("ec2:GetManagedPrefixListEntries", "entrySet", &parameters, |item| item.filled_at("cidr")) {
            (entries, None) => Ok(entries),
            (_, Some(error)) => Err(error),
        }
    }

    pub fn route_tables(&self) -> Listed<ListedRouteTable> {
        self.list("ec2:DescribeRouteTables", "routeTableSet", &[("MaxResults", "100")], |item| {
            let links = item.items("associationSet", "item")?;
            Some(ListedRouteTable {
                vpc: item.filled_at("vpcId")?,
                is_main: links.iter().map(|l| l.flag_at("main")).collect::<Option<Vec<_>>>()?.contains(&Some(true)),
                subnets: links.iter().filter_map(|l| l.filled_at("subnetId")).collect(),
                table: RouteTable { routes: item.items("routeSet", "item")?.iter().map(route).collect::<Option<Vec<_>>>()? },
            })
        })
    }

    /// The default subnets of the region, with their VPC.
    pub fn default_subnets(&self) -> Listed<(String, String)> {
        let parameters = [("Filter.1.Name", "default-for-az"), ("Filter.1.Value.1", "true")];
        self.list("ec2:DescribeSubnets", "subnetSet", &parameters, |item| Some((item.filled_at("subnetId")?, item.filled_at("vpcId")?)))
    }
}

fn is_of(item: &Node, owner: &str, account: &str) -> bool {
    item.text_at(owner).is_none_or(|o| o == account)
}

fn kept<T>((items, error): Listed<(T, bool)>) -> Listed<T> {
    (items.into_iter().filter(|(_, keep)| *keep).map(|(item, _)| item).collect(), error)
}

fn sharing(root: &Node, id_name: &str, id: &str, attribute: &str) -> Option<Sharing> {
    // An answer about something else is none.
    (root.text_at(id_name)? == id).then_some(())?;
    let items = root.items(attribute, "item")?;
    let is_known =
        |item: &Node| ["group", "userId", "organizationArn", "organizationalUnitArn"].iter().any(|name| item.child(name).is_some());
    items.iter().all(is_known).then_some(())?;
    let organisations =
        ["organizationArn", "organizationalUnitArn"].map(|name| items.iter().filter_map(|i| i.filled_at(name)).collect::<Vec<_>>());
    Some(Sharing {
        with_all: items.iter().any(|i| i.text_at("group") == Some("all")),
        accounts: items.iter().filter_map(|i| i.filled_at("userId")).chain(organisations.into_iter().flatten()).collect(),
    })
}

fn permission(item: &Node) -> Option<IpPermission> {
    let mut descriptions = BTreeMap::new();
    let mut of = |list: &str, name: &str| -> Option<Vec<String>> {
        // Absent and empty are alike: emulators leave out what has no entries.
        let Some(list) = item.child(list) else { return Some(Vec::new()) };
        let entries = list.children().filter(|c| c.is_element());
        entries
            .map(|entry| {
                let source = entry.filled_at(name)?;
                if let Some(description) = entry.filled_at("description") {
                    descriptions.insert(source.clone(), description);
                }
                Some(source)
            })
            .collect()
    };
    let mut cidrs = of("ipRanges", "cidrIp")?;
    cidrs.extend(of("ipv6Ranges", "cidrIpv6")?);
    let lists = of("prefixListIds", "prefixListId")?;
    let protocol = item.filled_at("ipProtocol")?;
    let ports = ports(item)?;
    let prefix_lists = lists.into_iter().map(|id| PrefixList { entries: Fact::denied("ec2:GetManagedPrefixListEntries"), id }).collect();
    Some(IpPermission { protocol, ports, cidrs, prefix_lists, descriptions })
}

fn ports(item: &Node) -> Option<Option<(u16, u16)>> {
    let port = |name: &str| item.filled_at(name).map(|t| t.parse::<i64>());
    Some(match (port("fromPort"), port("toPort")) {
        (None, None) => None,
        // -1 is every one. ICMP has types and codes here, which are no ports.
        (Some(Ok(from)), Some(Ok(to))) if from < 0 || to < 0 => None,
        (Some(Ok(from)), Some(Ok(to))) => Some((u16::try_from(from).ok()?, u16::try_from(to).ok()?)),
        _ => return None,
    })
}

/// A rule by itself, with its identifier. `Some(None)`: one for what goes out, or whose source is another group.
fn identified(item: &Node) -> Option<Option<(IpPermission, RuleIdentity)>> {
    let id = item.filled_at("securityGroupRuleId")?;
    let cidrs: Vec<String> = ["cidrIpv4", "cidrIpv6"].iter().filter_map(|name| item.filled_at(name)).collect();
    let prefix_lists: Vec<PrefixList> =
        item.filled_at("prefixListId").into_iter().map(|id| PrefixList { entries: Fact::Known(Vec::new()), id }).collect();
    if item.flag_at("isEgress")?? || (cidrs.is_empty() && prefix_lists.is_empty()) {
        return Some(None);
    }
    let tag = |node: &Node| Some((node.filled_at("key")?, node.text_at("value").unwrap_or_default().to_string()));
    let tags = item.child("tagSet").map_or(Some(Vec::new()), |set| set.children().filter(Node::is_element).map(|n| tag(&n)).collect())?;
    let (protocol, ports) = (item.filled_at("ipProtocol")?, ports(item)?);
    Some(Some((IpPermission { protocol, ports, cidrs, prefix_lists, descriptions: BTreeMap::new() }, RuleIdentity { id, tags })))
}

fn route(item: &Node) -> Option<Route> {
    let destination =
        ["destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"].iter().find_map(|n| item.filled_at(n))?;
    let targets = ["gatewayId", "natGatewayId", "transitGatewayId", "vpcPeeringConnectionId", "networkInterfaceId", "instanceId"];
    let target = targets.iter().find_map(|n| item.filled_at(n)).unwrap_or_default();
    Some(Route { destination, target, is_active: item.text_at("state") != Some("blackhole") })
}

/// Prefix lists that groups name.
pub fn prefix_list_ids<'a>(groups: impl Iterator<Item = &'a Vec<IpPermission>>) -> BTreeSet<String> {
    groups.flatten().flat_map(|rule| &rule.prefix_lists).map(|list| list.id.clone()).collect()
}

/// Puts the entries of prefix lists into rules.
pub fn resolve(rules: &mut [IpPermission], lists: &BTreeMap<String, Fact<Vec<String>>>) {
    for list in rules.iter_mut().flat_map(|rule| &mut rule.prefix_lists) {
        if let Some(entries) = lists.get(&list.id) {
            list.entries = entries.clone();
        }
    }
}

pub fn group(id: &str, rules: Vec<IpPermission>) -> SecurityGroup {
    SecurityGroup { id: id.into(), ingress: Fact::Known(rules) }
}
