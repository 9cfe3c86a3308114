//! What the store knows of an object besides its bytes. Data only.

use model::{Container, Digest, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The root of a machine.
    Image,
    /// One version of a service's code.
    Artifact,
    /// What several images have in common, kept so that the next one begins there. Nothing is lost with it but time.
    Base,
}

/// A package that stands in an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// The source package and its version, where they differ from the binary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How an artifact came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    Directory,
    Tarball,
}

/// Where an artifact was packed from, the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Absolute, or the link it was fetched from.
    pub path: String,
    pub form: Form,
    /// Of a tarball's own bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Digest>,
    pub files: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub kind: Kind,
    /// The recipe's name, or the file name of what was packed.
    pub name: String,
    pub digest: Digest,
    pub bytes: u64,
    #[serde(default)]
    pub packages: Vec<Package>,
    /// Of the recipe as it was written.
    #[serde(default)]
    pub recipe: Option<Digest>,
    /// Of everything that went in: equal inputs need no work.
    pub inputs: Digest,
    pub made: Time,
    /// Name and version of what made it.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    #[serde(default)]
    pub seconds: Vec<(String, f64)>,
    /// What a reader should know: a check that was switched off, a script that ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Of an image that was pulled as a container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
}

impl Manifest {
    /// How the note on a recipe's script begins.
    pub const SCRIPT_SAME: &str = "its script gave the same result twice";
    pub const SCRIPT_OTHER: &str = "its script did not give the same result twice";

    /// What a second build found of the recipe's script; None: there is no script, or nobody looked.
    pub fn is_script_reproducible(&self) -> Option<bool> {
        let said = |text: &str| self.notes.iter().any(|note| note.starts_with(text));
        if said(Self::SCRIPT_SAME) { Some(true) } else { said(Self::SCRIPT_OTHER).then_some(false) }
    }
}
