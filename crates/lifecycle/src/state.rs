//! What is known of the images of one recipe, and the changes it goes through. Data and pure changes of it; `repository` keeps it on disk.

use crate::calendar::told;
use crate::changes::{Change, sentence};
use crate::deployed::Deployed;
use model::{Digest, GroupName, ImageCheck, ImageName, ImageSpec, RolloutId, ServiceName, TierName, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Of a container image that was just pulled.
const NOT_COMPARED: &str = "its packages are compared with those of its distribution at the next look";
/// Images that are neither used nor worth remembering are forgotten beyond this number.
const REMEMBERED: usize = 200;

/// The file `life/<image>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    pub name: ImageName,
    /// The one in force. None: only baked by hand so far.
    #[serde(default)]
    pub recipe: Option<ImageSpec>,
    /// Recipes that deploys brought, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployed: Vec<Deployed>,
    /// The order of tiers of the file it stood in.
    #[serde(default)]
    pub tiers: Vec<TierName>,
    /// The last look at the mirrors that came to its end.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// Why the last try came to nothing, if it did.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// Somebody asked for a look now.
    #[serde(default)]
    pub wanted: Option<Wanted>,
    /// Somebody asked that services on a revoked image be moved.
    #[serde(default)]
    pub replace: Option<Replace>,
    /// What was begun and not ended. Written before it is begun.
    #[serde(default)]
    pub work: Option<Work>,
    /// A bake that was begun and has not ended. Written before it begins, so that one in which the control plane was killed is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baking: Option<Baking>,
    /// Groups of tests that are to be made gone.
    #[serde(default)]
    pub leftovers: Vec<GroupName>,
    /// In the order in which they came to be.
    #[serde(default)]
    pub images: Vec<One>,
    /// Alarms that stand, by what of them stays the same: since when, and as they were reported then.
    #[serde(default)]
    pub raised: BTreeMap<String, Told>,
    /// Alarms as they came and went, oldest first.
    #[serde(default)]
    pub rang: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub at: Time,
    /// Of the newest packages there were then: the lock's digest.
    pub inputs: Digest,
    /// What of the current image was not the newest.
    #[serde(default)]
    pub behind: Vec<Change>,
    /// Why it is not known whether every package of it is the newest: of a container image whose own packages cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// `check`, `bake`, `test`, `rollout`.
    pub during: String,
    pub since: Time,
    pub why: String,
    pub times: u32,
    /// Not tried again before; None: not before the inputs differ.
    #[serde(default)]
    pub until: Option<Time>,
    /// The inputs that could not be baked.
    #[serde(default)]
    pub inputs: Option<Digest>,
    /// The control plane ended in the middle of it: nobody saw why, and an alarm says so at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baking {
    pub begun: Time,
    pub inputs: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub at: Time,
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replace {
    pub digest: Digest,
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Candidate,
    Tested,
    Current,
    Retired,
    /// It was rolled back, or failed its checks.
    Bad,
    Revoked,
}

impl State {
    pub const ALL: [State; 6] = [State::Candidate, State::Tested, State::Current, State::Retired, State::Bad, State::Revoked];

    pub fn of_word(word: &str) -> Option<State> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            State::Candidate => "candidate",
            State::Tested => "tested",
            State::Current => "current",
            State::Retired => "retired",
            State::Bad => "bad",
            State::Revoked => "revoked",
        }
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct One {
    pub digest: Digest,
    /// Of everything that went in: equal inputs give equal bytes.
    pub inputs: Digest,
    pub state: State,
    /// When it came to this state.
    pub since: Time,
    pub baked: Time,
    /// When it was last known to hold the newest of every package. An image is as old as that: baked again from the same
    /// packages it would be the same, so the day of its bake says nothing.
    pub patched: Time,
    /// A rollout of it was promoted everywhere, or somebody's deploy on it was: its own rollout cannot make it bad any more.
    #[serde(default)]
    pub proven: bool,
    /// What showed that it is bad. None: it is not, or an older version found it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Baked by somebody, who may want to deploy it himself: it is not rolled out before the next look.
    #[serde(default)]
    pub by_hand: bool,
    /// Services that were turned to it, and the image each stood on: what somebody rolls back by hand is left alone.
    #[serde(default)]
    pub tried: BTreeSet<(ServiceName, Digest)>,
    /// Services that cannot run on it with their present settings. The others are moved to it without them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<ServiceName, LeftOut>,
    /// Against the image that was current when it was baked.
    #[serde(default)]
    pub changes: Vec<Change>,
    #[serde(default)]
    pub cves: Vec<String>,
    /// What it must pass, where that is not what the deployed recipe says: somebody baked it from a file of his.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<ImageCheck>>,
    /// What happened to it and why, oldest first.
    #[serde(default)]
    pub story: Vec<Told>,
}

/// A service that stays where it is, while others are moved to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The image it stays on.
    pub on: Digest,
    /// Also what to do.
    pub why: String,
}

