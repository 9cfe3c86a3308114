//! Values at rest, by service and version. Whoever stores holds the lock; whoever reads needs none.

use crate::age_file;
use crate::machine_key::{self, VersionKey};
use crate::value::{Value, too_large};
use age::x25519::Identity;
use disk::files;
use disk::lock::Lock;
use model::{Fault, Layout, SECRET_BYTES_MAX, SecretName, SecretVersion, ServiceName, Time};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// age adds some hundred bytes, and 16 for every 64 KiB.
const FILE_BYTES_MAX: u64 = SECRET_BYTES_MAX as u64 + 4096;
/// Of a file that somebody else encrypted: armour makes it a third larger.
const AGE_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX;
const READS: usize = 3;
const READ_AGAIN: Duration = Duration::from_millis(20);

/// The secrets of a data directory.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub(crate) dir: PathBuf,
}

/// A value that is there. Neither it nor its size is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub service: ServiceName,
    pub version: SecretVersion,
    /// When it was given last.
    pub at: Time,
}

impl Secrets {
    pub fn of(layout: &Layout) -> Self {
        Self { dir: layout.secrets() }
    }

    /// As [`Secrets::of`], by the directory itself.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Stores a value for a service. It takes the same way whether the value is there already or not: what it costs tells nothing.
    pub fn put(&self, service: &ServiceName, name: &SecretName, value: &Value) -> Result<SecretVersion, Fault> {
        let _alone = self.lock()?;
        let (machine, version_key) = self.keys_or_new()?;
        let version = version_key.version(service, name, value.bytes());
        let encrypted = age_file::encrypt(&machine.to_public(), value.bytes())?;
        let dir = self.of_service(service);
        private_dir(&dir)?;
        let path = dir.join(version.as_str());
        disk::write(&path, &encrypted, 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))?;
        Ok(version)
    }

    /// The version that a value would have; nothing is stored but the keys, if there are none yet.
    pub fn version(&self, service: &ServiceName, name: &SecretName, value: &Value) -> Result<SecretVersion, Fault> {
        let _alone = self.lock()?;
        Ok(self.keys_or_new()?.1.version(service, name, value.bytes()))
    }

    /// The value that a release of this service pins.
    pub fn get(&self, service: &ServiceName, name: &SecretName, version: &SecretVersion) -> Result<Value, Fault> {
        let path = self.of_service(service).join(version.as_str());
        let damaged = || {
            Fault::world("secret-damaged", format!("{}: secret {name} of {service} is damaged", path.display()))
                .hint(format!("`afresh deploy {service}` stores its value again"))
                .again(false)
        };
        read_again(|| {
            let keys = machine_key::all(&self.dir)?;
            let bytes = files::read_limited(&path, FILE_BYTES_MAX).map_err(|fault| match fault.code.as_str() {
                "no-such-file" => missing(service, name, version),
                "too-large" => damaged(),
                _ => fault,
            })?;
            let value = age_file::decrypt_with(name, &keys, &bytes).ok().flatten().ok_or_else(damaged)?;
            let is_it = self.version_key(&keys)?.version(service, name, value.bytes()) == *version;
            if is_it { Ok(value) } else { Err(damaged()) }
        })
    }

    /// The value is there, as far as that can be seen without reading it.
    pub fn must_have(&self, service: &ServiceName, name: &SecretName, version: &SecretVersion) -> Result<(), Fault> {
        let is_there = files::exists(&self.of_service(service).join(version.as_str()));
        if is_there { Ok(()) } else { Err(missing(service, name, version)) }
    }

    /// The machine's key can be read, or nothing depends on it.
    pub fn check(&self) -> Result<(), Fault> {
        if self.is_empty()? { Ok(()) } else { read_again(|| self.version_key(&machine_key::all(&self.dir)?).map(drop)) }
    }

    /// For whom a file is encrypted that this machine shall open for this service alone.
    pub fn recipient(&self, service: &ServiceName) -> Result<String, Fault> {
        let _alone = self.lock()?;
        let (machine, _) = self.keys_or_new()?;
        Ok(machine_key::of_service(&machine, service)?.to_public().to_string())
    }

    /// The value in a file that was encrypted for the service.
    pub fn open(&self, service: &ServiceName, name: &SecretName, file: &[u8]) -> Result<Value, Fault> {
        // Each recipient of a file costs a computation: a short value has no need of thousands.
        if file.len() > AGE_BYTES_MAX {
            return Err(too_large(name));
        }
        let of_service = |machine: &Identity| machine_key::of_service(machine, service);
        let own: Vec<Identity> = machine_key::all(&self.dir)?.iter().map(of_service).collect::<Result<_, _>>()?;
        age_file::decrypt_with(name, &own, file)?.ok_or_else(|| {
            Fault::yours("secret-other-recipient", format!("secret {name}: the file is not encrypted for {service} on this machine"))
                .hint(format!("encrypt it again for the recipient of `afresh secret recipient {service}`"))
        })
    }

    pub fn list(&self) -> Result<Vec<Stored>, Fault> {
        let mut all = Vec::new();
        for service in names(&self.values())?.into_iter().filter_map(|name| ServiceName::new(name).ok()) {
            for version in names(&self.of_service(&service))?.into_iter().filter_map(|name| SecretVersion::new(name).ok()) {
                if let Ok(about) = fs::metadata(self.of_service(&service).join(version.as_str())) {
                    let ms = about.mtime().saturating_mul(1_000) + about.mtime_nsec() / 1_000_000;
                    all.push(Stored { service: service.clone(), version, at: Time(u64::try_from(ms).unwrap_or(0)) });
                }
            }
        }
        all.sort();
        Ok(all)
    }

    /// Deletes values that are not kept and were not given within the time of grace: the release that pins one may not be written yet.
    pub fn sweep(&self, keep: &BTreeSet<(ServiceName, SecretVersion)>, grace_ms: u64) -> Result<Vec<Stored>, Fault> {
        let _alone = self.lock()?;
        let now = files::now();
        let mut removed = Vec::new();
        for stored in self.list()? {
            if !keep.contains(&(stored.service.clone(), stored.version.clone())) && now.since(stored.at) >= grace_ms {
                files::remove_file(&self.of_service(&stored.service).join(stored.version.as_str()))?;
                removed.push(stored);
            }
        }
        for service in names(&self.values())? {
            let dir = self.values().join(service);
            // What a process left that was killed while it wrote: under the lock nobody writes.
            for half_made in names(&dir)?.into_iter().filter(|name| name.starts_with('.')) {
                files::remove_file(&dir.join(half_made))?;
            }
            // Only one that is empty goes.
            let _ = fs::remove_dir(dir);
        }
        Ok(removed)
    }

    pub(crate) fn lock(&self) -> Result<Lock, Fault> {
        private_dir(&self.dir)?;
        Lock::exclusive(&self.dir.join("lock"))
    }

    pub(crate) fn values(&self) -> PathBuf {
        self.dir.join("values")
    }

    pub(crate) fn of_service(&self, service: &ServiceName) -> PathBuf {
        self.values().join(service.as_str())
    }

    pub(crate) fn version_key_path(&self) -> PathBuf {
        self.dir.join("version.key")
    }

    pub(crate) fn is_empty(&self) -> Result<bool, Fault> {
        Ok(!files::exists(&self.version_key_path()) && self.list()?.is_empty())
    }

    /// Under the lock. Keys are made only where nothing depends on keys that were lost.
    fn keys_or_new(&self) -> Result<(Identity, VersionKey), Fault> {
        let path = machine_key::path(&self.dir);
        if self.is_empty()? && machine_key::read(&path)?.is_none() && machine_key::read(&machine_key::next_path(&self.dir))?.is_none() {
            machine_key::write_new(&path)?;
        }
        let keys = machine_key::all(&self.dir)?;
        let path = self.version_key_path();
        if !files::exists(&path) && self.list()?.is_empty() {
            let mut key = Zeroizing::new(vec![0; VersionKey::BYTES]);
            fill_random(&mut key)?;
            let encrypted = age_file::encrypt(&newest(&keys)?.to_public(), &key)?;
            disk::write(&path, &encrypted, 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))?;
        }
        let version_key = self.version_key(&keys)?;
        Ok((keys.into_iter().next().ok_or_else(no_key)?, version_key))
    }

    fn version_key(&self, keys: &[Identity]) -> Result<VersionKey, Fault> {
        let path = self.version_key_path();
        let lost = |why: &str| {
            Fault::world("machine-key", format!("{}: {why}; without it no secret of this machine can be read", path.display()))
                .hint("put it back from a backup of the machine; else move the directory `secrets` away, and deploy each service that uses secrets again")
                .again(false)
        };
        let bytes = files::read_limited(&path, FILE_BYTES_MAX).map_err(|fault| lost(&fault.message))?;
        let name = SecretName::new("version-key").map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        let value = age_file::decrypt_with(&name, keys, &bytes).map_err(|_| lost("it is damaged"))?;
        let value = value.ok_or_else(|| lost("it is encrypted for another machine's key"))?;
        if value.bytes().len() == VersionKey::BYTES {
            Ok(VersionKey(Zeroizing::new(value.bytes().to_vec())))
        } else {
            Err(lost("it is damaged"))
        }
    }
}

