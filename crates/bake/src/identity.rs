//! What packages make when they are configured that is one machine's or one moment's, and that taking out files does not settle.
//! It knows what it looks at by its form, and leaves alone what it does not know.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use disk::within::Root;
use model::Fault;
use sha1::{Digest, Sha1};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const KEYSTORE: &str = "etc/ssl/certs/java/cacerts";
/// What `keytool` and every Java opens it with: it holds nothing secret.
const PASSWORD: &str = "changeit";
const KEYSTORE_LIMIT: u64 = 64 << 20;

/// PostgreSQL's data directories and their settings, as they are in a tree.
pub fn clusters(root: &Root) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for place in ["etc/postgresql", "var/lib/postgresql"] {
        let place = Path::new(place);
        let versions = if root.parents_are_dirs(&place.join("x")) { root.list(place).ok() } else { None };
        for (version, _) in versions.into_iter().flatten().filter(|(_, kind)| kind.is_dir()) {
            let main = place.join(version).join("main");
            if root.is_dir(&main) {
                found.insert(main);
            }
        }
    }
    found
}

/// Run when packages were configured. `before`: [`clusters`] that were there then.
pub fn settle(root: &Root, before: &BTreeSet<PathBuf>) -> Result<(), Fault> {
    // A database has an identity of its own: servers that all begin with one copy are one database to what replicates it, and each
    // bake's is another. It is of no use anyhow: it names a key that was made for one machine. Who wants one runs
    // `pg_createcluster VERSION main` when the server starts, or in the recipe's script.
    for made in clusters(root).difference(before) {
        root.remove(made)?;
    }
    let path = Path::new(KEYSTORE);
    if root.parents_are_dirs(path) && root.is_file(path) {
        let bytes = root.read(path, KEYSTORE_LIMIT)?;
        if let Some(dateless) = without_dates(&bytes).filter(|d| *d != bytes) {
            root.rewrite(path, &dateless)?;
        }
    }
    Ok(())
}

/// A Java keystore (JKS) of trusted certificates, each of which tells when it was added, with 0 for that time and a new checksum.
/// None: it is of another form, holds more than certificates, or is damaged.
fn without_dates(bytes: &[u8]) -> Option<Vec<u8>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(20)?)?;
    if checksum(body) != sum {
        return None;
    }
    let mut out = body.to_vec();
    let number = |at: usize| Some(u32::from_be_bytes(body.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let text = |at: usize| Some(at + 2 + usize::from(u16::from_be_bytes(body.get(at..at.checked_add(2)?)?.try_into().ok()?)));
    if (number(0)?, number(4)?) != (0xfeed_feed, 2) {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(8)? {
        if number(at)? != 2 {
            return None; // not a certificate but a key
        }
        let date = text(at + 4)?;
        out.get_mut(date..date + 8)?.fill(0);
        let length = text(date + 8)?;
        at = length.checked_add(4)?.checked_add(usize::try_from(number(length)?).ok()?)?;
    }
    if at != body.len() {
        return None;
    }
    let sum = checksum(&out);
    out.extend_from_slice(&sum);
    Some(out)
}

/// As Java does it: of the password, a phrase of its authors, and all that stands before.
fn checksum(body: &[u8]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    PASSWORD.encode_utf16().for_each(|unit| hasher.update(unit.to_be_bytes()));
    hasher.update(b"Mighty Aphrodite");
    hasher.update(body);
    hasher.finalize().into()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own tree")]
mod tests {
    use super::*;

    fn keystore(dates: &[u64]) -> Vec<u8> {
        let mut b = [0xfeed_feed_u32, 2, dates.len() as u32].iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        for (n, date) in dates.iter().enumerate() {
            let (alias, certificate) = (format!("debian:ca-{n}"), vec![n as u8; 30 + n]);
            b.extend(2u32.to_be_bytes());
            b.extend((alias.len() as u16).to_be_bytes());
            b.extend(alias.as_bytes());
            b.extend(date.to_be_bytes());
            b.extend(5u16.to_be_bytes());
            b.extend(b"X.509");
            b.extend((certificate.len() as u32).to_be_bytes());
            b.extend(certificate);
        }
        let sum = checksum(&b);
        b.extend(sum);
        b
    }

    #[test]
    fn a_keystore_does_not_tell_when_it_was_made() {
        let (one, other) = (keystore(&[1_795_376_078_744, 7]), keystore(&[5, 1_795_376_078_745]));
        assert_ne!(one, other);
        assert_eq!(without_dates(&one), without_dates(&other));
        assert_eq!(without_dates(&one).unwrap(), keystore(&[0, 0]), "whole again, with a good checksum");
    }

    #[test]
    fn what_is_no_such_keystore_is_left_alone() {
        let good = keystore(&[1, 2, 3]);
        assert_eq!(without_dates(b""), None);
        assert_eq!(without_dates(&[0x30; 100]), None, "PKCS #12");
        for cut in 0..good.len() {
            assert_eq!(without_dates(&good[..cut]), None);
        }
        for at in 0..good.len() - 20 {
            // With a checksum that fits, whatever else is wrong: never a panic.
            let mut bad = good[..good.len() - 20].to_vec();
            bad[at] ^= 0xff;
            let sum = checksum(&bad);
            bad.extend(sum);
            let _ = without_dates(&bad);
        }
    }

    #[test]
    fn a_database_that_a_package_made_goes_and_one_that_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = &Root::open(dir.path()).unwrap();
        let make = |at: &str| std::fs::create_dir_all(dir.path().join(at)).unwrap();
        make("var/lib/postgresql/15/main/base");
        make("etc/postgresql/15/main");
        let before = clusters(root);
        assert_eq!(before.len(), 2);
        make("var/lib/postgresql/17/main/base");
        make("etc/postgresql/17/main/conf.d");
        make("var/lib/postgresql/17/other");
        settle(root, &before).unwrap();
        assert_eq!(clusters(root), before);
        assert!(root.is_dir(Path::new("var/lib/postgresql/17/other")) && root.is_dir(Path::new("etc/postgresql/17")));
    }
}
