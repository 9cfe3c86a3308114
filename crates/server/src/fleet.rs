//! What keeper and balancer say by themselves: alarms, and what happened to servers without anybody deploying. Asked when it is asked
//! for; nothing is kept here. A keeper or balancer that does not answer is an alarm, never silence.

use crate::app::App;
use api::Client;
use api::fleet::{ALARMS, Alarm, HAPPENED, Happened};
use model::{Fault, Layout};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(3);

pub struct Fleet {
    keeper: Client,
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
    let mut alarms: Vec<Alarm> = app.troubles().into_iter().map(|why| Alarm::new("control-plane", None, why)).collect();
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
