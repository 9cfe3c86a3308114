//! What systemd is told by sd_notify(3): ready, alive, reloading, stopping. Without NOTIFY_SOCKET nothing is sent.
//!
//! ```text
//! started ─▶ every role answers on its socket ─▶ READY=1 ─▶ WATCHDOG=1 at each half of WATCHDOG_USEC, while all answer
//! ```
//!
//! Alive means that the sockets answer, as callers see it, and not that some loop goes round.

use super::{Role, ready};
use model::Layout;
use sd_notify::NotifyState;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Never returns. For `up` the roles are all three, for the others their own.
pub async fn report(layout: &Layout, roles: &[Role]) -> std::convert::Infallible {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    while !answer(layout, roles).await {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    send(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        if answer(layout, roles).await {
            send(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(limit / 2).await;
    }
}

/// Before settings are read again; `ready` ends it.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, now]);
    }
}

pub fn ready() {
    send(&[NotifyState::Ready]);
}

pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

async fn answer(layout: &Layout, roles: &[Role]) -> bool {
    for role in roles {
        if ready::health(layout, *role).await.is_err() {
            return false;
        }
    }
    true
}

/// A service manager that cannot be told anything waits, and ends us when it has waited for long enough: it says so itself.
fn send(state: &[NotifyState]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("cannot tell the service manager: {e}");
    }
}
