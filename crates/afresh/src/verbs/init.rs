//! `init`: a service file for a directory of code. What it guesses is in `crate::init`.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::init::{IGNORED, Tree, written};
use crate::show;
use clap::Args;
use model::Fault;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Write a service file for a directory of code
#[derive(Args, Debug)]
#[command(
    after_help = "It looks at Python (Django, Flask, FastAPI, plain), Node.js, PHP, Go, Rust, and at a Dockerfile; it runs nothing. Each guess has a \
                  comment. An existing afresh.hcl is never overwritten.\n\n\
                  Where there is a Dockerfile, the service runs the image that is built from it, and a comment says how to build it. With --debian it runs \
                  the same code on an image of Debian packages, which Afresh patches by itself.\n\n\
                  Then, on a Debian host and as root:\n  afresh up &\n  afresh deploy --yes\n  curl http://127.0.0.1:8080/\n\n\
                  Example:\n  afresh init\n  afresh init ../shop --dry-run"
)]
pub struct Init {
    /// The directory with the code
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Use an image of Debian packages, although there is a Dockerfile
    #[arg(long)]
    pub debian: bool,
    /// Print the file and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

const FILE: &str = "afresh.hcl";
const IGNORE: &str = ".afreshignore";
/// More names help nobody.
const PRIVATE_SHOWN: usize = 5;

impl Init {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = self.dir.join(FILE);
        if !self.dry_run && std::fs::symlink_metadata(&path).is_ok() {
            return Err(exists(&path).into());
        }
        let tree = Tree::read(&self.dir)?;
        let guess = written(&tree, self.debian).ok_or_else(|| {
            Fault::yours("nothing-known", format!("{}: no code that is known here was found", self.dir.display())).hint(
                "known are a Dockerfile, Python, Node.js, PHP, Go and Rust; write the file by hand from an example: crates/config/REFERENCE.md",
            )
        })?;
        let text = &guess.text;
        // What it writes must be right; if it is not, that is a bug here and not the caller's.
        if let Err(all) = config::parse(text, FILE) {
            let first = all.first().map(ToString::to_string).unwrap_or_default();
            return Err(Fault::ours("bad-guess", format!("the file that was guessed is not valid: {first}")).into());
        }
        if self.dry_run {
            show::text(text);
            return Ok(Exit::Succeeded);
        }
        write(&path, text)?;
        let ignore = self.dir.join(IGNORE);
        // The code of a container image is in it already.
        let needs_ignore = guess.artifact.is_some() && std::fs::symlink_metadata(&ignore).is_err();
        if needs_ignore {
            write(&ignore, IGNORED)?;
        }
        guess.artifact.iter().for_each(|artifact| warn_of_private(&self.dir.join(artifact)));
        if context.json {
            show::json(&serde_json::json!({ "file": path, "what": guess.what, "service": guess.service, "notes": guess.notes }));
            return Ok(Exit::Succeeded);
        }
        show::line(format!("{}: {}", path.display(), guess.what));
        if needs_ignore {
            show::line(format!("{}: what is not deployed", ignore.display()));
        }
        guess.notes.iter().for_each(show::note);
        show::note(match guess.artifact {
            Some(_) => "read the comments in it; then: `afresh up &` and `afresh deploy --yes`, or `afresh dev` to try it",
            None => "read the comments in it, and build the image; then: `afresh up &` and `afresh deploy --yes`",
        });
        Ok(Exit::Succeeded)
    }
}

/// Names of files that will be deployed and had better not be. A list that cannot be read is what a deploy complains about.
pub fn warn_of_private(dir: &Path) {
    let found = store::private_files(dir).unwrap_or_default();
    if found.is_empty() {
        return;
    }
    let names = found.iter().take(PRIVATE_SHOWN).map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
    let more = found.len().checked_sub(PRIVATE_SHOWN).filter(|n| *n > 0).map_or_else(String::new, |n| format!(" and {n} more"));
    show::note(format!(
        "{}: {names}{more} of {} will be in the code of the servers, where the program and everybody who can read the store can read it. Name it in {}, and give \
         what it holds as a `secret`",
        show::paint(show::YELLOW.bold(), "warning"),
        dir.display(),
        dir.join(IGNORE).display(),
    ));
}

fn exists(path: &Path) -> Fault {
    Fault::yours("file-exists", format!("{} is there already, and is not overwritten", path.display()))
        .hint("`afresh init --dry-run` prints what would be written")
}

/// Never over a file, nor through a link.
fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let file = std::fs::File::options().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        done => done.map_err(|e| failure::io("cannot write", path, &e)),
    }
}