/// What showed that an image is bad. Each is about the image alone: what was deployed with other code or settings shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It failed one of these checks; of other checks this says nothing.
    Checks(Vec<ImageCheck>),
    /// Services that were moved to it, with nothing else changed, were rolled back. Other code may run on it.
    Rollout(RolloutId),
    /// It is a container image, and no service can run with what it leaves to the image. With other settings they may.
    Unusable,
}

/// What somebody baked and gave over to be tested: the file `life/<image>.handed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    pub digest: Digest,
    /// When the mirrors had nothing newer, by the wall's clock.
    pub patched: Time,
    /// It must pass these before it becomes current.
    #[serde(default)]
    pub checks: Vec<ImageCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub at: Time,
    pub text: String,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Test(Test),
    /// `id` is the number it gets when it is opened; a rollout of that number that is not there was never opened.
    Rollout {
        digest: Digest,
        id: RolloutId,
        services: Vec<(ServiceName, Digest)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub digest: Digest,
    /// Its place in the recipe's checks.
    pub check: usize,
    pub group: GroupName,
    /// By the wall's clock.
    pub begun: Time,
}

impl One {
    /// A candidate of this moment, of which nothing was reported yet.
    pub fn new(digest: Digest, inputs: Digest, at: Time) -> One {
        One {
            digest,
            inputs,
            state: State::Candidate,
            since: at,
            baked: at,
            patched: at,
            proven: false,
            evidence: None,
            by_hand: false,
            tried: BTreeSet::new(),
            left_out: BTreeMap::new(),
            changes: Vec::new(),
            cves: Vec::new(),
            checks: None,
            story: Vec::new(),
        }
    }

    /// A deploy of the service on another image ends it.
    pub fn leaves_out(&self, service: &ServiceName, on: &Digest) -> bool {
        self.left_out.get(service).is_some_and(|left| left.on == *on)
    }

    /// It is bad, and these checks may find otherwise. One that an older version found bad is checked again.
    pub fn may_pass(&self, checks: &[ImageCheck]) -> bool {
        self.state == State::Bad
            && match &self.evidence {
                Some(Evidence::Checks(failed)) => failed != checks,
                Some(Evidence::Rollout(_) | Evidence::Unusable) => false,
                None => true,
            }
    }

    /// It is bad, and only for the code and settings that were moved to it.
    pub fn may_run_other_code(&self) -> bool {
        self.state == State::Bad && matches!(self.evidence, Some(Evidence::Rollout(_) | Evidence::Unusable))
    }
}

impl Life {
    pub fn new(name: ImageName) -> Life {
        Life {
            name,
            recipe: None,
            deployed: Vec::new(),
            tiers: Vec::new(),
            checked: None,
            trouble: None,
            wanted: None,
            replace: None,
            work: None,
            baking: None,
            leftovers: Vec::new(),
            images: Vec::new(),
            raised: BTreeMap::new(),
            rang: Vec::new(),
        }
    }

