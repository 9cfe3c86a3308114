//! Who we are to AWS: the chain of sources that the SDKs have, read again before what it gave expires.
//!
//! ```text
//! environment ─▶ profile (keys, process, role, web identity) ─▶ web identity of the environment ─▶ container ─▶ instance metadata
//! ```
//!
//! Single sign-on is not read: `credential_process = aws configure export-credentials --format process` gives its credentials.

pub mod keys;
mod metadata;
mod process;
mod profile;
mod role;
mod surroundings;

pub use keys::{Credentials, Environment};
pub use profile::Profiles;
pub use surroundings::Surroundings;

use crate::http::Http;
use model::Fault;

#[derive(Debug)]
pub struct Chain {
    pub around: Surroundings,
    /// By flag: before everything else.
    pub profile: Option<String>,
}

impl Chain {
    /// The first source that is there decides: one that is there and broken is an error, and not passed over.
    pub fn resolve(&self, http: &Http, now: &str) -> Result<Credentials, Fault> {
        if self.profile.is_none()
            && let Some(found) = self.around.environment_keys()?
        {
            return Ok(found);
        }
        let profiles = Profiles::read(&self.around.environment)?;
        let name = self.profile.as_deref().or(self.around.get("AWS_PROFILE"));
        if let Some(found) = profile::credentials(&self.around, &profiles, name, http, now)? {
            return Ok(found);
        }
        if let (Some(role), Some(file)) = (self.around.get("AWS_ROLE_ARN"), self.around.get("AWS_WEB_IDENTITY_TOKEN_FILE")) {
            return role::with_web_identity(&self.around, http, role, file, self.around.get("AWS_ROLE_SESSION_NAME"));
        }
        if let Some(found) = metadata::of_container(&self.around.environment, http)? {
            return Ok(found);
        }
        if let Some(found) = metadata::of_instance(&self.around.environment, http)? {
            return Ok(found);
        }
        Err(Fault::yours(
            "no-aws-credentials",
            "no AWS credentials are found: not in the environment, a profile, a container or this instance",
        )
        .hint("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws configure list` shows what is set"))
    }
}
