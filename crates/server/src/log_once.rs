//! Logs an error of a loop once, and again only when it changes or lasts: loops run many times a second.

use model::Fault;
use std::time::{Duration, Instant};

const REPEAT_EVERY: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct LogOnce {
    last: Option<(String, Instant)>,
}

impl LogOnce {
    pub fn warn(&mut self, what: &str, fault: &Fault) {
        let is_logged = self.last.as_ref().is_some_and(|(message, at)| *message == fault.message && at.elapsed() < REPEAT_EVERY);
        if !is_logged {
            tracing::warn!(code = fault.code, "{what}: {}", fault.message);
            self.last = Some((fault.message.clone(), Instant::now()));
        }
    }
}
