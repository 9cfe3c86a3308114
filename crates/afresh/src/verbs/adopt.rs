//! `adopt`: after a journal was lost or an older copy of it was restored.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{AdoptRequest, Adoption};
use clap::Args;
use model::{Fault, ServiceName};

/// Take over running servers that the journal does not know
#[derive(Args, Debug)]
#[command(
    after_help = "Without --yes it only shows what would be taken over. No server is changed. The group that gets the traffic becomes the active release; \
                  the next deploy retires other groups.\n\nExample:\n  afresh adopt\n  afresh adopt web --yes"
)]
pub struct Adopt {
    /// Only these services; by default all
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
                let fault = Fault::yours("nothing-to-adopt", format!("{unknown}: the journal knows all its servers"));
                return Err(fault.hint("`afresh adopt` shows what can be taken over").into());
            }
            plan.retain(|a| self.services.is_empty() || self.services.contains(&a.service));
            if !self.yes || plan.is_empty() {
                tell(context, &plan);
                if !context.json {
                    show::note(if plan.is_empty() {
                        "the journal knows every running server"
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
