//! `guard contain`: one reversible change for each exposed resource, on record.

use super::changes::{self, Change};
use super::consent::{Consent, Containing, Made};
use super::exposed;
use super::host_target::{self, NoChange};
use super::session::{Session, Tally};
use super::target::{Account, Kind, Target};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_scan::Services;
use clap::Args;
use guard::contain::NoPlan;
use model::Fault;
use serde_json::json;
use std::path::PathBuf;

/// Stop the exposure of a resource by one reversible change
#[derive(Args, Debug)]
#[command(after_help = "\
The change is the smallest after which the resource is not public. No policy, grant or snapshot is deleted: they are evidence.
It is recorded before it is made, read again after it, and counts only when the verdict of the scan is \"not public\". A run that was killed is finished \
by the next one; without a resource that is all that is done. What somebody else changed is never overwritten.
An incident is opened for it, unless --incident names one.

Example:
  afresh guard contain my-bucket sg-0a1b2c3d --region eu-central-1
  afresh guard contain --account --now
  sudo afresh guard contain /etc/cron.d/backup tcp/6379")]
pub struct Contain {
    /// Resources as the scan prints them: a bucket, bucket/key, sg-…, ami-…, snap-…, a database, a path or tcp/PORT of this host
    #[arg(value_name = "RESOURCE")]
    resources: Vec<String>,
    /// Say what the resources are, where a name is that of several
    #[arg(long, value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// Set the account's public access block, for all exposed buckets at once; refused where a live waiver lets one be public
    #[arg(long, conflicts_with = "resources")]
    account: bool,
    #[command(flatten)]
    consent: Consent,
    /// Add to this incident instead of opening one
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Take paths from the root of this tree
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    with: Containing,
}

impl Contain {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let pending = Session::pending(&self.with.state, context)?;
        if self.resources.is_empty() && !self.account && pending.is_empty() {
            let fault = Fault::yours("no-such-resource", "nothing is named, and no run was interrupted");
            return Err(fault.hint("name what the scan found: afresh guard contain my-bucket").into());
        }
        let is_of_host = |id: &String| self.kind.map_or_else(|| Kind::of_id(id)[0].is_of_host(), Kind::is_of_host);
        let (of_host, of_aws): (Vec<&String>, Vec<&String>) = self.resources.iter().partition(|id| is_of_host(id));
        let account = if of_aws.is_empty() && !self.account {
            Session::account_of(&self.with.connection, &pending)?
        } else {
            Some(Account::new(&self.with.connection)?)
        };
        let mut tally = Tally::default();
        let mut changes = Vec::new();
        if let Some(account) = &account {
            changes.extend(if self.account { self.of_account(account, &mut tally)? } else { of_resources(account, &of_aws, self.kind)? });
        }
        for id in of_host {
            changes.push(self.of_host(id)?);
        }
        let made =
            self.consent.make(context, &self.with.state, account.as_ref(), (changes, &pending), self.incident.clone(), &mut tally)?;
        Ok(match made {
            Made::Nothing(exit) => exit,
            Made::All(incident) => changes::end(context, &tally, incident.as_deref(), json!({})),
        })
    }

    /// The switch of the account, and each resource by itself that it does not stop.
    fn of_account(&self, account: &Account, tally: &mut Tally) -> Result<Vec<Change>, Fault> {
        let services = Services { s3: true, ec2: false, rds: false };
        let scanned = exposed::scan(account, self.with.connection.region.as_deref(), services, 10)?;
        tally.unknown += scanned.unknown.len() as u64;
        let single = account.single()?;
        let examined =
            scanned.public.iter().map(|f| account.examine(&single, &exposed::target(f, &single))).collect::<Result<Vec<_>, _>>()?;
        let waived = exposed::waived(&examined, &self.with.rules, &self.with.waivers)?;
        let planned = match exposed::by_account(&single, &examined, &waived, None) {
            Ok(planned) => Some(planned),
            Err(NoPlan::NotPublic(_)) => None,
            Err(no_plan @ NoPlan::Waived(_)) => {
                let fault = Fault::yours("waived", no_plan.to_string());
                return Err(fault.hint("contain the others one by one, or all of them: afresh guard stop-the-bleeding"));
            }
            Err(other) => {
                let fault = Fault::yours("no-plan", other.to_string());
                return Err(fault.hint("contain the buckets one by one: afresh guard contain BUCKET"));
            }
        };
        let covers = planned.as_ref().map(|p| p.covers.clone()).unwrap_or_default();
        let mut changes: Vec<Change> = planned.into_iter().map(|planned| Change::of_account(planned, &examined)).collect();
        let rest = examined.iter().filter(|e| !covers.contains(&(e.target.kind.clone(), e.target.id.clone())));
        changes.extend(rest.map(|e| Change::of_aws(&single, e)));
        Ok(changes)
    }

    fn of_host(&self, id: &str) -> Result<Change, Fault> {
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let is_port = self.kind.unwrap_or(Kind::of_id(id)[0]) == Kind::Port;
        let found = if is_port { Vec::new() } else { host_target::findings(&root, id)? };
        let planned = if is_port { host_target::plan_port(id, None)? } else { host_target::plan_file(&root, id, &found, None)? };
        let kind = if is_port { "port" } else { "file" };
        let why = found.first().map_or_else(|| format!("{id} is reachable"), |f| f.why.clone());
        let planned = planned.map_err(|none| match none {
            NoChange::NotPublic => NoPlan::NotPublic(id.to_string()),
            NoChange::Unknown(missing) => NoPlan::CannotTell { id: id.to_string(), missing },
            NoChange::NoSwitch(fix) => NoPlan::NoSwitch(format!("{id} ({fix})")),
        });
        Ok(Change::of_host(kind, id, planned, found.first(), why))
    }
}

fn of_resources(account: &Account, ids: &[&String], kind: Option<Kind>) -> Result<Vec<Change>, Fault> {
    let single = account.single()?;
    let targets: Vec<Target> = ids.iter().map(|id| account.target(&single, id, kind)).collect::<Result<_, _>>()?;
    targets.iter().map(|target| Ok(Change::of_aws(&single, &account.examine(&single, target)?))).collect()
}
