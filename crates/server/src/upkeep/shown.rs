//! What a caller for some services sees of images: those that its services use, or that no service uses yet; texts that name other services
//! are hidden.

use crate::access::Caller;
use crate::app::App;
use crate::hidden_names::HiddenNames;
use api::control::{ImageHistory, ImageUpkeep};
use model::{Fault, ImageName, ServiceName};

pub struct Shown<'a> {
    caller: &'a Caller,
    hidden: HiddenNames,
}

impl<'a> Shown<'a> {
    pub fn to(app: &App, caller: &'a Caller) -> Result<Self, Fault> {
        Ok(Self { caller, hidden: HiddenNames::from(app, caller)? })
    }

    /// By the services that run on the image.
    fn sees<'s>(&self, mut users: impl Iterator<Item = &'s ServiceName> + Clone) -> bool {
        self.caller.services().is_none() || users.clone().next().is_none() || users.any(|user| self.caller.sees(user))
    }

    pub fn upkeep(&self, all: Vec<ImageUpkeep>) -> Vec<ImageUpkeep> {
        let mut all: Vec<ImageUpkeep> = all.into_iter().filter(|one| self.sees(one.services.iter().map(|(s, _)| s))).collect();
        for one in &mut all {
            one.services.retain(|(service, _)| self.caller.sees(service));
            let texts = one.waits.iter_mut().map(|w| &mut w.why).chain(one.held_up.iter_mut().map(|(_, _, why)| why));
            texts.chain(&mut one.trouble).chain(&mut one.alarms).for_each(|text| self.hidden.hide(text));
        }
        all
    }

    pub fn history(&self, mut history: ImageHistory) -> Result<ImageHistory, Fault> {
        if !self.sees(history.images.iter().flat_map(|one| &one.services)) {
            return Err(self.refused(&history.name));
        }
        for one in &mut history.images {
            one.services.retain(|service| self.caller.sees(service));
            one.story.iter_mut().for_each(|(_, text)| self.hidden.hide(text));
        }
        let waits = history.waits.iter_mut().map(|w| &mut w.why);
        waits.chain(&mut history.alarms).for_each(|text| self.hidden.hide(text));
        Ok(history)
    }

    /// A text of an image's life, as the caller may see it.
    pub fn text(&self, text: String) -> String {
        self.hidden.text(text)
    }

    fn refused(&self, image: &ImageName) -> Fault {
        Fault::yours("forbidden", format!("{} may see no service that uses image {image}", self.caller.name()))
            .hint("root of the host can see it, or create a token for a service that uses it: `afresh token create`")
    }
}
