//! Secrets on the side of whoever deploys: values are read from their sources with the caller's own rights, encrypted for each service
//! that uses them, and given to the control plane.
//!
//! ```text
//! source ─▶ Source::Clear(value) ──▶ encrypted for the service ─┐
//!        └▶ Source::Sealed(age file for the service) ───────────┴─▶ POST /v1/secrets ─▶ version, pinned by the release
//! ```

mod command;
mod identity;
mod in_code;
mod open;
mod source;

pub use identity::{IdentityArgs, own};
pub use in_code::must_not_be_packed;
pub use source::{Source, read};

use crate::context::Context;
use crate::failure::Failure;
use crate::names;
use api::secrets::{RECIPIENT, Recipient, SECRETS, SecretStored, SecretValue, VERSION};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Moved, SecretName, SecretVersion, ServiceFile, ServiceName, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Whose sources are read.
#[derive(Clone, Debug, Default)]
pub enum Reading {
    #[default]
    All,
    /// The others keep the values that are active.
    Only(BTreeSet<SecretName>),
    Nothing,
}

impl Reading {
    fn is_read(&self, name: &SecretName) -> bool {
        match self {
            Reading::All => true,
            Reading::Only(names) => names.contains(name),
            Reading::Nothing => false,
        }
    }

    pub fn keeps(&self) -> bool {
        !matches!(self, Reading::All)
    }
}

/// What was read, by name.
pub type Sources = BTreeMap<SecretName, Source>;

/// Every source that these services need, once.
pub fn read_all<'a>(
    context: &Context,
    file: &ServiceFile,
    services: impl Iterator<Item = &'a ServiceSpec>,
    args: &IdentityArgs,
    reading: &Reading,
) -> Result<Sources, Failure> {
    let names: BTreeSet<&SecretName> = services.flat_map(|service| service.secrets.names()).filter(|name| reading.is_read(name)).collect();
    if names.is_empty() {
        return Ok(Sources::new());
    }
    secret::protect_memory();
    let mut sources = Sources::new();
    for name in names {
        // The reader of the file has seen to it that each is there.
        if let Some(spec) = file.secrets.get(name) {
            sources.insert(name.clone(), read(context, spec, args)?);
        }
    }
    Ok(sources)
}

/// The versions by service. Without `is_kept` nothing is stored: a plan changes nothing.
pub fn give<'a>(
    context: &Context,
    moves: &[Moved],
    services: impl Iterator<Item = &'a ServiceSpec>,
    sources: &Sources,
    is_kept: bool,
) -> Result<BTreeMap<ServiceName, BTreeMap<SecretName, SecretVersion>>, Failure> {
    let mut all = BTreeMap::new();
    for service in services {
        let names: Vec<&SecretName> = service.secrets.names().into_iter().filter(|name| sources.contains_key(*name)).collect();
        if !names.is_empty() {
            all.insert(service.name.clone(), context.wait(give_one(context, moves, service, &names, sources, is_kept))?);
        }
    }
    Ok(all)
}

async fn give_one(
    context: &Context,
    moves: &[Moved],
    service: &ServiceSpec,
    names: &[&SecretName],
    sources: &Sources,
    is_kept: bool,
) -> Result<BTreeMap<SecretName, SecretVersion>, Failure> {
    let api = context.api();
    // A service that this deploy renames still has its old name there.
    let id = if moves.is_empty() { service.name.clone() } else { names::id_of(context, moves, &service.name).await? };
    let recipient: Recipient = api.get(&format!("{RECIPIENT}/{id}")).await?;
    let mut versions = BTreeMap::new();
    for name in names.iter().copied() {
        let age = match &sources[name] {
            Source::Clear(value) => secret::encrypt_for(&recipient.recipient, value)?,
            Source::Sealed(file) => file.clone(),
        };
        let given = SecretValue {
            service: id.clone(),
            tier: service.tier.clone(),
            name: name.clone(),
            variable: service.secrets.env.values().any(|used| used == name),
            age: BASE64.encode(age),
        };
        let stored: SecretStored = api.post(if is_kept { SECRETS } else { VERSION }, &given).await?;
        versions.insert(name.clone(), stored.version);
    }
    Ok(versions)
}
