//! What a bake gives, whatever it was made from, and how it becomes its recipe's current image.

use crate::base::Base;
use crate::progress::Steps;
use attest::{Key, blame, signing_key};
use guard::waiver::Waiver;
use lifecycle::{Evidence, Handed, State};
use model::{Digest, Fault, ImageName, ImageSpec, Time};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use store::manifest::{Manifest, Package};
use store::{Did, Repository, Store};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baked {
    pub image: ImageName,
    pub digest: Digest,
    pub did: Did,
    /// Why nothing was done, or what was.
    pub why: String,
    pub bytes: u64,
    pub packages: Vec<Package>,
    /// What it is now: current, or a candidate that is to be tested first, or bad or revoked, which it stays.
    pub state: State,
    /// Why it is that.
    pub state_why: String,
    /// What showed that it is bad, if it was before.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Seconds by step, of this call.
    pub steps: Vec<(String, f64)>,
    /// What a reader should know: a check that was switched off, a script that ran.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What it has in common with other images, where that was taken from the store or put there.
    #[serde(default)]
    pub base: Option<Base>,
    /// Of a container image: its name, and the digest that pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<(String, Digest)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bake also when nothing is new.
    pub fresh: bool,
    /// Sign with the key in this file; made if it is not there. None: what this machine signs with.
    pub key: Option<PathBuf>,
    /// Leave the recipe's current image as it is: who bakes tests this one himself.
    pub candidate: bool,
    /// Exposures of finished trees that somebody answers for.
    pub waivers: Vec<Waiver>,
}

pub fn finish(
    store: &Store,
    spec: &ImageSpec,
    options: &Options,
    (made, base): (Manifest, Option<Base>),
    (did, why): (Did, &str),
    (looked, notes): (Time, Vec<String>),
    steps: Steps,
) -> Result<Baked, Fault> {
    let (state, state_why, evidence) = promote(store, spec, options, &made.digest, looked)?;
    Ok(Baked {
        image: spec.name.clone(),
        digest: made.digest,
        did,
        why: why.to_string(),
        bytes: made.bytes,
        packages: made.packages,
        state,
        state_why,
        evidence,
        notes: made.notes.into_iter().chain(notes).collect(),
        base,
        pinned: made.container.map(|c| (c.reference, c.manifest)),
        steps: steps.finish(),
    })
}

/// What became of an image, why, and what shows that it is bad.
type Became = (State, String, Option<Evidence>);

fn promote(store: &Store, spec: &ImageSpec, options: &Options, digest: &Digest, looked: Time) -> Result<Became, Fault> {
    if options.candidate {
        return Ok((State::Candidate, "it is to be tested".to_string(), None));
    }
    let blame = blame(store.layout(), &spec.name, digest)?;
    if let Some(blame) = blame.as_ref().filter(|blame| !blame.one.may_pass(&spec.checks)) {
        return Ok((blame.one.state, blame.why(), blame.one.evidence.clone()));
    }
    let repository = Repository::open(store.layout())?;
    let known = repository.peek(&spec.name)?.and_then(|life| life.image(digest).map(|one| one.state));
    // What cannot be read is none, and is written again.
    let is_current = matches!(store.current(&spec.name), Ok(Some(current)) if &current == digest);
    if is_current && known.is_none_or(|state| state == State::Current) {
        return Ok((State::Current, "it was before".to_string(), None));
    }
    if spec.checks.is_empty() && blame.is_none() {
        store.set_current(&spec.name, digest)?;
        return Ok((State::Current, "its recipe has no checks".to_string(), None));
    }
    repository.hand_over(&spec.name, &Handed { digest: digest.clone(), patched: looked, checks: spec.checks.clone() })?;
    let names: Vec<&str> = spec.checks.iter().map(|c| c.name.as_str()).collect();
    let why = if names.is_empty() {
        "it failed a check that its recipe has no more".to_string()
    } else {
        format!("the control plane is to check {}", names.join(", "))
    };
    Ok((State::Candidate, why, None))
}

pub fn key(store: &Store, options: &Options) -> Result<Key, Fault> {
    options.key.as_ref().map_or_else(|| signing_key(store), |path| Key::load_or_make(path))
}
