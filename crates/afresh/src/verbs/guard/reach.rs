//! What a run can change: this host, and the account and the endpoint that it is connected to.

use super::settings;
use super::target::Connected;
use crate::show;
use contain::{Containment, Place};
use model::Fault;
use serde_json::json;

/// The account of a place, if the run is connected to it.
pub(super) fn reached<'c, 'a>(connected: Option<&'c Connected<'a>>, at: &Place) -> Result<&'c Connected<'a>, Fault> {
    let Place::Aws { account, region, endpoint } = at else { return Err(Fault::ours("bad-journal", "a host is in no account")) };
    let Some(connected) = connected else { return Err(elsewhere(&format!("account {account}"), "none", "--profile NAME")) };
    let number = connected.single.account();
    if number != account {
        return Err(elsewhere(&format!("account {account}"), &format!("account {number}"), "--profile NAME"));
    }
    if connected.place(region) != *at {
        let name = |endpoint: &Option<String>| endpoint.clone().unwrap_or_else(|| "AWS itself".into());
        let hint = endpoint.as_ref().map_or_else(|| "no --endpoint, and no AWS_ENDPOINT_URL".into(), |url| format!("--endpoint {url}"));
        return Err(elsewhere(&name(endpoint), &name(&connected.client.elsewhere()), &hint));
    }
    Ok(connected)
}

fn elsewhere(needed: &str, have: &str, flag: &str) -> Fault {
    let text = format!("it was made at {needed}, and this run is connected to {have}");
    Fault::yours("other-account", text).hint(format!("run it with the credentials and the endpoint of that place: {flag}"))
}

/// What interrupted runs left: changes that this run goes on with, and those of other accounts.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) here: Vec<Containment>,
    elsewhere: Vec<(Containment, Fault)>,
}

impl Pending {
    pub(super) fn of(all: &[Containment], connected: Option<&Connected>) -> Pending {
        let mut pending = Pending::default();
        for containment in all.iter().filter(|c| c.standing.is_open()) {
            match &containment.planned.at {
                at @ Place::Aws { .. } => match reached(connected, at) {
                    Ok(_) => pending.here.push(containment.clone()),
                    Err(fault) => pending.elsewhere.push((containment.clone(), fault)),
                },
                Place::Host { .. } => pending.here.push(containment.clone()),
            }
        }
        pending
    }

    pub(super) fn is_of_host(containment: &Containment) -> bool {
        matches!(containment.planned.at, Place::Host { .. })
    }

    /// How many are not finished by this run: whether those changes are in place is not known.
    pub(super) fn unreached(&self) -> u64 {
        self.elsewhere.len() as u64
    }

    pub(super) fn show(&self, is_json: bool) {
        let here = self.here.iter().map(|containment| (containment, "pending", "was interrupted and will be finished".to_string()));
        let elsewhere = self.elsewhere.iter().map(|(containment, fault)| {
            let hint = fault.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            (containment, "unreached", format!("was interrupted and is not finished by this run: {fault}{hint}"))
        });
        for (containment, result, what) in here.chain(elsewhere) {
            let plan = &containment.planned.plan;
            let text = format!("{} of {} {} {what}", settings::setting(&plan.setting), plan.kind, plan.id);
            if is_json {
                show::json(&json!({"type": plan.kind, "id": plan.id, "result": result, "containment": containment.id, "text": text}));
            } else {
                show::line(format!("{} {}", containment.id, show::safe_line(&text)));
            }
        }
    }
}
