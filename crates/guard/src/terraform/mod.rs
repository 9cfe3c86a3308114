//! Resources of a Terraform plan (`terraform show -json`), judged by the same verdict function before they exist.
//!
//! A value that is known only after the apply is not known here. Where the plan has two settings of one thing, or does not say whose a
//! setting is, the worst that can come of it counts. A reference is taken to be to the thing that it names: that a template or a
//! function makes another name of it leaves no trace in a plan. A switch that the plan does not set counts as off, unless the plan
//! creates the bucket: S3 gives a new bucket every switch and no ACLs. <https://developer.hashicorp.com/terraform/internals/json-format>

mod access_point;
mod account;
mod acl;
mod address;
mod bucket;
mod configuration;
mod links;
mod naming;
mod network;
mod not_judged;
mod object;
mod planned;
mod sharing;

pub use not_judged::NotJudged;

use crate::judgement::{Context, Judgement};
use crate::rules::Facts;
use crate::verdict::{Resource, public};
use access_point::AccessPoints;
use account::Account;
use bucket::Buckets;
use configuration::Configuration;
use links::Links;
use network::Groups;
use planned::Planned;
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct TerraformPlan {
    /// By address.
    pub resources: Vec<PlannedResource>,
    /// Kinds of which nothing here says whether they open something.
    pub not_judged: Vec<NotJudged>,
}

#[derive(Debug, Clone)]
pub struct PlannedResource {
    /// Of the plan, where its author finds it.
    pub address: String,
    /// As it may come to be: the worst of what the plan leaves open.
    pub resource: Resource,
    pub judgement: Judgement,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the plan: {0}; write it with `terraform show -json FILE`")]
pub struct PlanFault(String);

/// What the plan leaves behind, and who names whom.
struct Plan<'a> {
    all: Vec<Planned<'a>>,
    links: Links<'a>,
    account: Account<'a>,
}

/// Combinations of settings of one thing that are judged. More of them are unknown.
const COMBINATIONS_MAX: usize = 256;

impl TerraformPlan {
    pub fn read(text: &str, account_id: Option<&str>) -> Result<TerraformPlan, PlanFault> {
        let plan: Value = serde_json::from_str(text).map_err(|e| PlanFault(e.to_string()))?;
        let changes = plan["resource_changes"].as_array().map(Vec::as_slice);
        let deferred = plan["deferred_changes"].as_array().map(Vec::as_slice);
        if changes.is_none() && deferred.is_none() {
            return Err(PlanFault("it has no resource_changes".into()));
        }
        if plan["errored"] == true {
            return Err(PlanFault("terraform ended it with errors, so it is not whole".into()));
        }
        let configuration = Configuration::read(&plan["configuration"]);
        let now = changes.unwrap_or_default().iter().map(|change| (change, false));
        let later = deferred.unwrap_or_default().iter().map(|deferred| (&deferred["resource_change"], true));
        let mut all = Vec::new();
        for (change, is_deferred) in now.chain(later) {
            all.extend(Planned::read(change, &configuration, is_deferred).map_err(PlanFault)?);
        }
        let plan = Plan { links: Links::of(&all), account: Account::of(&all, account_id), all };
        let mut resources = plan.judged();
        resources.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(TerraformPlan { resources, not_judged: not_judged::of(&plan.all) })
    }

    /// For the gate. A resource is named by its address.
    pub fn facts(&self) -> Vec<Facts> {
        let facts =
            |planned: &PlannedResource| Facts { id: planned.address.clone(), ..Facts::of_judgement(&planned.resource, &planned.judgement) };
        self.resources.iter().map(facts).collect()
    }
}

impl Plan<'_> {
    fn judged(&self) -> Vec<PlannedResource> {
        let buckets = Buckets::of(self);
        let mut found = buckets.judged();
        found.extend(AccessPoints::of(self, &buckets).judged());
        found.extend(Groups::of(self).judged());
        found.extend(object::judged(self, &buckets));
        found.extend(sharing::judged(self));
        found
    }

    /// The places of resources of these kinds.
    fn of_kinds(&self, kinds: &[&str]) -> impl Iterator<Item = usize> {
        (0..self.all.len()).filter(|n| kinds.contains(&self.all[*n].kind))
    }
}

/// The worst of what a resource may come to be.
fn worst(planned: &Planned, options: impl IntoIterator<Item = (Resource, Context)>) -> Option<PlannedResource> {
    let judged = options.into_iter().map(|(resource, context)| {
        let judgement = public(&resource, &context);
        PlannedResource { address: planned.address.into(), resource, judgement }
    });
    judged.reduce(|a, b| if b.judgement.verdict > a.judgement.verdict { b } else { a })
}

/// Each once, in their order.
fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
