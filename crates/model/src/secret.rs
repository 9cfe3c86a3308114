//! Secrets: where a value comes from, what a service does with it, which value a release pins. No value ever stands in these types.

use crate::{NameError, SecretName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The most bytes that a value may have.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Where an instance finds those of its secrets that it gets as files.
pub const SECRET_FILES: &str = "/run/secrets";

/// `secret "db" { ... }`: where whoever deploys reads the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSpec {
    pub name: SecretName,
    pub source: SecretSource,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// All that is in this file, relative to the service file.
    File { path: String },
    /// All that this command prints.
    Command { command: Vec<String> },
    /// This file, encrypted with age, relative to the service file.
    Age { path: String },
}

/// What a service gets of the file's secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// By variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, SecretName>,
    /// As `/run/secrets/NAME`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<SecretName>,
}

impl SecretUse {
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Each that is used, once.
    pub fn names(&self) -> BTreeSet<&SecretName> {
        self.env.values().chain(&self.files).collect()
    }
}

/// What a release gets, with the version of each value: another value is another release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedSecrets {
    #[serde(flatten)]
    pub used: SecretUse,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<SecretName, SecretVersion>,
}

impl PinnedSecrets {
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// With the versions of what is used. One that is missing stays missing: see [`PinnedSecrets::missing`].
    pub fn of(used: &SecretUse, versions: &BTreeMap<SecretName, SecretVersion>) -> Self {
        let names = used.names();
        let versions = versions.iter().filter(|(name, _)| names.contains(name)).map(|(name, version)| (name.clone(), version.clone()));
        Self { used: used.clone(), versions: versions.collect() }
    }

    /// A secret that is used and has no version.
    pub fn missing(&self) -> Option<&SecretName> {
        self.used.names().into_iter().find(|name| !self.versions.contains_key(*name))
    }
}

/// Which value of a secret: a keyed digest (HMAC-SHA256) over service, name and value. Equal values have equal versions in one service;
/// without the machine's key a version says nothing of the value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretVersion(Arc<str>);

impl SecretVersion {
    /// Takes 64 lower-case hex digits and nothing else: it becomes a file's name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.into()))
        } else {
            Err(NameError { what: "version of a secret", text, why: "it must be 64 lower-case hex digits" })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits: what people are shown.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for SecretVersion {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<SecretVersion> for String {
    fn from(version: SecretVersion) -> String {
        version.0.to_string()
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVersion({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn a_release_pins_what_it_uses_and_nothing_else() {
        let used = SecretUse { env: [("URL".to_string(), name("db"))].into(), files: [name("db"), name("key")].into() };
        assert_eq!(used.names().len(), 2);
        let version = |digit: &str| SecretVersion::new(digit.repeat(64)).unwrap();
        let versions = BTreeMap::from([(name("db"), version("a")), (name("other"), version("b"))]);
        let pinned = PinnedSecrets::of(&used, &versions);
        assert_eq!(pinned.versions.keys().collect::<Vec<_>>(), [&name("db")]);
        assert_eq!(pinned.missing(), Some(&name("key")));
        let text = serde_json::to_string(&pinned).unwrap();
        assert_eq!(serde_json::from_str::<PinnedSecrets>(&text).unwrap(), pinned);
    }

    #[test]
    fn a_version_is_a_file_name_and_nothing_else() {
        for bad in ["", "a", &"A".repeat(64), &"a".repeat(65), &format!("../{}", "a".repeat(61))] {
            assert!(SecretVersion::new(bad).is_err(), "{bad:?}");
        }
    }
}
