//! Keys, and the form in which sources print them.

use model::Fault;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The variables of a process. Tests have their own.
pub type Environment = BTreeMap<String, String>;

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
    pub expires_s: Option<i64>,
}

/// Never shows the secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).field("expires_s", &self.expires_s).finish_non_exhaustive()
    }
}

impl Credentials {
    pub fn fixed(access_key: &str, secret_key: &str, session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: session_token.map(str::to_string),
            expires_s: None,
        }
    }

    pub fn is_fresh(&self, now_s: i64) -> bool {
        self.expires_s.is_none_or(|end| end - now_s > MARGIN_S)
    }
}

/// What is this close to its end is read again.
const MARGIN_S: i64 = 300;

/// What containers, instance metadata and processes print alike.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<String>,
}

pub fn printed(text: &[u8], source: &str) -> Result<Credentials, Fault> {
    let read: Printed = serde_json::from_slice(text).map_err(|e| bad(format!("{source} answers no credentials: {e}")))?;
    let expires_s = match read.expiration.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Some(seconds(text).ok_or_else(|| bad(format!("{source} answers an expiration that is no time: {text:?}")))?),
        None => None,
    };
    Ok(Credentials {
        access_key: read.access_key_id,
        secret_key: read.secret_access_key,
        session_token: read.token.filter(|t| !t.is_empty()),
        expires_s,
    })
}

pub fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

pub fn bad(message: impl Into<String>) -> Fault {
    Fault::yours("bad-aws-credentials", message.into())
        .hint("`aws sts get-caller-identity` with the same profile and environment says what the AWS command line makes of them")
}