    /// Notes which alarms stand now. Gives those that did not stand before.
    pub fn heed(&mut self, alarms: &[String], now: Time) -> Vec<String> {
        // What differs from time to time ("three minutes ago") does not make it another.
        let key = |text: &String| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let standing: BTreeSet<String> = alarms.iter().map(key).collect();
        let over: Vec<String> = self.raised.keys().filter(|k| !standing.contains(*k)).cloned().collect();
        for key in over {
            if let Some(raised) = self.raised.remove(&key) {
                self.rang.push(Told { at: now, text: format!("over after {}: {}", told(now.since(raised.at)), raised.text) });
            }
        }
        let new: Vec<String> = alarms.iter().filter(|a| !self.raised.contains_key(&key(a))).cloned().collect();
        for text in &new {
            self.raised.insert(key(text), Told { at: now, text: text.clone() });
            self.rang.push(Told { at: now, text: format!("alarm: {text}") });
        }
        let excess = self.rang.len().saturating_sub(REMEMBERED);
        self.rang.drain(..excess);
        new
    }

    pub fn image(&self, digest: &Digest) -> Option<&One> {
        self.images.iter().find(|i| i.digest == *digest)
    }

    pub fn image_mut(&mut self, digest: &Digest) -> Option<&mut One> {
        self.images.iter_mut().find(|i| i.digest == *digest)
    }

    /// What an image of this digest must pass.
    pub fn checks(&self, digest: &Digest) -> &[ImageCheck] {
        let own = self.image(digest).and_then(|one| one.checks.as_deref());
        own.unwrap_or_else(|| self.recipe.as_ref().map_or(&[], |r| &r.checks))
    }

    pub fn in_force(&self) -> Option<&Deployed> {
        self.deployed.iter().rev().find(|d| self.recipe.as_ref() == Some(&d.recipe))
    }

    /// Whether the image is one of the recipe in force. Where none was recorded yet every image is.
    pub fn is_of_recipe(&self, image: &Digest) -> bool {
        self.in_force().is_none_or(|d| d.images.contains(image))
    }

    pub fn put_under_recipe(&mut self, image: &Digest) {
        if let Some(id) = self.in_force().map(|d| d.id.clone()) {
            self.put_under(&id, image);
        }
    }

    /// An image that was deployed with a recipe, or baked from it.
    pub fn put_under(&mut self, id: &Digest, image: &Digest) {
        if let Some(deployed) = self.deployed.iter_mut().find(|d| d.id == *id && !d.images.contains(image)) {
            let excess = (deployed.images.len() + 1).saturating_sub(REMEMBERED);
            deployed.images.drain(..excess);
            deployed.images.push(image.clone());
        }
    }

    pub fn from_inputs(&self, inputs: &Digest) -> Option<&One> {
        self.images.iter().find(|i| i.inputs == *inputs)
    }

    pub fn current(&self) -> Option<&One> {
        self.images.iter().find(|i| i.state == State::Current)
    }

    /// The newest image of the recipe in force, if it was found bad, and the older one that services stay on. Something newer ends it.
    pub(crate) fn withheld(&self) -> Option<(&One, &One)> {
        let of_recipe = self.images.iter().filter(|one| self.is_of_recipe(&one.digest));
        let newest = of_recipe.max_by_key(|one| one.baked).filter(|one| one.state == State::Bad)?;
        Some((newest, self.current()?))
    }

    /// The newest in this state.
    pub fn newest(&self, state: State) -> Option<&One> {
        self.images.iter().rev().filter(|i| i.state == state).max_by_key(|i| i.since)
    }

    /// The image to return to: the one of the recipe in force that was current last and is neither bad nor revoked.
    pub fn fallback(&self) -> Option<&One> {
        self.images.iter().rev().filter(|i| i.state == State::Retired && self.is_of_recipe(&i.digest)).max_by_key(|i| i.since)
    }

    pub fn turn(&mut self, digest: &Digest, state: State, now: Time, text: impl Into<String>) {
        if let Some(one) = self.image_mut(digest) {
            one.state = state;
            one.since = now;
            one.evidence = None;
            one.story.push(Told { at: now, text: text.into() });
        }
    }

