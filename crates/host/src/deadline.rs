//! The deadline of a one-shot, kept by its shim: it holds whatever becomes of the keeper and of whoever asked for the run. Counted by a clock
//! that nobody sets and that goes on while the machine sleeps.

use crate::declared;
use crate::process;
use crate::record::Started;
use model::Drain;
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest sleep between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A program that was signalled has at least this time.
const SIGNAL_WITHIN_MS_MIN: u64 = 1_000;

pub struct Deadline(Arc<AtomicBool>);

impl Deadline {
    /// When `within_ms` has passed the program gets its drain signal, and after its drain time it is killed. It is the first of its pid
    /// namespace: everything that it started ends with it.
    pub fn bound(started: &Started, drain: &Drain, within_ms: u64) -> Self {
        let passed = Arc::new(AtomicBool::new(false));
        let (started, drain, flag) = (started.clone(), drain.clone(), passed.clone());
        let begun = up_ms();
        std::thread::spawn(move || {
            until(begun.saturating_add(within_ms));
            let Some(program) = process::open(started.pid, started.pid_start) else { return };
            flag.store(true, Ordering::SeqCst);
            process::ask_to_end(&started, declared::signal(&drain.signal).unwrap_or(Signal::TERM));
            until(up_ms().saturating_add(drain.within_ms.max(SIGNAL_WITHIN_MS_MIN)));
            process::send(&program, Signal::KILL);
        });
        Self(passed)
    }

    /// The program was signalled because its time was over.
    pub fn has_passed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn up_ms() -> u64 {
    let up = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(up.tv_sec).unwrap_or(0), u64::try_from(up.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}

fn until(moment: u64) {
    loop {
        let left = Duration::from_millis(moment.saturating_sub(up_ms()));
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}
