//! For which image a source (the mirrors, one registry) is asked now, and which images are queued. Pure.
//!
//! A source is asked for one image at a time, in the order in which they wanted it: a slow one holds up its own images and no others, and
//! an image that is due again at once comes after those that have waited.

use model::{ImageName, ImageSource};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Sources that are asked at the same time. Which registries there are, the host policy says.
const SOURCES_MAX: usize = 8;

#[derive(Debug, Default)]
pub struct SourceQueues {
    running: BTreeMap<String, ImageName>,
    queued: BTreeMap<String, VecDeque<ImageName>>,
}

/// What the check and the bake of a recipe wait for; None: it is built of packages.
pub fn source_of(container: Option<&str>) -> String {
    match container.map(str::parse) {
        None => "the mirrors".to_string(),
        Some(Ok(ImageSource::Registry(reference))) => reference.registry,
        Some(_) => "files of this host".to_string(),
    }
}

impl SourceQueues {
    /// True: it is asked for this image now, until [`SourceQueues::end`]. False: the image is queued.
    pub fn begin(&mut self, source: &str, name: &ImageName) -> bool {
        let queue = self.queued.entry(source.to_string()).or_default();
        if !queue.contains(name) {
            queue.push_back(name.clone());
        }
        let is_next = queue.front() == Some(name) && !self.running.contains_key(source) && self.running.len() < SOURCES_MAX;
        if is_next {
            queue.pop_front();
            self.running.insert(source.to_string(), name.clone());
        }
        is_next
    }

    pub fn is_running(&self, name: &ImageName) -> bool {
        self.running.values().any(|running| running == name)
    }

    pub fn end(&mut self, name: &ImageName) {
        self.running.retain(|_, running| running != name);
    }

    /// Nobody waits behind an image that wants nothing any more.
    pub fn retain(&mut self, wanting: &BTreeSet<ImageName>) {
        for queue in self.queued.values_mut() {
            queue.retain(|name| wanting.contains(name));
        }
        self.queued.retain(|_, queue| !queue.is_empty());
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
        let mut queues = SourceQueues::default();
        assert!(queues.begin("slow", &name("a")));
        assert!(!queues.begin("slow", &name("b")) && queues.begin("fast", &name("c")));
        queues.end(&name("c"));
        assert!(queues.begin("fast", &name("c")), "as often as it likes");
        assert!(queues.is_running(&name("a")) && !queues.is_running(&name("b")));
    }

    #[test]
    fn who_is_due_again_at_once_comes_after_those_that_wait() {
        let mut queues = SourceQueues::default();
        let mut had = Vec::new();
        for _ in 0..6 {
            // Each pass asks for all of them in the same order, and all want it each time.
            let got: Vec<ImageName> = ["a", "b", "c"].map(name).into_iter().filter(|n| queues.begin("one", n)).collect();
            assert_eq!(got.len(), 1);
            had.push(got[0].to_string());
            queues.end(&got[0]);
        }
        assert_eq!(had.concat(), "abcabc");
    }

    #[test]
    fn nobody_waits_behind_one_that_wants_nothing() {
        let mut queues = SourceQueues::default();
        assert!(queues.begin("one", &name("a")) && !queues.begin("one", &name("b")) && !queues.begin("one", &name("c")));
        queues.end(&name("a"));
        queues.retain(&[name("c")].into());
        assert!(queues.begin("one", &name("c")));
    }

    #[test]
    fn sources_at_the_same_time_are_bounded() {
        let mut queues = SourceQueues::default();
        let taken = (0..20).filter(|n| queues.begin(&format!("r{n}"), &name(&format!("i{n}")))).count();
        assert_eq!(taken, SOURCES_MAX);
    }

    #[test]
    fn a_source_is_a_registry_or_the_mirrors() {
        assert_eq!(source_of(None), "the mirrors");
        assert_eq!(source_of(Some("registry.example.org:5000/shop/app:1.4")), "registry.example.org:5000");
        assert_eq!(source_of(Some("oci-archive:/srv/app.tar")), source_of(Some("oci:/srv/app")));
    }
}
