//! Named tokens. Only the SHA-256 of each is kept, in a file for its owner alone; the token itself is shown once, to its creator.
//! A token has 256 random bits from the kernel, so its digest needs no salt and does not reveal it.

use api::control::{TokenMade, TokenRequest, TokenRow};
use model::access::Grant;
use model::{Fault, Layout, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const TOKENS_MAX: usize = 1_000;
const BYTES_MAX: u64 = 1 << 20;
const TOKEN_BYTES_MAX: u64 = 4 << 10;
/// Measured on its characters and on the differences between them: `aaaa...`, `abcabc...` and `0123...` have few bits.
const BITS_MIN: f64 = 80.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    tokens: Vec<One>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct One {
    #[serde(flatten)]
    row: TokenRow,
    /// Hexadecimal.
    sha256: String,
}

pub struct Tokens {
    path: PathBuf,
    writing: Mutex<()>,
}

pub fn digest_of(token: &[u8]) -> String {
    Sha256::digest(token).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn digest(token: &str) -> String {
    digest_of(token.as_bytes())
}

/// Both are digests: the time that the comparison takes reveals nothing of a token.
pub fn same(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(a.len() ^ b.len(), |differs, (a, b)| differs | usize::from(a ^ b));
    std::hint::black_box(differs) == 0
}

impl Tokens {
    pub fn new(layout: &Layout) -> Self {
        Self { path: layout.root().join("control/tokens.json"), writing: Mutex::default() }
    }

    /// The identity and grant of the token with this digest.
    pub fn find(&self, shown: &str) -> Result<Option<(String, Grant)>, Fault> {
        let kept = self.load()?;
        let found = kept.tokens.into_iter().rfind(|t| same(&t.sha256, shown));
        Ok(found.map(|t| (format!("token:{}", t.row.name), t.row.grant)))
    }

    pub fn list(&self) -> Result<Vec<TokenRow>, Fault> {
        Ok(self.load()?.tokens.into_iter().map(|t| t.row).collect())
    }

    pub fn create(&self, request: &TokenRequest, by: &str, now: Time) -> Result<TokenMade, Fault> {
        model::validation::account(&request.name, "token").map_err(Fault::from)?;
        request.grant.check()?;
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.load()?;
        if kept.tokens.iter().any(|t| t.row.name == request.name) {
            return Err(Fault::yours("name-taken", format!("a token {} exists already", request.name))
                .hint(format!("choose another name, or `afresh token revoke {}` first", request.name)));
        }
        if kept.tokens.len() >= TOKENS_MAX {
            return Err(Fault::yours("too-many", format!("there are {TOKENS_MAX} tokens, which is the limit"))
                .hint("revoke those that are not used"));
        }
        let token = random()?;
        let row = TokenRow { name: request.name.clone(), grant: request.grant.clone(), made: now, by: by.to_string() };
        kept.tokens.push(One { row: row.clone(), sha256: digest(&token) });
        self.save(&kept)?;
        Ok(TokenMade { row, token })
    }

    pub fn revoke(&self, name: &str) -> Result<(), Fault> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.load()?;
        let before = kept.tokens.len();
        kept.tokens.retain(|t| t.row.name != name);
        if kept.tokens.len() == before {
            let name = model::text::shown(name, 40);
            return Err(Fault::yours("not-found", format!("there is no token {name}")).hint("`afresh token list` shows them"));
        }
        self.save(&kept)
    }

    fn load(&self) -> Result<Kept, Fault> {
        let Some(text) = private(&self.path, BYTES_MAX, "the tokens' file")? else { return Ok(Kept::default()) };
        serde_json::from_str(&text).map_err(|e| {
            Fault::world("tokens-damaged", format!("{}: {e}", self.path.display()))
                .hint("no token is accepted until the file is restored, or removed and the tokens created again")
                .again(false)
        })
    }

    fn save(&self, kept: &Kept) -> Result<(), Fault> {
        let bytes = serde_json::to_vec_pretty(kept).map_err(|e| Fault::ours("unwritable", e.to_string()))?;
        disk::write(&self.path, &bytes, 0o600, disk::Lasting::Now).map_err(|e| crate::files::io_fault(&self.path, &e))
    }
}

/// A file that holds or guards secrets. None: it does not exist.
fn private(path: &Path, bytes_max: u64, what: &str) -> Result<Option<String>, Fault> {
    let shown = path.display();
    // Every request would wait for a pipe in its place.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Fault::world("no-permission", format!("cannot read {shown}: {e}")).again(false)),
    };
    let seen = file.metadata().map_err(|e| crate::files::io_fault(path, &e))?;
    if !seen.is_file() {
        return Err(Fault::yours("bad-token-file", format!("{shown}: {what} is not a regular file")));
    }
    if seen.mode() & 0o077 != 0 {
        return Err(Fault::yours(
            "open-token-file",
            format!("{shown} has mode {:04o}: others on this machine can read or write it", seen.mode() & 0o7777),
        )
        .hint(format!("`chmod 0600 {shown}`, and create a new token: this one may be known")));
    }
    if seen.uid() != 0 && seen.uid() != rustix::process::geteuid().as_raw() {
        return Err(Fault::yours("open-token-file", format!("{shown} belongs to uid {}, not to root", seen.uid()))
            .hint(format!("`chown root {shown}`, and create a new token: that user knows this one")));
    }
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|e| crate::files::io_fault(path, &e))?;
    if text.len() as u64 > bytes_max {
        return Err(Fault::yours("bad-token-file", format!("{shown}: {what} has more than {bytes_max} bytes")));
    }
    Ok(Some(text))
}

