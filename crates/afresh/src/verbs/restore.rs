//! `restore`: a data directory from a backup, or the backup of the journal put in the journal's place.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::secrets::{IdentityArgs, own};
use crate::show;
use clap::Args;
use model::Fault;
use std::path::{Path, PathBuf};

/// Restore a data directory from a backup, or the journal from its own
#[derive(Args, Debug)]
#[command(
    after_help = "With FILE, it makes the data directory that --data-dir names from a file of `afresh backup`: the whole file is read and each digest compared before \
                  anything is written, and the directory appears when it is whole. It starts nothing, and refuses to be started until somebody says that the \
                  original is gone: two of them would serve the same and write the same volumes. Then it has an identity and addresses of its own.\n\n\
                  Without FILE, it restores the journal from the copy that `afresh serve` keeps beside it, while serve is stopped. The journal that is there is moved aside, not removed. Servers and routes keep running; what was deployed after the backup was made is \
                  reported at the next start and can be taken over: afresh adopt.\n\n\
                  Example:\n  afresh restore /backups/shop.tar --data-dir /var/lib/afresh\n  afresh restore /backups/shop.tar --original-gone --yes\n  afresh restore --yes"
)]
pub struct Restore {
    /// A file that `afresh backup` made; by default the journal's own backup
    #[arg(value_name = "FILE")]
    pub backup: Option<PathBuf>,
    /// Say that the original runs no more and never will: what is restored may be started. Alone, for what was restored before
    #[arg(long)]
    pub original_gone: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Restore it; by default it only shows what would be done
    #[arg(short, long)]
    pub yes: bool,
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("restore")?;
        if self.backup.is_some() || self.original_gone {
            if !nix::unistd::geteuid().is_root() {
                return Err(super::doctor::not_root().into());
            }
            return match &self.backup {
                Some(file) => self.directory(context, file),
                None => self.only_say_gone(context),
            };
        }
        // Nothing is made in a directory that is none of Afresh's.
        if !context.layout.root().join("control").is_dir() {
            let told = format!("{} has no journal", context.data_dir().display());
            return Err(Fault::yours("no-backup", told).hint("is --data-dir right?").into());
        }
        let database = context.layout.database();
        if !self.yes {
            let backup = server::check_backup(&context.layout)?;
            let made = made(&backup);
            if context.json {
                show::json(&serde_json::json!({ "made": made, "open": backup.open, "restored": false }));
                return Ok(Exit::Succeeded);
            }
            let when = show::upkeep::day(made);
            show::line(format!("would replace {0} with {0}.backup ({when}, intact) and move the old one aside", database.display()));
            tell_open(&backup);
            show::note("nothing was changed; --yes restores it");
            return Ok(Exit::Succeeded);
        }
        let restored = server::restore(&context.layout)?;
        let made = made(&restored.backup);
        if context.json {
            show::json(&serde_json::json!({ "made": made, "open": restored.backup.open, "restored": true, "aside": restored.aside }));
            return Ok(Exit::Succeeded);
        }
        show::line(format!("restored the backup of {}", show::upkeep::day(made)));
        tell_open(&restored.backup);
        restored.aside.iter().for_each(|path| show::line(format!("the old journal is {}", path.display())));
        tell_unreadable(context);
        show::note("start serve again: it reports what was deployed since");
        Ok(Exit::Succeeded)
    }
}

