//! `validate` and `fmt`: the service file alone, nothing else is touched.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use clap::Args;
use std::io::Write;

/// Check the service file and print every error in it
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh validate --file examples/shop/afresh.hcl")]
pub struct Validate {}

impl Validate {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let file = context.load()?;
        if context.json {
            show::json(&file);
        } else {
            let images = show::times(file.images.len() as u64, "image");
            let services = show::times(file.services.len() as u64, "service");
            let tiers = show::times(file.tiers.len() as u64, "tier");
            show::line(format!("{}: valid: {images}, {services}, {tiers}", context.file.display()));
        }
        Ok(Exit::Succeeded)
    }
}

/// Format the service file
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh fmt --check || afresh fmt")]
pub struct Fmt {
    /// Change nothing; exit with 2 if the file is not formatted
    #[arg(long)]
    pub check: bool,
}

impl Fmt {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let text = context.read()?;
        let name = context.file.display().to_string();
        let formatted = config::format(&text).map_err(|diagnostics| Failure::File {
            rendered: config::render(&diagnostics, &text, &name, show::colour_on_stderr()),
            errors: diagnostics.len(),
            name: name.clone(),
        })?;
        let same = formatted == text;
        if self.check && !same {
            show::note(format!("{name}: not formatted; `afresh fmt` formats it"));
        }
        if !self.check && !same {
            replace(&context.file, &formatted).map_err(|e| failure::io("cannot write", &context.file, &e))?;
        }
        if context.json {
            show::json(&serde_json::json!({ "file": name, "formatted": same || !self.check, "changed": !same && !self.check }));
        }
        Ok(if self.check && !same { Exit::User } else { Exit::Succeeded })
    }
}

/// All or nothing: a full disk must not cost the user their file.
fn replace(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path)?; // a symbolic link stays one
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}
