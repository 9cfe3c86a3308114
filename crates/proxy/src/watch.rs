//! Told by the kernel that a folder changed. Only a hint that comes sooner than the next look, so all its failures are harmless.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// How often the thread looks whether anybody still listens.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Notified when something changed; never, if the kernel gives no hints. A thread of its own waits for the kernel,
/// until what is returned here is dropped.
pub fn on(folders: &[&Path]) -> Arc<Notify> {
    let hint = Arc::new(Notify::new());
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
            let weak = Arc::downgrade(&hint);
            let thread = std::thread::Builder::new().name("watch".to_string()).spawn(move || wait(&fd, &weak));
            if let Err(e) = thread {
                tracing::info!("no inotify ({e}); folders are looked at on a timer only");
            }
        }
        Err(e) => tracing::info!("no inotify ({e}); folders are looked at on a timer only"),
    }
    hint
}

fn wait(fd: &OwnedFd, hint: &Weak<Notify>) {
    let mut events = [0_u8; 4_096];
    while hint.strong_count() > 0 {
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        while matches!(rustix::io::read(fd, &mut events), Ok(n) if n > 0) {}
        if let Some(hint) = hint.upgrade() {
            hint.notify_one();
        }
    }
}