/// For readers, who hold no lock: the machine's key may be exchanged between their reading of it and of what is encrypted for it.
fn read_again<T>(read: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    for _ in 1..READS {
        match read() {
            Err(fault) if fault.code != "secret-missing" => std::thread::sleep(READ_AGAIN),
            done => return done,
        }
    }
    read()
}

fn no_key() -> Fault {
    Fault::ours("no-key", "there is no machine key")
}

fn newest(keys: &[Identity]) -> Result<&Identity, Fault> {
    keys.first().ok_or_else(no_key)
}

fn missing(service: &ServiceName, name: &SecretName, version: &SecretVersion) -> Fault {
    Fault::world("secret-missing", format!("secret {name} of {service} (version {}) is not on this machine", version.short()))
        .hint(format!("`afresh deploy {service}` gives its value again; a release that pins an older value needs that value"))
        .again(false)
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Fault> {
    let mut filled = 0;
    while filled < bytes.len() {
        let more = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        match more {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Fault::world("io", format!("the kernel gives no random bytes: {e}"))),
        }
    }
    Ok(())
}

fn private_dir(path: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(files::at("cannot make", path))
}

/// What is in a directory; one that is not there is empty.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Fault> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(files::at("cannot list", dir))?,
    };
    let mut all: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    Ok(all)
}
