//! The command line: global flags and the list of verbs. Each verb's own flags stand beside what it does, in `verbs`.

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::verbs;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// Replaces servers instead of changing them: bakes patched images, launches new servers, turns customers to them, throws the old away.
#[derive(Debug, Parser)]
#[command(name = "afresh", version, after_help = exit::HELP, disable_help_subcommand = false, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The service file
    #[arg(short, long, global = true, value_name = "FILE", default_value = "afresh.hcl")]
    pub file: PathBuf,
    /// Everything Afresh keeps: images, journals, what is declared
    #[arg(long, global = true, value_name = "DIR", env = "AFRESH_DATA_DIR", hide_env_values = true, default_value = "/var/lib/afresh")]
    pub data_dir: PathBuf,
    /// Why you do this; the journal and the audit keep it
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Call another control plane: HOST:PORT, or the path of a socket
    #[arg(long, global = true, value_name = "WHERE", env = "AFRESH_API", hide_env_values = true)]
    pub api: Option<String>,
    /// The token for --api HOST:PORT
    #[arg(long, global = true, value_name = "FILE", env = "AFRESH_API_TOKEN_FILE", hide_env_values = true)]
    pub api_token: Option<PathBuf>,
    /// Print JSON for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no colours (NO_COLOR does the same)
    #[arg(long, global = true)]
    pub no_color: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(verbs::up::Up),
    Down(verbs::down::Down),
    Serve(verbs::roles::Serve),
    Host(verbs::roles::Host),
    Proxy(verbs::roles::Proxy),
    Doctor(verbs::doctor::Doctor),
    Policy(verbs::policy::PolicyVerb),
    Token(verbs::token::TokenVerb),
    Audit(verbs::audit::Audit),

    Check(verbs::file::Check),
    Fmt(verbs::file::Fmt),
    Bake(verbs::bake::Bake),
    Plan(verbs::deploy::Plan),
    Deploy(verbs::deploy::Deploy),
    Rollback(verbs::rollback::Rollback),
    Rotation(verbs::rotation::RotationVerb),
    Step(verbs::step::StepVerb),

    Status(verbs::status::Status),
    Why(verbs::status::Why),
    Events(verbs::events::Events),
    Images(verbs::lists::Images),
    Image(verbs::image::ImageVerb),
    Releases(verbs::lists::Releases),
    Instances(verbs::lists::Instances),
    Logs(verbs::logs::Logs),
    Gc(verbs::gc::Gc),
    Adopt(verbs::adopt::Adopt),
    Restore(verbs::adopt::Restore),

    Explain(verbs::explain::Explain),
    Completions(verbs::completions::Completions),
    Sim(verbs::sim::Sim),
    Capacity(verbs::capacity::CapacityVerb),
    Demo(verbs::demo::Demo),
    #[command(hide = true)]
    Load(verbs::load::Load),
}

impl Verb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Verb::Up(verb) => verb.run(context),
            Verb::Down(verb) => verb.run(context),
            Verb::Serve(verb) => verb.run(context),
            Verb::Host(verb) => verb.run(context),
            Verb::Proxy(verb) => verb.run(context),
            Verb::Doctor(verb) => verb.run(context),
            Verb::Policy(verb) => verb.run(context),
            Verb::Token(verb) => verb.run(context),
            Verb::Audit(verb) => verb.run(context),
            Verb::Check(verb) => verb.run(context),
            Verb::Fmt(verb) => verb.run(context),
            Verb::Bake(verb) => verb.run(context),
            Verb::Plan(verb) => verb.run(context),
            Verb::Deploy(verb) => verb.run(context),
            Verb::Rollback(verb) => verb.run(context),
            Verb::Rotation(verb) => verb.run(context),
            Verb::Step(verb) => verb.run(context),
            Verb::Status(verb) => verb.run(context),
            Verb::Why(verb) => verb.run(context),
            Verb::Events(verb) => verb.run(context),
            Verb::Images(verb) => verb.run(context),
            Verb::Image(verb) => verb.run(context),
            Verb::Releases(verb) => verb.run(context),
            Verb::Instances(verb) => verb.run(context),
            Verb::Logs(verb) => verb.run(context),
            Verb::Gc(verb) => verb.run(context),
            Verb::Adopt(verb) => verb.run(context),
            Verb::Restore(verb) => verb.run(context),
            Verb::Explain(verb) => verb.run(),
            Verb::Completions(verb) => verb.run(),
            Verb::Sim(verb) => verb.run(context),
            Verb::Capacity(verb) => verb.run(context),
            Verb::Demo(verb) => verb.run(context),
            Verb::Load(verb) => verb.run(context),
        }
    }
}

/// The help of every verb, one after the other: what the reference snapshot holds.
pub fn reference() -> String {
    let mut out = String::new();
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut root, "afresh", &mut out);
    out
}

fn describe(command: &mut clap::Command, path: &str, out: &mut String) {
    // Global options are told once, with the root.
    let top = path == "afresh";
    let mut shown = command.clone().mut_args(|arg| if arg.is_global_set() && !top { arg.hide(true) } else { arg });
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!("# {path}\n\n{}\n\n", help.join("\n").trim_end()));
    let names: Vec<String> =
        command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").map(|c| c.get_name().to_string()).collect();
    for name in names {
        if let Some(sub) = command.find_subcommand_mut(&name) {
            describe(sub, &format!("{path} {name}"), out);
        }
    }
}
