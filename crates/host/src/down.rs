//! Stops and removes everything that a data directory runs on this host: for `afresh down`, and after tests.
//! Declarations, logs and the store stay; a keeper that starts afterwards launches the declared groups again.

use crate::instance_dir::InstanceDir;
use crate::keeper::take_lock;
use crate::record::Record;
use crate::{cgroup, mounts, net, removal, runtime, state_files};
use model::{Fault, Layout};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Instances get their signal and have this time in total to end.
const GRACE: Duration = Duration::from_secs(3);
const CGROUP_WITHIN: Duration = Duration::from_secs(5);

/// Refuses while a keeper runs: it would launch again what is stopped here.
pub fn down(layout: &Layout) -> Result<(), Fault> {
    let _lock = take_lock(layout)?;
    let mark = net::mark(layout);
    let names = state_files::names(&layout.instances());
    ask(layout, &names);
    for name in &names {
        let place = InstanceDir(layout.instances().join(name));
        removal::kill_shim(&place);
        let id = name.trim_start_matches(".gone-").trim_start_matches(".new-");
        if let Some(record) = state_files::read_json::<Record>(&place.record()).good() {
            runtime::delete(&record.placement.runtime, &record.placement.runtime_state, id);
        }
        cgroup::remove(&mark, Some(id));
        removal::remove_dir(layout, &place.0)?;
    }
    let until = Instant::now() + CGROUP_WITHIN;
    while !cgroup::remove(&mark, None) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = std::fs::remove_dir_all(runtime::state(layout));
    let host = layout.host().canonicalize().unwrap_or_else(|_| layout.host());
    for point in mounts::below(&host).iter().rev() {
        mounts::unmount(point)?;
    }
    let bridge = net::bridge_name(&mark);
    for interface in net::on_bridge(&bridge) {
        let _ = net::delete(&interface);
    }
    if std::path::Path::new("/sys/class/net").join(&bridge).exists() {
        net::delete(&bridge)?;
    }
    crate::forwarding::turn_off();
    crate::firewall::remove(&mark);
    // Both copies: with a spare alone the balancer and the next keeper would report the file as missing.
    for group in disk::state::names(&layout.targets(), ".json").unwrap_or_default() {
        let _ = disk::state::remove(&layout.targets().join(format!("{group}.json")));
    }
    let _ = std::fs::remove_file(layout.host_socket());
    Ok(())
}

/// All at once, and within the grace period.
fn ask(layout: &Layout, names: &[String]) {
    let mut waiting = Vec::new();
    for name in names {
        let place = InstanceDir(layout.instances().join(name));
        if let Some(started) = state_files::read_json::<crate::record::Started>(&place.started()).good()
            && let Some(process) = crate::process::open(started.pid, started.pid_start)
        {
            let deaf = crate::process::deaf_to(started.pid, Signal::TERM);
            crate::process::send(&process, if deaf { Signal::KILL } else { Signal::TERM });
            waiting.push(process);
        }
    }
    let until = Instant::now() + GRACE;
    for process in waiting {
        crate::command::wait_readable(&process, until.saturating_duration_since(Instant::now()));
    }
}
