//! Verdicts on machine images, EBS snapshots and security groups.

use crate::block::SnapshotSharing;
use crate::cidr::AddressSet;
use crate::cross_account::of_account;
use crate::judgement::{Context, CrossAccount, Harm, Judgement, Way};
use crate::ternary::{Fact, Tri};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct Ami {
    pub id: String,
    pub launch_permission: Fact<Sharing>,
}

#[derive(Debug, Clone)]
pub struct EbsSnapshot {
    pub id: String,
    pub encrypted: Fact<bool>,
    pub create_volume_permission: Fact<Sharing>,
}

/// With whom an image or snapshot is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The group `all`.
    pub with_all: bool,
    pub accounts: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct SecurityGroup {
    pub id: String,
    pub ingress: Fact<Vec<IpPermission>>,
}

/// One entry of `IpPermissions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpPermission {
    /// `tcp`, `udp`, `6`, `17`, or `-1` for every protocol.
    pub protocol: String,
    /// Inclusive. `None`: every port.
    pub ports: Option<(u16, u16)>,
    pub cidrs: Vec<String>,
    pub prefix_lists: Vec<PrefixList>,
    /// Of a CIDR block or prefix list, by its text. A rule that is restored has it again.
    pub descriptions: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixList {
    pub id: String,
    /// An unread list may hold everything.
    pub entries: Fact<Vec<String>>,
}

/// Ports of services that are not meant for strangers: remote administration, databases, caches, queues, orchestration.
pub(crate) const SENSITIVE_TCP: &[(u16, &str)] = &[
    (20, "FTP"),
    (21, "FTP"),
    (22, "SSH"),
    (23, "Telnet"),
    (111, "RPC"),
    (135, "Windows RPC"),
    (139, "NetBIOS"),
    (389, "LDAP"),
    (445, "SMB"),
    (512, "rexec"),
    (513, "rlogin"),
    (514, "rsh"),
    (873, "rsync"),
    (1433, "SQL Server"),
    (1434, "SQL Server"),
    (1521, "Oracle"),
    (1883, "MQTT"),
    (2049, "NFS"),
    (2181, "ZooKeeper"),
    (2375, "Docker"),
    (2376, "Docker"),
    (2379, "etcd"),
    (2380, "etcd"),
    (2483, "Oracle"),
    (2484, "Oracle"),
    (3260, "iSCSI"),
    (3306, "MySQL"),
    (3389, "RDP"),
    (4333, "mSQL"),
    (4369, "Erlang port mapper"),
    (5432, "PostgreSQL"),
    (5439, "Redshift"),
    (5500, "VNC"),
    (5601, "Kibana"),
    (5672, "AMQP"),
    (5900, "VNC"),
    (5901, "VNC"),
    (5984, "CouchDB"),
    (5985, "WinRM"),
    (5986, "WinRM"),
    (6000, "X11"),
    (6379, "Redis"),
    (6380, "Redis"),
    (6443, "Kubernetes"),
    (7000, "Cassandra"),
    (7001, "Cassandra"),
    (7199, "Cassandra"),
    (7474, "Neo4j"),
    (7687, "Neo4j"),
    (8086, "InfluxDB"),
    (8123, "ClickHouse"),
    (8182, "Neptune"),
    (8200, "Vault"),
    (8500, "Consul"),
    (8888, "Jupyter"),
    (8983, "Solr"),
    (9000, "MinIO"),
    (9042, "Cassandra"),
    (9092, "Kafka"),
    (9160, "Cassandra"),
    (9200, "Elasticsearch"),
    (9300, "Elasticsearch"),
    (10250, "kubelet"),
    (10255, "kubelet"),
    (11211, "memcached"),
    (15672, "RabbitMQ"),
    (26257, "CockroachDB"),
    (27017, "MongoDB"),
    (27018, "MongoDB"),
    (27019, "MongoDB"),
    (28015, "RethinkDB"),
    (50000, "DB2"),
    (50070, "HDFS"),
    (61616, "ActiveMQ"),
];

pub(crate) const SENSITIVE_UDP: &[(u16, &str)] = &[
    (69, "TFTP"),
    (111, "RPC"),
    (137, "NetBIOS"),
    (138, "NetBIOS"),
    (161, "SNMP"),
    (389, "LDAP"),
    (623, "IPMI"),
    (1434, "SQL Server"),
    (2049, "NFS"),
    (11211, "memcached"),
];

fn sharing_way(is_shared: Tri, in_force: Tri, what: &str, statement: Value, switch: String, fix: String, harm: Harm) -> Way {
    let open = is_shared.and(in_force);
    let who = "anyone with an AWS account".to_string();
    Way { via: "sharing", documented: open, effective: open, who, what: what.into(), statement, switch, fix, harm }
}

