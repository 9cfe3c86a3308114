//! `image diff`: packages, the CVEs fixed by newer ones, and files.

use super::lookup::named;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use serde_json::json;

/// Show what differs between two images: packages, CVEs fixed, files
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sudo afresh image diff 3fa9c1d20b7e base")]
pub struct Diff {
    /// The older image: a digest's first digits, or a name for its current image
    pub a: String,
    /// The newer image
    pub b: String,
    /// Compare only packages and CVEs, which needs no root
    #[arg(long)]
    pub packages: bool,
    /// Print every file, not only the first 40
    #[arg(long)]
    pub all: bool,
}

/// A newer package changes hundreds of files; all are shown only on request.
const FILES_SHOWN: usize = 40;

impl Diff {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let (a, b) = (named(&store, &self.a)?, named(&store, &self.b)?);
        let packages = bake::of_packages(&a.packages, &b.packages);
        // An image whose lock is gone has no changelogs to read.
        let read = bake::changes(&store, &a.digest, &b.digest);
        let silent = read.as_ref().err().map(|f| format!("fixes are unknown: {}", f.message));
        let read = read.unwrap_or_default();
        let files = if self.packages || a.digest == b.digest { Vec::new() } else { bake::compare_images(&store, &a.digest, &b.digest)? };
        if context.json {
            show::json(&json!({
                "a": a.digest, "b": b.digest, "packages": packages, "cves": read.cves(), "fixes": read.fixes, "unread": read.unread,
                "cut": read.cut, "files": files,
            }));
            return Ok(Exit::Succeeded);
        }
        if a.digest == b.digest {
            show::line("both are the same image");
            return Ok(Exit::Succeeded);
        }
        packages.iter().for_each(show::line);
        read.fixes_in_words().iter().for_each(show::line);
        silent.iter().for_each(show::note);
        // A newer package makes every path that no package ships newer, too: that says nothing.
        let (times, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| !self.all && f.what.starts_with("its time is "));
        if !times.is_empty() {
            show::note(format!("{} of another time and nothing else; --all shows them", show::times(times.len() as u64, "path")));
        }
        let shown = if self.all { files.len() } else { FILES_SHOWN };
        files.iter().take(shown).for_each(|f| show::line(format!("{}: {}", f.path.display(), f.what)));
        if files.len() > shown {
            show::note(format!("and {} more; --all shows them", show::times((files.len() - shown) as u64, "path")));
        }
        if packages.is_empty() && files.is_empty() && times.is_empty() {
            show::line("no package and no file differs");
        }
        Ok(Exit::Succeeded)
    }
}
