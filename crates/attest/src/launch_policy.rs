//! Whether an image may still come onto new servers: read from the lives on disk, by whoever is not the control plane too.
//!
//! ```text
//!                       a group that has no server yet      a group that has begun
//!   revoked             refused                             goes on: what is dead is replaced
//!   bad                 refused if the policy says so       goes on
//! ```
//! A group that has begun keeps its count: the others of it run that image anyway, and a fleet that melts away as its servers die
//! would trade a known fault for an outage. Whoever wants it gone says so (`--replace`), and then it goes without a gap.

use lifecycle::State;
use model::{Digest, Fault, ImageName, Layout};
use store::Repository;

/// By what name, in which of the two states, and the words that were said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    pub image: ImageName,
    pub state: State,
    pub why: String,
}

impl Blame {
    pub fn fault(&self, digest: &Digest) -> Fault {
        let told = format!("image {} {} is {}", self.image, digest.short(), self.why);
        match self.state {
            State::Revoked => Fault::yours("image-revoked", told)
                .hint(format!("`afresh image rebuild {}` makes a new one when packages or recipe differ", self.image)),
            _ => Fault::yours("image-bad", told).hint(format!("`afresh image rebuild {} --again` tries it once more", self.image)),
        }
    }
}

/// Two recipes may give the same bytes: what is revoked by one name is revoked.
pub fn blame(layout: &Layout, digest: &Digest) -> Result<Option<Blame>, Fault> {
    if !layout.store().join("life").is_dir() {
        return Ok(None);
    }
    let repository = Repository::open(layout)?;
    let mut found: Option<Blame> = None;
    for name in repository.names()? {
        let Some(life) = repository.peek(&name)? else { continue };
        let Some(one) = life.image(digest).filter(|one| matches!(one.state, State::Bad | State::Revoked)) else { continue };
        let why = one.story.last().map_or_else(|| one.state.word().to_string(), |t| t.text.clone());
        let blame = Blame { image: name, state: one.state, why };
        if blame.state == State::Revoked {
            return Ok(Some(blame));
        }
        found.get_or_insert(blame);
    }
    Ok(found)
}

/// Refuses what may not come onto new servers.
pub fn may_begin(layout: &Layout, digest: &Digest, refuse_bad: bool) -> Result<(), Fault> {
    match blame(layout, digest)? {
        Some(blame) if blame.state == State::Revoked || refuse_bad => Err(blame.fault(digest)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{Life, One, Told};
    use model::Time;

    fn put(repository: &Repository, name: &str, digest: &Digest, state: State) {
        let mut life = Life::new(ImageName::new(name).unwrap());
        let story = vec![Told { at: Time(1), text: format!("{}: me says: so", state.word()) }];
        life.images.push(One { state, story, ..One::new(digest.clone(), digest.clone(), Time(1)) });
        repository.save(&life).unwrap();
    }

    #[test]
    fn revoked_by_any_name_and_bad_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let digest = disk::files::digest_of(b"x");
        may_begin(&layout, &digest, true).unwrap();
        assert!(!layout.store().exists(), "who only asks leaves nothing");
        let repository = Repository::open(&layout).unwrap();
        put(&repository, "a", &digest, State::Current);
        may_begin(&layout, &digest, true).unwrap();
        put(&repository, "b", &digest, State::Bad);
        may_begin(&layout, &digest, false).unwrap();
        assert_eq!(may_begin(&layout, &digest, true).unwrap_err().code, "image-bad");
        put(&repository, "c", &digest, State::Revoked);
        let fault = may_begin(&layout, &digest, false).unwrap_err();
        assert!(fault.code == "image-revoked" && fault.message.contains("revoked: me says: so"), "{fault:?}");
        // A life that is cut off is read from the one before it; nothing is set aside by who only reads.
        put(&repository, "c", &digest, State::Revoked);
        let path = layout.store().join("life/c.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(may_begin(&layout, &digest, false).unwrap_err().code, "image-revoked");
        assert!(path.exists());
    }
}
