//! Rules and waivers as they lie in the data directory. They are root's: what others could write is refused.

use crate::files::read_trusted;
use api::guard::RulesSeen;
use guard::rules::{BUILT_IN, RuleSet};
use guard::waiver::Waiver;
use model::{Fault, Layout};
use std::path::{Path, PathBuf};

pub const BYTES_MAX: u64 = 1 << 20;

pub struct Loaded {
    pub set: RuleSet,
    pub text: String,
    /// From a file, not the built-in ones.
    pub is_own: bool,
    pub waivers: Vec<Waiver>,
}

pub fn rules_path(layout: &Layout) -> PathBuf {
    layout.root().join("guard/rules.toml")
}

pub fn waivers_path(layout: &Layout) -> PathBuf {
    layout.root().join("guard/waivers.toml")
}

pub fn load(layout: &Layout) -> Result<Loaded, Fault> {
    let path = rules_path(layout);
    let own = read(&path)?;
    let is_own = own.is_some();
    let text = own.unwrap_or_else(|| BUILT_IN.to_string());
    let set = RuleSet::load(&text).map_err(|e| unusable(&path, &e.to_string()))?;
    let path = waivers_path(layout);
    let waivers = Waiver::load(&read(&path)?.unwrap_or_default()).map_err(|e| unusable(&path, &e.to_string()))?;
    Ok(Loaded { set, text, is_own, waivers })
}

/// Of what is exposed in finished images, among others.
pub fn waivers(layout: &Layout) -> Result<Vec<Waiver>, Fault> {
    load(layout).map(|loaded| loaded.waivers)
}

/// None: it is not there.
pub fn read(path: &Path) -> Result<Option<String>, Fault> {
    read_trusted(path, BYTES_MAX).map_err(|why| unusable(path, &why))
}

pub fn unusable(path: &Path, why: &str) -> Fault {
    let hint = "correct it; until then nothing is deployed. What runs is left alone, and `afresh rollback` works. `afresh guard rules --text` shows \
                how rules are written";
    Fault::world("guard-unusable", format!("{}: {why}", path.display())).hint(hint).again(false)
}

/// As they are in force.
pub fn rules(layout: &Layout) -> Result<RulesSeen, Fault> {
    let loaded = load(layout)?;
    let file = loaded.is_own.then(|| rules_path(layout).display().to_string());
    Ok(RulesSeen { file, text: loaded.text })
}
