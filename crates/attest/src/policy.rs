//! The signature policy: what this machine requires of images and of the code of services. A file in the data directory, written by who owns
//! the machine. It is not in the service file, because whoever writes that asks for the deploy: he cannot be the one who says what is trusted.
//!
//! ```text
//! DATA/policy.json   {"require": true, "artifacts": true, "trusted": ["<64 hex digits>", ...], "refuse_bad": true}
//!   not there ─▶ only revoked is refused       not readable ─▶ every image is refused
//! ```

use crate::keys::is_public_key;
use crate::statement::Policy;
use disk::files;
use model::{Fault, Layout};
use std::path::PathBuf;
use store::to_json;

const LIMIT: u64 = 1 << 20;

pub fn policy_path(layout: &Layout) -> PathBuf {
    layout.policy()
}

/// None: there is no such file.
pub fn read_policy(layout: &Layout) -> Result<Option<Policy>, Fault> {
    let path = policy_path(layout);
    if !files::exists(&path) {
        return Ok(None);
    }
    let bad = |why: String| {
        Fault::world("bad-policy", format!("{}: {why}", path.display()))
            .hint("until it can be read no image is used; bring back a copy of it, or begin again: `afresh image policy --fresh --trust own --require on`")
            .again(false)
    };
    let policy: Policy = serde_json::from_slice(&files::read_limited(&path, LIMIT)?).map_err(|e| bad(e.to_string()))?;
    if let Some(key) = policy.trusted.iter().chain(&policy.distrusted).find(|k| !is_public_key(k)) {
        return Err(bad(format!("{key:?} is no public key: 64 hex digits are expected")));
    }
    if (policy.require || policy.artifacts) && policy.trusted.is_empty() && policy.distrusted.is_empty() {
        return Err(bad("signatures are required, and no key is trusted".to_string()));
    }
    Ok(Some(policy))
}

/// One that cannot be read stays beside the one that is written in its place.
pub fn set_policy_aside(layout: &Layout) -> Result<(), Fault> {
    let path = policy_path(layout);
    let aside = path.with_extension("json.damaged");
    std::fs::rename(&path, &aside).map_err(|e| files::fault("cannot move", &path, &e))
}

pub fn write_policy(layout: &Layout, policy: &Policy) -> Result<(), Fault> {
    files::make_dir(layout.root())?;
    files::write_atomic(&policy_path(layout), &to_json(policy))
}
