//! What keeper and balancer say by themselves: alarms, and what happened to servers without anybody deploying. ChangeRequest when it is asked
//! for; nothing is kept here. A keeper or balancer that does not answer is an alarm, never silence.

use crate::app::App;
use crate::{blocking, observed_service};
use api::Client;
use api::fleet::{ALARMS, Alarm, HAPPENED, Happened};
use model::{DesiredSeen, Fault, InstanceState, Layout, ServiceName};
use std::sync::Arc;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(3);

pub struct Fleet {
    pub keeper: Client,
    balancer: Client,
}

impl Fleet {
    pub fn new(layout: &Layout) -> Self {
        Self { keeper: Client::unix(layout.host_socket()).timeout(WITHIN), balancer: Client::unix(layout.proxy_socket()).timeout(WITHIN) }
    }
}

/// Oldest first.
pub async fn happened(app: &App, after: u64) -> Result<Vec<Happened>, Fault> {
    app.fleet.keeper.get(&format!("{HAPPENED}?after={after}")).await
}

pub async fn alarms(app: &App) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = app.troubles(|_| true).into_iter().map(|why| Alarm::new("control-plane", None, why)).collect();
    let (keeper, balancer) = tokio::join!(app.fleet.keeper.get::<Vec<Alarm>>(ALARMS), app.fleet.balancer.get::<Vec<Alarm>>(ALARMS));
    for (who, goes_on, said) in [
        ("keeper", "servers run on, and none that dies is replaced", keeper),
        ("balancer's control side", "traffic goes on, and no route is changed", balancer),
    ] {
        match said {
            Ok(more) => alarms.extend(more),
            Err(fault) => {
                let text = format!("the {who} does not answer: {}; {goes_on}. `afresh up` keeps it alive: see its log", fault.message);
                alarms.push(Alarm::new("unreachable", None, text));
            }
        }
    }
    alarms
}

/// What happened stays an alarm for a while; where it is over, its text says so.
pub async fn tell_recovery(app: &Arc<App>, alarms: &mut Vec<Alarm>) {
    let over = |alarm: &Alarm| matches!(alarm.code.as_str(), "died" | "oom-killed" | "oom-inside" | "replaced");
    if !alarms.iter().any(over) {
        return;
    }
    let (app, mut told) = (app.clone(), alarms.clone());
    let work = move || {
        for alarm in told.iter_mut().filter(|alarm| over(alarm)) {
            // A service that cannot be observed at is not whole.
            let healthy = alarm.service.as_ref().and_then(|service| healthy_for(&app, service).ok().flatten());
            if let Some((count, ms)) = healthy {
                alarm.text.push_str(&format!("; all {count} of its servers are healthy again, for {} s", ms / 1_000));
            }
        }
        Ok(told)
    };
    if let Ok(told) = blocking(work).await {
        *alarms = told;
    }
}

/// How many servers the active group has, and for how long all of them have been healthy. None: some are not, or a rotation is open.
fn healthy_for(app: &App, service: &ServiceName) -> Result<Option<(u32, u64)>, Fault> {
    let Some(now) = app.database.browse(|r| r.now(service))?.filter(|now| now.open.is_none()) else { return Ok(None) };
    let view = observed_service::view(app, service, &now.known, false)?;
    let Some(group) = now.known.active.as_ref().and_then(|s| view.groups.get(&s.group)) else { return Ok(None) };
    let DesiredSeen::Run { count, .. } = group.desired else { return Ok(None) };
    let healthy: Vec<u64> = group.instances.iter().filter(|i| i.state == InstanceState::Running).filter_map(|i| i.healthy_ms).collect();
    let is_whole = count > 0 && healthy.len() >= count as usize;
    Ok(healthy.into_iter().min().filter(|_| is_whole).map(|ms| (count, ms)))
}
