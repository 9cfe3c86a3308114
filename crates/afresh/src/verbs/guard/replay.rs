//! `guard replay`: what rules would have done to past deploys, before anyone turns them on.

use super::rules::RuleFile;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::guard::{ReplayAnswer, ReplayRequest};
use clap::Args;

/// Try rules on the deploys of the last days
#[derive(Args, Debug)]
#[command(after_help = "\
The control plane judges what its journals say was deployed. What is not known any more, such as how old an image was then, is counted as denied, and said so.

Example:
  afresh guard replay --rules strict.toml
  afresh guard replay --rules strict.toml --days 90 --json")]
pub struct Replay {
    #[command(flatten)]
    rules: RuleFile,
    /// How many days back
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
}

impl Replay {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        self.rules.load()?;
        let request = ReplayRequest { rules: self.rules.text()?, days: self.days };
        let answer: ReplayAnswer = context.wait(async { Ok(context.api().post(api::guard::REPLAY, &request).await?) })?;
        if context.json {
            show::json(&answer);
            return Ok(Exit::Succeeded);
        }
        answer.rules.iter().for_each(|row| show::line(show::safe_line(&row.sentence)));
        if answer.left_out {
            show::line("there were more deploys: the newest were tried");
        }
        Ok(Exit::Succeeded)
    }
}
