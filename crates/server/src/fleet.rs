//! The clients of keeper and balancer for what they report by themselves. Nothing is kept here.

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

    pub fn keeper(&self) -> &Client {
        &self.keeper
    }

    /// What happened to servers without a deploy, oldest first.
    pub async fn happened(&self, after: u64) -> Result<Vec<Happened>, Fault> {
        self.keeper.get(&format!("{HAPPENED}?after={after}")).await
    }

    /// A keeper or balancer that does not answer is an alarm.
    pub async fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let (keeper, balancer) = tokio::join!(self.keeper.get::<Vec<Alarm>>(ALARMS), self.balancer.get::<Vec<Alarm>>(ALARMS));
        for (who, effect, answer) in [
            ("keeper", "servers keep running, but none that exits is replaced", keeper),
            ("balancer's control side", "traffic is still served, but no route changes", balancer),
        ] {
            match answer {
                Ok(more) => alarms.extend(more),
                Err(fault) => {
                    let text = format!("the {who} does not answer: {}; {effect}. `afresh up` restarts it: see its log", fault.message);
                    alarms.push(Alarm::new("unreachable", None, text));
                }
            }
        }
        alarms
    }
}
