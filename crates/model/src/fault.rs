//! The one type of every error that crosses a port or the wire: whose error it is, what happened, and what to do.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// User error: the file, a flag or the request is wrong. Retrying does not help until it is changed.
    Yours,
    /// Environment error: disk full, mirror or runtime unavailable, daemon not running.
    World,
    /// Internal error: a bug.
    Ours,
}

/// `code` is stable and kebab-case (`stale-stamp`, `no-such-group`); `hint` says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub blame: Blame,
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same call may succeed later without any change.
    #[serde(default)]
    pub again: bool,
}

impl Fault {
    pub fn yours(code: &str, message: impl Into<String>) -> Self {
        Self { blame: Blame::Yours, code: code.to_string(), message: message.into(), hint: None, again: false }
    }

    pub fn world(code: &str, message: impl Into<String>) -> Self {
        Self { blame: Blame::World, again: true, ..Self::yours(code, message) }
    }

    pub fn ours(code: &str, message: impl Into<String>) -> Self {
        Self { blame: Blame::Ours, ..Self::yours(code, message) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn again(mut self, again: bool) -> Self {
        self.again = again;
        self
    }
}
