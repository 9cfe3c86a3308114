//! `secret`: what is known of secrets, and their rotation. No verb shows a value: there is no call that answers one.

use super::deploy::{Deploying, deploy};
use super::desired::{Desired, Images, request_of};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::names;
use crate::secrets::{IdentityArgs, Reading};
use crate::show;
use api::secrets::{RECIPIENT, Recipient, SECRETS, SecretRow};
use clap::{Args, Subcommand};
use model::{Fault, SecretName, ServiceFile, ServiceName};
use secret::Secrets;
use std::collections::BTreeSet;

/// List and rotate secrets, show for whom to encrypt them
#[derive(Args, Debug)]
#[command(
    after_help = "A secret is a block of the service file: secret \"db\" { file = \"/etc/shop/db-url\" }. Its value is read by whoever deploys, stored \
                  encrypted, and shown by no command.\n\nExample:\n  afresh secret rotate db"
)]
pub struct SecretVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Rotate(Rotate),
    Recipient(Recipients),
    Rekey(Rekey),
}

/// List secrets, and which releases use which version of them
#[derive(Args, Debug)]
#[command(
    after_help = "A version says nothing of the value; equal values of a service have equal versions.\n\nExample:\n  afresh secret list web"
)]
struct List {
    /// Only of this service
    service: Option<ServiceName>,
}

/// Read secrets again and deploy the services that use them
#[derive(Args, Debug)]
#[command(
    after_help = "It is a deploy of the service file's settings for the services that use the secrets; their code and their other secrets stay as they \
                  are active. The plan is printed first and must be confirmed. A service whose values are as before is left alone.\n\n\
                  Example:\n  afresh secret rotate db --yes\n  afresh secret rotate --all"
)]
struct Rotate {
    /// Names of the secrets
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<SecretName>,
    /// Every secret of the file
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    deploying: Deploying,
}

/// Print for whom to encrypt `age` files of services
#[derive(Args, Debug)]
#[command(after_help = "Each service of a machine has a key of its own, so that a file for one service is opened for no other.\n\n\
                  Example:\n  afresh secret recipient web worker > recipients && age -R recipients -o secrets/db.age")]
struct Recipients {
    /// The services; by default all of the file that use secrets
    services: Vec<ServiceName>,
}

/// Exchange the machine's key of secrets and encrypt every value for the new one
#[derive(Args, Debug)]
#[command(
    after_help = "It works in the data directory of this machine, also while afresh runs, and can be run again when it was interrupted. \
                  Releases keep the values that they pin. Files that were encrypted for `afresh secret recipient` must be encrypted again.\n\n\
                  Example:\n  afresh secret rekey --yes"
)]
struct Rekey {
    /// Exchange it; by default it only shows what would be done
    #[arg(short, long)]
    yes: bool,
}

impl SecretVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::List(verb) => verb.run(context),
            Verb::Rotate(verb) => verb.run(context),
            Verb::Recipient(verb) => verb.run(context),
            Verb::Rekey(verb) => verb.run(context),
        }
    }
}

impl List {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut rows: Vec<SecretRow> = context.wait(async { Ok(context.api().get(SECRETS).await?) })?;
        if let Some(written) = &self.service {
            let name = context.wait(names::find(context, written))?.map_or_else(|| written.clone(), |row| row.name);
            rows.retain(|row| row.service == name);
        }
        if context.json {
            show::json(&rows);
            return Ok(Exit::Succeeded);
        }
        if rows.is_empty() {
            show::line("no release uses a secret");
            return Ok(Exit::Succeeded);
        }
        let now = show::now();
        let cells = |row: &SecretRow| {
            let releases: Vec<String> = row.releases.iter().map(|number| format!("r{number}")).collect();
            let state = match (row.active, row.stored) {
                (true, true) => "active",
                (true, false) => "active, its value is missing",
                (false, true) => "kept for a rollback",
                (false, false) => "deleted",
            };
            vec![
                row.name.to_string(),
                row.service.to_string(),
                row.version.short().to_string(),
                releases.join(", "),
                show::ago(row.since, now),
                state.to_string(),
            ]
        };
        let head = ["secret", "service", "version", "releases", "since", "state"];
        show::line(show::table(&head, rows.iter().map(cells).collect()));
        Ok(Exit::Succeeded)
    }
}

impl Rotate {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut file = context.load()?;
        let names: BTreeSet<SecretName> = if self.all { file.secrets.keys().cloned().collect() } else { self.names.into_iter().collect() };
        if let Some(unknown) = names.iter().find(|name| !file.secrets.contains_key(*name)) {
            return Err(no_secret(context, &file, unknown).into());
        }
        file.services.retain(|_, service| service.secrets.names().into_iter().any(|name| names.contains(name)));
        let ServiceFile { moved, services, .. } = &mut file;
        model::keep_moves_to(moved, services);
        if file.services.is_empty() {
            return Err(Fault::yours("no-such-secret", format!("{}: no service uses a secret", context.file.display())).into());
        }
        let desired = Desired { identity: self.identity, keep_code: true, ..Desired::default() };
        let request = request_of(context, file, &desired, Images::Bake, &Reading::Only(names))?;
        deploy(context, &request, &Deploying { is_part: true, ..self.deploying })
    }
}

fn no_secret(context: &Context, file: &ServiceFile, name: &SecretName) -> Fault {
    let fault = Fault::yours("no-such-secret", format!("{}: no secret {name}", context.file.display()));
    let names: Vec<&str> = file.secrets.keys().map(SecretName::as_str).collect();
    match model::near::nearest(name.as_str(), names.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean {near}?")),
        None if names.is_empty() => fault.hint("it has none"),
        None => fault.hint(format!("it has: {}", names.join(", "))),
    }
}

impl Recipients {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (mut services, mut moved) = (self.services, Vec::new());
        if services.is_empty() {
            let file = context.load()?;
            moved = file.moved;
            services.extend(file.services.into_values().filter(|service| !service.secrets.is_empty()).map(|service| service.name));
        }
        if services.is_empty() {
            let text = format!("{}: no service uses a secret", context.file.display());
            return Err(Fault::yours("no-such-secret", text).hint("name a service").into());
        }
        let all: Vec<Recipient> = context.wait(async {
            let mut all = Vec::new();
            for service in &services {
                let id = if moved.is_empty() { service.clone() } else { names::id_of(context, &moved, service).await? };
                all.push(context.api().get(&format!("{RECIPIENT}/{id}")).await?);
            }
            Ok(all)
        })?;
        if context.json {
            show::json(&all);
            return Ok(Exit::Succeeded);
        }
        for one in &all {
            show::line(format!("# {}\n{}", one.service, one.recipient));
        }
        Ok(Exit::Succeeded)
    }
}

impl Rekey {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("secret rekey")?;
        let secrets = Secrets::of(&context.layout);
        if !self.yes {
            let values = show::times(secrets.list()?.len() as u64, "value");
            show::line(format!("would make a new key in {} and encrypt {values} for it", context.layout.secrets().display()));
            show::note("nothing was changed; --yes exchanges the key");
            return Ok(Exit::Succeeded);
        }
        secret::protect_memory();
        let done = secret::rekey(&secrets)?;
        if context.json {
            show::json(&serde_json::json!({ "values": done.values }));
        } else {
            show::line(format!("the key was exchanged; {} encrypted for the new one", show::times(done.values as u64, "value")));
            show::note(
                "files that were encrypted for `afresh secret recipient` must be encrypted again; a copy of the new key belongs elsewhere",
            );
        }
        Ok(Exit::Succeeded)
    }
}