    /// Puts in an image that was baked of the recipe in force, or was there from the same inputs. A bad or revoked one stays so.
    pub fn baked(&mut self, one: One, why: &str) {
        let (now, digest) = (one.baked, one.digest.clone());
        self.put_under_recipe(&digest);
        match self.image_mut(&digest) {
            Some(known) if matches!(known.state, State::Retired) => {
                known.patched = now;
                self.turn(&digest, State::Candidate, now, format!("is the newest again: {why}"));
            }
            Some(known) => known.patched = now,
            None => {
                self.images.push(one);
                let text = self.image(&digest).map(|o| sentence(&o.changes, &o.cves)).unwrap_or_default();
                self.turn(&digest, State::Candidate, now, format!("baked, {why}: {text}"));
            }
        }
        self.wanted = None;
        if self.trouble.as_ref().is_some_and(|t| t.during == "bake") {
            self.trouble = None;
        }
        self.forget();
    }

    /// Takes in what somebody baked. What is under way, current or revoked stays what it is, and what is bad unless its checks differ.
    pub fn take_in(&mut self, mut one: One, now: Time) {
        let digest = one.digest.clone();
        // A bake of the recipe in force was a look, too.
        if self.is_of_recipe(&digest) && self.checked.as_ref().is_none_or(|c| c.at < one.patched) {
            let unknown = self.is_container().then(|| NOT_COMPARED.to_string());
            self.looked(Checked { at: one.patched, inputs: one.inputs.clone(), behind: Vec::new(), unknown });
        }
        match self.image_mut(&digest) {
            Some(known) if known.state == State::Retired => {
                (known.by_hand, known.checks) = (true, one.checks);
                self.turn(&digest, State::Candidate, now, "somebody baked it again");
            }
            Some(known) if known.may_pass(one.checks.as_deref().unwrap_or_default()) => {
                (known.by_hand, known.checks) = (true, one.checks);
                self.turn(&digest, State::Candidate, now, "somebody baked it again, and its recipe has other checks");
            }
            Some(_) => {}
            None => {
                one.by_hand = true;
                let text = format!("baked by hand: {}", sentence(&one.changes, &one.cves));
                self.images.push(one);
                self.turn(&digest, State::Candidate, now, text);
                self.forget();
            }
        }
    }

    /// A container image comes as it is: what is newest of it is its name's, and says nothing of its packages.
    pub fn is_container(&self) -> bool {
        self.recipe.as_ref().is_some_and(|recipe| recipe.oci.is_some())
    }

