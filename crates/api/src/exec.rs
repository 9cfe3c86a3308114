//! Commands inside a server that runs, for looking inside: a terminal, or three streams. Unlike a run, one has the server's own process
//! namespace, files and limits, and ends with it, with the keeper, or when nobody asks for its output any more.
//!
//! | socket | call | body -> answer |
//! | --- | --- | --- |
//! | api | POST /v1/services/{service}/exec | [`ExecRequest`] -> [`ExecBegun`] |
//! | api | POST /v1/services/{service}/exec/{session}/input | [`ExecInput`] -> [`ExecTaken`] |
//! | api | GET /v1/services/{service}/exec/{session}/output?after= | -> [`ExecOutput`], once there is something or a few seconds later |
//! | api | POST /v1/services/{service}/exec/{session}/stop | -> `{}`: everything of it is killed |
//! | api | GET /v1/exec | -> `Vec<ExecSeen>`: the caller's own that run, an administrator's call gives everybody's |
//! | host | POST /v1/exec | [`ExecOrder`] -> [`ExecBegun`] |
//! | host | GET /v1/exec | -> `Vec<ExecSeen>`, those that ended too, until somebody says that it is recorded |
//! | host | POST /v1/exec/{session}/input, GET .../output, POST .../stop, POST .../recorded | as above |
//!
//! Only who began it may send input and read output; an administrator may stop any. Input and output have places, so that each call can be repeated.

use model::{ExecId, InstanceId, ServiceName, Time};
use serde::{Deserialize, Serialize};

/// On the keeper's socket, and on the API's for its list.
pub const EXEC: &str = "/v1/exec";
/// The most bytes in one call, before they are encoded.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

pub fn of(service: &ServiceName) -> String {
    format!("/v1/services/{service}/exec")
}

pub fn input(service: &ServiceName, session: &ExecId) -> String {
    format!("{}/{session}/input", of(service))
}

pub fn output(service: &ServiceName, session: &ExecId, after: u64) -> String {
    format!("{}/{session}/output?after={after}", of(service))
}

pub fn stop(service: &ServiceName, session: &ExecId) -> String {
    format!("{}/{session}/stop", of(service))
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
}

/// A terminal for the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    pub size: Size,
    /// `TERM`.
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub instance: InstanceId,
    pub command: Vec<String>,
    /// None: its three streams are pipes.
    #[serde(default)]
    pub terminal: Option<Terminal>,
}

/// What the keeper gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOrder {
    #[serde(flatten)]
    pub request: ExecRequest,
    /// Who asked for it, and why.
    pub by: String,
    /// An administrator did.
    #[serde(default)]
    pub is_admin: bool,
}

impl ExecOrder {
    pub fn caller(&self) -> &str {
        caller(&self.by)
    }
}

/// `token:ci (looking)`: its identity alone.
pub fn caller(signed: &str) -> &str {
    signed.split(' ').next().unwrap_or(signed)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecBegun {
    pub session: ExecId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecInput {
    /// How many bytes were sent before these.
    pub at: u64,
    /// Base64.
    #[serde(default)]
    pub data: String,
    /// Nothing follows.
    #[serde(default)]
    pub end: bool,
    /// The terminal has this size now.
    #[serde(default)]
    pub size: Option<Size>,
}

/// How many bytes of its input were taken so far: what was sent beyond is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecTaken {
    pub taken: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    pub pieces: Vec<Piece>,
    /// Call again with this as `after`: what came before is forgotten then.
    pub next: u64,
    /// It has ended, and these were its last pieces.
    #[serde(default)]
    pub exit: Option<ExecExit>,
}

/// A terminal has one stream: stdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    #[serde(default)]
    pub stderr: bool,
    /// Base64.
    pub data: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Its exit code, or 128 + signal.
    pub code: i32,
    /// It was not its own decision: stopped, or nobody asked for its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Why it never started, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started: Option<String>,
    pub took_ms: u64,
}

/// `exit 0 after 12 s`
impl std::fmt::Display for ExecExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.not_started, &self.ended) {
            (Some(why), _) => write!(f, "not started: {}", model::text::shown(why, model::QUOTED_BYTES_MAX)),
            (None, Some(why)) => write!(f, "ended after {} s: {why}", self.took_ms / 1_000),
            (None, None) => write!(f, "exit {} after {} s", self.code, self.took_ms / 1_000),
        }
    }
}

/// A session as the keeper has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSeen {
    pub session: ExecId,
    pub instance: InstanceId,
    pub by: String,
    pub command: Vec<String>,
    pub began: Time,
    #[serde(default)]
    pub exit: Option<ExecExit>,
}
