//! What a build does one after another, what decides each stage's outcome, and where it pays to keep that. Pure.
//!
//! ```text
//! packages of the lowest base ─▶ its users, files, script ─▶ further packages ─▶ own users, files, script
//!                             scrub                      scrub                scrub                      scrub
//! ```
//!
//! Every stage ends scrubbed, so what a stage gives depends on nothing but the stages before it and its own inputs: it may be kept,
//! and a build that begins there ends where one from nothing does.

use crate::recipe;
use disk::files;
use model::{Digest, ImageCustom, ImageSpec};
use store::lockfile::{Lock, Locked};

/// Grows when a stage does something else with the same inputs.
const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Packages of this level.
    Packages(u32),
    /// Users, files and script of this level.
    Custom(u32),
}

impl Stage {
    pub fn level(self) -> u32 {
        match self {
            Stage::Packages(level) | Stage::Custom(level) => level,
        }
    }
}

pub struct Stages<'a> {
    lock: &'a Lock,
    levels: Vec<&'a ImageSpec>,
    /// Packages of level 0 are always the first.
    pub all: Vec<Stage>,
    /// After these numbers of stages the tree is kept for others; growing, all below the whole.
    pub kept: Vec<usize>,
}

/// What is done in the tree. Suites and components decide what is locked, and the packages show that.
pub fn acts(custom: &ImageCustom) -> ImageCustom {
    ImageCustom { suites: Vec::new(), components: Vec::new(), allow_unsigned: Vec::new(), ..custom.clone() }
}

impl<'a> Stages<'a> {
    pub fn of(lock: &'a Lock) -> Self {
        let levels = lock.head.spec.levels();
        let (mut all, mut kept) = (Vec::new(), Vec::new());
        for (level, spec) in (0u32..).zip(&levels) {
            if level == 0 || lock.packages.iter().any(|p| p.level == level) {
                all.push(Stage::Packages(level));
            }
            let is_last = level as usize + 1 == levels.len();
            let is_custom = !acts(&spec.custom).is_empty();
            // A base is whole before what is built on it. Of the image itself: its packages, so that another file or script is soon tried.
            if is_last && is_custom && all.last() == Some(&Stage::Packages(level)) {
                kept.push(all.len());
            }
            if is_custom {
                all.push(Stage::Custom(level));
            }
            if !is_last {
                kept.push(all.len());
            }
        }
        kept.dedup();
        kept.retain(|k| *k < all.len());
        Self { lock, levels, all, kept }
    }

    /// Of everything that decides the tree after `done` stages. The names of images do not, nor who asked for which package.
    pub fn key(&self, done: usize) -> Digest {
        let head = &self.lock.head;
        let mut text = format!("tree {FORMAT} {} {:?} {} {}\n", recipe::FORMAT, store::erofs::IMAGE_PACK, head.debian, head.arch);
        for stage in &self.all[..done] {
            match stage {
                Stage::Packages(level) => {
                    text.push_str("packages\n");
                    for p in self.packages(*level) {
                        text.push_str(&format!("{} {} {}\n", p.name, p.sha256, p.required));
                    }
                }
                Stage::Custom(level) => {
                    let custom = serde_json::to_string(&acts(self.custom(*level))).expect("our types hold nothing that JSON cannot");
                    text.push_str(&format!("custom {custom}\n"));
                }
            }
        }
        files::digest_of(text.as_bytes())
    }

