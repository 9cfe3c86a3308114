//! Verdicts on database snapshots and instances.

use crate::cidr::AddressSet;
use crate::cross_account::of_account;
use crate::ec2::{Families, IpPermission, admits_anyone};
use crate::judgement::{Context, CrossAccount, Harm, Judgement, Way};
use crate::ternary::{Fact, Missing, Tri};
use serde_json::json;
use std::collections::BTreeSet;

/// A snapshot of an instance or of a cluster.
#[derive(Debug, Clone)]
pub struct RdsSnapshot {
    pub id: String,
    pub of_cluster: bool,
    pub encrypted: Fact<bool>,
    /// The values of the attribute `restore`: account IDs, or `all`.
    pub restore: Fact<Vec<String>>,
}

#[derive(Debug, Clone)]
pub struct RdsInstance {
    pub id: String,
    pub port: u16,
    pub publicly_accessible: Fact<bool>,
    /// The rules of every security group of the instance.
    pub ingress: Fact<Vec<IpPermission>>,
    /// The route tables of the subnets that the instance may be in: its own subnet's if known, else the whole subnet group's.
    pub route_tables: Fact<Vec<RouteTable>>,
    /// Whether the network type is `DUAL`.
    pub has_ipv6: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub destination: String,
    /// `igw-…`, `nat-…`, `local`.
    pub target: String,
    /// `active`, or `blackhole` when the target is gone.
    pub is_active: bool,
}

impl RdsSnapshot {
    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        // AWS shares no encrypted snapshot with everyone.
        let open = self.restore.test(|values| values.iter().any(|v| v == "all")).and(self.encrypted.test(|e| *e).negate());
        let (command, name) = if self.of_cluster {
            ("modify-db-cluster-snapshot-attribute", "--db-cluster-snapshot-identifier")
        } else {
            ("modify-db-snapshot-attribute", "--db-snapshot-identifier")
        };
        let way = Way {
            via: "sharing",
            documented: open,
            effective: open,
            who: "anyone with an AWS account".into(),
            what: "restore it and read the database".into(),
            statement: json!({"AttributeName": "restore", "AttributeValues": ["all"]}),
            switch: format!("aws rds {command} {name} {} --attribute-name restore --values-to-remove all", self.id),
            fix: "remove all from the snapshot's restore attribute".into(),
            harm: Harm::Critical,
        };
        let mut missing = BTreeSet::new();
        self.restore.note_missing(&mut missing);
        self.encrypted.note_missing(&mut missing);
        let others = self.restore.known().into_iter().flatten().filter(|a| *a != "all" && **a != context.account_id);
        let cross = match self.restore {
            Fact::Unknown(_) => CrossAccount::Unknown,
            Fact::Known(_) => others.map(|a| of_account(a, context.known_accounts.as_ref())).max().unwrap_or(CrossAccount::None),
        };
        Judgement::new(vec![way], cross, missing)
    }
}

impl RouteTable {
    /// Whether a large part of the internet is answered through an internet gateway. A prefix list as a destination may be anything.
    fn leads_to_internet(&self, families: Families) -> Tri {
        let (lists, blocks): (Vec<&Route>, Vec<&Route>) =
            self.routes.iter().filter(|r| r.is_active && r.target.starts_with("igw-")).partition(|r| r.destination.starts_with("pl-"));
        let set = AddressSet::from_cidrs(blocks.iter().map(|r| r.destination.as_str()));
        let set = set.map(|set| families.of(&set));
        match set {
            Some(set) if set.admits_anyone() => Tri::Yes,
            Some(_) if lists.is_empty() => Tri::No,
            _ => Tri::Unknown,
        }
    }
}

impl RdsInstance {
    /// The flag gives a public address; the group must let a stranger in; the route must lead out, in the same address family. One alone
    /// exposes nothing.
    pub(crate) fn judge(&self) -> Judgement {
        let families = if self.has_ipv6 { &[Families::V4, Families::V6][..] } else { &[Families::V4] };
        let flag = self.publicly_accessible.test(|f| *f);
        let group_of = |of: Families| self.ingress.known().map_or(Tri::Unknown, |rules| admits_anyone(rules, true, self.port, of));
        let route_of =
            |of: Families| self.route_tables.known().map_or(Tri::Unknown, |t| Tri::any(t.iter().map(|t| t.leads_to_internet(of))));
        let of_any = |test: &dyn Fn(Families) -> Tri| Tri::any(families.iter().map(|of| test(*of)));
        let (group, route) = (of_any(&group_of), of_any(&route_of));
        let network = of_any(&|of| group_of(of).and(route_of(of)));
        let way = Way {
            via: "network",
            documented: flag,
            effective: flag.and(network),
            who: "anyone on the internet".into(),
            what: format!("connect to the database on port {}", self.port),
            statement: json!({"PubliclyAccessible": flag, "SecurityGroupsAdmitAnyone": group, "SubnetRoutesToInternetGateway": route}),
            switch: format!("aws rds modify-db-instance --db-instance-identifier {} --no-publicly-accessible", self.id),
            fix: "set publicly_accessible to false, and limit the security group to the clients' group".into(),
            harm: Harm::Critical,
        };
        let mut missing = BTreeSet::new();
        self.publicly_accessible.note_missing(&mut missing);
        self.ingress.note_missing(&mut missing);
        self.ingress.known().into_iter().flatten().for_each(|r| r.note_missing(&mut missing));
        self.route_tables.note_missing(&mut missing);
        if self.route_tables.known().is_some() && route == Tri::Unknown {
            missing.insert(Missing("ec2:GetManagedPrefixListEntries".into()));
        }
        // The flag alone is no exposure, so it does not stand in for facts that could not be read.
        let cannot_tell = way.effective == Tri::Unknown;
        let way = if cannot_tell { Way { documented: flag.and(Tri::Unknown), ..way } } else { way };
        Judgement::new(vec![way], CrossAccount::None, missing)
    }
}
