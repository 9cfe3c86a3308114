//! What every source of credentials looks at.

use super::keys::{Credentials, Environment, bad};
use crate::endpoint::Endpoints;
use model::Fault;

#[derive(Debug)]
pub struct Surroundings {
    pub environment: Environment,
    pub region: String,
    pub endpoints: Endpoints,
}

impl Surroundings {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    pub fn environment_keys(&self) -> Result<Option<Credentials>, Fault> {
        let Some(id) = self.get("AWS_ACCESS_KEY_ID") else { return Ok(None) };
        let secret = self.get("AWS_SECRET_ACCESS_KEY");
        let secret = secret.ok_or_else(|| bad("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"))?;
        Ok(Some(Credentials::fixed(id, secret, self.get("AWS_SESSION_TOKEN"))))
    }
}
