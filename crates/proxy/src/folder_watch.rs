//! Watches folders with inotify. It only makes the next pass come sooner, so all its failures are harmless.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// How often the thread checks whether it is still needed.
const CHECK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The returned `Notify` is notified when a file changed; never, if there is no inotify. A thread waits for the kernel until the
/// `Notify` is dropped.
pub fn watch(folders: &[&Path]) -> Arc<Notify> {
    let changed = Arc::new(Notify::new());
    let open = || -> std::io::Result<OwnedFd> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let what = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::DELETE;
        for folder in folders {
            inotify::add_watch(&fd, *folder, what)?;
        }
        Ok(fd)
    };
    match open() {
        Ok(fd) => {
            let weak = Arc::downgrade(&changed);
            let thread = std::thread::Builder::new().name("watch".to_string()).spawn(move || wait(&fd, &weak));
            if let Err(e) = thread {
                tracing::info!("no inotify ({e}); folders are read on a timer only");
            }
        }
        Err(e) => tracing::info!("no inotify ({e}); folders are read on a timer only"),
    }
    changed
}

fn wait(fd: &OwnedFd, changed: &Weak<Notify>) {
    let mut events = [0_u8; 4_096];
    while changed.strong_count() > 0 {
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&CHECK_EVERY)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        while matches!(rustix::io::read(fd, &mut events), Ok(n) if n > 0) {}
        if let Some(changed) = changed.upgrade() {
            changed.notify_one();
        }
    }
}
