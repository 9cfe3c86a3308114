//! The calls of RDS that a scan makes, and what their answers come to.

use aws_client::xml::{self, Element, Node};
use aws_client::{AwsError, Client, Listed, Request, Service, operation};

#[derive(Clone, Copy)]
pub struct Rds<'a> {
    pub client: &'a Client,
    pub region: &'a str,
}

#[derive(Clone, Debug)]
pub struct ListedInstance {
    pub id: String,
    pub port: u16,
    pub publicly_accessible: Option<bool>,
    pub groups: Vec<String>,
    /// The subnets and the VPC of its subnet group.
    pub subnets: Option<(Vec<String>, String)>,
    pub has_ipv6: bool,
}

#[derive(Clone, Debug)]
pub struct ListedDbSnapshot {
    pub id: String,
    pub of_cluster: bool,
    pub encrypted: Option<bool>,
}

impl Rds<'_> {
    fn list<T>(
        &self,
        action: &'static str,
        (list, item): (&str, &str),
        parameters: &[(&str, &str)],
        read: impl Fn(&Node) -> Option<T>,
    ) -> Listed<T> {
        let request = Request::query(Service::Rds, self.region, action, parameters).with("MaxRecords", "100");
        let operation = operation(action);
        self.client.pages(request, "", "Marker", |body| {
            xml::read(action, body, operation, |root| {
                let result = root.child(&format!("{operation}Result"))?;
                let items = result.items(list, item)?.iter().map(&read).collect::<Option<Vec<_>>>()?;
                Some((items, result.filled_at("Marker")))
            })
        })
    }

    /// `only`: one instance.
    pub fn instances(&self, only: Option<&str>) -> Listed<ListedInstance> {
        let parameters: Vec<_> = only.iter().map(|id| ("DBInstanceIdentifier", *id)).collect();
        self.list("rds:DescribeDBInstances", ("DBInstances", "DBInstance"), &parameters, instance)
    }

    /// Only manual ones can be shared. `only`: one of them.
    pub fn snapshots(&self, of_cluster: bool, only: Option<&str>) -> Listed<ListedDbSnapshot> {
        let (action, names, id) = if of_cluster {
            ("rds:DescribeDBClusterSnapshots", ("DBClusterSnapshots", "DBClusterSnapshot"), "DBClusterSnapshotIdentifier")
        } else {
            ("rds:DescribeDBSnapshots", ("DBSnapshots", "DBSnapshot"), "DBSnapshotIdentifier")
        };
        let parameters: Vec<_> = [("SnapshotType", "manual")].into_iter().chain(only.map(|only| (id, only))).collect();
        self.list(action, names, &parameters, |item| {
            let encrypted = item.flag_at(if of_cluster { "StorageEncrypted" } else { "Encrypted" })?;
            Some(ListedDbSnapshot { id: item.filled_at(id)?, of_cluster, encrypted })
        })
    }

    /// The values of the attribute `restore`.
    pub fn restore(&self, snapshot: &ListedDbSnapshot) -> Result<Vec<String>, AwsError> {
        let (action, of) = if snapshot.of_cluster {
            ("rds:DescribeDBClusterSnapshotAttributes", "DBClusterSnapshot")
        } else {
            ("rds:DescribeDBSnapshotAttributes", "DBSnapshot")
        };
        let identifier = format!("{of}Identifier");
        let operation = operation(action);
        let request = Request::query(Service::Rds, self.region, action, &[(identifier.as_str(), snapshot.id.as_str())]);
        let body = self.client.send(&request, "")?;
        xml::read(action, &body, operation, |root| {
            let result = root.child(&format!("{operation}Result"))?.child(&format!("{of}AttributesResult"))?;
            // An answer about another snapshot is none.
            (result.text_at(&identifier)? == snapshot.id).then_some(())?;
            let attributes = result.child(&format!("{of}Attributes"))?;
            let mut values = Vec::new();
            for attribute in attributes.children().filter(|c| c.is_element()) {
                let name = attribute.text_at("AttributeName")?;
                let list = attribute.child("AttributeValues");
                if name == "restore" {
                    values.extend(
                        list.iter().flat_map(|l| l.children()).filter(|c| c.is_element()).filter_map(|c| c.text()).map(str::to_string),
                    );
                }
            }
            Some(values)
        })
    }
}

fn instance(item: &Node) -> Option<ListedInstance> {
    let endpoint = item.child("Endpoint");
    let port = endpoint.and_then(|e| e.filled_at("Port")).or_else(|| item.filled_at("DbInstancePort")).unwrap_or_default();
    let subnets = item.child("DBSubnetGroup").and_then(|group| {
        let ids = group.items("Subnets", "Subnet")?.iter().map(|s| s.filled_at("SubnetIdentifier")).collect::<Option<Vec<_>>>()?;
        Some((ids, group.filled_at("VpcId")?)).filter(|(ids, _)| !ids.is_empty())
    });
    Some(ListedInstance {
        id: item.filled_at("DBInstanceIdentifier")?,
        // One that is being created has none yet.
        port: port.parse().ok().filter(|p| *p != 0).or_else(|| default_port(item.text_at("Engine")?))?,
        publicly_accessible: item.flag_at("PubliclyAccessible")?,
        groups: item
            .items("VpcSecurityGroups", "VpcSecurityGroupMembership")?
            .iter()
            .map(|g| g.filled_at("VpcSecurityGroupId"))
            .collect::<Option<Vec<_>>>()?,
        subnets,
        has_ipv6: item.text_at("NetworkType").is_some_and(|t| t.eq_ignore_ascii_case("DUAL")),
    })
}

fn default_port(engine: &str) -> Option<u16> {
    const PORTS: &[(&str, u16)] = &[
        ("aurora-postgresql", 5432),
        ("postgres", 5432),
        ("aurora", 3306),
        ("mysql", 3306),
        ("mariadb", 3306),
        ("oracle", 1521),
        ("sqlserver", 1433),
        ("db2", 50000),
        ("docdb", 27017),
        ("neptune", 8182),
        ("custom-oracle", 1521),
        ("custom-sqlserver", 1433),
    ];
    PORTS.iter().find(|(name, _)| engine.starts_with(name)).map(|(_, port)| *port)
}
