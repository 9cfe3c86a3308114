//! The gate of the control plane: rules and waivers of its data directory over what is deployed, baked and runs. What a caller sends lifts
//! nothing; a rollback is never asked for.
//!
//! ```text
//! DATA/guard/rules.toml         in place of the built-in rules        ─┐ read at each use; one that cannot be read denies every deploy
//! DATA/guard/waivers.toml       [[waiver]], appended to by `waive`    ─┘ and leaves alone what runs
//! DATA/guard/break-glass.json   who lifted which rules, until when
//!
//! plan, deploy ─▶ facts ─▶ judge ─▶ refused, or recorded and opened          part "guard" ─▶ running ─▶ alarms
//! ```

mod break_glass;
mod facts;
mod files;
mod judge;
mod recipe;
mod replay;
mod running;
mod waive;

pub use judge::{judge, must_pass};
pub use recipe::must_pass as recipe_must_pass;
pub use replay::replay;
pub use running::{Memory, alarms, keep, seen};
pub use waive::{list as waivers, waive};

use crate::app::App;
use api::guard::RulesSeen;
use guard::secrets::Detector;
use model::Fault;
use std::sync::OnceLock;

/// Its rules take a moment to be compiled, and never change.
fn detector() -> Result<&'static Detector, Fault> {
    static DETECTOR: OnceLock<Result<Detector, String>> = OnceLock::new();
    let made = DETECTOR.get_or_init(|| Detector::built_in().map_err(|e| e.to_string()));
    made.as_ref().map_err(|why| Fault::ours("bad-rules", why.clone()))
}

/// As they are in force.
pub fn rules(app: &App) -> Result<RulesSeen, Fault> {
    let loaded = files::load(&app.layout)?;
    let file = loaded.is_own.then(|| files::rules_path(&app.layout).display().to_string());
    Ok(RulesSeen { file, text: loaded.text })
}
