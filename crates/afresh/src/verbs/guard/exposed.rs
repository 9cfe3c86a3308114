//! Exposed resources of an account, and the plan that one switch of the account makes for many of them.

use super::rules::RuleFile;
use super::target::{Connected, Examined, Target, planned};
use super::waivers::{WaiverFile, now_s};
use aws_scan::{Choice, Event, Services, Single, Summary};
use contain::Planned;
use guard::contain::{NoPlan, Seen, State, plan_account};
use guard::rules::{Disposition, Facts, gate};
use guard::{Fact, Finding, Resource, Verdict};
use model::Fault;
use std::collections::BTreeSet;

pub(super) struct Scanned {
    pub(super) public: Vec<Finding>,
    pub(super) unknown: Vec<Finding>,
    pub(super) summary: Summary,
}

/// The worst first. What the scan cannot tell is not contained: nothing says that it is exposed.
pub(super) fn scan(connected: &Connected, region: Option<&str>, services: Services, sample: usize) -> Result<Scanned, Fault> {
    let regions = region.map(str::to_string).into_iter().collect();
    let (mut public, mut unknown) = (Vec::new(), Vec::new());
    let summary = aws_scan::scan(connected.client, &Choice { services, regions, sample }, &mut |event| {
        if let Event::Found(finding) = event {
            match finding.verdict {
                Verdict::Public => public.push(*finding),
                Verdict::Unknown => unknown.push(*finding),
                Verdict::NotPublic => {}
            }
        }
    })?;
    public.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(Scanned { public, unknown, summary })
}

/// The resource of a finding, where the scan found it.
pub(super) fn target(finding: &Finding, single: &Single) -> Target {
    let region = finding.region.clone().unwrap_or_else(|| single.region().to_string());
    Target { kind: finding.kind.clone(), id: finding.id.clone(), region }
}

/// IDs of resources that a live waiver lets be public, by the rules of the gate.
pub(super) fn waived(examined: &[Examined], rules: &RuleFile, waivers: &WaiverFile) -> Result<BTreeSet<String>, Fault> {
    let waivers = waivers.load()?;
    if waivers.is_empty() {
        return Ok(BTreeSet::new());
    }
    let facts: Vec<Facts> = examined.iter().map(Examined::facts).collect();
    let report = gate(&rules.load()?, &facts, &waivers, None, now_s());
    // A waiver of one rule does not speak for another that refuses the same resource.
    let is_denied = |id: &str| report.objections.iter().any(|o| o.resource == id && o.disposition == Disposition::Denied);
    let waived = report.objections.iter().filter(|o| matches!(o.disposition, Disposition::Waived { .. }) && !is_denied(&o.resource));
    Ok(waived.map(|o| o.resource.clone()).collect())
}

pub(super) fn is_of_s3(examined: &Examined) -> bool {
    examined.target.kind.starts_with("s3_")
}

/// One change for every exposed bucket, object and access point that it stops. What it does not stop is planned by itself.
pub(super) fn by_account(connected: &Connected, examined: &[Examined], waived: &BTreeSet<String>) -> Result<Planned, NoPlan> {
    let single = &connected.single;
    let none = || NoPlan::NotPublic(format!("account {}", single.account()));
    let mut of_s3: Vec<&Examined> = examined.iter().filter(|e| is_of_s3(e) && e.plan.is_ok()).collect();
    let first = of_s3.first().ok_or_else(none)?;
    let context = first.context.clone();
    let seen = Seen { website: of_websites(&of_s3), ..single.seen(&first.resource) };
    loop {
        if of_s3.is_empty() {
            return Err(none());
        }
        let resources: Vec<Resource> = of_s3.iter().map(|e| e.resource.clone()).collect();
        match plan_account(&resources, &context, &seen, waived) {
            Err(NoPlan::NoSwitch(id)) => of_s3.retain(|e| e.resource.id() != id),
            Err(other) => return Err(other),
            Ok(plan) => {
                let covers = of_s3.iter().map(|e| (e.target.kind.clone(), e.target.id.clone())).collect();
                return planned(&plan, connected.place(single.region()), covers).ok_or_else(none);
            }
        }
    }
}

/// What is public, or may be, when the account has its earlier block again. Up to `sample` objects of each bucket are read.
pub(super) fn opened_by(connected: &Connected, before: &State, sample: usize) -> Result<Vec<Finding>, Fault> {
    let State::Block(before) = before else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    aws_scan::scan_with_block(connected.client, before.unwrap_or_default(), sample, &mut |finding| {
        if finding.verdict != Verdict::NotPublic {
            found.push(finding);
        }
    })?;
    found.sort_by_key(|f| (f.verdict != Verdict::Public, std::cmp::Reverse(f.severity)));
    Ok(found)
}

/// Whether none of the buckets serves a website. Which of them do is said where each is planned.
fn of_websites(examined: &[&Examined]) -> Fact<bool> {
    let is_website = |e: &&Examined| e.plan.as_ref().is_ok_and(|p| p.cut_off.iter().any(|who| who.starts_with("visitors of ")));
    if examined.iter().any(is_website) { Fact::denied("s3:GetBucketWebsite") } else { Fact::Known(false) }
}
