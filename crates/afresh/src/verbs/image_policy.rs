//! `image policy`: what this machine requires of an image before it becomes a server's root, and of the code beside it.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use attest::{Policy, PublicKey};
use clap::Args;
use model::Fault;
use serde_json::json;
use std::path::{Path, PathBuf};
use store::Store;

/// Show or set the signatures this machine requires before it runs anything
#[derive(Args, Debug)]
#[command(
    after_help = "It is kept in policy.json of the data directory of this machine, not in the service file. Without one no signature is \
                  required.\n\nExample:\n  sudo afresh image policy --trust own --require on"
)]
pub struct PolicyVerb {
    /// Refuse an image without a good signature; off: only one with a bad signature
    #[arg(long, value_name = "on|off", value_parser = on_off)]
    pub require: Option<bool>,
    /// Refuse code without a good signature; off: its signature is not checked
    #[arg(long, value_name = "on|off", value_parser = on_off)]
    pub artifacts: Option<bool>,
    /// Refuse new groups of servers on an image marked bad (always on one that is revoked)
    #[arg(long, value_name = "on|off", value_parser = on_off)]
    pub refuse_bad: Option<bool>,
    /// Trust a public key: 64 hex digits, or `own` for this machine's key (repeatable)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Refuse container images, and code from registries (oci://), that none of these keys of cosign signed: a file such as cosign.pub (repeatable); off: pull all
    #[arg(long, value_name = "FILE|off")]
    pub cosign: Vec<PathBuf>,
    /// Distrust a key (repeatable)
    #[arg(long, value_name = "KEY")]
    pub distrust: Vec<String>,
    /// Begin with an empty policy in place of one that cannot be read, which is kept as policy.json.damaged
    #[arg(long)]
    pub fresh: bool,
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_string()),
    }
}

impl PolicyVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("image policy")?;
        let before = attest::read_policy(&context.layout);
        let is_set = [self.require, self.artifacts, self.refuse_bad].iter().any(Option::is_some);
        let is_change = is_set || !self.cosign.is_empty() || !self.trust.is_empty() || !self.distrust.is_empty();
        let path = attest::policy_path(&context.layout);
        let is_lost = before.is_err();
        if self.fresh && !(is_change && is_lost) {
            return Err(Fault::yours("not-damaged", "--fresh is for a change of a policy.json that cannot be read")
                .hint("without it, `afresh image policy` shows what holds, and with other flags changes it")
                .into());
        }
        let policy = if is_change {
            // A change of one rule drops none of the others: what an unreadable file asked for is not known.
            let mut policy = match before {
                Err(_) if self.fresh => Policy::default(),
                known => known?.unwrap_or_default(),
            };
            let store = context.images()?;
            for key in &self.trust {
                let key = resolve(&store, key)?;
                policy.distrusted.retain(|k| *k != key);
                if !policy.trusted.contains(&key) {
                    policy.trusted.push(key);
                }
            }
            for key in &self.distrust {
                let key = resolve(&store, key)?;
                policy.trusted.retain(|k| *k != key);
                if !policy.distrusted.contains(&key) {
                    policy.distrusted.push(key);
                }
            }
            for file in &self.cosign {
                if file == Path::new("off") {
                    policy.cosign.clear();
                    continue;
                }
                let text = std::fs::read_to_string(file).map_err(|e| failure::io("cannot read", file, &e))?;
                let key = bake::cosign_key(&text)?;
                if !policy.cosign.contains(&key) {
                    policy.cosign.push(key);
                }
            }
            policy.require = self.require.unwrap_or(policy.require);
            policy.artifacts = self.artifacts.unwrap_or(policy.artifacts);
            policy.refuse_bad = self.refuse_bad.unwrap_or(policy.refuse_bad);
            if (policy.require || policy.artifacts) && policy.trusted.is_empty() && policy.distrusted.is_empty() {
                return Err(Fault::yours("no-key", "signatures would be required but no key trusted: nothing could run")
                    .hint("add --trust own, or --trust with a public key")
                    .into());
            }
            if is_lost {
                attest::set_policy_aside(&context.layout)?;
            }
            attest::write_policy(&context.layout, &policy)?;
            Some(policy)
        } else {
            before?
        };
        tell(context, policy.as_ref());
        if is_change && !context.json {
            show::note(format!("written to {}; it counts from the next server that is started", path.display()));
        }
        Ok(Exit::Succeeded)
    }
}

fn resolve(store: &Store, text: &str) -> Result<PublicKey, Fault> {
    if text == "own" {
        return Ok(attest::signing_key(store)?.public());
    }
    if attest::is_public_key(text) {
        return Ok(text.to_lowercase());
    }
    Err(Fault::yours("bad-key", format!("{text:?} is not a public key")).hint("64 hex digits are expected, or `own`"))
}

fn tell(context: &Context, policy: Option<&Policy>) {
    if context.json {
        let asked = policy.cloned().unwrap_or_default();
        show::json(&json!({
            "asked": policy.is_some(), "require": asked.require, "artifacts": asked.artifacts, "refuse_bad": asked.refuse_bad,
            "trusted": asked.trusted, "distrusted": asked.distrusted, "cosign": asked.cosign,
        }));
        return;
    }
    let Some(policy) = policy else {
        show::line("no policy: signatures of images and artifacts are not checked; only revoked images are refused");
        return;
    };
    show::line(if policy.require {
        "an image without a good signature is refused"
    } else {
        "an image with a bad signature is refused; it may have none"
    });
    show::line(if policy.artifacts {
        "an artifact without a good signature is refused"
    } else {
        "signatures of artifacts are not checked"
    });
    show::line(if policy.refuse_bad {
        "no new group of servers starts on an image that is bad or revoked"
    } else {
        "no new group of servers starts on an image that is revoked"
    });
    if !policy.cosign.is_empty() {
        show::line("a container image, or code from a registry, is pulled only if a key of cosign signed it");
    }
    policy.cosign.iter().for_each(|key| show::line(format!("trusted with cosign: {key}")));
    policy.trusted.iter().for_each(|key| show::line(format!("trusted: {key}")));
    policy.distrusted.iter().for_each(|key| show::line(format!("distrusted: {key}")));
}
