//! `explain`: more on an error's code than fits beside the error.

use crate::exit::Exit;
use crate::explain;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::Fault;

/// Explain an error code, or list all of them
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh explain unreachable")]
pub struct Explain {
    /// The code, as in error[CODE]
    pub code: Option<String>,
}

impl Explain {
    pub fn run(self) -> Result<Exit, Failure> {
        let Some(code) = self.code else {
            let rows = explain::all()
                .map(|(code, text)| vec![code.to_string(), text.split(". ").next().unwrap_or(text).trim_end_matches('.').to_string()]);
            show::line(show::table(&["code", "means"], rows.collect()));
            return Ok(Exit::Succeeded);
        };
        match explain::of(&code) {
            Some(text) => show::line(format!("{}\n\n{text}", show::paint(show::BOLD, &code))),
            None => {
                return Err(Fault::yours("no-such-code", format!("no error has the code {code:?}"))
                    .hint("`afresh explain` lists them all")
                    .into());
            }
        }
        Ok(Exit::Succeeded)
    }
}
