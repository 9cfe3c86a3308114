//! The verbs of `afresh`, their output, the three processes and the demo.
//!
//! It is the outermost shell: here, and nowhere below, the environment is read, text is printed and the process exits.
//! It decides nothing about deploys: verbs get what they know from the API. What works in a data directory of this machine says so in its
//! help: running a host, images made by hand, `restore`.

pub mod cli;
mod confirm;
mod context;
mod demo;
pub mod exit;
mod explain;
mod failure;
mod global;
mod init;
mod names;
mod processes;
mod recipe_places;
mod secrets;
mod show;
mod verbs;

use std::process::ExitCode;

/// Parses the command line, runs the verb, prints what went wrong, and gives the exit code.
pub fn main() -> ExitCode {
    bake::enter_sandbox();
    let cli = cli::Cli::read();
    if cli.global.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    let mut context = context::Context::new(&cli.global);
    let given = std::path::absolute(&cli.global.data_dir).unwrap_or_default();
    if matches!(cli.verb, cli::Verb::Up(_)) && given.is_symlink() {
        show::note(format!("{} is a symbolic link: the data directory is {}", given.display(), context.data_dir().display()));
    }
    // `up` and `serve` have a --token-file of their own.
    let token = if cli.verb.is_client() { context.read_token(cli.global.token_file.as_deref()) } else { Ok(()) };
    let (is_program, is_guard) = (cli.verb.is_program(), cli.verb.is_guard());
    let exit = match token.and_then(|()| cli.verb.run(&context)) {
        Ok(exit) => exit,
        Err(failure) => {
            failure.print(context.json);
            match (is_program, is_guard) {
                (true, _) => exit::Exit::Program(verbs::run::FAILED),
                (_, true) => exit::Exit::GUARD_FAILED,
                _ => failure.exit(),
            }
        }
    };
    show::flush();
    ExitCode::from(exit.code())
}
