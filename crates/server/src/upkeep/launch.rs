//! Whether the image of a release may be launched.

use crate::app::App;
use crate::hidden_names::HiddenNames;
use lifecycle::{One, State};
use model::{Fault, Release};

/// Refuses a revoked image, and a bad one where the policy says so; why it is bad may be what another service did on it. The keeper
/// checks again before it launches.
pub fn must_be_launchable(app: &App, hidden: &HiddenNames, release: &Release) -> Result<(), Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(()) };
    let refuse_bad = attest::read_policy(&upkeep.layout)?.unwrap_or_default().refuse_bad;
    attest::may_begin(&upkeep.layout, &release.image_name, &release.image, refuse_bad)
        .map_err(|f| Fault { message: format!("{}: {}", release.service, hidden.fault_text(&release.image, &f)), ..f })
}

/// Why the image of a release is bad or revoked, if it is.
pub fn bad_image(app: &App, release: &Release) -> Result<Option<String>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(None) };
    let life = upkeep.load(&release.image_name)?;
    let bad = life.image(&release.image).filter(|one| matches!(one.state, State::Bad | State::Revoked));
    let why = |one: &One| one.story.last().map_or_else(|| one.state.word().to_string(), |entry| entry.text.clone());
    Ok(bad.map(|one| format!("{} runs image {} {}, which is {}", release.label(), release.image_name, release.image.short(), why(one))))
}
