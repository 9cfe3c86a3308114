//! Drives one open rotation: ticks until it is closed or the control plane stops.
//!
//! ```text
//! tick ▸ Again: at once ▸ Wait: soon while something moves, slower when it takes long ▸ an error: report it, try again
//! ```

use crate::app::App;
use crate::parts;
use api::control::Waiting;
use model::RotationId;
use rotation::{Driver, Tick};
use std::time::{Duration, Instant};

/// Long enough for a stalled disk, short enough for another process to take over.
const LEASE_MS: u64 = 10_000;
/// The longest time between two ticks.
const TICK_EVERY: Duration = Duration::from_millis(500);

pub fn drive(app: &App, id: &RotationId) {
    let mut driver = Driver::new(id.clone(), app.holder.clone(), LEASE_MS);
    let mut moved = Instant::now();
    let part = parts::driver(id);
    while !app.is_stopping() {
        let count = app.notifier.count();
        if let Err(fault) = app.comparison.may_drive(&id.service()) {
            app.set_waiting(id, None, Waiting { why: fault.message, until: None });
            app.notifier.wait(count, TICK_EVERY);
            continue;
        }
        let ticked = driver.tick(&app.world());
        let failing = app.parts.attempted(&part, ticked.as_ref().err().map(ToString::to_string));
        let waiting = match ticked {
            Ok(Tick::Again) => {
                moved = Instant::now();
                app.clear_waiting(id);
                continue;
            }
            Ok(Tick::Closed(verdict)) => {
                tracing::info!(rotation = %id, ?verdict, "closed");
                app.parts.ended(&part);
                break;
            }
            Ok(Tick::Wait { why, until }) => Waiting { why, until },
            Ok(Tick::NotMine { until }) => Waiting { why: "another control plane drives it".to_string(), until: Some(until) },
            Err(refused) => Waiting { why: failing.unwrap_or_else(|| format!("{refused}; trying again")), until: None },
        };
        app.set_waiting(id, driver.rotation().map(|r| r.len), waiting);
        app.notifier.wait(count, until_next_tick(moved.elapsed()));
    }
    app.clear_waiting(id);
    // The next tier of a rollout may be due.
    app.notifier.notify();
}

/// Right after something moved more will move soon; a step that takes minutes needs two ticks a second.
fn until_next_tick(since_moved: Duration) -> Duration {
    if since_moved < Duration::from_secs(8) {
        (since_moved / 8).clamp(Duration::from_millis(10), Duration::from_millis(50))
    } else {
        (since_moved / 40).clamp(Duration::from_millis(50), TICK_EVERY)
    }
}