/// The administrator's token of `--token-file`.
pub fn read_token(path: &Path) -> Result<String, Fault> {
    let text = private(path, TOKEN_BYTES_MAX, "the token's file")?
        .ok_or_else(|| Fault::yours("no-file", format!("{}: no such file", path.display())).hint(MAKE))?;
    let token = text.trim();
    strong(token).map_err(|why| Fault::yours("weak-token", format!("{}: {why}", path.display())).hint(MAKE))?;
    Ok(token.to_string())
}

const MAKE: &str = "leave --token-file out and use `afresh token create NAME`, or: (umask 077; head -c 32 /dev/urandom | base64 > FILE)";

fn strong(token: &str) -> Result<(), String> {
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a token is one line of printable characters without blanks".to_string());
    }
    let steps: Vec<u8> = token.as_bytes().windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let bits = bits(token.as_bytes()).min(bits(&steps));
    if bits < BITS_MIN {
        return Err(format!("this token could be guessed: it has {} characters, worth about {bits:.0} bits", token.len()));
    }
    Ok(())
}

/// Shannon's entropy of the values' distribution, for each value that does not repeat what came before.
fn bits(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let all = bytes.len() as f64;
    let of_one: f64 = counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all * (all / f64::from(*n)).log2()).sum();
    let new = bytes.windows(3).collect::<std::collections::BTreeSet<_>>().len() + 2;
    of_one * new.min(bytes.len()) as f64
}

fn random() -> Result<String, Fault> {
    let mut bytes = [0u8; 32];
    let path = Path::new("/dev/urandom");
    std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(|e| crate::files::io_fault(path, &e))?;
    Ok(bytes.iter().fold("afresh_".to_string(), |token, b| token + &format!("{b:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_can_be_guessed_is_no_token() {
        for weak in [
            "",
            "short",
            &"a".repeat(64),
            &"abc".repeat(30),
            "0123456789abcdef0123",
            "passwordpasswordpassword",
            "a token with blanks in it 123456789",
        ] {
            assert!(strong(weak).is_err(), "{weak:?} was taken");
        }
        // Of `head -c 24 /dev/urandom | base64`, and one of our own.
        for good in ["2Ff0tT7rPqXwH1mZkK9sVb3uQeYcJd8L", &random().unwrap()] {
            assert_eq!(strong(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_token(&path).map_err(|f| f.code)
        };
        let good = random().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660, 0o666] {
            assert_eq!(write(&good, mode), Err("open-token-file".to_string()), "{mode:o}");
        }
        assert_eq!(write(&format!("{good}\n"), 0o600), Ok(good));
        assert_eq!(write("0123456789abcdef", 0o600), Err("weak-token".to_string()));
        assert_eq!(write(&"x".repeat(5_000), 0o600), Err("bad-token-file".to_string()));
        assert_eq!(read_token(&dir.path().join("none")).unwrap_err().code, "no-file");
        assert_eq!(read_token(dir.path()).unwrap_err().code, "bad-token-file");
    }
}
