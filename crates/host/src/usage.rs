//! What instances use of their limits, read off their control groups, on version 1, version 2 and hybrid hosts. It decides nothing.

use crate::cgroup;
use crate::decide::Stage;
use crate::keeper::Keeper;
use api::host::InstanceUsage;
use model::{InstanceId, ServiceName};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A shorter time says little of a program's use of the processor.
const SPAN_MIN: Duration = Duration::from_millis(500);

/// Called every few seconds, so that what is shown is of the last seconds.
pub fn sample(keeper: &Keeper) {
    let live = live(keeper, None);
    let now = Instant::now();
    keeper.samples.set(live.into_iter().filter_map(|one| Some((one.id.clone(), (now, one.files().cpu_ns()?)))).collect());
}

struct Live {
    id: InstanceId,
    group: String,
    limits: model::Limits,
    runs_ms: u64,
}

impl Live {
    fn files(&self) -> Files {
        Files { dirs: cgroup::dirs(&self.group) }
    }
}

fn live(keeper: &Keeper, service: Option<&ServiceName>) -> Vec<Live> {
    let state = keeper.state();
    let now = disk::files::now();
    let up = state.instances.values().filter(|one| matches!(one.stage, Stage::Up | Stage::Ending) && one.ended.is_none());
    up.filter(|one| service.is_none_or(|service| one.record.release.service == *service))
        .map(|one| Live {
            id: one.record.id.clone(),
            group: one.record.placement.cgroup.clone(),
            limits: one.record.release.limits.clone(),
            runs_ms: one.started.as_ref().map_or(0, |started| now.since(started.at)),
        })
        .collect()
}

pub fn usage(keeper: &Keeper, service: Option<&ServiceName>) -> Vec<InstanceUsage> {
    let live = live(keeper, service);
    let samples = keeper.samples.get();
    live.into_iter()
        .map(|one| {
            let files = one.files();
            let spent = files.cpu_ns();
            let last = samples.get(&one.id).filter(|(at, _)| at.elapsed() >= SPAN_MIN);
            // Of one that was not looked at yet: since it started.
            let (span_ms, before) = last.map_or((one.runs_ms, 0), |(at, ns)| (millis(at.elapsed()), *ns));
            InstanceUsage {
                cpu_milli: spent.map(|ns| ns.saturating_sub(before) / 1_000 / span_ms.max(1)),
                cpu_limit_milli: one.limits.cpu_milli,
                memory_bytes: files.memory_bytes(),
                memory_limit_bytes: one.limits.memory_bytes,
                pids: files.number(&["pids.current"]),
                pids_limit: one.limits.pids,
                oom_kills: cgroup::oom_kills(&one.group).unwrap_or(0),
                instance: one.id,
            }
        })
        .collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Of one control group, in every hierarchy.
struct Files {
    dirs: Vec<PathBuf>,
}

impl Files {
    fn text(&self, name: &str) -> Option<String> {
        self.dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok())
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| self.text(name)?.trim().parse().ok())
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        self.text(file)?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Version 2 counts microseconds, version 1 nanoseconds.
    fn cpu_ns(&self) -> Option<u64> {
        self.number(&["cpuacct.usage"]).or_else(|| self.field("cpu.stat", "usage_usec").map(|us| us.saturating_mul(1_000)))
    }

    /// Without files that the kernel only keeps because there is room: the limit does not kill for them.
    fn memory_bytes(&self) -> Option<u64> {
        let used = self.number(&["memory.usage_in_bytes", "memory.current"])?;
        let idle = self.field("memory.stat", "total_inactive_file").or_else(|| self.field("memory.stat", "inactive_file"));
        Some(used.saturating_sub(idle.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in of {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let dirs = ["memory", "cpuacct", "pids", "unified"].map(|name| dir.path().join(name)).into();
        (dir, Files { dirs })
    }

    #[test]
    fn both_versions_are_read() {
        let (_dir, one) = files(&[
            ("memory/memory.usage_in_bytes", "1000000\n"),
            ("memory/memory.stat", "cache 1\ninactive_file 7\ntotal_inactive_file 400000\n"),
            ("cpuacct/cpuacct.usage", "2500000000\n"),
            ("pids/pids.current", "3\n"),
        ]);
        assert_eq!((one.memory_bytes(), one.cpu_ns(), one.number(&["pids.current"])), (Some(600_000), Some(2_500_000_000), Some(3)));
        let (_dir, two) = files(&[
            ("unified/memory.current", "1000000\n"),
            ("unified/memory.stat", "anon 5\ninactive_file 400000\n"),
            ("unified/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("unified/pids.current", "3\n"),
        ]);
        assert_eq!((two.memory_bytes(), two.cpu_ns(), two.number(&["pids.current"])), (Some(600_000), Some(2_500_000_000), Some(3)));
        let (_dir, none) = files(&[]);
        assert_eq!((none.memory_bytes(), none.cpu_ns()), (None, None), "unknown is not nothing");
    }
}
