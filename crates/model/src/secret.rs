//! Secrets: where a value comes from, what a service does with it, which value a release pins. No value ever stands in these types.

use crate::{SecretName, SecretVersion};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

impl SecretVersion {
    /// The first 12 hex digits: what people are shown.
    pub fn short(&self) -> &str {
        &self.as_str()[..12]
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
