//! `adopt` and `restore`: after a journal was lost or an older copy of it was put back.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{AdoptRequest, Adoption};
use clap::Args;
use model::{Fault, ServiceName};

/// Take over servers that run and that the journal does not know; without --yes only show what would be taken over
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing that runs is changed. The group that gets the traffic becomes the active release; groups beside it are retired by the next \
                  deploy.\n\nExample:\n  afresh adopt\n  afresh adopt web --yes"
)]
pub struct Adopt {
    /// Only these services; otherwise all that are shown
    pub services: Vec<ServiceName>,
    /// Take them over
    #[arg(short, long)]
    pub yes: bool,
}

impl Adopt {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            let mut plan: Vec<Adoption> = context.api().get("/v1/adoptions").await?;
            if let Some(unknown) = self.services.iter().find(|s| plan.iter().all(|a| a.service != **s)) {
                let fault = Fault::yours("nothing-to-adopt", format!("{unknown}: the journal knows everything that runs of it"));
                return Err(fault.hint("`afresh adopt` shows what can be taken over").into());
            }
            plan.retain(|a| self.services.is_empty() || self.services.contains(&a.service));
            if !self.yes || plan.is_empty() {
                tell(context, &plan);
                if !context.json {
                    show::note(if plan.is_empty() {
                        "the journal knows everything that runs"
                    } else {
                        "nothing was changed; --yes takes them over"
                    });
                }
                return Ok(Exit::Succeeded);
            }
            let services = plan.iter().filter(|a| a.refused.is_none()).map(|a| a.service.clone()).collect();
            let request = AdoptRequest { services };
            let done: Vec<Adoption> = context.api().post("/v1/adopt", &request).await?;
            tell(context, &done);
            Ok(Exit::Succeeded)
        })
    }
}

fn tell(context: &Context, all: &[Adoption]) {
    if context.json {
        show::json(&all);
        return;
    }
    for one in all {
        match (&one.active, &one.refused) {
            (Some(active), None) => {
                let what = format!("{} in {}, {}", active.release.label(), active.group, show::times(one.count.into(), "server"));
                let verb = one.rotation.as_ref().map_or_else(|| "would be taken over".to_string(), |id| format!("taken over as {id}"));
                show::line(format!("{}: {what}: {verb}", show::paint(show::BOLD, &one.service)));
            }
            (_, why) => show::line(format!("{}: cannot be taken over: {}", one.service, why.as_deref().unwrap_or("nothing runs"))),
        }
        for group in &one.others {
            show::line(format!("  {group} runs beside it: the next deploy retires it"));
        }
    }
}

/// Put the backup of the journal in its place, while serve is stopped
#[derive(Args, Debug)]
#[command(
    after_help = "What was there is moved aside, not removed. Servers and routes run on meanwhile; what was deployed after the backup was made is \
                  reported at the next start, and can be taken over: afresh adopt.\n\nExample:\n  afresh restore --yes"
)]
pub struct Restore {
    /// Do it; without, only what would be done is shown
    #[arg(short, long)]
    pub yes: bool,
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("restore")?;
        let database = context.layout.database();
        if !self.yes {
            let backup = server::check_backup(&context.layout)?;
            let made = made(&backup);
            if context.json {
                show::json(&serde_json::json!({ "made": made, "open": backup.open, "restored": false }));
                return Ok(Exit::Succeeded);
            }
            let when = show::upkeep::day(made);
            show::line(format!("would put {0}.backup ({when}, whole) in the place of {0}, and what is there aside", database.display()));
            tell_open(&backup);
            show::note("nothing was changed; --yes does it");
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
        restored.aside.iter().for_each(|path| show::line(format!("what was there is {}", path.display())));
        show::note("start serve again: it reports what was deployed since");
        Ok(Exit::Succeeded)
    }
}

fn made(backup: &server::Backup) -> model::Time {
    let since = backup.made.duration_since(std::time::UNIX_EPOCH);
    model::Time(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// What a rotation of then was about may be over: it is not stuck without a word of what to do.
fn tell_open(backup: &server::Backup) {
    for id in &backup.open {
        let service = id.service();
        show::line(format!(
            "{id} was open when the backup was made, and goes on when serve starts. If it has ended since, or waits for servers that are \
             gone: `afresh rotation stop {id}`, then `afresh adopt {service}` if serve reports groups of it"
        ));
    }
}
