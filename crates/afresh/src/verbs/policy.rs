//! `policy`: what the host's root keeps for itself, whoever may deploy.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::{Args, Subcommand};
use model::Fault;
use model::access::HostPolicy;
use std::path::{Path, PathBuf};

pub const HOST_POLICY: &str = "/etc/afresh/policy.hcl";

/// Show or check the host policy: ports, users, limits and peers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh policy show")]
pub struct PolicyVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Show),
    Check(Check),
}

/// Print the host policy that is in force, with its defaults, as JSON
#[derive(Args, Debug)]
#[command(
    after_help = "It binds everybody but the administrator. `crates/config/REFERENCE.md` explains each key.\n\nExample:\n  afresh policy show"
)]
struct Show {}

/// Check a host policy: its owner, its mode, and every error with its place
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh policy check /etc/afresh/policy.hcl")]
struct Check {
    /// Otherwise the one that `up` and `serve` read by default; without a file the defaults hold
    policy: Option<PathBuf>,
}

impl PolicyVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Show(_) => {
                let policy: HostPolicy = context.wait(async { Ok(context.api().get("/v1/policy").await?) })?;
                show::json(&policy);
                Ok(Exit::Succeeded)
            }
            Verb::Check(verb) => verb.run(context),
        }
    }
}

/// A file that somebody names must be there: a policy that is not read lets nothing through that it allows.
pub fn must_be_there(policy: &Path) -> Result<(), Fault> {
    if policy == Path::new(HOST_POLICY) || policy.exists() {
        return Ok(());
    }
    Err(Fault::yours("no-file", format!("{}: there is no such host policy", policy.display()))
        .hint(format!("leave --policy out for {HOST_POLICY}, and without a file for the defaults: `afresh policy show`")))
}

impl Check {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        if let Some(named) = &self.policy {
            must_be_there(named)?;
        }
        let path = self.policy.unwrap_or_else(|| PathBuf::from(HOST_POLICY));
        let name = path.display().to_string();
        // The text first: it may be wrong in many places, and all of them are shown.
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Err(all) = config::parse_policy(&text, &name)
        {
            let rendered = config::render(&all, &text, &name, show::colour_on_stderr());
            return Err(Failure::File { rendered, errors: all.len(), name });
        }
        let policy = server::read_policy(&path)?;
        let found = if path.exists() { "is in order" } else { "is not there: the defaults hold" };
        if context.json {
            show::json(&policy);
        } else {
            show::line(format!("{name} {found}"));
        }
        Ok(Exit::Succeeded)
    }
}
