//! `gc`: deletes objects that nothing needs.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::GcAnswer;
use clap::Args;

/// Delete objects that no retained release uses
#[derive(Args, Debug)]
#[command(after_help = "What images have in common is kept for a week after its last use.\n\nExample:\n  afresh gc")]
pub struct Gc {}

impl Gc {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer: GcAnswer = context.wait(async { Ok(context.api().post("/v1/gc", &()).await?) })?;
        if context.json {
            show::json(&answer);
            return Ok(Exit::Succeeded);
        }
        for digest in &answer.removed {
            show::line(format!("removed {}", digest.short()));
        }
        if answer.secrets > 0 {
            show::line(format!("removed {} that no retained release pins", show::times(u64::from(answer.secrets), "secret value")));
        }
        let removed = show::times(answer.removed.len() as u64, "object");
        show::line(format!("{removed} removed, {} freed, {} kept", show::bytes(answer.freed_bytes), answer.kept));
        Ok(Exit::Succeeded)
    }
}
