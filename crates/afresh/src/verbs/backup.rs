//! `backup`: a whole data directory in one file, while it is in use.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::Fault;
use std::path::PathBuf;

/// Back up the data directory into one file, while everything runs
#[derive(Args, Debug)]
#[command(
    after_help = "It works in the data directory of this machine, beside `afresh serve` or without it. In it are journals, declared servers and routes, tokens, \
                  policies, secrets (encrypted for this machine's key), and the images and artifacts that releases use. Not in it are volumes, \
                  which are the services' own data, logs, what lies outside of the data directory (the host policy, passwords of registries, service files \
                  and what their secrets are read from), and the machine's keys unless --keys-for names who can read them.\n\n\
                  The file appears when it is whole and was read again; whoever can write it decides what a restored machine runs. `afresh serve --backup DIR` makes \
                  backups by itself.\n\nExample:\n  afresh backup /backups\n  afresh backup /backups/shop.tar --keys-for age1...\n  afresh restore /backups/shop.tar --data-dir /var/lib/other"
)]
pub struct Backup {
    /// The file, which is replaced when the new one is whole; or a directory, for a file named after the time
    #[arg(value_name = "FILE|DIR")]
    pub to: PathBuf,
    /// Leave out images that can be baked again
    #[arg(long)]
    pub without_objects: bool,
    /// Put the machine's keys into it, encrypted for this recipient of age
    #[arg(long, value_name = "AGE1...", value_parser = recipient)]
    pub keys_for: Option<String>,
}

pub fn recipient(text: &str) -> Result<String, String> {
    if secret::is_recipient(text) {
        Ok(text.to_string())
    } else {
        Err("a recipient of age begins with age1; `age-keygen -y FILE` prints it".to_string())
    }
}

impl Backup {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("backup")?;
        if !nix::unistd::geteuid().is_root() {
            return Err(Fault::world("not-root", "a backup reads what only root may read")
                .hint("sudo afresh backup ...")
                .again(false)
                .into());
        }
        let to = if self.to.is_dir() { server::backup_name(&self.to, show::now()) } else { self.to };
        let to = std::path::absolute(&to).unwrap_or(to);
        let options = server::BackupOptions { without_objects: self.without_objects, keys_for: self.keys_for };
        let made = server::make_backup(&context.layout, &to, &options)?;
        if context.json {
            show::json(&serde_json::json!({ "backup": made.last, "files": made.files, "left_out": made.left_out }));
            return Ok(Exit::Succeeded);
        }
        show::line(format!("{} files, {}, {}", made.files, show::bytes(made.last.bytes), made.last.digest));
        made.left_out.iter().for_each(|what| show::line(format!("not in it: {what}")));
        show::line(made.last.path.display());
        Ok(Exit::Succeeded)
    }
}
