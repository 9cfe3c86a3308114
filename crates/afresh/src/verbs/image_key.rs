//! Which key signs: flags that several verbs share, and `image signer`, the default of this machine.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use attest::{Key, Signer};
use clap::Args;
use model::Fault;
use serde_json::json;
use std::path::PathBuf;
use store::Store;

#[derive(Args, Clone, Debug, Default)]
pub struct KeyArgs {
    /// Sign with this ed25519 key: 64 hex digits, readable by its owner only
    #[arg(long, value_name = "FILE", conflicts_with = "key_command")]
    pub key: Option<PathBuf>,
    /// Sign with this command: it reads the bytes and prints the signature in base64
    #[arg(long, value_name = "COMMAND", requires = "public")]
    pub key_command: Option<String>,
    /// The public key of --key-command: 64 hex digits
    #[arg(long, value_name = "HEX", requires = "key_command")]
    pub public: Option<String>,
}

impl KeyArgs {
    /// None: the default of this machine counts.
    pub fn signer(&self) -> Option<Signer> {
        if let (Some(command), Some(public)) = (&self.key_command, &self.public) {
            let command = command.split_whitespace().map(str::to_string).collect();
            return Some(Signer::Command { command, public: public.to_lowercase() });
        }
        self.key.clone().map(|key| Signer::File { key })
    }

    /// A key file that does not exist is made.
    pub fn named(&self) -> Option<Result<Key, Fault>> {
        Some(match self.signer()? {
            Signer::File { key } => Key::load_or_make(&key),
            signer @ Signer::Command { .. } => signer.key(),
        })
    }

    pub fn key(&self, store: &Store) -> Result<Key, Fault> {
        self.named().unwrap_or_else(|| attest::signing_key(store))
    }
}

/// Show or set the key this machine signs with
#[derive(Args, Debug)]
#[command(
    after_help = "Bakes, packs and deploys sign with it. It is kept in signer.json of the data directory of this machine. Without one, a key of this data directory signs, made when it is first needed.\n\n\
                  Example:\n  sudo afresh image signer --key-command '/usr/local/bin/kms-sign images' --public $(cat images.pub)"
)]
pub struct SignerVerb {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Sign with the key of this data directory again
    #[arg(long, conflicts_with_all = ["key", "key_command"])]
    pub own: bool,
}

impl SignerVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let is_change = self.own || self.key.signer().is_some();
        if let Some(made) = self.key.named() {
            made?;
        }
        if is_change {
            attest::write_signer(&store, self.key.signer().map(whole).as_ref())?;
        }
        let signer = attest::read_signer(&store)?;
        let public = attest::own_key(&store)?;
        if context.json {
            show::json(&json!({ "signer": signer, "public": public }));
            return Ok(Exit::Succeeded);
        }
        let by = match &signer {
            None => "the key of this data directory".to_string(),
            Some(Signer::File { key }) => format!("the key in {}", key.display()),
            Some(Signer::Command { command, .. }) => format!("the command {}", command.join(" ")),
        };
        let public = public.map_or_else(|| "made when it is first needed".to_string(), |key| format!("public key {key}"));
        show::line(format!("signed by {by}: {public}"));
        if is_change {
            let path = attest::signer_path(&store);
            show::note(format!("written to {}; it counts from the next bake, pack or deploy", path.display()));
        }
        Ok(Exit::Succeeded)
    }
}

/// `afresh serve` signs too, and runs in another directory.
fn whole(signer: Signer) -> Signer {
    let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    match signer {
        Signer::File { key } => Signer::File { key: whole(key) },
        Signer::Command { mut command, public } => {
            if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
                *program = whole(PathBuf::from(&*program)).to_string_lossy().into_owned();
            }
            Signer::Command { command, public }
        }
    }
}
