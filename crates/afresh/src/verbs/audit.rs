//! `audit`: who changed what, and who was refused.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::AuditLine;
use clap::Args;

/// List changes and refusals: who, from where, what, and the outcome
#[derive(Args, Debug)]
#[command(
    after_help = "Files: DATA/audit/changes.log and refusals.log, one JSON object a line, rotated at 4 MiB.\n\nExample:\n  afresh audit --refused --limit 20"
)]
pub struct Audit {
    /// List at most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// List only refusals
    #[arg(long)]
    refused: bool,
}

impl Audit {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = format!("/v1/audit?limit={}&refused={}", self.limit, self.refused);
        let lines: Vec<AuditLine> = context.wait(async { Ok(context.api().get(&path).await?) })?;
        if context.json {
            show::json(&lines);
            return Ok(Exit::Succeeded);
        }
        let rows = lines.into_iter().map(|line| {
            let reason = if line.message.is_empty() { line.reason } else { String::new() };
            let words: Vec<String> = [line.detail, line.message, reason].into_iter().filter(|words| !words.is_empty()).collect();
            let words = words.join("; ");
            vec![show::clock(line.at), line.who, line.from, line.what, line.on, line.outcome, line.code, words]
        });
        show::line(show::table(&["time", "who", "from", "what", "on", "outcome", "code", "words"], rows.collect()));
        Ok(Exit::Succeeded)
    }
}
