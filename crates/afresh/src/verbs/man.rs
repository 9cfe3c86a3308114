//! `man`: the manual pages, made from the command line's own description.

use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use clap::{Args, Command};
use clap_mangen::Man as Page;
use std::path::PathBuf;

/// Write the manual pages, one for each verb, into a directory
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh man /usr/local/share/man/man1")]
pub struct Man {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

impl Man {
    /// `command`: the whole command line.
    pub fn run(self, command: Command) -> Result<Exit, Failure> {
        std::fs::create_dir_all(&self.dir).map_err(|e| failure::io("cannot make", &self.dir, &e))?;
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let count = self.write(&command)?;
        show::line(format!("{count} pages in {}", self.dir.display()));
        Ok(Exit::Succeeded)
    }

    fn write(&self, command: &Command) -> Result<usize, Failure> {
        let mut count = 1;
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            count += self.write(verb)?;
        }
        // A date would make two builds of one source differ.
        let page = Page::new(command.clone()).manual("Afresh").source(concat!("afresh ", env!("CARGO_PKG_VERSION")));
        let mut text = Vec::new();
        let path = self.dir.join(page.get_filename());
        page.render(&mut text).map_err(|e| failure::io("cannot write", &path, &e))?;
        // A file of its own in place of what is there: a link in a directory that others write to is not followed.
        disk::files::write_atomic(&path, &text)?;
        Ok(count)
    }
}
