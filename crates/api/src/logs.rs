//! What servers print: running ones and those that are gone, as far as the keeper still has their logs (the last few of each group).
//!
//! | socket | call | answer |
//! | --- | --- | --- |
//! | host | GET /v1/logs?service= | `Vec<LogFile>`, the least recently written first |
//! | host | GET /v1/logs/{instance}?tail=&since=&grep=&from= | [`LogPart`] |
//! | api | GET /v1/services/{service}/logs | `Vec<LogFile>`, the least recently written first |
//! | api | GET /v1/services/{service}/logs/{instance}?tail=&since=&grep=&from= | [`LogPart`] |
//!
//! `tail` is a number of lines, `since` a time in milliseconds since 1970, `grep` a regular expression, `from` the `next` of an earlier
//! answer: to follow a log, repeat the call with it. To follow a service, repeat the list too: servers come and go. Output may hold an
//! application's secrets, so only those who may read the service get a log.

use model::{GroupName, InstanceId, ServiceName, Time};
use serde::{Deserialize, Serialize};

/// On the keeper's socket.
pub const LOGS: &str = "/v1/logs";

/// The most bytes of text in one [`LogPart`]; for more, call again from `next`.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// A longer line comes in pieces.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// A longer expression is refused.
pub const GREP_BYTES_MAX: usize = 1 << 10;

/// Path of the list of a service's logs on the control plane.
pub fn list(service: &ServiceName) -> String {
    format!("/v1/services/{service}/logs")
}

/// Path of one server's log on the control plane, with its query.
pub fn one(service: &ServiceName, instance: &InstanceId, query: &LogQuery) -> String {
    format!("{}/{instance}{}", list(service), query.text())
}

/// A server that has a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    pub instance: InstanceId,
    pub group: GroupName,
    /// Its program runs; false: it is gone, and nothing will be added.
    pub lives: bool,
    /// What it printed, as far as it was kept.
    pub bytes: u64,
    /// When it last printed.
    pub written: Time,
}

/// Which lines. Without any: all that are kept, from the oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// Only the last lines.
    #[serde(default)]
    pub tail: Option<usize>,
    /// Only lines printed at this time or later. A line whose time is not known counts as printed when the log was last written.
    #[serde(default)]
    pub since: Option<Time>,
    /// Only lines that this regular expression matches, in bytes: classes such as `\w` are ASCII.
    #[serde(default)]
    pub grep: Option<String>,
    /// `next` of an earlier answer: what followed it.
    #[serde(default)]
    pub from: Option<String>,
}

impl LogQuery {
    /// As a query: `?tail=100&since=1764000000000`, or empty.
    pub fn text(&self) -> String {
        let tail = self.tail.map(|n| format!("tail={n}"));
        let since = self.since.map(|at| format!("since={}", at.0));
        // Places are digits and colons: they need no escapes.
        let from = self.from.as_ref().map(|place| format!("from={place}"));
        let grep = self.grep.as_ref().map(|grep| format!("grep={}", escaped(grep)));
        let all: Vec<String> = tail.into_iter().chain(since).chain(grep).chain(from).collect();
        if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
    }
}

/// For a query: everything but letters, digits and `-._~` as `%XX`.
fn escaped(text: &str) -> String {
    let escape = |b: u8| if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(escape).collect()
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// Afresh itself: what was dropped, and why.
    Afresh,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Afresh => "afresh",
        }
    }
}

/// Lines of one log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    pub instance: InstanceId,
    pub lines: Vec<LogLine>,
    /// For what follows, call again with this as `from`.
    pub next: String,
    /// There is more already: call again at once.
    #[serde(default)]
    pub more: bool,
    /// Lines after `from` were printed and are not kept any more.
    #[serde(default)]
    pub lost: bool,
    /// How many lines in all are not kept any more, because the log is bounded.
    #[serde(default)]
    pub dropped: u64,
    /// Its program runs; false: when there is no `more` either, this was the end.
    pub lives: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was printed, to a tenth of a second. None: an older version kept the log.
    #[serde(default)]
    pub at: Option<Time>,
    /// None: an older version kept the log, both streams as one.
    #[serde(default)]
    pub stream: Option<Stream>,
    /// As it was printed, without the end of the line: bytes that are no text are replaced, control characters are not.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = LogQuery { tail: Some(5), since: Some(Time(17)), grep: Some("a+ &ü".into()), from: Some("1:2:20".into()) };
        assert_eq!(query.text(), "?tail=5&since=17&grep=a%2B%20%26%C3%BC&from=1:2:20");
        assert_eq!(LogQuery::default().text(), "");
        let (service, instance) = ("web".parse().unwrap(), "web-r1-1-2".parse().unwrap());
        let path = one(&service, &instance, &LogQuery { tail: Some(1), ..LogQuery::default() });
        assert_eq!(path, "/v1/services/web/logs/web-r1-1-2?tail=1");
    }
}
