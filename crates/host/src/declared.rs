//! What was declared of a group, and which declarations are accepted. No I/O here.

use model::from_image::is_workdir;
use model::{Death, DesiredGroup, Digest, Exit, Fault, GroupSpec, Stamp, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most servers of one group: one /24 holds no more.
const COUNT_MAX: u32 = 200;

/// The directories that must be mount points, by volume.
pub type MountPoints = BTreeMap<VolumeName, String>;

/// One file of `Layout::groups`. A group that is gone stays as a tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    pub stamp: Stamp,
    pub spec: GroupSpec,
}

/// What the keeper remembers of a group beside the declaration: a file of its own, because it changes by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// The number of the last instance that was created.
    pub last: u64,
    /// Unexpected exits.
    pub deaths: u32,
    /// Instances whose exit is in `deaths` and whose directory still exists: none is counted twice.
    #[serde(default)]
    pub counted: Vec<u64>,
    /// A server of it was healthy once: from then on the keeper replaces those that fail their health checks.
    #[serde(default)]
    pub proven: bool,
    /// The last of `deaths`, for display.
    #[serde(default)]
    pub last_death: Option<Death>,
    /// Of a group of a one-shot, from its only number on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_shot: Option<OneShotSummary>,
    /// The directories that had to be mount points for its last server, by volume. None: an older keeper wrote this, or it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_points: Option<MountPoints>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneShotSummary {
    /// [`model::Release::digest`] of what it runs in.
    pub release: Digest,
    /// How it ended.
    #[serde(default)]
    pub exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Exactly what is held: nothing to write.
    Same,
    Write,
}

/// Applies the rules of stamps to what is held.
pub fn judge(held: Option<&Declared>, stamp: Stamp, spec: &GroupSpec) -> Result<Take, Fault> {
    check(spec)?;
    let Some(held) = held else { return Ok(Take::Write) };
    let group = &spec.group;
    if stamp < held.stamp {
        return Err(Fault::yours("stale-stamp", format!("{group}: stamp {stamp} is older than {}, the last accepted", held.stamp))
            .hint("a later driver has taken over; read the journal again"));
    }
    if stamp == held.stamp {
        return if *spec == held.spec {
            Ok(Take::Same)
        } else {
            Err(Fault::ours("stamp-reused", format!("{group}: stamp {stamp} was accepted with another declaration")))
        };
    }
    match (&held.spec.desired, &spec.desired) {
        (DesiredGroup::Gone, DesiredGroup::Run { .. }) => {
            Err(Fault::yours("group-gone", format!("{group} is gone permanently")).hint("create a new group; group names are never reused"))
        }
        (DesiredGroup::Run { release: a, once: x, .. }, DesiredGroup::Run { release: b, once: y, .. }) if a != b || x != y => {
            Err(Fault::yours("release-changed", format!("{group} runs {}; a group keeps its release for life", a.label()))
                .hint("create a new group for the other release"))
        }
        _ if held.spec.service != spec.service => {
            Err(Fault::yours("release-changed", format!("{group} belongs to service {}", held.spec.service)))
        }
        _ => Ok(Take::Write),
    }
}

/// Refuses at once what no launch could satisfy.
fn check(spec: &GroupSpec) -> Result<(), Fault> {
    let DesiredGroup::Run { release, count, once } = &spec.desired else { return Ok(()) };
    let bad = |what: String| Err(Fault::yours("bad-spec", format!("{}: {what}", spec.group)));
    let run = once.as_ref().map_or(&release.run, |once| &once.run);
    if run.first().is_none_or(String::is_empty) {
        return bad("the command to run is empty".to_string());
    }
    if once.is_some() && *count != 1 {
        return bad(format!("{count} of a one-shot: it runs once"));
    }
    if *count > COUNT_MAX {
        return bad(format!("{count} servers: one host holds at most {COUNT_MAX} of a group"));
    }
    if user(&release.user).is_none() {
        return bad(format!("user {:?} is not `uid` or `uid:gid` in numbers", release.user));
    }
    if user(&release.user).is_some_and(|(uid, gid)| uid.max(gid) > 65_535) {
        return bad(format!("user {:?}: a server has the ids 0 to 65535", release.user));
    }
    if signal(&release.drain.signal).is_none() {
        return bad(format!("drain signal {:?} is unknown; use TERM, INT, QUIT, HUP, USR1, USR2 or WINCH", release.drain.signal));
    }
    if let Some(dir) = release.container.as_ref().and_then(|from| from.workdir.as_deref()).filter(|dir| !is_workdir(dir)) {
        return bad(format!("working directory {dir:?}: it must be a path from the root, outside of /proc, /sys and /dev"));
    }
    let mut env = release.container.iter().flat_map(|from| &from.env).chain(&release.env);
    let no_text = |s: &String| s.contains('\0');
    if run.iter().any(no_text) || env.any(|(k, v)| k.is_empty() || k.contains(['=', '\0']) || no_text(v)) {
        return bad("a NUL byte in the command, or an environment name that is empty or has `=` in it".to_string());
    }
    if release.port == Some(0) {
        return bad("port 0".to_string());
    }
    if release.limits.memory_bytes < 4 << 20 || release.limits.pids == 0 || release.limits.cpu_milli < 10 {
        return bad("limits below 4 MiB of memory, 1 process or a hundredth of a core start nothing".to_string());
    }
    Ok(())
}

