//! `restore`: the backup of the journal, put in the journal's place.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::Fault;

/// Restore the journal from its backup, while serve is stopped
#[derive(Args, Debug)]
#[command(
    after_help = "It works in the data directory of this machine. The journal that is there is moved aside, not removed. Servers and routes keep running; what was deployed after the backup was made is \
                  reported at the next start and can be taken over: afresh adopt.\n\nExample:\n  afresh restore --yes"
)]
pub struct Restore {
    /// Restore it; by default it only shows what would be done
    #[arg(short, long)]
    pub yes: bool,
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("restore")?;
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
