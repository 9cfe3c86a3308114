//! Threads of the control plane that are restarted when they panic.
//!
//! ```text
//! runs ──panic──▶ waits 0.1 s, 0.2 s … 30 s ──▶ runs        ends by itself only when the control plane stops
//! ```

use crate::app::App;
use crate::instance_lock::InstanceLock;
use model::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that runs the part until the control plane stops, whatever happens in it.
pub fn supervise(app: &Arc<App>, lock: &Arc<InstanceLock>, name: &'static str, part: fn(&Arc<App>)) -> Result<JoinHandle<()>, Fault> {
    let (app, lock) = (app.clone(), lock.clone());
    spawn(name.to_string(), move || {
        while !app.is_stopping() {
            match catch_unwind(AssertUnwindSafe(|| part(&app))) {
                Ok(()) => break,
                Err(payload) => rest(&app, app.parts.panicked(name, payload.as_ref())),
            }
        }
        drop(lock);
    })
}

/// Notifications come often; only a stop ends a rest early.
fn rest(app: &App, time: Duration) {
    let begun = Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero() && !app.is_stopping()) {
        app.notifier.wait(app.notifier.count(), left);
    }
}

pub fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    Builder::new().name(name).spawn(f).map_err(|e| Fault::world("no-thread", format!("cannot start a thread: {e}")))
}
