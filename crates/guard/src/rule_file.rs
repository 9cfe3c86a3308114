//! Files of rules, of the gate and of the secrets detector: `[[rule]]` tables in TOML, and why such a file is refused.

use serde::{Deserialize, de::DeserializeOwned};

/// Why a file of rules was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?} {fault}")]
pub struct RuleFault {
    /// Empty: the file as a whole.
    pub rule: String,
    pub fault: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<Written> {
    rule: Vec<Written>,
}

pub(crate) fn read<Written: DeserializeOwned>(text: &str) -> Result<Vec<Written>, RuleFault> {
    let file: Result<File<Written>, _> = toml::from_str(text);
    file.map(|file| file.rule).map_err(|e| RuleFault { rule: String::new(), fault: format!("cannot be read: {e}") })
}
