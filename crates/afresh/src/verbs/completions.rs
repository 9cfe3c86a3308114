//! `completions`: for the user's shell.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh completions bash > /etc/bash_completion.d/afresh")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// `command`: the whole command line.
    pub fn run(self, mut command: Command) -> Result<Exit, Failure> {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut command, "afresh", &mut out);
        show::text(&String::from_utf8_lossy(&out));
        Ok(Exit::Succeeded)
    }
}
