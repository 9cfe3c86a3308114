//! `token`: named tokens for callers over TCP, and for users of this machine over the policy's socket.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ServiceStatus, TokenMade, TokenRequest, TokenRevoke, TokenRow};
use clap::{Args, Subcommand};
use model::access::{Grant, Role};
use model::{Fault, ServiceName, TierName};

/// Create, list and revoke API tokens
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh token list")]
pub struct TokenVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Create a token and print it once
#[derive(Args, Debug)]
#[command(
    after_help = "read: status, events, releases, without values of environments, and logs with all that servers print; of all services if none is named.\ndeploy: read, and plan, deploy, rollback, commands and steps of the named services, within the host policy (`afresh policy show`).\nadmin: everything.\n\nExample:\n  afresh token create ci --role deploy --service web,worker > ci.token   # after `umask 077`: the file must be 0600"
)]
struct Create {
    /// Name of the caller; the journal and the audit show it as token:NAME
    name: String,
    /// Role: read, deploy or admin
    #[arg(long, value_parser = role)]
    role: Role,
    /// Limit it to these services
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    service: Vec<ServiceName>,
    /// Limit it to the services of these tiers
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    tier: Vec<TierName>,
}

/// List tokens, without the secrets
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh token list")]
struct List {}

/// Revoke a token: it is refused from now on
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh token revoke ci")]
struct Revoke {
    /// Name of the caller
    name: String,
}

fn role(text: &str) -> Result<Role, String> {
    Role::of(text).ok_or_else(|| "expected read, deploy or admin".to_string())
}

impl TokenVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Create(verb) => verb.run(context),
            Verb::List(_) => list(context),
            Verb::Revoke(verb) => {
                let request = TokenRevoke { name: verb.name };
                context.wait(async { Ok(context.api().post::<_, serde_json::Value>("/v1/tokens/revoke", &request).await?) })?;
                show::note(format!("token {} is revoked", request.name));
                Ok(Exit::Succeeded)
            }
        }
    }
}

impl Create {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let grant = Grant { role: self.role, services: self.service.into_iter().collect(), tiers: self.tier.into_iter().collect() };
        grant.check()?;
        let request = TokenRequest { name: self.name, grant };
        let made: TokenMade = context.wait(async { Ok(context.api().post("/v1/tokens", &request).await?) })?;
        if context.json {
            show::json(&made);
        } else {
            show::line(&made.token);
            show::note("it is not kept and cannot be shown again; store it in a file of mode 0600");
        }
        for service in &request.grant.services {
            let seen: Result<ServiceStatus, Fault> =
                context.wait(async { Ok(context.api().get(&format!("/v1/services/{service}")).await) })?;
            if seen.is_err_and(|fault| fault.code == "not-found") {
                show::note(format!("there is no service {service} yet; the token will be for one deployed under this name"));
            }
        }
        Ok(Exit::Succeeded)
    }
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let rows: Vec<TokenRow> = context.wait(async { Ok::<_, Failure>(context.api().get("/v1/tokens").await.map_err(|f: Fault| f)?) })?;
    if context.json {
        show::json(&rows);
        return Ok(Exit::Succeeded);
    }
    let rows = rows.iter().map(|row| {
        let services = row.grant.services.iter().map(ToString::to_string);
        let tiers = row.grant.tiers.iter().map(|tier| format!("tier {tier}"));
        let of: Vec<String> = services.chain(tiers).collect();
        let of = if of.is_empty() { "all".to_string() } else { of.join(", ") };
        vec![row.name.clone(), row.grant.role.name().to_string(), of, row.by.clone()]
    });
    show::line(show::table(&["name", "role", "services", "made by"], rows.collect()));
    Ok(Exit::Succeeded)
}
