//! What is to be contained: identifiers as a scan prints them, looked up, and a plan for each.

use super::connection::Connection;
use aws_client::{Client, ErrorKind};
use aws_scan::Single;
use clap::ValueEnum;
use contain::{Firewall, Place, Planned, aws_fault};
use guard::contain::{NoPlan, Plan, plan};
use guard::rules::Facts;
use guard::{Context, Finding, Resource, public};
use model::Fault;

/// The `type` of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Kind {
    S3Bucket,
    S3Object,
    S3AccessPoint,
    Ami,
    EbsSnapshot,
    RdsSnapshot,
    RdsClusterSnapshot,
    RdsInstance,
    SecurityGroup,
    /// A file or directory of this host, or of the tree that --root names
    File,
    /// A port of this host: tcp/5432
    Port,
}

impl Kind {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default()
    }

    pub(super) fn is_of_host(self) -> bool {
        matches!(self, Kind::File | Kind::Port)
    }

    /// What an identifier may be.
    pub(super) fn of_id(id: &str) -> Vec<Kind> {
        match id {
            _ if id.starts_with('/') => vec![Kind::File],
            _ if Firewall::setting_of(id).is_some() => vec![Kind::Port],
            _ if id.starts_with("sg-") => vec![Kind::SecurityGroup],
            _ if id.starts_with("ami-") => vec![Kind::Ami],
            _ if id.starts_with("snap-") => vec![Kind::EbsSnapshot],
            _ if id.contains('/') => vec![Kind::S3Object],
            _ => vec![Kind::S3Bucket, Kind::S3AccessPoint, Kind::RdsInstance, Kind::RdsSnapshot, Kind::RdsClusterSnapshot],
        }
    }
}

/// One resource of AWS that is to be contained.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) region: String,
}

/// A target as it is now.
pub(super) struct Examined {
    pub(super) target: Target,
    pub(super) resource: Resource,
    pub(super) context: Context,
    pub(super) plan: Result<Plan, NoPlan>,
}

impl Examined {
    pub(super) fn finding(&self) -> Finding {
        Finding::new(&self.resource, &public(&self.resource, &self.context))
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::of_judgement(&self.resource, &public(&self.resource, &self.context))
    }
}

/// Credentials, and where calls go with them.
pub(super) struct Account {
    client: Client,
    is_patient: bool,
}

impl Account {
    pub(super) fn new(connection: &Connection) -> Result<Account, Fault> {
        Ok(Account { client: connection.client()?, is_patient: connection.is_patient() })
    }

    /// Asks AWS which account it is.
    pub(super) fn connect(&self) -> Result<Connected<'_>, Fault> {
        Ok(Connected { client: &self.client, is_patient: self.is_patient, single: Single::new(&self.client, None)? })
    }
}

/// An account, and what is read of it.
pub(super) struct Connected<'a> {
    pub(super) client: &'a Client,
    pub(super) is_patient: bool,
    pub(super) single: Single<'a>,
}

impl Connected<'_> {
    pub(super) fn place(&self, region: &str) -> Place {
        Place::Aws { account: self.single.account().to_string(), region: region.to_string(), endpoint: self.client.elsewhere() }
    }

    /// A change of a resource of this account.
    pub(super) fn planned(&self, examined: &Examined) -> Result<Planned, NoPlan> {
        let Target { kind, id, region } = &examined.target;
        let plan = examined.plan.as_ref().map_err(NoPlan::clone)?;
        planned(plan, self.place(region), vec![(kind.clone(), id.clone())]).ok_or_else(|| NoPlan::NoSwitch(id.clone()))
    }

    /// Finds out what an identifier names. More than one kind of resource: the user must say which.
    pub(super) fn target(&self, id: &str, kind: Option<Kind>) -> Result<Target, Fault> {
        let single = &self.single;
        let kinds = kind.map_or_else(|| Kind::of_id(id), |kind| vec![kind]);
        let (mut found, mut failed) = (Vec::new(), None);
        for kind in kinds.iter().map(|kind| kind.name()) {
            match single.resource(&kind, id) {
                Ok(Some(_)) => found.push(kind),
                Ok(None) => {}
                Err(e) if e.kind == ErrorKind::Unimplemented && kinds.len() > 1 => {}
                Err(e) => failed = failed.or(Some(aws_fault(&e))),
            }
        }
        let region = single.region().to_string();
        match (&found[..], failed) {
            ([kind], _) => Ok(Target { kind: kind.clone(), id: id.to_string(), region }),
            ([], Some(fault)) => Err(fault),
            ([], None) => {
                let text = format!("account {} has no {id:?} in region {region}", single.account());
                Err(Fault::yours("no-such-resource", text).hint("name it as `afresh guard scan aws` does; --region REGION is where it is"))
            }
            _ => {
                let text = format!("{id:?} is the name of several: {}", found.join(", "));
                Err(Fault::yours("ambiguous-resource", text).hint(format!("say which: --kind {}", found[0])))
            }
        }
    }

    /// Reads a target, and plans its containment.
    pub(super) fn examine(&self, target: &Target) -> Result<Examined, Fault> {
        let single = self.single.in_region(&target.region);
        let Some((resource, context)) = single.resource(&target.kind, &target.id).map_err(|e| aws_fault(&e))? else {
            let text = format!("{} {} is not there any more", target.kind, target.id);
            return Err(Fault::yours("no-such-resource", text).hint("scan again: afresh guard scan aws"));
        };
        let plan = plan(&resource, &context, &single.seen(&resource));
        Ok(Examined { target: target.clone(), resource, context, plan })
    }

    /// Several at the same time, in their order.
    pub(super) fn examine_all(&self, targets: &[Target]) -> Vec<Result<Examined, Fault>> {
        let mut found = Vec::with_capacity(targets.len());
        aws_scan::ordered(self.client.concurrency(), targets, |target| self.examine(target), |examined| found.push(examined));
        found
    }
}

/// What is written to the journal. None: no call makes the change.
pub(super) fn planned(plan: &Plan, at: Place, covers: Vec<(String, String)>) -> Option<Planned> {
    let (contain_command, undo_command) = (plan.contain()?.command, plan.undo()?.command);
    Some(Planned { at, plan: plan.clone(), covers, contain_command, undo_command, incident: None })
}
