//! Why servers fail, as their keeper observed it: how one exited, the last lines that it printed, the answer to its health check.
//!
//! Every text here is bounded and safe to show on one line. It comes from the application and may hold its secrets, so only those who
//! may read the service's logs get it. It explains decisions and never causes one.

use crate::text::shown;
use crate::{GroupName, InstanceId, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The last lines of a server's output that are kept with its exit.
pub const LAST_LINES_MAX: usize = 10;
/// The most bytes that these lines have together.
pub const LAST_LINES_BYTES_MAX: usize = 2 << 10;
/// The most bytes of foreign text that a sentence quotes.
pub const QUOTED_BYTES_MAX: usize = 200;

/// How a server's program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, or 128 + signal.
    pub code: i32,
    pub at: Time,
    /// The kernel killed it because it reached its memory limit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub out_of_memory: bool,
    /// That limit, if it was killed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// It ran for longer than it may, and was ended for that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub timed_out: bool,
    /// Whoever watched it was killed, or the machine was: how it ended is not known, and the code says nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
    /// Why its program never started, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started: Option<String>,
    /// The last lines of its output, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Exit {
    pub fn new(code: i32, at: Time) -> Self {
        Self {
            code,
            at,
            out_of_memory: false,
            memory_limit_bytes: None,
            timed_out: false,
            lost: false,
            not_started: None,
            lines: Vec::new(),
        }
    }

    /// It ran to its end and reported success.
    pub fn succeeded(&self) -> bool {
        self.code == 0 && !self.lost && !self.timed_out && self.not_started.is_none()
    }

    /// `exit 1`, `signal 11`, `out of memory`, `not started: no such file`.
    pub fn how(&self) -> String {
        if self.lost {
            return "its end is not known: its shim or the machine was killed".to_string();
        }
        if self.timed_out {
            return "it ran for longer than it may, and was ended".to_string();
        }
        match (&self.not_started, self.out_of_memory, self.code) {
            (Some(why), ..) => format!("not started: {}", shown(why, QUOTED_BYTES_MAX)),
            (None, true, _) => {
                format!("out of memory: the kernel killed it at its memory limit{}", limit_in_words(self.memory_limit_bytes))
            }
            (None, false, code @ 129..=192) => format!("signal {}", code - 128),
            (None, false, code) => format!("exit {code}"),
        }
    }
}

/// ` of 64 MiB`, or empty.
pub fn limit_in_words(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" of {}", crate::text::bytes(bytes)))
}

impl Exit {
    /// `, "ModuleNotFoundError: No module named 'x'"`: the last line that it printed; empty if it printed nothing.
    pub fn quoted(&self) -> String {
        quoted(&self.lines)
    }
}

fn quoted(lines: &[String]) -> String {
    let last = lines.iter().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!(", \"{}\"", shown(line.trim(), QUOTED_BYTES_MAX)))
}

/// `exit 1, "ModuleNotFoundError: No module named 'x'"`
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.how(), self.quoted())
    }
}

/// A health check that failed, and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedProbe {
    pub instance: InstanceId,
    pub at: Time,
    /// What was probed: `GET /healthz`, `TCP`, `bin/check --deep`.
    pub probe: String,
    /// `500 "database is locked"`, `connection refused on port 8080 (the process listens on nothing)`, `no answer within 1 s`.
    pub answer: String,
    /// Of a server that never was healthy: what its program printed last, oldest first. It often says why it does not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl FailedProbe {
    /// The lines of output that are kept with it.
    pub const LINES_MAX: usize = 3;

    pub fn what(&self) -> String {
        format!("health check {}: {}", self.probe, self.answer)
    }
}

/// `health check TCP: connection refused on port 8080, "waiting for the database"`: with the last line that it printed.
impl fmt::Display for FailedProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.what(), quoted(&self.lines))
    }
}

