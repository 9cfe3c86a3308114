//! Secrets over the API: values go in, encrypted for one service, and never come out.
//!
//! | call | body -> answer |
//! | --- | --- |
//! | GET /v1/secrets | -> `Vec<SecretRow>`: which release uses which version |
//! | GET /v1/secrets/recipient/{service} | -> [`Recipient`]: for whom a value for this service is encrypted |
//! | POST /v1/secrets | [`SecretValue`] -> [`SecretStored`] |
//! | POST /v1/secrets/version | [`SecretValue`] -> [`SecretStored`] (pure; nothing is stored) |

use model::{SecretName, SecretVersion, ServiceName, TierName, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

pub const SECRETS: &str = "/v1/secrets";
pub const VERSION: &str = "/v1/secrets/version";
pub const RECIPIENT: &str = "/v1/secrets/recipient";

/// An X25519 recipient of age, `age1...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub service: ServiceName,
    pub recipient: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue {
    pub service: ServiceName,
    /// The service's, as the file has it: whoever may deploy into a tier may give secrets to a new service of it.
    pub tier: TierName,
    pub name: SecretName,
    /// It is to be the value of a variable, so it must be text.
    pub variable: bool,
    /// A file of age for the service's recipient, in base64. The clear value never travels.
    pub age: String,
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({} of {})", self.name, self.service)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretStored {
    pub version: SecretVersion,
}

/// One version of a secret of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    pub name: SecretName,
    pub service: ServiceName,
    pub version: SecretVersion,
    /// Releases that pin it, by number.
    pub releases: Vec<u64>,
    /// The active release is among them.
    pub active: bool,
    /// Since the first of them was made.
    pub since: Time,
    /// The value is on the machine. A release whose value is gone cannot be deployed again.
    pub stored: bool,
}
