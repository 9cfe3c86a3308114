//! Facts of what is deployed, and of what runs.

use super::detector::detector;
use crate::app::App;
use crate::upkeep::Upkeep;
use api::control::DeployRequest;
use control::{Desired, Tiers};
use guard::rules::Facts;
use guard::secrets::Detector;
use guard::service_facts::{ImageAge, of_recipe, of_service};
use lifecycle::Life;
use model::{Digest, Fault, ImageName, ImageSpec, Release, ServiceFile, ServiceSpec, Time};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Of the recipes of a file, by the images' names.
pub type Recipes = BTreeMap<ImageName, Facts>;

/// To be called before a lock is held: it reads all that a caller sent.
pub fn of_recipes(file: &ServiceFile) -> Result<Recipes, Fault> {
    let detector = detector()?;
    Ok(file.images.iter().map(|(name, recipe)| (name.clone(), of_recipe(recipe, detector))).collect())
}

/// Of each service that is deployed, of each recipe that it brings, and of what its image was made of.
pub fn of_change(app: &App, request: &DeployRequest, tiers: &Tiers, recipes: &Recipes) -> Result<Vec<Facts>, Fault> {
    let detector = detector()?;
    let (mut brought_by, mut lives) = (BTreeSet::new(), Lives::default());
    let mut made_of: BTreeMap<&Digest, Facts> = BTreeMap::new();
    let mut all = Vec::new();
    for Desired { spec, release } in tiers.iter().flat_map(|(_, all)| all) {
        let brought = request.file.images.get(&spec.image).filter(|_| request.release.is_none());
        let mut age = age(app, &mut lives, spec, release);
        if let Some(recipe) = brought {
            age.max_age_s = Some(recipe.max_age_ms.map(|ms| ms / 1000));
            brought_by.insert(&recipe.name);
        }
        if request.unbaked.contains(&release.image) {
            age.age_s = Some(0);
        } else if let Some(upkeep) = &app.upkeep
            && !brought.is_some_and(|recipe| upkeep.config.factory.is_of(&release.image, recipe))
        {
            // A caller names the recipe and the image; what is judged must be what the image was made of.
            made_of.entry(&release.image).or_insert_with(|| of_image(app, upkeep, release, detector));
        }
        all.push(of_service(spec, Some(release), age, detector));
    }
    all.extend(brought_by.into_iter().filter_map(|name| recipes.get(name).cloned()));
    all.extend(made_of.into_values());
    Ok(all)
}

/// Of what an image was made of. Without attributes where that is not known.
fn of_image(app: &App, upkeep: &Upkeep, release: &Release, detector: &Detector) -> Facts {
    let id = release.image_name.to_string();
    if let Some(recipe) = upkeep.config.factory.recipe(&release.image) {
        return Facts { id, ..of_recipe(&recipe, detector) };
    }
    // A container image is searched for secrets when it is pulled.
    let is_container = app.images.container(&release.image).is_ok_and(|container| container.is_some());
    let attributes = if is_container { BTreeMap::from([("secrets".to_string(), json!([]))]) } else { BTreeMap::new() };
    Facts { kind: "image".to_string(), id, attributes }
}

/// The lives of images, each read once.
#[derive(Default)]
pub struct Lives(BTreeMap<ImageName, Option<Life>>);

impl Lives {
    /// None: nobody looks after it, or its record cannot be read.
    fn of(&mut self, app: &App, name: &ImageName) -> Option<&Life> {
        let load = || app.upkeep.as_ref().and_then(|upkeep| upkeep.load(name).ok());
        self.0.entry(name.clone()).or_insert_with(load).as_ref()
    }
}

/// Of a release that is active.
pub fn of_active(app: &App, lives: &mut Lives, spec: &ServiceSpec, release: &Release) -> Result<Facts, Fault> {
    Ok(of_service(spec, Some(release), age(app, lives, spec, release), detector()?))
}

/// Of a deploy of then. How old its image was is known only where it was baked shortly before.
pub fn of_past(app: &App, lives: &mut Lives, at: Time, spec: &ServiceSpec, release: &Release) -> Result<Facts, Fault> {
    let max_age_s = max_age_s(lives.of(app, &release.image_name), spec);
    let baked = app.images.made(&release.image).ok().flatten();
    let most_s = baked.filter(|baked| *baked <= at).map(|baked| at.since(baked) / 1000);
    // It may have been known to hold the newest of everything after it was baked.
    let age_s = most_s.filter(|age_s| max_age_s.is_some_and(|limit| limit.is_none_or(|limit| *age_s <= limit)));
    Ok(of_service(spec, Some(release), ImageAge { age_s, max_age_s }, detector()?))
}

/// Of the recipe that a desired state names. Without attributes where it is not known any more.
pub fn of_named_recipe(app: &App, lives: &mut Lives, spec: &ServiceSpec) -> Result<Facts, Fault> {
    let detector = detector()?;
    let life = lives.of(app, &spec.image);
    let named = life.and_then(|life| named_recipe(life, spec));
    let unknown = || Facts { kind: "image".to_string(), id: spec.image.to_string(), attributes: BTreeMap::new() };
    Ok(named.map_or_else(unknown, |recipe| of_recipe(recipe, detector)))
}

fn named_recipe<'a>(life: &'a Life, spec: &ServiceSpec) -> Option<&'a ImageSpec> {
    life.deployed.iter().find(|one| Some(&one.id) == spec.recipe.as_ref()).map(|one| &one.recipe)
}

/// What cannot be read is not known: the rule that needs it says so.
fn age(app: &App, lives: &mut Lives, spec: &ServiceSpec, release: &Release) -> ImageAge {
    let life = lives.of(app, &release.image_name);
    ImageAge { age_s: age_s(app, life, &release.image), max_age_s: max_age_s(life, spec) }
}

fn max_age_s(life: Option<&Life>, spec: &ServiceSpec) -> Option<Option<u64>> {
    let recipe = life.and_then(|life| named_recipe(life, spec).or(life.recipe.as_ref()))?;
    Some(recipe.max_age_ms.map(|ms| ms / 1000))
}

/// Since it was known to hold the newest of everything; since it was baked, where nobody looks after it.
fn age_s(app: &App, life: Option<&Life>, image: &Digest) -> Option<u64> {
    if let (Some(upkeep), Some(one)) = (&app.upkeep, life.and_then(|life| life.image(image))) {
        return Some(upkeep.now(app.now()).since(one.patched) / 1000);
    }
    let made = app.images.made(image).ok().flatten()?;
    Some(app.now().since(made) / 1000)
}
