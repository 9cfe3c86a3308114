//! Logs on a real host: a flood, a full disk, a bound for all of them, and a server that is killed for memory.

use crate::common::{Host, Want, until};
use crate::program::LOG_TOTAL;
use api::logs::{LogPart, LogQuery, Stream};
use model::InstanceId;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What one log takes at most, with its times.
const ONE_BYTES_MAX: u64 = 18 << 20;

fn part(host: &Host, id: &str, query: &LogQuery) -> LogPart {
    host.remote.log(&InstanceId::new(id).unwrap(), query).unwrap()
}

fn bytes_of(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.len()).sum()
}

fn peak_bytes(pid: i64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kb: u64 = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    kb << 10
}

fn tmpfs(at: PathBuf, size: &str) -> Mounted {
    std::fs::create_dir_all(&at).unwrap();
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "afresh-test"]).arg(&at).status().unwrap();
    assert!(done.success());
    Mounted(at)
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(std::process::Stdio::null()).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_gigabyte_at_once_blocks_nobody_and_every_line_is_kept_or_counted() {
    const LINES: u64 = 1_000_000;
    let mut host = Host::new();
    host.start();
    // A thousand bytes a line.
    let script = "yes $(printf '%0999d' 7) | head -n 1000 > /tmp/part; i=0; while [ $i -lt 1000 ]; do cat /tmp/part; i=$((i+1)); done; \
                  echo the end >&2; exec sleep 10000";
    let begin = Instant::now();
    host.declare(1, host.group(Want { name: "flood-r1-1", run: &["sh", "-c", script], ..Want::default() }));
    host.until_log("flood-r1-1-1", "the end");
    println!("a gigabyte was printed after {} ms", begin.elapsed().as_millis());
    let (bytes, peak) = (bytes_of(&host.layout.host().join("logs")), peak_bytes(host.shim_pid("flood-r1-1-1")));
    println!("{bytes} bytes on the disk, {peak} bytes of the shim's memory at most");
    assert!(bytes <= ONE_BYTES_MAX && peak < 64 << 20);
    let (mut query, mut kept, mut dropped_here) = (LogQuery::default(), 0, 0);
    loop {
        let part = part(&host, "flood-r1-1-1", &query);
        for line in &part.lines {
            match line.stream {
                Some(Stream::Stdout) => kept += 1,
                Some(Stream::Afresh) if line.text.contains("dropped here") => {
                    dropped_here += line.text.split(' ').next().unwrap().parse::<u64>().unwrap();
                }
                _ => {}
            }
        }
        query.from = Some(part.next);
        if !part.more {
            let said = part.dropped;
            println!("{kept} lines are kept, {said} were rotated away, {dropped_here} were dropped unwritten");
            assert_eq!(kept + said + dropped_here, LINES);
            break;
        }
    }
    let first = part(&host, "flood-r1-1-1", &LogQuery::default()).lines.remove(0);
    assert!(first.stream == Some(Stream::Afresh) && first.text.contains("were dropped: a log is bounded"), "{first:?}");
}

#[test]
#[ignore = "needs root"]
fn a_program_goes_on_over_a_full_log_disk_and_what_is_missing_is_said() {
    let mut host = Host::new();
    let disk = tmpfs(host.layout.host().join("logs"), "256k");
    host.start();
    let script = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of many, with some words that fill it\"; i=$((i+1)); done; \
                  : > /tmp/done; while :; do echo tick; sleep 0.05; done";
    let mut spec = host.group(Want { name: "full-r1-1", run: &["sh", "-c", script], ..Want::default() });
    if let model::DesiredGroup::Run { release, .. } = &mut spec.desired {
        release.health.probe = model::Probe::Exec { command: ["test", "-e", "/tmp/done"].map(String::from).into() };
    }
    host.declare(1, spec);
    let seen = host.until("full-r1-1", "it printed all of it", |seen| seen.instances.iter().any(|i| i.healthy_ms.is_some()));
    assert_eq!(seen.deaths, 0);
    let before = host.log("full-r1-1-1");
    assert!(before.contains("line 0 of") && !before.contains("line 19999 of"), "the disk was full");
    let room = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&disk.0).status().unwrap();
    assert!(room.success());
    host.until_log("full-r1-1-1", "tick");
    let all = part(&host, "full-r1-1-1", &LogQuery::default()).lines;
    let said: Vec<&str> = all.iter().filter(|l| l.stream == Some(Stream::Afresh)).map(|l| l.text.as_str()).collect();
    println!("{said:?}");
    let dropped: usize = said.iter().map(|text| text.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(said.iter().all(|text| text.contains("dropped here") && text.contains("No space left on device")), "{said:?}");
    let kept = all.iter().filter(|l| l.text.starts_with("line ")).count();
    assert!(kept + dropped >= 20_000 && all.iter().all(|l| l.stream.is_some()), "{kept} + {dropped}");
    host.stop();
    drop(host);
}

#[test]
#[ignore = "needs root"]
fn all_logs_together_stay_within_the_bound_of_the_host() {
    let mut host = Host::new();
    host.set(LOG_TOTAL, &host_total().to_string());
    host.start();
    let script = "yes $(printf '%0999d' 7) | head -n 12000; echo the end >&2; exec sleep 10000";
    host.declare(1, host.group(Want { name: "loud-r1-1", run: &["sh", "-c", script], count: 4, ..Want::default() }));
    (1..=4).for_each(|n| host.until_log(&format!("loud-r1-1-{n}"), "the end"));
    let folder = host.layout.host().join("logs");
    until("the bound", || if bytes_of(&folder) <= host_total() { Ok(()) } else { Err(format!("{} bytes", bytes_of(&folder))) });
    assert_eq!(host.observe("loud-r1-1").deaths, 0);
    println!("four logs of 12 MB take {} bytes", bytes_of(&folder));
}

fn host_total() -> u64 {
    host::LOGS_TOTAL_BYTES_MIN
}

#[test]
#[ignore = "needs root"]
fn a_server_that_is_killed_for_memory_says_so_with_its_limit() {
    let mut host = Host::new();
    host.start();
    // A buffer of 200 MiB, which it fills.
    let run = &["busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M"];
    let spec = host.group(Want { name: "eater-r1-1", run, ..Want::default() });
    host.declare(1, spec);
    let seen = host.until("eater-r1-1", "a death", |seen| seen.last_death.is_some());
    let death = seen.last_death.unwrap().to_string();
    println!("{death}");
    assert!(death.starts_with("out of memory: the kernel killed it at its memory limit of 64 MiB"), "{death}");
}
