//! Which of the recipes that deploys brought is in force. Pure.
//!
//! ```text
//! a deploy brings it ─▶ proposed ── a release with it is promoted ─▶ in force ── no service has it any more ─▶ proposed
//! ```
//! A recipe is in force while the desired state of a service that is in force names it: that changes by promotions and rollbacks alone. So a
//! deploy that failed leaves no recipe behind it, whether its code or its image was to blame, and nobody need know which.

use crate::deployed::{Deployed, Standing};
use crate::state::{Life, Wanted};
use model::{Digest, Time};

/// Recipes that are kept, each of up to some megabytes.
const RECIPES: usize = 8;

impl Life {
    /// Takes in a recipe of a deploy, with the images that are of it. Nothing follows from it before a release with it is promoted.
    pub fn propose(&mut self, mut deployed: Deployed) {
        if let Some(at) = self.deployed.iter().position(|d| d.id == deployed.id) {
            deployed.images = self.deployed.remove(at).images;
        }
        self.deployed.push(deployed);
        while self.deployed.len() > RECIPES {
            let in_force = |d: &Deployed| self.recipe.as_ref() == Some(&d.recipe);
            let Some(oldest) = self.deployed.iter().position(|d| !in_force(d)) else { return };
            self.deployed.remove(oldest);
        }
    }

    /// One that differs from the recipe before is followed now, if it has a schedule.
    pub fn use_recipe(&mut self, deployed: &Deployed, now: Time) {
        if self.recipe.is_some() && deployed.recipe.rebuild.is_some() {
            self.wanted = Some(Wanted { at: now, by: format!("{}, with another recipe", deployed.by) });
        }
        self.recipe = Some(deployed.recipe.clone());
    }

    /// The recipe that an image was deployed with or baked from, the last one if there are several.
    pub fn recipe_of(&self, image: &Digest) -> Option<&Digest> {
        self.deployed.iter().rev().find(|d| d.images.contains(image)).map(|d| &d.id)
    }

    /// The recipe that comes into force now: of those that services have, the one of the newest desired state. Where no service stands on
    /// an image of this name the newest changes nothing.
    pub(crate) fn comes_into_force(&self, services: &[Standing]) -> Option<&Deployed> {
        let place = |id: &Digest| self.deployed.iter().position(|d| d.id == *id);
        let named = services.iter().filter_map(|s| Some((s.since, place(s.recipe.as_ref()?)?))).max();
        let deployed = match named {
            Some((_, place)) => self.deployed.get(place)?,
            None if services.is_empty() => self.deployed.last()?,
            None => return None,
        };
        (self.recipe.as_ref() != Some(&deployed.recipe)).then_some(deployed)
    }

    /// Whether the service was deployed with the recipe in force: only then it is moved by itself.
    pub(crate) fn follows(&self, service: &Standing) -> bool {
        match (&service.recipe, self.in_force()) {
            (_, None) => true,
            (Some(id), Some(in_force)) => *id == in_force.id,
            (None, Some(in_force)) => in_force.images.contains(&service.on),
        }
    }
}
