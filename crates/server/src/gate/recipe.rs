//! A recipe before it is baked.

use super::break_glass::seconds;
use super::detector::detector;
use super::files;
use super::judge::denied;
use super::objection::report;
use guard::service_facts::of_recipe;
use model::{Fault, ImageSpec, Layout, Time};

/// Refuses a recipe that a rule denies.
pub fn must_pass(layout: &Layout, recipe: &ImageSpec, now: Time) -> Result<(), Fault> {
    let loaded = files::load(layout)?;
    let report = report(&loaded, &[of_recipe(recipe, detector()?)], None, seconds(now));
    if report.is_denied() { Err(denied(&report)) } else { Ok(()) }
}
