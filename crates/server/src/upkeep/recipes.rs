//! The recipes that deployed files bring. One is in force from the promotion of a release that was deployed with it (`lifecycle::Deployed`):
//! desired states name theirs, and the recipes themselves are kept beside the images' lives.

use super::lives::Upkeep;
use crate::access::Caller;
use crate::app::App;
use api::control::DeployRequest;
use control::Desired;
use disk::files;
use lifecycle::{Deployed, Life};
use model::{Digest, Fault, ImageName, ImageSpec, Release, ServiceFile, ServiceName};

/// Of all that it says.
fn id(recipe: &ImageSpec) -> Result<Digest, Fault> {
    let text = serde_json::to_vec(recipe).map_err(|e| Fault::ours("unwritable-record", e.to_string()))?;
    Ok(files::digest_of(&text))
}

/// The recipe that a desired state names: the file's, or that of the image where an earlier release comes back.
pub fn name_recipe(app: &App, request: &DeployRequest, desired: &mut Desired) -> Result<(), Fault> {
    desired.spec.recipe = match (request.release, request.file.images.get(&desired.spec.image)) {
        (None, Some(recipe)) => Some(id(recipe)?),
        _ => recipe_of(app, &desired.release)?,
    };
    Ok(())
}

/// The recipe of an earlier release: the one in force where the image stays, else the one that its image was deployed with last. None: that
/// is not known any more.
pub fn recipe_of(app: &App, release: &Release) -> Result<Option<Digest>, Fault> {
    let (active, in_force) = app.database.read(|r| Ok((r.active(&release.service)?, r.in_force(&release.service)?)))?;
    if active.is_some_and(|active| active.release.image == release.image) {
        return Ok(in_force.and_then(|row| row.spec.recipe));
    }
    let Some(upkeep) = &app.upkeep else { return Ok(None) };
    Ok(upkeep.load(&release.image_name)?.recipe_of(&release.image).cloned())
}

/// Before a deploy is opened: desired states name these recipes, and a kill must not lose one that is named. Nothing follows from a recipe
/// that none in force names.
pub fn propose(app: &App, caller: &Caller, request: &DeployRequest) -> Result<(), Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(()) };
    for (name, recipe) in &request.file.images {
        let (id, image) = (id(recipe)?, request.images.get(name));
        // Others named a recipe that this host had when they were checked.
        let may_give = may_give(app, caller, name, recipe).is_ok();
        upkeep.try_edit(name, |life| {
            begin(upkeep, life)?;
            if may_give {
                life.propose(Deployed { id: id.clone(), recipe: recipe.clone(), by: caller.name().to_string(), images: Vec::new() });
            }
            // A caller names both, and images of a recipe that is followed are rolled out to others.
            if let Some(image) = image.filter(|image| upkeep.config.factory.is_of(image, recipe)) {
                life.put_under(&id, image);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether this host takes a recipe that it does not have yet from the caller. The next images of that name are baked from it, with its
/// scripts, and other services on them may follow: it is not for a caller to choose what services run that it may not even see.
pub fn may_give(app: &App, caller: &Caller, name: &ImageName, recipe: &ImageSpec) -> Result<(), Fault> {
    if caller.is_admin() {
        return Ok(());
    }
    app.access.policy()?.permits_recipe(caller.name(), recipe)?;
    // Without an upkeep no recipe is kept.
    if app.upkeep.is_none() || users_of_image(app, name)?.iter().all(|service| caller.sees(service)) {
        return Ok(());
    }
    let who = caller.name();
    Err(Fault::yours(
        "policy-recipe",
        format!("image {name}: services that {who} may not see use it too, so {who} may not change its recipe"),
    )
    .hint("let the administrator deploy the new recipe first, or use an image of another name"))
}

/// Services that run on an image of this name, or were deployed to.
fn users_of_image(app: &App, name: &ImageName) -> Result<Vec<ServiceName>, Fault> {
    app.database.browse(|r| {
        let mut users = Vec::new();
        for row in r.services()? {
            let active = r.active(&row.spec.name)?;
            if row.spec.image == *name || active.is_some_and(|active| active.release.image_name == *name) {
                users.push(row.spec.name);
            }
        }
        Ok(users)
    })
}

/// A life of an older version has the recipe that was deployed last, and does not know which images are of it.
fn begin(upkeep: &Upkeep, life: &mut Life) -> Result<(), Fault> {
    if let Some(recipe) = life.recipe.clone().filter(|_| life.deployed.is_empty()) {
        let of_it = life.images.iter().map(|one| one.digest.clone()).filter(|digest| upkeep.config.factory.is_of(digest, &recipe));
        let images = of_it.collect();
        life.propose(Deployed { id: id(&recipe)?, recipe, by: "an older version".to_string(), images });
    }
    Ok(())
}

/// The order in which tiers follow a new image concerns every service: it is taken only from callers for all services. An error is logged,
/// and holds up no deploy.
pub fn learn_tiers(app: &App, file: &ServiceFile, caller: &Caller) {
    let Some(upkeep) = app.upkeep.as_ref().filter(|_| caller.services().is_none()) else { return };
    for name in file.images.keys() {
        if let Err(fault) = upkeep.edit(name, |life| life.tiers.clone_from(&file.tiers)) {
            tracing::warn!(code = fault.code, "cannot record the order of tiers: {}", fault.message);
        }
    }
}

/// Whether anybody may bring this recipe of an image: it is in force, or the last that was given by one who may give recipes. An earlier
/// one would take away from all services what came since.
pub fn has_recipe(app: &App, name: &ImageName, recipe: &ImageSpec) -> Result<bool, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(false) };
    let life = upkeep.load(name)?;
    Ok(life.recipe.as_ref() == Some(recipe) || life.deployed.last().is_some_and(|last| last.recipe == *recipe))
}
