//! What a caller for some services sees of images: those that its services use, or that no service uses yet; texts that name other services
//! are hidden.

use crate::access::Caller;
use crate::app::App;
use api::control::{ImageHistory, ImageUpkeep};
use model::{Fault, ImageName, ServiceName};
use std::collections::BTreeSet;

const NOT_SHOWN: &str = "(hidden: names services of others)";

pub struct Shown<'a> {
    caller: &'a Caller,
    /// Services that the caller may not see. Empty: it may see all of them.
    others: BTreeSet<String>,
}

impl<'a> Shown<'a> {
    pub fn to(app: &App, caller: &'a Caller) -> Result<Self, Fault> {
        let others = match caller.services() {
            None => BTreeSet::new(),
            Some(own) => {
                let all = app.database.browse(|r| r.service_names())?;
                all.into_iter().filter(|name| !own.contains(name)).map(|name| name.to_string()).collect()
            }
        };
        Ok(Self { caller, others })
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
            texts.chain(&mut one.trouble).chain(&mut one.alarms).for_each(|text| self.hide(text));
        }
        all
    }

    pub fn history(&self, mut history: ImageHistory) -> Result<ImageHistory, Fault> {
        if !self.sees(history.images.iter().flat_map(|one| &one.services)) {
            return Err(self.refused(&history.name));
        }
        for one in &mut history.images {
            one.services.retain(|service| self.caller.sees(service));
            one.story.iter_mut().for_each(|(_, text)| self.hide(text));
        }
        let waits = history.waits.iter_mut().map(|w| &mut w.why);
        waits.chain(&mut history.alarms).for_each(|text| self.hide(text));
        Ok(history)
    }

    fn refused(&self, image: &ImageName) -> Fault {
        Fault::yours("forbidden", format!("{} may see no service that uses image {image}", self.caller.name()))
            .hint("root of the host can see it, or create a token for a service that uses it: `afresh token create`")
    }

    /// A text of an image's life, as the caller may see it.
    pub fn text(&self, mut text: String) -> String {
        self.hide(&mut text);
        text
    }

    fn hide(&self, text: &mut String) {
        if self.names_others(text) {
            *text = NOT_SHOWN.to_string();
        }
    }

    /// A service, or a rotation, group or instance of it: `web`, `web.7`, `web-r2-7`, `web-r2-7-1`. When in doubt, the text is hidden.
    fn names_others(&self, text: &str) -> bool {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let mut names = words.flat_map(|word| word.match_indices('-').map(|(at, _)| &word[..at]).chain([word]));
        !self.others.is_empty() && names.any(|name| self.others.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::access::{Grant, Role};

    #[test]
    fn a_text_that_names_another_s_service_is_not_shown() {
        let web = ServiceName::new("web").unwrap();
        let grant = Grant { role: Role::Deploy, services: [web.clone()].into(), tiers: Default::default() };
        let caller = Caller::new("token:ci".to_string(), grant, Some([web].into()), None);
        let shown = Shown { caller: &caller, others: [String::from("pay-out")].into() };
        for hidden in ["bad: o3: pay-out.7 was rolled back", "pay-out-r2-7-1 died", "by pay-out"] {
            assert_eq!(shown.text(hidden.to_string()), NOT_SHOWN, "{hidden}");
        }
        for kept in ["web@r1 runs image base 0123, which is bad: o3: web.7 was rolled back", "payout", "pay"] {
            assert_eq!(shown.text(kept.to_string()), kept);
        }
    }
}
