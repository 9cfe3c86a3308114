//! All alarms: those of the control plane, of the keeper and of the balancer; and which of them have recovered.

use crate::app::App;
use crate::blocking::blocking;
use crate::observed_service;
use crate::{gate, jobs};
use api::fleet::Alarm;
use model::{DesiredSeen, Fault, InstanceState, ServiceName};
use std::collections::BTreeSet;
use std::sync::Arc;

pub async fn alarms(app: &Arc<App>) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = app.troubles(|_| true).into_iter().map(|why| Alarm::new("control-plane", None, why)).collect();
    alarms.extend(app.fleet.alarms().await);
    let of_jobs = app.clone();
    match blocking(move || Ok([jobs::alarms(&of_jobs)?, gate::alarms(&of_jobs)].concat())).await {
        Ok(of_jobs) => alarms.extend(of_jobs),
        Err(fault) => alarms.push(Alarm::new("control-plane", None, fault.message)),
    }
    alarms
}

/// A service that was removed has no server to look after.
pub async fn drop_removed(app: &Arc<App>, alarms: &mut Vec<Alarm>) {
    let named: BTreeSet<ServiceName> = alarms.iter().filter_map(|alarm| alarm.service.clone()).collect();
    let app = app.clone();
    let work = move || {
        let is_removed = |service: &ServiceName| app.database.browse(|r| r.now(service)).ok().flatten().is_some_and(|now| now.is_removed);
        Ok(named.into_iter().filter(is_removed).collect::<BTreeSet<_>>())
    };
    if let Ok(removed) = blocking(work).await {
        alarms.retain(|alarm| alarm.service.as_ref().is_none_or(|service| !removed.contains(service)));
    }
}

/// A server that exited stays an alarm for a while; where the service has recovered, the text says so.
pub async fn note_recovery(app: &Arc<App>, alarms: &mut Vec<Alarm>) {
    let may_recover = |alarm: &Alarm| matches!(alarm.code.as_str(), "died" | "oom-killed" | "oom-inside" | "replaced");
    if !alarms.iter().any(may_recover) {
        return;
    }
    let (app, mut noted) = (app.clone(), alarms.clone());
    let work = move || {
        for alarm in noted.iter_mut().filter(|alarm| may_recover(alarm)) {
            // A service that cannot be observed has not recovered.
            let healthy = alarm.service.as_ref().and_then(|service| healthy_for(&app, service).ok().flatten());
            if let Some((count, ms)) = healthy {
                alarm.text.push_str(&format!("; all {count} of its servers are healthy again, for {} s", ms / 1_000));
            }
        }
        Ok(noted)
    };
    if let Ok(noted) = blocking(work).await {
        *alarms = noted;
    }
}

/// How many servers the active group has, and for how long all of them have been healthy. None: some are not, or a rotation is open.
fn healthy_for(app: &App, service: &ServiceName) -> Result<Option<(u32, u64)>, Fault> {
    let Some(now) = app.database.browse(|r| r.now(service))?.filter(|now| now.open.is_none()) else { return Ok(None) };
    let view = observed_service::view(app, service, &now.summary, false)?;
    let Some(group) = now.summary.active.as_ref().and_then(|s| view.groups.get(&s.group)) else { return Ok(None) };
    let DesiredSeen::Run { count, .. } = group.desired else { return Ok(None) };
    let healthy: Vec<u64> = group.instances.iter().filter(|i| i.state == InstanceState::Running).filter_map(|i| i.healthy_ms).collect();
    let is_complete = count > 0 && healthy.len() >= count as usize;
    Ok(healthy.into_iter().min().filter(|_| is_complete).map(|ms| (count, ms)))
}
