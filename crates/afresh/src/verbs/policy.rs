//! `policy`: what the host's root reserves for itself, whoever deploys.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::{Args, Subcommand};
use model::Fault;
use model::access::HostPolicy;
use std::path::{Path, PathBuf};

pub const HOST_POLICY: &str = "/etc/afresh/policy.hcl";

/// Show or check the host policy: ports, users, limits, peers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh policy show\n  afresh policy check new-policy.hcl")]
pub struct PolicyVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Show),
    Check(Check),
}

/// Print the host policy in force, with its defaults
#[derive(Args, Debug)]
#[command(
    after_help = "It is printed as the file has it, or with --json as JSON. It binds everybody but the administrator. `crates/config/REFERENCE.md` explains each key.\n\nExample:\n  afresh policy show"
)]
struct Show {}

/// Check a host policy file: owner, mode, and every error with its place
#[derive(Args, Debug)]
#[command(
    after_help = "It reads a file of this machine, in force or not: a new policy can be checked before it takes the place of the old one.\n\n\
                  Example:\n  afresh policy check\n  afresh policy check --policy new-policy.hcl"
)]
struct Check {
    /// The file; by default the one that `up` and `serve` read
    #[arg(value_name = "FILE")]
    named: Option<PathBuf>,
    /// The same, as `up` and `serve` name it
    #[arg(long, value_name = "FILE", conflicts_with = "named")]
    policy: Option<PathBuf>,
}

impl PolicyVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Show(_) => {
                let policy: HostPolicy = context.wait(async { Ok(context.api().get("/v1/policy").await?) })?;
                if context.json {
                    show::json(&policy);
                } else {
                    show::text(&config::write_policy(&policy));
                }
                Ok(Exit::Succeeded)
            }
            Verb::Check(verb) => verb.run(context),
        }
    }
}

/// A file that is named must exist: a policy that is not read permits nothing that it should.
pub fn must_be_there(policy: &Path) -> Result<(), Fault> {
    if policy == Path::new(HOST_POLICY) || policy.exists() {
        return Ok(());
    }
    Err(Fault::yours("no-file", format!("{}: no such host policy", policy.display()))
        .hint(format!("without a name {HOST_POLICY} is read; where it does not exist the defaults hold: `afresh policy show`")))
}

impl Check {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let named = self.named.or(self.policy);
        if let Some(named) = &named {
            must_be_there(named)?;
        }
        let path = named.unwrap_or_else(|| PathBuf::from(HOST_POLICY));
        let name = path.display().to_string();
        // The text first: it may be wrong in many places, and all of them are shown.
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Err(all) = config::parse_policy(&text, &name)
        {
            let rendered = config::render(&all, &text, &name, show::colour_on_stderr());
            return Err(Failure::File { rendered, errors: all.len(), name });
        }
        let policy = server::read_policy(&path)?;
        let found = if path.exists() { "is valid" } else { "does not exist: the defaults hold" };
        if context.json {
            show::json(&policy);
        } else {
            show::line(format!("{name} {found}"));
        }
        Ok(Exit::Succeeded)
    }
}
