//! Files encrypted with age, for X25519 recipients. Messages name the file and never what is in it.

use crate::value::{Value, too_large};
use age::armor::ArmoredReader;
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor};
use model::{Fault, SECRET_BYTES_MAX, SecretName};
use std::io::Read;
use std::str::FromStr;

/// For one recipient (`age1...`).
pub fn encrypt_for(recipient: &str, value: &Value) -> Result<Vec<u8>, Fault> {
    let recipient = Recipient::from_str(recipient).map_err(|why| Fault::ours("bad-recipient", format!("{recipient:?}: {why}")))?;
    encrypt(&recipient, value.bytes())
}

/// Whether it can be encrypted for.
pub fn is_recipient(text: &str) -> bool {
    Recipient::from_str(text).is_ok()
}

pub(crate) fn encrypt(recipient: &Recipient, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    age::encrypt(recipient, bytes).map_err(|why| Fault::ours("not-encrypted", why.to_string()))
}

/// The value in a file, binary or armoured. None: it is for others.
pub fn decrypt_with(name: &SecretName, identities: &[Identity], file: &[u8]) -> Result<Option<Value>, Fault> {
    let damaged = |why: &str| {
        Fault::yours("secret-bad-age", format!("secret {name}: this is no whole file of age: {why}"))
            .hint("encrypt it again: age -r RECIPIENT -o FILE, with the recipients of `afresh secret recipient SERVICE`")
    };
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|_| damaged("it does not begin as one"))?;
    if decryptor.is_scrypt() {
        return Err(damaged("it is encrypted with a passphrase, which nobody is there to enter"));
    }
    let mut plain = match decryptor.decrypt(identities.iter().map(|identity| identity as &dyn age::Identity)) {
        Ok(plain) => plain,
        Err(DecryptError::NoMatchingKeys) => return Ok(None),
        Err(_) => return Err(damaged("its head is damaged")),
    };
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let most = u64::try_from(SECRET_BYTES_MAX + 1).unwrap_or(u64::MAX);
    (&mut plain).take(most).read_to_end(&mut bytes).map_err(|_| damaged("it ends too early, or was changed"))?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(too_large(name));
    }
    Value::new(name, std::mem::take(&mut *bytes)).map(Some)
}

/// The identities in a key file of age: a line each; lines that begin with `#` are comments. `place` is for messages.
pub fn identities(text: &str, place: &str) -> Result<Vec<Identity>, Fault> {
    let wrong = |line: usize| {
        Fault::yours("bad-identity", format!("{place}, line {line}: this is no identity of age"))
            .hint("`age-keygen -o FILE` makes one: a line that begins with AGE-SECRET-KEY-1; keys of SSH and of plugins are not read")
    };
    let lines =
        text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let all: Vec<Identity> = lines.map(|(n, line)| Identity::from_str(line).map_err(|_| wrong(n))).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(wrong(1)) } else { Ok(all) }
}
