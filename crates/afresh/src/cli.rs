//! The command line: the list of verbs and their groups. Each verb's own flags are in `verbs`, beside its code.

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::global::Global;
use crate::verbs;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Replace servers instead of changing them: bake patched images, launch new servers, shift traffic to them, retire the old ones
#[derive(Debug, Parser)]
#[command(name = "afresh", version, after_help = exit::HELP, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(verbs::up::Up),
    Down(verbs::down::Down),
    Doctor(verbs::doctor::Doctor),
    Network(verbs::network::NetworkVerb),
    Serve(verbs::roles::Serve),
    Host(verbs::roles::Host),
    Proxy(verbs::roles::Proxy),

    Init(verbs::init::Init),
    Dev(verbs::dev::Dev),
    #[command(alias = "check")]
    Validate(verbs::file::Validate),
    Fmt(verbs::file::Fmt),
    Plan(verbs::deploy::Plan),
    Deploy(verbs::deploy::Deploy),
    Rollback(verbs::rollback::Rollback),
    Rollout(verbs::rollout::RolloutVerb),
    Rotation(verbs::rotation::RotationVerb),
    Step(verbs::step::StepVerb),

    Status(verbs::status::Status),
    Why(verbs::why::Why),
    Events(verbs::events::Events),
    Logs(verbs::logs::Logs),
    Run(verbs::run::RunVerb),
    Exec(verbs::exec::ExecVerb),
    Job(verbs::job::JobVerb),
    Release(verbs::lists::ReleaseVerb),
    #[command(hide = true)]
    Releases(verbs::lists::Releases),
    Instance(verbs::lists::InstanceVerb),
    #[command(hide = true)]
    Instances(verbs::lists::Instances),

    Bake(verbs::bake::Bake),
    Image(verbs::image::ImageVerb),
    #[command(hide = true)]
    Images(verbs::lists::Images),
    Artifact(verbs::artifact::ArtifactVerb),

    Policy(verbs::policy::PolicyVerb),
    Token(verbs::token::TokenVerb),
    Secret(verbs::secret::SecretVerb),
    Audit(verbs::audit::Audit),
    Gc(verbs::gc::Gc),
    Adopt(verbs::adopt::Adopt),
    Guard(verbs::guard::GuardVerb),
    Backup(verbs::backup::Backup),
    Restore(verbs::restore::Restore),

    Demo(verbs::demo::Demo),
    Sim(verbs::sim::Sim),
    Capacity(verbs::capacity::CapacityVerb),
    Explain(verbs::explain::Explain),
    Completions(verbs::completions::Completions),
    Man(verbs::man::Man),
    #[command(hide = true)]
    Load(verbs::load::Load),
}

/// Headings of the help and the verbs under them, in this order.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run a host", &["up", "down", "doctor", "network", "serve", "host", "proxy"]),
    ("Deploy", &["init", "dev", "validate", "fmt", "plan", "deploy", "rollback", "rollout", "rotation", "step", "run", "job"]),
    ("See", &["status", "why", "events", "logs", "exec", "release", "instance"]),
    ("Images and code", &["bake", "image", "artifact"]),
    ("Administration", &["policy", "token", "secret", "audit", "guard", "gc", "adopt", "backup", "restore"]),
    ("Try out and plan", &["demo", "sim", "capacity"]),
    ("Help", &["explain", "completions", "man", "help"]),
];

