//! Whose turn it is to ask a source (the mirrors, one registry). Pure.
//!
//! A source is asked for one image at a time, in the order in which they wanted it: a slow one holds up its own images and no others, and
//! an image that is due again at once comes after those that have waited.

use model::{ImageName, ImageSource};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Sources that are asked at the same time. Which registries there are, the host policy says.
const SOURCES_MAX: usize = 8;

#[derive(Debug, Default)]
pub struct Turns {
    taken: BTreeMap<String, ImageName>,
    waiting: BTreeMap<String, VecDeque<ImageName>>,
}

/// What the check and the bake of a recipe wait for; None: it is built of packages.
pub fn source_of(container: Option<&str>) -> String {
    match container.map(str::parse) {
        None => "the mirrors".to_string(),
        Some(Ok(ImageSource::Registry(reference))) => reference.registry,
        Some(_) => "files of this host".to_string(),
    }
}

impl Turns {
    /// True: it has the turn, and keeps it until [`Turns::ended`]. False: it waits in line.
    pub fn take(&mut self, source: &str, name: &ImageName) -> bool {
        let line = self.waiting.entry(source.to_string()).or_default();
        if !line.contains(name) {
            line.push_back(name.clone());
        }
        let is_next = line.front() == Some(name) && !self.taken.contains_key(source) && self.taken.len() < SOURCES_MAX;
        if is_next {
            line.pop_front();
            self.taken.insert(source.to_string(), name.clone());
        }
        is_next
    }

    pub fn has_turn(&self, name: &ImageName) -> bool {
        self.taken.values().any(|holder| holder == name)
    }

    pub fn ended(&mut self, name: &ImageName) {
        self.taken.retain(|_, holder| holder != name);
    }

    /// Nobody waits behind an image that wants nothing any more.
    pub fn keep_waiting(&mut self, wanting: &BTreeSet<ImageName>) {
        for line in self.waiting.values_mut() {
            line.retain(|name| wanting.contains(name));
        }
        self.waiting.retain(|_, line| !line.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ImageName {
        ImageName::new(text.to_string()).unwrap()
    }

    #[test]
    fn a_slow_source_holds_up_only_its_own() {
        let mut turns = Turns::default();
        assert!(turns.take("slow", &name("a")));
        assert!(!turns.take("slow", &name("b")) && turns.take("fast", &name("c")));
        turns.ended(&name("c"));
        assert!(turns.take("fast", &name("c")), "as often as it likes");
        assert!(turns.has_turn(&name("a")) && !turns.has_turn(&name("b")));
    }

    #[test]
    fn who_is_due_again_at_once_comes_after_those_that_wait() {
        let mut turns = Turns::default();
        let mut had = Vec::new();
        for _ in 0..6 {
            // Each pass asks for all of them in the same order, and all want it each time.
            let got: Vec<ImageName> = ["a", "b", "c"].map(name).into_iter().filter(|n| turns.take("one", n)).collect();
            assert_eq!(got.len(), 1);
            had.push(got[0].to_string());
            turns.ended(&got[0]);
        }
        assert_eq!(had.concat(), "abcabc");
    }

    #[test]
    fn nobody_waits_behind_one_that_wants_nothing() {
        let mut turns = Turns::default();
        assert!(turns.take("one", &name("a")) && !turns.take("one", &name("b")) && !turns.take("one", &name("c")));
        turns.ended(&name("a"));
        turns.keep_waiting(&[name("c")].into());
        assert!(turns.take("one", &name("c")));
    }

    #[test]
    fn sources_at_the_same_time_are_bounded() {
        let mut turns = Turns::default();
        let taken = (0..20).filter(|n| turns.take(&format!("r{n}"), &name(&format!("i{n}")))).count();
        assert_eq!(taken, SOURCES_MAX);
    }

    #[test]
    fn a_source_is_a_registry_or_the_mirrors() {
        assert_eq!(source_of(None), "the mirrors");
        assert_eq!(source_of(Some("registry.example.org:5000/shop/app:1.4")), "registry.example.org:5000");
        assert_eq!(source_of(Some("oci-archive:/srv/app.tar")), source_of(Some("oci:/srv/app")));
    }
}
