//! Names of services that a reader may not see: a text that names one is hidden.

use crate::access::Caller;
use crate::app::App;
use model::{Digest, Fault, Names, ServiceName};
use std::collections::BTreeSet;

const NOT_SHOWN: &str = "(hidden: names services of others)";

#[derive(Default)]
pub struct HiddenNames(BTreeSet<String>);

impl HiddenNames {
    /// None, if the caller may see all services.
    pub fn from(app: &App, caller: &Caller) -> Result<Self, Fault> {
        caller.services().map_or_else(|| Ok(Self::default()), |own| Self::all_but(app, own))
    }

    /// For texts that whoever may see `services` reads.
    pub fn all_but(app: &App, services: &BTreeSet<ServiceName>) -> Result<Self, Fault> {
        let (all, names) = app.database.browse(|r| Ok((r.service_names()?, r.names()?)))?;
        Ok(Self::of(all, &names, services))
    }

    /// Of each service that is not among `services`: its id, its present name and its former ones.
    fn of(all: Vec<ServiceName>, names: &Names, services: &BTreeSet<ServiceName>) -> Self {
        let mut hidden: BTreeSet<String> = all.into_iter().filter(|name| !services.contains(name)).map(String::from).collect();
        hidden.extend(names.rows().filter(|(_, named)| !services.contains(&named.service)).map(|(name, _)| name.to_string()));
        Self(hidden)
    }

    pub fn text(&self, mut text: String) -> String {
        self.hide(&mut text);
        text
    }

    pub fn hide(&self, text: &mut String) {
        if self.are_in(text) {
            *text = NOT_SHOWN.to_string();
        }
    }

    /// The message of a fault about an image. Where it names others, the code alone says what is wrong with the image.
    pub fn fault_text(&self, image: &Digest, fault: &Fault) -> String {
        if self.are_in(&fault.message) {
            format!("image {} cannot be launched: {} {NOT_SHOWN}", image.short(), fault.code)
        } else {
            fault.message.clone()
        }
    }

    /// A service, or a rotation, group or instance of it: `web`, `web.7`, `web-r2-7`, `web-r2-7-1`. When in doubt, the text is hidden.
    fn are_in(&self, text: &str) -> bool {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let mut names = words.flat_map(|word| word.match_indices('-').map(|(at, _)| &word[..at]).chain([word]));
        !self.0.is_empty() && names.any(|name| self.0.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (who reads, a text, whether it is hidden). `web` is called `shop`, and was `store` in between; `api` is `core`.
    #[test]
    fn a_renamed_service_is_hidden_by_its_id_and_by_every_name() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        let mut names = Names::default();
        for (id, to) in [("web", "store"), ("web", "shop"), ("api", "core")] {
            names.rename(&name(id), &name(to));
        }
        let all = vec![name("api"), name("web")];
        for (own, text, is_hidden) in [
            ("api", "o3: web.7 was rolled back", true),
            ("api", "store-r2-7-1 died", true),
            ("api", "by shop", true),
            ("api", "o3: api.7 was rolled back, core serves", false),
            ("web", "store and shop were web", false),
            ("web", "core-r1-2 died", true),
            ("web", "api@r1 is active", true),
            ("web", "shopping, stored, webs", false),
            ("other", "shop", true),
        ] {
            let hidden = HiddenNames::of(all.clone(), &names, &[name(own)].into());
            assert_eq!(hidden.text(text.to_string()) == NOT_SHOWN, is_hidden, "{own}: {text}");
        }
    }

    #[test]
    fn a_text_that_names_another_s_service_is_not_shown() {
        let hidden = HiddenNames([String::from("pay-out")].into());
        for text in ["bad: o3: pay-out.7 was rolled back", "pay-out-r2-7-1 died", "by pay-out"] {
            assert_eq!(hidden.text(text.to_string()), NOT_SHOWN, "{text}");
        }
        for kept in ["web@r1 runs image base 0123, which is bad: o3: web.7 was rolled back", "payout", "pay"] {
            assert_eq!(hidden.text(kept.to_string()), kept);
        }
        let image = disk::files::digest_of(b"x");
        let fault = |text: &str| hidden.fault_text(&image, &Fault::yours("image-bad", text));
        let said = fault("image base 0123 is bad: o3: pay-out.7 was rolled back");
        assert!(said.contains("image-bad") && !said.contains("pay-out"), "{said}");
        assert_eq!(fault("image base 0123 is bad: o3: web.7 was rolled back"), "image base 0123 is bad: o3: web.7 was rolled back");
    }
}