/// `uid` or `uid:gid`.
pub fn user(text: &str) -> Option<(u32, u32)> {
    match text.split_once(':') {
        Some((uid, gid)) => Some((uid.parse().ok()?, gid.parse().ok()?)),
        None => text.parse().ok().map(|id| (id, id)),
    }
}

pub fn signal(name: &str) -> Option<rustix::process::Signal> {
    use rustix::process::Signal;
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "HUP" => Signal::HUP,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "KILL" => Signal::KILL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gone, release, run, stamp};

    fn code(result: Result<Take, Fault>) -> String {
        match result {
            Ok(take) => format!("{take:?}"),
            Err(fault) => fault.code,
        }
    }

    #[test]
    fn stamps_order_every_change() {
        let held = Declared { stamp: stamp(3, 5), spec: run("web-r1-1", release(1), 2) };
        let table = [
            (None, stamp(0, 0), run("web-r1-1", release(1), 1), "Write"),
            (Some(&held), stamp(3, 5), run("web-r1-1", release(1), 2), "Same"),
            (Some(&held), stamp(3, 5), run("web-r1-1", release(1), 3), "stamp-reused"),
            (Some(&held), stamp(3, 4), run("web-r1-1", release(1), 2), "stale-stamp"),
            (Some(&held), stamp(2, 9), run("web-r1-1", release(1), 2), "stale-stamp"),
            (Some(&held), stamp(2, 9), gone("web-r1-1"), "stale-stamp"),
            (Some(&held), stamp(3, 6), run("web-r1-1", release(1), 0), "Write"),
            (Some(&held), stamp(4, 0), run("web-r1-1", release(2), 2), "release-changed"),
            (Some(&held), stamp(4, 0), gone("web-r1-1"), "Write"),
        ];
        for (held, stamp, spec, want) in table {
            assert_eq!(code(judge(held, stamp, &spec)), want, "{stamp} {spec:?}");
        }
        let mut test = run("web-r1-1", release(1), 1);
        if let DesiredGroup::Run { once, .. } = &mut test.desired {
            *once = Some(model::OneShot::of(vec!["true".to_string()]));
        }
        assert_eq!(code(judge(Some(&held), stamp(4, 0), &test)), "release-changed", "servers do not become a check");
        let other = GroupSpec { service: model::ServiceName::new("other").unwrap(), ..gone("web-r1-1") };
        assert_eq!(code(judge(Some(&held), stamp(4, 0), &other)), "release-changed", "nor another service's");
        let tombstone = Declared { stamp: stamp(4, 0), spec: gone("web-r1-1") };
        assert_eq!(code(judge(Some(&tombstone), stamp(5, 0), &run("web-r1-1", release(1), 1))), "group-gone");
        assert_eq!(code(judge(Some(&tombstone), stamp(3, 9), &run("web-r1-1", release(1), 1))), "stale-stamp");
        assert_eq!(code(judge(Some(&tombstone), stamp(5, 0), &gone("web-r1-1"))), "Write");
    }

    #[test]
    fn what_cannot_run_is_refused_when_it_is_declared() {
        let spoil: [fn(&mut model::Release); 11] = [
            |r| {
                let env = Default::default();
                r.container = Some(model::FromContainer { env, workdir: Some("/proc/self/fd/7".to_string()), left: Default::default() });
            },
            |r| {
                let env = [("A=B".to_string(), String::new())].into();
                r.container = Some(model::FromContainer { env, ..Default::default() });
            },
            |r| r.user = "65536".to_string(),
            |r| r.user = "0:65536".to_string(),
            |r| r.run.clear(),
            |r| r.user = "root".to_string(),
            |r| r.drain.signal = "BOOM".to_string(),
            |r| r.port = Some(0),
            |r| r.limits.memory_bytes = 1,
            |r| drop(r.env.insert("A=B".to_string(), String::new())),
            |r| r.run.push("a\0b".to_string()),
        ];
        for (i, spoil) in spoil.iter().enumerate() {
            let mut release = release(1);
            spoil(&mut release);
            assert_eq!(code(judge(None, stamp(1, 1), &run("web-r1-1", release, 1))), "bad-spec", "case {i}");
        }
        assert_eq!(code(judge(None, stamp(1, 1), &run("web-r1-1", release(1), 100_000))), "bad-spec");
    }
}