fn shared_accounts(sharing: &Fact<Sharing>, context: &Context) -> CrossAccount {
    let Some(sharing) = sharing.known() else { return CrossAccount::Unknown };
    let others = sharing.accounts.iter().filter(|a| **a != context.account_id);
    others.map(|a| of_account(a, context.known_accounts.as_ref())).max().unwrap_or(CrossAccount::None)
}

impl Ami {
    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        let id = &self.id;
        // The account's switch for images refuses new sharing only, so it decides nothing here.
        let way = sharing_way(
            self.launch_permission.test(|s| s.with_all),
            Tri::Yes,
            "launch it and read its disks",
            json!({"LaunchPermission": [{"Group": "all"}]}),
            format!("aws ec2 modify-image-attribute --image-id {id} --launch-permission 'Remove=[{{Group=all}}]'"),
            "remove the launch permission of the group all".into(),
            Harm::High,
        );
        let mut missing = BTreeSet::new();
        self.launch_permission.note_missing(&mut missing);
        Judgement::new(vec![way], shared_accounts(&self.launch_permission, context), missing)
    }
}

impl EbsSnapshot {
    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        let id = &self.id;
        let blocked = context.ebs_snapshot_sharing.test(|s| *s == SnapshotSharing::BlockAllSharing);
        // AWS shares no encrypted snapshot with everyone.
        let encrypted = self.encrypted.test(|e| *e);
        let way = sharing_way(
            self.create_volume_permission.test(|s| s.with_all),
            blocked.negate().and(encrypted.negate()),
            "make a volume of it and read the disk",
            json!({"CreateVolumePermission": [{"Group": "all"}]}),
            format!(
                "aws ec2 modify-snapshot-attribute --snapshot-id {id} --attribute createVolumePermission --operation-type remove --group-names all"
            ),
            "remove the create-volume permission of the group all".into(),
            Harm::Critical,
        );
        let mut missing = BTreeSet::new();
        self.create_volume_permission.note_missing(&mut missing);
        self.encrypted.note_missing(&mut missing);
        context.ebs_snapshot_sharing.note_missing(&mut missing);
        Judgement::new(vec![way], shared_accounts(&self.create_volume_permission, context), missing)
    }
}

impl IpPermission {
    fn is_of(&self, protocol: &str, number: &str) -> bool {
        ["-1", "all", protocol, number].iter().any(|p| self.protocol.eq_ignore_ascii_case(p))
    }

    /// As the API writes it, so that the same text revokes the rule and restores it.
    pub(crate) fn as_json(&self) -> Value {
        let source = |name: &str, text: &str| {
            let mut source = json!({name: text});
            if let Some(description) = self.descriptions.get(text) {
                source["Description"] = json!(description);
            }
            source
        };
        let of = |v6: bool, name: &str| self.cidrs.iter().filter(|c| c.contains(':') == v6).map(|c| source(name, c)).collect::<Vec<_>>();
        let lists = self.prefix_lists.iter().map(|list| source("PrefixListId", &list.id)).collect();
        let mut written = json!({"IpProtocol": self.protocol});
        if let Some((from, to)) = self.ports {
            written["FromPort"] = json!(from);
            written["ToPort"] = json!(to);
        }
        for (field, ranges) in [("IpRanges", of(false, "CidrIp")), ("Ipv6Ranges", of(true, "CidrIpv6")), ("PrefixListIds", lists)] {
            if !ranges.is_empty() {
                written[field] = Value::Array(ranges);
            }
        }
        written
    }

    /// The rule as rules of one source each, which is how the API revokes and restores them.
    pub(crate) fn by_source(&self) -> Vec<IpPermission> {
        let none = IpPermission { cidrs: Vec::new(), prefix_lists: Vec::new(), descriptions: BTreeMap::new(), ..self.clone() };
        let described = |text: &String| self.descriptions.get_key_value(text).map(|(k, v)| (k.clone(), v.clone())).into_iter().collect();
        let of_cidr = |c: &String| IpPermission { cidrs: vec![c.clone()], descriptions: described(c), ..none.clone() };
        let of_list = |l: &PrefixList| IpPermission { prefix_lists: vec![l.clone()], descriptions: described(&l.id), ..none.clone() };
        self.cidrs.iter().map(of_cidr).chain(self.prefix_lists.iter().map(of_list)).collect()
    }

    /// Whether it is about a port that strangers should not reach.
    pub(crate) fn reaches_sensitive(&self) -> bool {
        let of = |table: &[(u16, &str)], protocol, number| self.is_of(protocol, number) && table.iter().any(|(port, _)| self.covers(*port));
        of(SENSITIVE_TCP, "tcp", "6") || of(SENSITIVE_UDP, "udp", "17")
    }