    /// Who is asked whether there is something new.
    pub fn asked(&self) -> &'static str {
        self.recipe.as_ref().and_then(|recipe| recipe.oci.as_ref()).map_or("the mirrors", |source| source.asked())
    }

    /// Whether the name of a container image led to another one at the last look. Then nothing was compared, and this is all that is behind.
    pub fn tag_moved(&self) -> bool {
        let reference = self.recipe.as_ref().and_then(|recipe| recipe.oci.as_ref()).map(|source| source.reference.as_str());
        reference.is_some() && self.checked.as_ref().is_some_and(|c| c.behind.iter().any(|change| Some(change.name.as_str()) == reference))
    }

    /// What was baked is of these inputs, which may be newer than those that were looked at.
    pub fn baked_from(&mut self, inputs: Digest) {
        let is_container = self.is_container();
        if let Some(checked) = self.checked.as_mut() {
            checked.inputs = inputs;
            if is_container {
                (checked.behind, checked.unknown) = (Vec::new(), Some(NOT_COMPARED.to_string()));
            }
        }
    }

    /// The lock of all the newest packages, as of now.
    pub fn looked(&mut self, checked: Checked) {
        let at = checked.at;
        // A container image is what its name leads to, and may all the same hold packages that are not the newest.
        if checked.behind.is_empty() && checked.unknown.is_none() {
            for one in self.images.iter_mut().filter(|i| i.inputs == checked.inputs) {
                one.patched = at;
            }
        }
        // With something to bake, who asked for it has not got it yet.
        if self.from_inputs(&checked.inputs).is_some_and(|i| i.state != State::Retired) {
            self.wanted = None;
        }
        self.checked = Some(checked);
        if self.trouble.as_ref().is_some_and(|t| t.during == "check") {
            self.trouble = None;
        }
    }

    /// Makes it the current one, and the one before retired.
    pub fn promote(&mut self, digest: &Digest, now: Time, why: &str) {
        let before: Vec<Digest> =
            self.images.iter().filter(|i| i.state == State::Current && i.digest != *digest).map(|i| i.digest.clone()).collect();
        for old in before {
            self.turn(&old, State::Retired, now, format!("{} took its place", digest.short()));
        }
        self.turn(digest, State::Current, now, format!("made current: {why}"));
    }

    /// It failed; the one before is current again, if there is one. Gives what is current then.
    pub fn went_bad(&mut self, digest: &Digest, state: State, now: Time, why: &str) -> Option<Digest> {
        let was_current = self.image(digest).is_some_and(|i| i.state == State::Current);
        self.turn(digest, state, now, format!("{}: {why}", state.word()));
        if !was_current {
            return None;
        }
        let back = self.fallback().map(|i| i.digest.clone())?;
        self.turn(&back, State::Current, now, format!("current again: {} is {}", digest.short(), state.word()));
        Some(back)
    }

    /// Its checks or its rollout failed, which shows something of the image alone.
    pub fn found_bad(&mut self, digest: &Digest, evidence: Evidence, now: Time, why: &str) -> Option<Digest> {
        let back = self.went_bad(digest, State::Bad, now, why);
        if let Some(one) = self.image_mut(digest) {
            one.evidence = Some(evidence);
        }
        back
    }

    /// These services cannot run on the image; a rollout that was about to move them is decided again without them.
    pub fn leave_out(&mut self, digest: &Digest, unfit: Vec<(ServiceName, LeftOut)>, now: Time) {
        self.work = None;
        let Some(one) = self.image_mut(digest) else { return };
        for (service, left) in unfit {
            one.story.push(Told { at: now, text: format!("{service} is left out: {}", left.why) });
            one.left_out.insert(service, left);
        }
    }

    /// A deploy on a bad image was promoted: other code runs on it. Whether it is to be the current one: not in place of a newer one.
    pub fn cleared(&mut self, digest: &Digest, now: Time, why: &str) -> bool {
        self.turn(digest, State::Retired, now, why);
        let Some(one) = self.image_mut(digest) else { return false };
        one.proven = true;
        let patched = one.patched;
        self.is_of_recipe(digest) && self.current().is_none_or(|c| c.patched <= patched)
    }

    /// The pause between failed tries: a minute, two, four, an hour at most.
    pub fn failed(&mut self, during: &str, why: &str, again: bool, inputs: Option<Digest>, now: Time, minute_ms: u64) {
        // Who asked sees it in the answer, and asks again when something has changed.
        self.wanted = None;
        let same = self.trouble.take().filter(|t| t.during == during && t.inputs == inputs);
        let times = same.as_ref().map_or(0, |t| t.times).saturating_add(1);
        let wait = minute_ms.saturating_mul(1 << times.saturating_sub(1).min(6)).min(60 * minute_ms);
        self.trouble = Some(Trouble {
            during: during.to_string(),
            since: same.map_or(now, |t| t.since),
            why: why.to_string(),
            times,
            until: (again || inputs.is_none()).then(|| now.plus(wait)),
            inputs,
            interrupted: false,
        });
    }

    /// As a control plane begins: a bake that is on record as begun ended with the one before. It is tried again as any that failed; who asked
    /// for it still waits, but for one that was interrupted before too.
    pub fn was_interrupted(&mut self, now: Time, minute_ms: u64) -> Option<Baking> {
        let baking = self.baking.take()?;
        let wanted = self.wanted.take();
        let why = "the control plane ended in the middle of it";
        self.failed("bake", why, true, Some(baking.inputs.clone()), now, minute_ms);
        if let Some(trouble) = self.trouble.as_mut() {
            trouble.interrupted = true;
            self.wanted = wanted.filter(|_| trouble.times == 1);
        }
        Some(baking)
    }

    /// A bad image becomes a candidate again: its checks are done again, and its rollout where its recipe is in force.
    pub fn try_again(&mut self, digest: &Digest, now: Time, by: &str) {
        if let Some(one) = self.image_mut(digest) {
            one.tried.clear();
            one.left_out.clear();
        }
        self.turn(digest, State::Candidate, now, format!("tried again: {by} asked for it"));
    }

    fn forget(&mut self) {
        while self.images.len() > REMEMBERED {
            let Some(place) = self.images.iter().position(|i| i.state == State::Retired) else { return };
            self.images.remove(place);
        }
    }
}
