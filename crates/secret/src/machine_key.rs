//! The machine's key: an age identity in a file that root alone can read, and the keys that are derived from it.

use crate::age_file;
use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use bech32::{ToBase32, Variant};
use disk::files;
use hmac::{Hmac, Mac};
use model::{Fault, SecretName, SecretVersion, ServiceName};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// No key file is longer.
const KEY_BYTES_MAX: u64 = 4 << 10;

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("machine.key")
}

/// There while the key is exchanged: what is encrypted for it already is read with it.
pub(crate) fn next_path(dir: &Path) -> PathBuf {
    dir.join("machine.key.new")
}

/// Whether this is the fault of a machine's key that is missing or damaged.
pub fn is_lost(fault: &Fault) -> bool {
    fault.code == "machine-key"
}

fn lost(path: &Path, why: &str) -> Fault {
    Fault::world("machine-key", format!("{}: {why}; without it no secret of this machine can be read", path.display()))
        .hint("put it back from a backup of the machine; else move the directory `secrets` away, and deploy each service that uses secrets again")
        .again(false)
}

/// None: there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Identity>, Fault> {
    let bytes = match files::read_limited(path, KEY_BYTES_MAX) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(fault) if fault.code == "no-such-file" => return Ok(None),
        Err(fault) => return Err(lost(path, &fault.message)),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| lost(path, "it is damaged"))?;
    let mut all = age_file::identities(text, "").map_err(|_| lost(path, "it is damaged or cut short"))?;
    Ok(all.pop())
}

/// The key, and the next one if there is one: the newest first.
pub(crate) fn all(dir: &Path) -> Result<Vec<Identity>, Fault> {
    let now = read(&path(dir))?;
    let next = read(&next_path(dir))?;
    match (next, now) {
        (None, None) => Err(lost(&path(dir), "it is missing")),
        (next, now) => Ok(next.into_iter().chain(now).collect()),
    }
}

pub(crate) fn write_new(path: &Path) -> Result<Identity, Fault> {
    let identity = Identity::generate();
    let public = identity.to_public();
    let secret = identity.to_string();
    let text = format!(
        "# the key of this machine's secrets: keep it to root, and keep a copy elsewhere\n# public key: {public}\n{}\n",
        secret.expose_secret()
    );
    let text = Zeroizing::new(text);
    disk::write(path, text.as_bytes(), 0o600, disk::Lasting::Now).map_err(files::at("cannot write", path))?;
    Ok(identity)
}

fn keyed(key: &[u8], purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes every key");
    for part in [purpose.as_bytes()].iter().chain(parts) {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// A service's own identity: a file that was encrypted for one service cannot be opened by asking for another.
pub(crate) fn of_service(machine: &Identity, service: &ServiceName) -> Result<Identity, Fault> {
    let secret = machine.to_string();
    let bytes = keyed(secret.expose_secret().as_bytes(), "secrets/recipient/1", &[service.as_str().as_bytes()]);
    let derived = || {
        let text = Zeroizing::new(bech32::encode("age-secret-key-", bytes.to_base32(), Variant::Bech32).ok()?.to_uppercase());
        Identity::from_str(&text).ok()
    };
    derived().ok_or_else(|| Fault::ours("no-identity", format!("no identity could be derived for {service}")))
}

/// What versions are digested with. It stays when the machine's key is exchanged, so that releases keep what they pin.
pub(crate) struct VersionKey(pub Zeroizing<Vec<u8>>);

impl VersionKey {
    pub const BYTES: usize = 32;

    /// The service is part of it: whoever may store values for one service learns nothing of those of another by trying.
    pub fn version(&self, service: &ServiceName, name: &SecretName, value: &[u8]) -> SecretVersion {
        let parts = [service.as_str().as_bytes(), name.as_str().as_bytes(), value];
        let digest = keyed(&self.0, "secrets/version/1", &parts);
        SecretVersion::new(hex::encode(*digest)).expect("32 bytes are 64 hex digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_an_identity_of_its_own_that_stays() {
        let machine = Identity::generate();
        let of = |name: &str| of_service(&machine, &ServiceName::new(name).unwrap()).unwrap().to_public().to_string();
        assert_eq!(of("web"), of("web"));
        assert!(of("web") != of("worker") && of("web") != machine.to_public().to_string());
        assert!(of("web").starts_with("age1"));
    }

    /// The oracle is `hmac` of Python: hmac.new(b"k"*32, lengths and parts, "sha256").
    #[test]
    fn versions_are_hmac_sha256_over_service_name_and_value() {
        let key = VersionKey(Zeroizing::new(vec![b'k'; 32]));
        let version = |service: &str, name: &str, value: &[u8]| {
            key.version(&ServiceName::new(service).unwrap(), &SecretName::new(name).unwrap(), value)
        };
        assert_eq!(version("web", "db", b"hunter2").as_str(), "ec590d48440a364b6401bccc80afa65151644010519a8d7b54e940eb74b368f8");
        // Where each ends counts.
        assert_ne!(version("web", "db", b"hunter2"), version("web", "dbh", b"unter2"));
        assert_ne!(version("web", "db", b"hunter2"), version("webd", "b", b"hunter2"));
    }
}
