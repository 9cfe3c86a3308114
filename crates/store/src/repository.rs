//! The lives on disk: `store/life/<image>.json`, and beside each the one before it. A file that cannot be read is set aside and
//! told; the one before it is taken, or a new one is begun. One process writes them: the control plane. Whoever else wants something
//! of it leaves a note beside them (`<image>.handed`), or only reads.

use crate::objects::to_json;
use disk::files;
use lifecycle::{Handed, Life};
use model::{Fault, ImageName, Layout};
use std::path::{Path, PathBuf};

/// Two hundred images with a thousand changes each are below this.
const LIMIT: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub struct Repository {
    dir: PathBuf,
}

impl Repository {
    pub fn open(layout: &Layout) -> Result<Repository, Fault> {
        let dir = layout.store().join("life");
        files::make_dir(&dir)?;
        Ok(Repository { dir })
    }

    fn path(&self, name: &ImageName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    fn before(&self, name: &ImageName) -> PathBuf {
        self.dir.join(format!("{name}.json.before"))
    }

    /// Every recipe there is a life of.
    pub fn names(&self) -> Result<Vec<ImageName>, Fault> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(files::at("cannot list", &self.dir))?.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = [".json", ".json.before", ".handed"].iter().find_map(|end| file.strip_suffix(end));
            names.extend(name.and_then(|n| ImageName::new(n).ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// What is known, and what could not be read. Err only where the disk itself fails.
    pub fn load(&self, name: &ImageName) -> Result<(Life, Option<Fault>), Fault> {
        let (path, before) = (self.path(name), self.before(name));
        let first = match read(&path, name)? {
            Some(Ok(life)) => return Ok((life, None)),
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        if first.is_some() {
            let aside = path.with_extension("json.damaged");
            std::fs::rename(&path, &aside).map_err(files::at("cannot set aside", &path))?;
        }
        match read(&before, name)? {
            Some(Ok(life)) => Ok((life, first)),
            Some(Err(second)) => Ok((Life::new(name.clone()), Some(first.unwrap_or(second)))),
            None => Ok((Life::new(name.clone()), first)),
        }
    }

    /// What is known, without changing anything on disk: for who is not the control plane. None where nothing can be read.
    pub fn peek(&self, name: &ImageName) -> Result<Option<Life>, Fault> {
        for path in [self.path(name), self.before(name)] {
            if let Some(Ok(life)) = read(&path, name)? {
                return Ok(Some(life));
            }
        }
        Ok(None)
    }

    fn handed_path(&self, name: &ImageName) -> PathBuf {
        self.dir.join(format!("{name}.handed"))
    }

    /// Gives an image over to be tested and made current; one that was given over before and not taken yet is dropped for it.
    pub fn hand_over(&self, name: &ImageName, handed: &Handed) -> Result<(), Fault> {
        files::write_atomic(&self.handed_path(name), &to_json(handed))
    }

    /// What was given over and not taken yet. A note that cannot be read is none: whoever wrote it asks again.
    pub fn handed(&self, name: &ImageName) -> Result<Option<Handed>, Fault> {
        match files::read_limited(&self.handed_path(name), LIMIT) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(f) if f.code == "no-such-file" => Ok(None),
            Err(f) => Err(f),
        }
    }

    /// It is in the life now. Left where a newer one was given over meanwhile.
    pub fn taken(&self, name: &ImageName, handed: &Handed) -> Result<(), Fault> {
        if self.handed(name)?.as_ref() == Some(handed) { files::remove_file(&self.handed_path(name)) } else { Ok(()) }
    }

    /// Durable when it returns. What was there is kept as the one before.
    pub fn save(&self, life: &Life) -> Result<(), Fault> {
        let path = self.path(&life.name);
        if let Ok(bytes) = files::read_limited(&path, LIMIT)
            && parse(&bytes, &path, &life.name).is_ok()
        {
            files::write_atomic(&self.before(&life.name), &bytes)?;
        }
        files::write_atomic(&path, &to_json(life))
    }
}

type Parsed = Result<Life, Fault>;

/// None: it is not there.
fn read(path: &Path, name: &ImageName) -> Result<Option<Parsed>, Fault> {
    match files::read_limited(path, LIMIT) {
        Ok(bytes) => Ok(Some(parse(&bytes, path, name))),
        Err(f) if f.code == "no-such-file" => Ok(None),
        Err(f) => Err(f),
    }
}

fn parse(bytes: &[u8], path: &Path, name: &ImageName) -> Parsed {
    let damaged = |why: &dyn std::fmt::Display| {
        Fault::world("life-damaged", format!("{} cannot be read: {why}", path.display()))
            .hint("it is set aside and the one before it taken; images marked bad or revoked since may have to be marked again")
            .again(false)
    };
    let life: Life = serde_json::from_slice(bytes).map_err(|e| damaged(&e))?;
    if life.name == *name { Ok(life) } else { Err(damaged(&format!("it tells of {}", life.name))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::One;
    use model::Time;

    fn name() -> ImageName {
        ImageName::new("base").unwrap()
    }

    #[test]
    fn damage_is_reported_and_the_one_before_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::open(&model::Layout::new(dir.path())).unwrap();
        assert_eq!(repository.load(&name()).unwrap(), (Life::new(name()), None));
        let mut life = Life::new(name());
        life.images.push(One::new(files::digest_of(b"a"), files::digest_of(b"a"), Time(1)));
        repository.save(&life).unwrap();
        let first = life.clone();
        life.images.push(One::new(files::digest_of(b"b"), files::digest_of(b"b"), Time(2)));
        repository.save(&life).unwrap();
        assert_eq!(repository.load(&name()).unwrap(), (life.clone(), None));
        assert_eq!(repository.names().unwrap(), [name()]);
        let path = dir.path().join("store/life/base.json");
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (read, fault) = repository.load(&name()).unwrap();
            assert_eq!((read, fault.unwrap().code.as_str()), (first.clone(), "life-damaged"));
            assert!(!path.exists(), "set aside");
        }
        std::fs::write(dir.path().join("store/life/base.json.before"), b"\0\xff{").unwrap();
        let (read, fault) = repository.load(&name()).unwrap();
        assert_eq!((read, fault.is_some()), (Life::new(name()), true));
    }
}