/// A server that ended and should not have: it exited by itself, or the keeper replaced it because its health checks failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    pub instance: InstanceId,
    pub at: Time,
    /// None: the keeper replaced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The health check that failed last before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<FailedProbe>,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.exit, &self.probe) {
            (Some(exit), _) => exit.fmt(f),
            (None, Some(probe)) => write!(f, "replaced, {probe}"),
            (None, None) => f.write_str("replaced: its health checks failed"),
        }
    }
}

/// Why the servers of a group fail: what there is to say beside "not healthy".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub group: GroupName,
    /// Servers that ended and should not have, since the group began.
    pub deaths: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_death: Option<Death>,
    /// Of a server that runs and is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<FailedProbe>,
}

/// `health check GET /: 500 "no"; last death: exit 1, "ModuleNotFoundError: No module named 'x'"`
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(probe) = &self.probe {
            probe.fmt(f)?;
        }
        match (&self.last_death, &self.probe) {
            (None, _) => Ok(()),
            (Some(death), None) => write!(f, "last death: {death}"),
            (Some(death), Some(_)) => write!(f, "; last death: {death}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_how_and_quotes_the_last_line_that_is_not_empty() {
        let exit = |code, lines: &[&str]| Exit { lines: lines.iter().map(ToString::to_string).collect(), ..Exit::new(code, Time(1)) };
        let python = exit(1, &["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'x'", "  "]);
        assert_eq!(python.to_string(), "exit 1, \"ModuleNotFoundError: No module named 'x'\"");
        assert_eq!(exit(139, &[]).to_string(), "signal 11");
        assert_eq!(Exit { out_of_memory: true, ..exit(137, &[]) }.to_string(), "out of memory: the kernel killed it at its memory limit");
        let killed = Exit { out_of_memory: true, memory_limit_bytes: Some(64 << 20), ..exit(137, &[]) };
        assert_eq!(killed.to_string(), "out of memory: the kernel killed it at its memory limit of 64 MiB");
        assert_eq!(Exit { not_started: Some("no\nfile".into()), ..exit(127, &[]) }.to_string(), "not started: no?file");
        let long = exit(2, &["x".repeat(10_000).as_str()]).to_string();
        assert!(long.len() < QUOTED_BYTES_MAX + 20, "{}", long.len());
        // Hostile output moves no terminal.
        assert_eq!(exit(2, &["\u{1b}[2Jgone\u{202e}"]).to_string(), "exit 2, \"?[2Jgone?\"");
    }

    #[test]
    fn an_exit_of_an_older_version_is_read() {
        let old: Exit = serde_json::from_str(r#"{"code":3,"at":7}"#).unwrap();
        assert_eq!(old, Exit::new(3, Time(7)));
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"code":3,"at":7}"#);
    }

    #[test]
    fn a_failure_says_what_is_known() {
        let instance: InstanceId = "web-r1-1-3".parse().unwrap();
        let probe =
            FailedProbe { instance: instance.clone(), at: Time(1), probe: "GET /".into(), answer: "500 \"no\"".into(), lines: Vec::new() };
        let death = Death { instance, at: Time(2), exit: Some(Exit::new(1, Time(2))), probe: None };
        let mut failure = Failure { group: "web-r1-1".parse().unwrap(), deaths: 1, last_death: Some(death.clone()), probe: None };
        assert_eq!(failure.to_string(), "last death: exit 1");
        failure.probe = Some(probe.clone());
        assert_eq!(failure.to_string(), "health check GET /: 500 \"no\"; last death: exit 1");
        let lines = ["loading", "waiting for the database", ""].map(String::from).to_vec();
        failure.probe = Some(FailedProbe { lines, ..probe.clone() });
        assert_eq!(failure.to_string(), "health check GET /: 500 \"no\", \"waiting for the database\"; last death: exit 1");
        let replaced = Death { exit: None, probe: Some(probe), ..death };
        assert_eq!(replaced.to_string(), "replaced, health check GET /: 500 \"no\"");
    }
}