impl Cli {
    /// The command with its verbs under headings, which clap has none for.
    pub fn grouped() -> clap::Command {
        let mut command = Self::command();
        command.build();
        let template =
            format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}Options:\n{{options}}{{after-help}}", groups(&command));
        with_whole_usage(Self::command().help_template(template))
    }

    /// Reads the command line, or ends the process as clap does: with help, the version, or what is wrong.
    pub fn read() -> Self {
        let parsed = Self::grouped().try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| {
            let hint = command_hint(error.kind(), &arguments());
            if error.kind() != clap::error::ErrorKind::UnknownArgument {
                Self::end(&error, hint);
            }
            // No service, image or file is named like a flag.
            let text = error.render().ansi().to_string();
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains("as a value, use")).collect();
            crate::show::err_text(&lines.join("\n").replace("\n\n\n", "\n\n"));
            hint.iter().for_each(crate::show::note);
            std::process::exit(Self::code(&error))
        })
    }

    /// 2 for a plan with --exit-code would say that there are changes.
    fn code(error: &clap::Error) -> i32 {
        let args = arguments();
        let is_plan = args.iter().any(|a| a == "plan") && args.iter().any(|a| a == "--exit-code");
        // As its help says: 2 would be taken for the exit code of the command.
        let is_run = verb(&args).is_some_and(|verb| verb == "run" || verb == "exec");
        let is_guard = verb(&args).is_some_and(|verb| verb == "guard");
        match (error.use_stderr(), is_plan, is_run) {
            (true, ..) if is_guard => Exit::GUARD_FAILED.code().into(),
            (true, true, _) => Exit::PLAN_FAILED.code().into(),
            (true, _, true) => verbs::run::FAILED.into(),
            _ => error.exit_code(),
        }
    }

    fn end(error: &clap::Error, hint: Option<String>) -> ! {
        let _ = error.print();
        hint.iter().for_each(crate::show::note);
        std::process::exit(Self::code(error))
    }
}

fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
}

fn verb(args: &[String]) -> Option<&String> {
    args.iter().find(|arg| Cli::grouped().find_subcommand(arg).is_some())
}

/// A command without `--` before it is taken for something else: a verb, or one argument too many.
fn command_hint(kind: clap::error::ErrorKind, args: &[String]) -> Option<String> {
    use clap::error::ErrorKind::{InvalidSubcommand, MissingRequiredArgument, UnknownArgument};
    let what = match verb(args)?.as_str() {
        "run" => "run SERVICE",
        "exec" => "exec INSTANCE",
        _ => return None,
    };
    let is_it = matches!(kind, InvalidSubcommand | MissingRequiredArgument | UnknownArgument) && !args.iter().any(|arg| arg == "--");
    is_it.then(|| format!("hint: put -- before the command: afresh {what} -- COMMAND"))
}

/// clap shows a usage of what was given alone when something is wrong: "Usage: afresh plan --exit-code [SERVICE]".
fn with_whole_usage(command: clap::Command) -> clap::Command {
    fn walk(mut command: clap::Command, path: &str) -> clap::Command {
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_string()).collect();
        for name in names {
            let path = format!("{path} {name}");
            command = command.mut_subcommand(&name, |sub| walk(sub, &path));
        }
        let usage = command.clone().bin_name(path).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_string();
        command.override_usage(usage)
    }
    walk(command, "afresh")
}

