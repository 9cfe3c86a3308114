//! `guard stop-the-bleeding`: for the first minute of an incident.

use super::changes::{Change, end};
use super::consent::{Consent, Containing, Made};
use super::exposed;
use super::reach::Pending;
use super::session::{Session, Tally};
use super::target::{Account, Examined, Target};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use aws_scan::Services;
use clap::Args;
use serde_json::json;
use std::time::Instant;

/// Find everything exposed in an AWS account, and contain all of it
#[derive(Args, Debug)]
#[command(
    name = "stop-the-bleeding",
    after_help = "\
It scans, shows every change and whom it cuts off, asks once, contains, and opens an incident with all of it.
The account's public access block is set where no live waiver lets a bucket be public; else, and for everything but S3, each resource is contained by itself. \
What a waiver lets be public is left.

Example:
  afresh guard stop-the-bleeding --region eu-central-1
  afresh guard stop-the-bleeding --now --json"
)]
pub struct Stop {
    #[command(flatten)]
    consent: Consent,
    /// Contain every resource by itself, also where the account's switch would do
    #[arg(long)]
    one_by_one: bool,
    /// Read the ACLs of this many objects of each bucket
    #[arg(long, value_name = "N", default_value_t = 10)]
    objects: usize,
    #[command(flatten)]
    with: Containing,
}

impl Stop {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let begun = Instant::now();
        let account = Account::new(&self.with.connection)?;
        let connected = account.connect()?;
        let scanned = exposed::scan(&connected, self.with.connection.region.as_deref(), Services::ALL, self.objects)?;
        let scan_s = begun.elapsed().as_secs_f64();
        let targets: Vec<Target> = scanned.public.iter().map(|f| exposed::target(f, &connected.single)).collect();
        let (mut examined, mut unread) = (Vec::new(), 0);
        for (finding, found) in scanned.public.iter().zip(connected.examine_all(&targets)) {
            match found {
                Ok(found) => examined.push(found),
                // One that cannot be read holds up none of the others.
                Err(fault) => {
                    unread += 1;
                    show::note(show::safe_line(&format!("{} {} is not contained: {fault}", finding.kind, finding.id)));
                }
            }
        }
        let waived = exposed::waived(&examined, &self.with.rules, &self.with.waivers)?;
        let (kept, examined): (Vec<Examined>, Vec<Examined>) = examined.into_iter().partition(|e| waived.contains(&e.target.id));
        let note = |text: String| show::note(show::safe_line(&text));
        kept.iter().for_each(|e| note(format!("{} {} stays public: a live waiver lets it", e.target.kind, e.target.id)));
        let mut changes = Vec::new();
        let is_waived = kept.iter().any(exposed::is_of_s3);
        let of_account = if self.one_by_one || is_waived { None } else { exposed::by_account(&connected, &examined, &waived).ok() };
        let covers = of_account.as_ref().map(|p| p.covers.clone()).unwrap_or_default();
        changes.extend(of_account.map(|planned| Change::of_account(planned, &examined)));
        let rest = examined.iter().filter(|e| !covers.contains(&(e.target.kind.clone(), e.target.id.clone())));
        // A sampled object or an access point is closed by its bucket, which a waiver may want open.
        let (of_waived, rest): (Vec<&Examined>, Vec<&Examined>) = rest.partition(|e| {
            let bucket = e.plan.as_ref().ok().and_then(|plan| plan.setting.bucket());
            bucket.is_some_and(|bucket| waived.contains(bucket))
        });
        for e in of_waived {
            unread += 1;
            note(format!(
                "{} {} is not contained: that would close its bucket, which a live waiver lets be public",
                e.target.kind, e.target.id
            ));
        }
        changes.extend(rest.into_iter().map(|e| Change::of_aws(&connected, e)));
        let mut tally = Tally { unknown: scanned.unknown.len() as u64, failed: unread, ..Tally::default() };
        let pending = Pending::of(&Session::pending(&self.with.state, context)?, Some(&connected));
        let made = self.consent.make(context, &self.with.state, Some(&connected), (changes, &pending), None, &mut tally)?;
        let incident = match made {
            Made::Nothing(exit) => return Ok(exit),
            Made::All(incident) => incident,
        };
        let rounded = |seconds: f64| (seconds * 10.0).round() / 10.0;
        let rest = json!({"exposed": scanned.public.len(), "waived": kept.len(), "scan_seconds": rounded(scan_s),
            "seconds": rounded(begun.elapsed().as_secs_f64()), "calls": scanned.summary.calls});
        Ok(end(context, &tally, incident.as_deref(), rest))
    }
}
