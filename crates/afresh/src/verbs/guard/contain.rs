//! `guard contain`: one reversible change for each exposed resource, on record.

use super::changes::{self, Change, Source};
use super::consent::{Consent, Containing, Made};
use super::exposed;
use super::host_target;
use super::reach::Pending;
use super::session::{Session, Tally};
use super::target::{Account, Connected, Kind, Target};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use aws_scan::Services;
use clap::Args;
use contain::{Containment, Journal};
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
An incident is opened for it, unless --incident names one; with that alone, what of the incident does not exist any more is settled.

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
        let left = Session::pending(&self.with.state, context)?;
        if self.resources.is_empty() && !self.account && left.is_empty() && self.incident.is_none() {
            let fault = Fault::yours("no-such-resource", "nothing is named, and no run was interrupted");
            return Err(fault.hint("name what the scan found: afresh guard contain my-bucket").into());
        }
        let is_of_host = |id: &String| self.kind.map_or_else(|| Kind::of_id(id)[0].is_of_host(), Kind::is_of_host);
        let (of_host, of_aws): (Vec<&String>, Vec<&String>) = self.resources.iter().partition(|id| is_of_host(id));
        let mut tally = Tally::default();
        let is_aws_named = !of_aws.is_empty() || self.account;
        let is_aws_needed = is_aws_named || self.is_about_aws(context, &left)?;
        let has_others = !of_host.is_empty() || left.iter().any(Pending::is_of_host);
        let named = if self.account { 1 } else { of_aws.len() as u64 };
        let account = if is_aws_needed { unless_alone(Account::new(&self.with.connection), has_others, named, &mut tally)? } else { None };
        let connected = match &account {
            Some(account) => unless_alone(account.connect(), has_others, named, &mut tally)?,
            None => None,
        };
        let pending = Pending::of(&left, connected.as_ref());
        let mut changes = Vec::new();
        if let Some(connected) = connected.as_ref().filter(|_| is_aws_named) {
            changes.extend(if self.account {
                self.of_account(connected, &mut tally)?
            } else {
                of_resources(connected, &of_aws, self.kind)?
            });
        }
        for id in of_host {
            changes.push(self.of_host(id)?);
        }
        let made =
            self.consent.make(context, &self.with.state, connected.as_ref(), (changes, &pending), self.incident.clone(), &mut tally)?;
        Ok(match made {
            Made::Nothing(exit) => exit,
            Made::All(incident) => changes::end(context, &tally, incident.as_deref(), json!({})),
        })
    }

    /// Whether what was interrupted, or the incident that is named, is about AWS.
    fn is_about_aws(&self, context: &Context, left: &[Containment]) -> Result<bool, Fault> {
        let is_of_aws = |c: &Containment| !Pending::is_of_host(c);
        let Some(incident) = &self.incident else { return Ok(left.iter().any(is_of_aws)) };
        let all = Journal::list(&self.with.state.path(context))?;
        Ok(left.iter().chain(all.iter().filter(|c| c.planned.incident.as_ref() == Some(incident))).any(is_of_aws))
    }

    /// The switch of the account, and each resource by itself that it does not stop.
    fn of_account(&self, connected: &Connected, tally: &mut Tally) -> Result<Vec<Change>, Fault> {
        let services = Services { s3: true, ec2: false, rds: false };
        let scanned = exposed::scan(connected, self.with.connection.region.as_deref(), services, 10)?;
        tally.unknown += scanned.unknown.len() as u64;
        let targets: Vec<Target> = scanned.public.iter().map(|f| exposed::target(f, &connected.single)).collect();
        let examined = connected.examine_all(&targets).into_iter().collect::<Result<Vec<_>, _>>()?;
        let waived = exposed::waived(&examined, &self.with.rules, &self.with.waivers)?;
        let planned = match exposed::by_account(connected, &examined, &waived) {
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
        changes.extend(rest.map(|e| Change::of_aws(connected, e)));
        Ok(changes)
    }

    fn of_host(&self, id: &str) -> Result<Change, Fault> {
        if self.kind.unwrap_or(Kind::of_id(id)[0]) == Kind::Port {
            return Ok(Change::of_host(Source::Port, id, host_target::port(id)?, None, format!("{id} is reachable")));
        }
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let (planned, finding) = host_target::file(&root, id)?;
        let why = finding.as_ref().map_or_else(String::new, |f| f.why.clone());
        Ok(Change::of_host(Source::File { root }, id, planned, finding.as_ref(), why))
    }
}

/// What is on this host is contained also where AWS cannot be reached: what was named of it is unknown then.
fn unless_alone<T>(done: Result<T, Fault>, has_others: bool, named: u64, tally: &mut Tally) -> Result<Option<T>, Fault> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(fault) if has_others => {
            tally.unknown += named;
            show::note(show::safe_line(&format!("nothing of AWS is contained: {fault}")));
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

fn of_resources(connected: &Connected, ids: &[&String], kind: Option<Kind>) -> Result<Vec<Change>, Fault> {
    let targets: Vec<Target> = ids.iter().map(|id| connected.target(id, kind)).collect::<Result<_, _>>()?;
    targets.iter().map(|target| Ok(Change::of_aws(connected, &connected.examine(target)?))).collect()
}