    pub(crate) fn note_missing(&self, into: &mut BTreeSet<crate::ternary::Missing>) {
        self.prefix_lists.iter().for_each(|list| list.entries.note_missing(into));
    }

    fn covers(&self, port: u16) -> bool {
        self.protocol == "-1" || self.ports.is_none_or(|(from, to)| (from..=to).contains(&port))
    }
}

/// Whether the rules together let anyone reach a port: ranges add up over rules.
pub(crate) fn admits_anyone(rules: &[IpPermission], tcp: bool, port: u16, families: Families) -> Tri {
    let (protocol, number) = if tcp { ("tcp", "6") } else { ("udp", "17") };
    let of_port: Vec<&IpPermission> = rules.iter().filter(|r| r.is_of(protocol, number) && r.covers(port)).collect();
    let lists = || of_port.iter().flat_map(|r| &r.prefix_lists);
    let unread = lists().any(|list| list.entries.known().is_none());
    let lists = lists().filter_map(|list| list.entries.known()).flatten();
    let cidrs = of_port.iter().flat_map(|r| &r.cidrs).chain(lists).map(String::as_str);
    match AddressSet::from_cidrs(cidrs).map(|set| families.of(&set)) {
        Some(set) if set.admits_anyone() => Tri::Yes,
        Some(_) if !unread => Tri::No,
        _ => Tri::Unknown,
    }
}

/// Which address families count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V6,
    Both,
}

impl Families {
    pub(crate) fn of(self, set: &AddressSet) -> AddressSet {
        match self {
            Families::V4 => set.v4_only(),
            Families::V6 => set.v6_only(),
            Families::Both => set.clone(),
        }
    }
}

impl SecurityGroup {
    pub(crate) fn judge(&self) -> Judgement {
        let Some(rules) = self.ingress.known() else {
            let mut missing = BTreeSet::new();
            self.ingress.note_missing(&mut missing);
            return Judgement::new(
                vec![self.way(Tri::Unknown, "reach sensitive ports", Value::Null, Harm::High)],
                CrossAccount::None,
                missing,
            );
        };
        let mut open: Vec<(u16, bool, &str)> = Vec::new();
        let mut unknown = Tri::No;
        for (table, tcp) in [(SENSITIVE_TCP, true), (SENSITIVE_UDP, false)] {
            for (port, service) in table {
                match admits_anyone(rules, tcp, *port, Families::Both) {
                    Tri::Yes => open.push((*port, tcp, service)),
                    Tri::Unknown => unknown = Tri::Unknown,
                    Tri::No => {}
                }
            }
        }
        let mut missing = BTreeSet::new();
        rules.iter().for_each(|r| r.note_missing(&mut missing));
        if open.is_empty() {
            return Judgement::new(vec![self.way(unknown, "reach sensitive ports", Value::Null, Harm::High)], CrossAccount::None, missing);
        }
        let all = |tcp: bool| {
            let table = if tcp { SENSITIVE_TCP } else { SENSITIVE_UDP };
            let inside = open.iter().filter(|(_, t, _)| *t == tcp).count() == table.len();
            inside && [1, 1024, 33_333, 65_535].iter().all(|p| admits_anyone(rules, tcp, *p, Families::Both) == Tri::Yes)
        };
        let (what, harm) = if all(true) {
            ("reach every port".to_string(), Harm::Critical)
        } else {
            let named: Vec<String> =
                open.iter().take(4).map(|(p, tcp, s)| format!("{s} ({}/{p})", if *tcp { "tcp" } else { "udp" })).collect();
            let more = open.len().saturating_sub(4);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            (format!("reach {}{rest}", named.join(", ")), Harm::High)
        };
        let is_guilty = |r: &&IpPermission| {
            open.iter().any(|(port, tcp, _)| r.is_of(if *tcp { "tcp" } else { "udp" }, if *tcp { "6" } else { "17" }) && r.covers(*port))
        };
        let guilty = Value::Array(rules.iter().filter(is_guilty).map(IpPermission::as_json).collect());
        Judgement::new(vec![self.way(Tri::Yes, &what, guilty, harm)], CrossAccount::None, missing)
    }

    fn way(&self, open: Tri, what: &str, statement: Value, harm: Harm) -> Way {
        Way {
            via: "network",
            documented: open,
            effective: open,
            who: "anyone on the internet".into(),
            what: what.into(),
            switch: format!("aws ec2 revoke-security-group-ingress --group-id {} --ip-permissions '{statement}'", self.id),
            statement,
            fix: "limit the rule's source to your own networks or to another security group".into(),
            harm,
        }
    }
}
