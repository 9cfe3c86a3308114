//! The balancer's health probes: one task per target, routed or not, which ends when the target is gone or drained.

use crate::clock::now_ms;
use crate::group::Group;
use crate::mutex::lock;
use crate::target::Target;
use model::{Health, Probe};
use probe::Failure;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub async fn keep_probing(group: Arc<Group>, target: Arc<Target>) {
    while !target.gone.load(SeqCst) && !target.account.is_drained() {
        let health = group.members().health.clone();
        let began = now_ms();
        let passed = once(&target, &health).await;
        let wait = {
            let mut state = lock(&target.health);
            match &passed {
                Ok(()) => state.passed(began, now_ms()),
                Err(_) => state.failed(health.unhealthy_after),
            }
            state.probe_again_ms(health.every_ms)
        };
        if let Err(e) = passed {
            tracing::debug!("probe of {}: {e}", target.id);
        }
        target.probed.store(true, SeqCst);
        // A failed request makes the next probe come sooner, but at most every 10 ms.
        let sooner = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            target.probe_now.notified().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(wait), sooner).await;
    }
}

async fn once(target: &Target, health: &Health) -> Result<(), Failure> {
    let within = Duration::from_millis(health.timeout_ms.max(1));
    match &health.probe {
        Probe::Http { path } => probe::http(target.addr, path, within).await,
        // Only the keeper can run a command inside an instance; the balancer checks that the port accepts connections.
        Probe::Tcp | Probe::Exec { .. } | Probe::Running => probe::tcp(target.addr, within).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Shared;
    use model::InstanceId;

    /// As the keeper does; the same table tests it too.
    #[tokio::test]
    async fn every_answer_is_judged_as_the_table_says() {
        probe::testing::judge_every_case(|address, within| async move {
            let target = Target::new(InstanceId::new("web-r1-1-1").unwrap(), address, Shared::new(1));
            let probe = Probe::Http { path: "/healthz".into() };
            once(&target, &Health { probe, timeout_ms: u64::try_from(within.as_millis()).unwrap(), ..Health::default() }).await
        })
        .await;
    }
}