fn groups(command: &clap::Command) -> String {
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (heading, names) in GROUPS {
        out.push_str(&format!("{heading}:\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about).map(ToString::to_string);
            out.push_str(&format!("  {name:<width$}  {}\n", about.unwrap_or_default()));
        }
        out.push('\n');
    }
    out
}

impl Verb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Verb::Up(verb) => verb.run(context),
            Verb::Down(verb) => verb.run(context),
            Verb::Doctor(verb) => verb.run(context),
            Verb::Network(verb) => verb.run(context),
            Verb::Serve(verb) => verb.run(context),
            Verb::Host(verb) => verb.run(context),
            Verb::Proxy(verb) => verb.run(context),
            Verb::Validate(verb) => verb.run(context),
            Verb::Fmt(verb) => verb.run(context),
            Verb::Plan(verb) => verb.run(context),
            Verb::Deploy(verb) => verb.run(context),
            Verb::Rollback(verb) => verb.run(context),
            Verb::Rollout(verb) => verb.run(context),
            Verb::Rotation(verb) => verb.run(context),
            Verb::Step(verb) => verb.run(context),
            Verb::Status(verb) => verb.run(context),
            Verb::Why(verb) => verb.run(context),
            Verb::Events(verb) => verb.run(context),
            Verb::Logs(verb) => verb.run(context),
            Verb::Run(verb) => verb.run(context),
            Verb::Exec(verb) => verb.run(context),
            Verb::Init(verb) => verb.run(context),
            Verb::Dev(verb) => verb.run(context),
            Verb::Job(verb) => verb.run(context),
            Verb::Release(verb) => verb.run(context),
            Verb::Releases(verb) => verb.run(context),
            Verb::Instance(verb) => verb.run(context),
            Verb::Instances(verb) => verb.run(context),
            Verb::Bake(verb) => verb.run(context),
            Verb::Image(verb) => verb.run(context),
            Verb::Images(verb) => verb.run(context),
            Verb::Artifact(verb) => verb.run(context),
            Verb::Policy(verb) => verb.run(context),
            Verb::Token(verb) => verb.run(context),
            Verb::Secret(verb) => verb.run(context),
            Verb::Audit(verb) => verb.run(context),
            Verb::Gc(verb) => verb.run(context),
            Verb::Adopt(verb) => verb.run(context),
            Verb::Guard(verb) => verb.run(context),
            Verb::Backup(verb) => verb.run(context),
            Verb::Restore(verb) => verb.run(context),
            Verb::Demo(verb) => verb.run(context),
            Verb::Sim(verb) => verb.run(context),
            Verb::Capacity(verb) => verb.run(context),
            Verb::Explain(verb) => verb.run(),
            Verb::Completions(verb) => verb.run(Cli::command()),
            Verb::Man(verb) => verb.run(Cli::grouped()),
            Verb::Load(verb) => verb.run(context),
        }
    }

    /// Whether its exit code is that of a program which is not ours.
    pub fn is_program(&self) -> bool {
        matches!(self, Verb::Exec(verb) if verb.is_program())
            || matches!(self, Verb::Run(verb) if verb.is_program())
            || matches!(self, Verb::Job(verb) if verb.is_program())
    }

    /// Whether its exit codes are those of `guard`.
    pub fn is_guard(&self) -> bool {
        matches!(self, Verb::Guard(_))
    }

    /// Whether it calls a control plane, or might.
    pub fn is_client(&self) -> bool {
        !matches!(
            self,
            Verb::Up(_)
                | Verb::Serve(_)
                | Verb::Host(_)
                | Verb::Proxy(_)
                | Verb::Down(_)
                | Verb::Doctor(_)
                | Verb::Network(_)
                | Verb::Init(_)
                | Verb::Dev(_)
                | Verb::Guard(_)
        )
    }
}

/// The help of every verb, one after the other: what the reference snapshot holds.
pub fn reference() -> String {
    let mut out = String::new();
    let mut root = Cli::grouped().term_width(100);
    root.build();
    describe(&mut root, "afresh", &mut out);
    out
}

fn describe(command: &mut clap::Command, path: &str, out: &mut String) {
    // Global options are printed once, with the root.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_dashes_before_it_has_a_hint() {
        let hint = |args: &[&str]| {
            let error = Cli::grouped().try_get_matches_from(std::iter::once(&"afresh").chain(args)).unwrap_err();
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            command_hint(error.kind(), &args)
        };
        for args in
            [&["run", "notes", "ls"][..], &["run", "--detach", "notes", "ls", "-l"], &["run", "notes"], &["--json", "run", "notes", "ls"]]
        {
            assert_eq!(hint(args).as_deref(), Some("hint: put -- before the command: afresh run SERVICE -- COMMAND"), "{args:?}");
        }
        assert_eq!(
            hint(&["exec", "web-r1-1-1", "ls"]).as_deref(),
            Some("hint: put -- before the command: afresh exec INSTANCE -- COMMAND")
        );
        for args in
            [&["run", "--nonsense", "notes", "--", "ls"][..], &["deploy", "web", "ls"], &["run", "--timeout", "soon", "notes", "ls"]]
        {
            assert_eq!(hint(args), None, "{args:?}");
        }
    }

    #[test]
    fn every_verb_stands_under_one_heading() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().filter(|name| *name != "help").collect();
        grouped.sort_unstable();
        let command = Cli::command();
        let mut verbs: Vec<&str> = command.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name).collect();
        verbs.sort_unstable();
        assert_eq!(grouped, verbs);
    }

    /// STYLE: one line, a verb in the imperative, no full stop.
    #[test]
    fn what_a_verb_is_about_fits_one_line() {
        fn look(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                let path = format!("{path} {}", sub.get_name());
                assert!(!about.ends_with('.') && (10..=78).contains(&about.chars().count()), "{path}: {about:?} ({})", about.len());
                assert!(about.starts_with(char::is_uppercase), "{path}: {about:?}");
                look(sub, &path);
            }
        }
        look(&Cli::command(), "afresh");
    }
}
