//! A command that a group runs a single time instead of its service: a check, a migration, a run, a job. The keeper launches it at most once
//! for a group, whatever is killed meanwhile; whether it is to be tried again is for whoever declared it, under another group's name.

use crate::{Digest, Exit, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneShot {
    pub run: Vec<String>,
    /// Its shim ends it when it has run for this time, whoever else is down then. None: nothing on the host bounds it.
    pub within_ms: Option<u64>,
    /// It is not launched after this moment by the host's clock. None: at any time.
    pub launch_by: Option<Time>,
    /// Besides the variables of its release, and in place of those of the same name.
    pub env: BTreeMap<String, String>,
}

impl OneShot {
    pub fn of(run: Vec<String>) -> Self {
        Self { run, ..Self::default() }
    }
}

/// On the wire and on the disk: the bare command where that is all, as versions before this one wrote it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Command(Vec<String>),
    Bounded {
        run: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launch_by: Option<Time>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
}

impl Serialize for OneShot {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let OneShot { run, within_ms, launch_by, env } = self.clone();
        let written = match (within_ms, launch_by) {
            (None, None) if env.is_empty() => Written::Command(run),
            (within_ms, launch_by) => Written::Bounded { run, within_ms, launch_by, env },
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for OneShot {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Command(run) => OneShot::of(run),
            Written::Bounded { run, within_ms, launch_by, env } => OneShot { run, within_ms, launch_by, env },
        })
    }
}

/// How a one-shot ended: kept with its group, also when that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneShotEnd {
    /// [`crate::Release::digest`] of what it ran in.
    pub release: Digest,
    pub exit: Exit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_command_is_written_as_before_and_both_forms_are_read() {
        let run = vec!["migrate".to_string(), "--all".to_string()];
        let bare = OneShot::of(run.clone());
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"["migrate","--all"]"#);
        let bounded = OneShot { run: run.clone(), within_ms: Some(5), launch_by: Some(Time(9)), env: BTreeMap::new() };
        assert_eq!(serde_json::to_string(&bounded).unwrap(), r#"{"run":["migrate","--all"],"within_ms":5,"launch_by":9}"#);
        let with_env = OneShot { env: [("A".to_string(), "b".to_string())].into(), ..OneShot::of(run) };
        for one in [bare, bounded, with_env] {
            assert_eq!(serde_json::from_str::<OneShot>(&serde_json::to_string(&one).unwrap()).unwrap(), one);
        }
    }
}
