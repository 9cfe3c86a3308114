//! What a verb that works for long says when it is interrupted. It must not clean up: after a kill -9 nobody could either, so the next
//! run does.
//!
//! ```text
//! guard is there: SIGINT, SIGTERM ─▶ a message, and the end of this process and of all it started
//! guard is gone:  signals go where they went before
//! ```

use crate::show;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::thread::JoinHandle;

/// Until it is dropped, signals are handled.
pub struct Interruptible {
    set: SigSet,
    // Closed first: that ends the thread.
    gone: Option<PipeWriter>,
    waits: Option<JoinHandle<()>>,
}

/// None: it could not be set up, and signals end this process silently, as by default.
pub fn interruptible(what: &'static str) -> Option<Interruptible> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).ok()?;
    let (end, gone) = std::io::pipe().ok()?;
    // Threads that are started from here on have it so too, and so do programs: opened around each start, a signal would come to nobody in that moment.
    set.thread_block().ok()?;
    let wait = move || {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        while let Err(nix::errno::Errno::EINTR) = poll(&mut fds, PollTimeout::NONE) {}
        // Only where there is one: to read is to wait.
        if !fds[0].any().unwrap_or(false) {
            return;
        }
        if let Ok(Some(info)) = signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
            show::note(format!("{what} was interrupted by {name}: nothing half-made is used, and the next run clears it away"));
            std::process::exit(128 + number);
        }
    };
    let waits = std::thread::Builder::new().name("signals".into()).spawn(wait).ok();
    Some(Interruptible { set, gone: Some(gone), waits })
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        drop(self.gone.take());
        if let Some(waits) = self.waits.take() {
            let _ = waits.join();
        }
        let _ = self.set.thread_unblock();
    }
}