    /// What a level brings.
    pub fn packages(&self, level: u32) -> impl Iterator<Item = &'a Locked> {
        self.lock.packages.iter().filter(move |p| p.level == level)
    }

    /// What is there after a level and all below it.
    pub fn packages_up_to(&self, level: u32) -> impl Iterator<Item = &'a Locked> {
        self.lock.packages.iter().filter(move |p| p.level <= level)
    }

    pub fn custom(&self, level: u32) -> &'a ImageCustom {
        &self.levels[level as usize].custom
    }

    /// The name of a tree after `done` stages.
    pub fn name(&self, done: usize) -> String {
        let stage = self.all[done - 1];
        let name = &self.levels[stage.level() as usize].name;
        let is_whole = !self.all[done..].contains(&Stage::Custom(stage.level()));
        if is_whole { name.to_string() } else { format!("{name}, packages only") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stage::{Custom, Packages};
    use store::testing::sample;

    /// Images upon one another, lowest first: a name, and whether it has a script. `a` is locked for the lowest, `b` for the next.
    fn lock(levels: &[(&str, bool)]) -> Lock {
        let mut spec: Option<ImageSpec> = None;
        for (name, script) in levels {
            let text = serde_json::json!({ "name": name, "debian": "bookworm", "packages": [] });
            let mut next: ImageSpec = serde_json::from_value(text).unwrap();
            next.custom.script = script.then(|| format!("echo {name}"));
            next.base = spec.take().map(Box::new);
            spec = Some(next);
        }
        let mut lock = sample(&[("a", "1"), ("b", "1")]);
        lock.packages[1].level = u32::from(levels.len() > 1);
        lock.head.spec = spec.unwrap();
        lock
    }

    #[test]
    fn stages_and_where_they_are_kept() {
        let of = |levels: &[(&str, bool)]| {
            let lock = lock(levels);
            let stages = Stages::of(&lock);
            let names: Vec<String> = stages.kept.iter().map(|k| stages.name(*k)).collect();
            (stages.all.clone(), stages.kept.clone(), names)
        };
        assert_eq!(of(&[("a", false)]), (vec![Packages(0)], vec![], vec![]), "the image itself is what it could be begun from");
        assert_eq!(of(&[("a", true)]), (vec![Packages(0), Custom(0)], vec![1], vec!["a, packages only".to_string()]));
        assert_eq!(of(&[("a", false), ("b", false)]), (vec![Packages(0), Packages(1)], vec![1], vec!["a".to_string()]));
        let (all, kept, names) = of(&[("a", true), ("b", true)]);
        assert_eq!((all, kept), (vec![Packages(0), Custom(0), Packages(1), Custom(1)], vec![2, 3]));
        assert_eq!(names, ["a", "b, packages only"]);
        // Nothing of its own between two: not kept twice. Nothing at all of its own: it is its base.
        assert_eq!(of(&[("a", false), ("b", false), ("c", false)]), (vec![Packages(0), Packages(1)], vec![1], vec!["a".to_string()]));
    }

    #[test]
    fn a_key_tells_of_all_that_decides_and_of_nothing_else() {
        let two = lock(&[("a", false), ("b", true)]);
        let key = |lock: &Lock, done| Stages::of(lock).key(done);
        let mut other = two.clone();
        other.head.spec.name = model::ImageName::new("other").unwrap();
        other.head.spec.packages = vec!["b".to_string()];
        other.packages[0].url = "http://elsewhere/".to_string();
        assert!((1..=3).all(|done| key(&two, done) == key(&other, done)), "another name, request and mirror, the same tree");
        // The base alone and the base of another image are one.
        let mut alone = lock(&[("a", false)]);
        alone.packages.truncate(1);
        assert_eq!(key(&alone, 1), key(&two, 1));
        let all: std::collections::BTreeSet<Digest> = (1..=3).map(|done| key(&two, done)).collect();
        assert_eq!(all.len(), 3);
        for change in [
            |l: &mut Lock| l.packages[0].sha256 = l.packages[1].sha256.clone(),
            |l: &mut Lock| l.packages[0].required = true,
            |l: &mut Lock| l.packages[1].level = 0,
            |l: &mut Lock| l.head.arch = "arm64".to_string(),
        ] {
            let mut changed = two.clone();
            change(&mut changed);
            assert_ne!(key(&changed, 1), key(&two, 1));
        }
        let mut changed = two.clone();
        changed.head.spec.custom.script = Some("true".to_string());
        assert!(key(&changed, 2) == key(&two, 2) && key(&changed, 3) != key(&two, 3));
    }
}
