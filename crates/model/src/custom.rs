//! What an image has besides its packages.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Applied in this order, after every package is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCustom {
    /// Further suites packages may come from, besides the release, its updates and its security fixes: `bookworm-backports`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<String>,
    /// Parts of the archive packages may come from; none named: `main`. Ubuntu: `main`, `universe`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Addresses whose indexes are trusted without a signature, where the machine's sources say `Trusted: yes` for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_unsigned: Vec<String>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, ImageUser>,
    /// By absolute path. A systemd unit is a file like any other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, ImageFile>,
    /// Variables of the script, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Run by sh as root in the tree, without network. It is recorded in the provenance, and run twice to compare the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

impl ImageCustom {
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUser {
    /// Also the number of the group of the same name.
    pub uid: u32,
    /// Created if it does not exist; None: `/nonexistent`.
    #[serde(default)]
    pub home: Option<String>,
    /// None: `/usr/sbin/nologin`.
    #[serde(default)]
    pub shell: Option<String>,
    /// Groups that exist already.
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    pub content: String,
    /// Permission bits; the owner is root.
    #[serde(default = "ImageFile::default_mode")]
    pub mode: u32,
}

impl ImageFile {
    pub fn default_mode() -> u32 {
        0o644
    }
}