impl Restore {
    fn directory(&self, context: &Context, file: &Path) -> Result<Exit, Failure> {
        // Only of a file that was named: one that lies about by chance opens nothing here.
        let identities = if self.identity.identity.is_some() { own(&self.identity)? } else { Vec::new() };
        let layout = &context.layout;
        let checked = server::check_backup_file(file)?;
        let about = &checked.manifest;
        if !context.json {
            let files = show::times(about.entries.len() as u64, "file");
            show::line(format!("{}: {files}, {}, {}, every digest is right", file.display(), show::bytes(about.bytes()), checked.digest));
            show::line(format!("made {} of {}", show::upkeep::day(about.made), about.of));
            about.left_out.iter().for_each(|what| show::line(format!("not in it: {what}")));
            if about.keys_for.is_some() && identities.is_empty() {
                show::line("the machine's keys stay encrypted: name the identity that opens them with --identity FILE");
            }
        }
        if about.made > show::now() {
            show::note(format!(
                "this machine's clock is behind the backup's, {}: set it before anything is started",
                show::upkeep::day(about.made)
            ));
        }
        if self.yes {
            let unpacked = server::unpack_backup(file, &checked, layout, &identities)?;
            host::identity::mark_restored(&unpacked.layout(), about.made)?;
            let open = unpacked.open.clone();
            unpacked.put_in_place()?;
            if self.original_gone {
                host::identity::open(layout, true)?;
            }
            if !context.json {
                show::line(format!("restored to {}", layout.root().display()));
                open.iter().for_each(|id| show::line(format!("{id} was open when the backup was made, and continues when serve starts")));
                tell_unreadable(context);
                show::note(if self.original_gone { "start it: it launches the declared servers".to_string() } else { not_yet(layout) });
            }
        }
        if context.json {
            let (restored, gone) = (self.yes, self.yes && self.original_gone);
            show::json(&serde_json::json!({
                "made": about.made, "of": about.of, "digest": checked.digest, "files": about.entries.len(), "bytes": about.bytes(),
                "left_out": about.left_out, "restored": restored, "original_gone": gone,
            }));
        } else if !self.yes {
            show::note(format!("nothing was changed; --yes restores it to {}", layout.root().display()));
        }
        Ok(Exit::Succeeded)
    }

    fn only_say_gone(&self, context: &Context) -> Result<Exit, Failure> {
        let layout = &context.layout;
        if !layout.root().join("afresh.json").exists() {
            let text = format!("{} is not a data directory of Afresh", layout.root().display());
            return Err(Fault::yours("foreign-dir", text).hint("is --data-dir right?").into());
        }
        let said = format!("say that what {} was restored from is gone", layout.root().display());
        if !crate::confirm::confirmed(self.yes, &said)? {
            show::note("nothing was changed");
            return Ok(Exit::Refused);
        }
        match host::identity::open(layout, true)? {
            host::identity::Identity::Adopted { from } => {
                show::note(format!(
                    "{} has an identity of its own, no longer that of {}; start it",
                    layout.root().display(),
                    from.display()
                ));
            }
            _ => show::note(format!("{} had its own identity already", layout.root().display())),
        }
        Ok(Exit::Succeeded)
    }
}

fn not_yet(layout: &model::Layout) -> String {
    let dir = layout.root().display();
    format!(
        "it starts nothing until somebody says that the original is gone: `afresh restore --original-gone --yes --data-dir {dir}`, or \
         `afresh up --adopt --data-dir {dir}`"
    )
}

/// On another machine, or without its key, values of secrets are not there: each must be given again.
fn tell_unreadable(context: &Context) {
    match server::unreadable_secrets(&context.layout) {
        Ok(all) if all.is_empty() => {}
        Ok(all) => {
            let all: Vec<String> = all.iter().map(|(service, name)| format!("{name} of {service}")).collect();
            show::note(format!(
                "this machine cannot read the values of these secrets, so no server that uses them can be launched: {}; \
                 `afresh deploy` of each service gives them again, or put back the directory `secrets` of the old machine",
                all.join(", ")
            ));
        }
        Err(fault) => show::note(format!("whether values of secrets are missing is not known: {}", fault.message)),
    }
}

fn made(backup: &server::Backup) -> model::Time {
    let since = backup.made.duration_since(std::time::UNIX_EPOCH);
    model::Time(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// A rotation that was open then may be over by now: say what to do.
fn tell_open(backup: &server::Backup) {
    for id in &backup.open {
        let service = id.service();
        show::line(format!(
            "{id} was open when the backup was made, and continues when serve starts. If it has ended since, or waits for servers that are \
             gone: `afresh rotation stop {id}`, then `afresh adopt {service}` if serve reports groups of it"
        ));
    }
}
