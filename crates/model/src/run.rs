//! Runs: a command in a server of its own, of a release of a service, beside the servers that serve. Asked for by a user, or due by a job.

use crate::{Exit, Fault, GroupName, InstanceId, JobStart, OneShot, RunId, ServiceName, Time, validation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest that a run may take.
pub const RUN_WITHIN_MS_MAX: u64 = 24 * 3_600_000;
/// What it may take where nobody says.
pub const RUN_WITHIN_MS: u64 = 3_600_000;
/// The most bytes of a command, with its arguments.
pub const COMMAND_BYTES_MAX: usize = 32 << 10;
const ARGUMENTS_MAX: usize = 1_000;
const VARIABLES_MAX: usize = 100;

/// ```text
/// asked for ─▶ declared ─▶ runs ─▶ ended: its exit is recorded ─▶ its server is removed: over
///                            └ stop: its drain signal, then SIGKILL ─┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    /// The number of the release that it runs in.
    pub release: u64,
    pub group: GroupName,
    pub command: Vec<String>,
    /// Variables besides those of the release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Who asked for it, and why: `root`, `token:ci (nightly report)`; `job nightly`.
    pub by: String,
    /// When it was asked for.
    pub asked: Time,
    /// It is ended when it has run for this time.
    pub within_ms: u64,
    /// It is not launched after this moment.
    pub launch_by: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<RunStop>,
    /// How it ended. None: it has not, for all that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Nothing of it is left on the host.
    #[serde(default)]
    pub is_over: bool,
    /// Which start of a job it is. None: a user asked for the command itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobStart>,
}

/// Somebody asked to end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStop {
    pub by: String,
    pub at: Time,
    /// By force: its drain time is not waited for.
    pub kill: bool,
}

impl Run {
    pub fn service(&self) -> ServiceName {
        self.id.service()
    }

    /// The group that a run has; an error where its server's name would be too long.
    pub fn group_of(id: &RunId, release: u64) -> Result<GroupName, Fault> {
        let group = GroupName::of_run(&id.service(), release, id.number()).and_then(|group| {
            InstanceId::new(format!("{group}-1"))?;
            Ok(group)
        });
        group.map_err(|e| Fault::yours("name-too-long", e.to_string()).hint("give the service a shorter name"))
    }

    /// Its server: a run has one, ever.
    pub fn instance(&self) -> InstanceId {
        InstanceId::new(format!("{}-1", self.group)).expect("checked when its group was named")
    }

    pub fn one_shot(&self) -> OneShot {
        OneShot { run: self.command.clone(), within_ms: Some(self.within_ms), launch_by: Some(self.launch_by), env: self.env.clone() }
    }
}

/// What a command must be, so that any program could get it.
pub fn check_command(command: &[String]) -> Result<(), Fault> {
    let bad = |why: &str| Err(Fault::yours("bad-command", format!("cannot run this command: {why}")));
    if command.first().is_none_or(String::is_empty) {
        return bad("its program has no name");
    }
    if command.len() > ARGUMENTS_MAX || command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
        return bad(&format!("it has more than {ARGUMENTS_MAX} arguments or {COMMAND_BYTES_MAX} bytes"));
    }
    if command.iter().any(|part| part.contains('\0')) {
        return bad("an argument has a NUL byte");
    }
    Ok(())
}

/// Whether Afresh gives each server this variable itself, over whatever else says so. `PORT` only where the service has a port.
pub fn is_set_by_afresh(name: &str) -> bool {
    name == "PORT" || name.starts_with("AFRESH_")
}

/// Variables of a run. Those that identify the server are not the caller's to set.
pub fn check_env(env: &BTreeMap<String, String>) -> Result<(), Fault> {
    let bad = |why: String| Fault::yours("bad-env", format!("cannot set these variables: {why}")).hint("write --env NAME=VALUE");
    if env.len() > VARIABLES_MAX || env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > COMMAND_BYTES_MAX {
        return Err(bad(format!("they are more than {VARIABLES_MAX}, or than {COMMAND_BYTES_MAX} bytes")));
    }
    for (name, value) in env {
        validation::variable(name).map_err(|wrong| bad(wrong.message))?;
        if is_set_by_afresh(name) {
            return Err(bad(format!("Afresh sets {name}")));
        }
        if value.contains('\0') {
            return Err(bad(format!("{name} has a NUL byte")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_some_that_a_program_can_get() {
        let code = |name: &str, value: &str| check_env(&[(name.to_string(), value.to_string())].into()).err().map(|fault| fault.code);
        assert_eq!((code("DEBUG", "1"), code("a_2", "")), (None, None));
        let long = "x".repeat(COMMAND_BYTES_MAX);
        for (name, value) in
            [("", "x"), ("2A", "x"), ("A B", "x"), ("A=", "x"), ("PORT", "1"), ("AFRESH_GROUP", "x"), ("A", "a\0b"), ("A", &long)]
        {
            assert_eq!(code(name, value).as_deref(), Some("bad-env"), "{name}");
        }
        assert!(check_env(&(0..=VARIABLES_MAX).map(|n| (format!("A{n}"), String::new())).collect()).is_err());
    }

    #[test]
    fn a_command_is_one_that_a_program_can_get() {
        let code = |command: &[&str]| check_command(&command.iter().map(ToString::to_string).collect::<Vec<_>>()).err().map(|f| f.code);
        assert_eq!(code(&["sh", "-c", ""]), None);
        let long = "x".repeat(COMMAND_BYTES_MAX);
        for bad in [&[][..], &[""], &["a\0b"], &["a", &long], &["x"; ARGUMENTS_MAX + 1]] {
            assert_eq!(code(bad).as_deref(), Some("bad-command"));
        }
    }
}
