//! Whether an image may still come onto new servers: read from the lives on disk, by whoever is not the control plane too.
//!
//! ```text
//!                       a group that has no server yet      a group that has begun
//!   revoked             refused                             goes on: what is dead is replaced
//!   bad                 refused if the policy says so       goes on
//! ```
//! A group that has begun keeps its count: the others of it run that image anyway, and a fleet that melts away as its servers die
//! would trade a known fault for an outage. Whoever wants it gone says so (`--replace`), and then it goes without a gap.

use lifecycle::{One, State};
use model::{Digest, Fault, ImageName, Layout};
use store::Repository;

/// An image that is bad or revoked, and by what name.
#[derive(Clone, Debug, PartialEq)]
pub struct Blame {
    pub image: ImageName,
    pub one: One,
}

impl Blame {
    /// The words that were said.
    pub fn why(&self) -> String {
        self.one.story.last().map_or_else(|| self.one.state.word().to_string(), |t| t.text.clone())
    }

    pub fn fault(&self) -> Fault {
        let (image, digest) = (&self.image, self.one.digest.short());
        let told = format!("image {image} {digest} is {}", self.why());
        let again = format!("`afresh image rebuild {image} --again --digest {digest}`");
        match self.one.state {
            State::Revoked => Fault::yours("image-revoked", told)
                .hint(format!("`afresh image rebuild {image}` makes a new one when packages or recipe differ")),
            _ if self.one.may_run_other_code() => Fault::yours("image-bad", told).hint(format!(
                "`afresh image policy --refuse-bad off` lets a deploy of other code show that it is not; {again} tries the same code once more"
            )),
            _ => Fault::yours("image-bad", told).hint(format!("{again} checks it once more")),
        }
    }
}

/// What the image is under this name. Recipes of several names may give the same bytes: revoked is what one name has revoked, for it is
/// about the bytes; bad is about this name's recipe, its checks, and the services on it.
pub fn blame(layout: &Layout, image: &ImageName, digest: &Digest) -> Result<Option<Blame>, Fault> {
    if !layout.store().join("life").is_dir() {
        return Ok(None);
    }
    let repository = Repository::open(layout)?;
    let mut own = None;
    for name in repository.names()? {
        let Some(one) = repository.peek(&name)?.and_then(|life| life.image(digest).cloned()) else { continue };
        match one.state {
            State::Revoked => return Ok(Some(Blame { image: name, one })),
            State::Bad if name == *image => own = Some(Blame { image: name, one }),
            _ => {}
        }
    }
    Ok(own)
}

/// Refuses what may not come onto new servers.
pub fn may_begin(layout: &Layout, image: &ImageName, digest: &Digest, refuse_bad: bool) -> Result<(), Fault> {
    match blame(layout, image, digest)? {
        Some(blame) if blame.one.state == State::Revoked || refuse_bad => Err(blame.fault()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{Evidence, Life, Told};
    use model::Time;

    fn put(repository: &Repository, name: &str, digest: &Digest, state: State) {
        let mut life = Life::new(ImageName::new(name).unwrap());
        let story = vec![Told { at: Time(1), text: format!("{}: me says: so", state.word()) }];
        life.images.push(One { state, story, ..One::new(digest.clone(), digest.clone(), Time(1)) });
        repository.save(&life).unwrap();
    }

    #[test]
    fn revoked_by_any_name_and_bad_by_its_own_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let digest = disk::files::digest_of(b"x");
        let begin = |name: &str, refuse_bad| may_begin(&layout, &ImageName::new(name).unwrap(), &digest, refuse_bad);
        begin("b", true).unwrap();
        assert!(!layout.store().exists(), "who only asks leaves nothing");
        let repository = Repository::open(&layout).unwrap();
        put(&repository, "a", &digest, State::Bad);
        put(&repository, "b", &digest, State::Current);
        begin("b", true).unwrap();
        put(&repository, "b", &digest, State::Bad);
        begin("b", false).unwrap();
        assert_eq!(begin("b", true).unwrap_err().code, "image-bad");
        begin("other", true).unwrap();
        put(&repository, "c", &digest, State::Revoked);
        for name in ["a", "b", "c", "other"] {
            let fault = begin(name, false).unwrap_err();
            assert!(fault.code == "image-revoked" && fault.message.contains("revoked: me says: so"), "{fault:?}");
        }
        // A life that is cut off is read from the one before it; nothing is set aside by who only reads.
        put(&repository, "c", &digest, State::Revoked);
        let path = layout.store().join("life/c.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(begin("c", false).unwrap_err().code, "image-revoked");
        assert!(path.exists());
    }

    #[test]
    fn the_hint_of_a_refusal_names_the_image_that_it_is_about() {
        let digest = disk::files::digest_of(b"x");
        let hint = |evidence| {
            let one = One { state: State::Bad, evidence, ..One::new(digest.clone(), digest.clone(), Time(1)) };
            Blame { image: ImageName::new("base").unwrap(), one }.fault().hint.unwrap()
        };
        let again = format!("afresh image rebuild base --again --digest {}", digest.short());
        assert!(hint(Some(Evidence::Checks(Vec::new()))).contains(&again));
        let of_rollout = hint(Some(Evidence::Rollout(model::RolloutId::of(2))));
        assert!(of_rollout.contains(&again) && of_rollout.contains("afresh image policy --refuse-bad off"), "{of_rollout}");
    }
}
