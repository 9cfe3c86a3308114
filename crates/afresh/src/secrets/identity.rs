//! The caller's own keys of age.

use super::open::{must_be_closed_to_others, open};
use clap::Args;
use model::Fault;
use std::io::Read;
use std::path::PathBuf;
use zeroize::Zeroizing;

const KEY_BYTES_MAX: u64 = 64 << 10;

/// Flags that `plan`, `deploy` and `secret rotate` share.
#[derive(Args, Clone, Debug, Default)]
pub struct IdentityArgs {
    /// Decrypt `age` files of secrets with the keys in this file [env: AFRESH_AGE_IDENTITY] [default: ~/.config/afresh/age.key]
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// Of the file that is named, or of the one that lies where it is looked for by default. None there: the service's key on the machine
/// may open what is encrypted.
pub fn own(args: &IdentityArgs) -> Result<Vec<secret::Identity>, Fault> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let by_default = || var("HOME").map(|home| home.join(".config/afresh/age.key")).filter(|path| path.exists());
    let Some(path) = args.identity.clone().or_else(|| var("AFRESH_AGE_IDENTITY")).or_else(by_default) else { return Ok(Vec::new()) };
    let what = "the identity of age";
    let file = open(what, &path)?;
    must_be_closed_to_others(what, &path, &file)?;
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(KEY_BYTES_MAX).unwrap_or(0)));
    let read = file.take(KEY_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|e| Fault::yours("bad-identity", format!("{}: {e}", path.display())).hint("`age-keygen -o FILE` makes one"))?;
    secret::identities(&text, &path.display().to_string())
}
