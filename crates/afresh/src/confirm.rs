//! Consent to a change: `--yes`, or a yes typed at a terminal. Without a terminal and without `--yes` it is an error, so that no script
//! changes anything by accident.

use model::Fault;
use std::io::{BufRead, IsTerminal, Write};

/// False: the user declined. `what` is a question without its mark: "deploy this".
pub fn confirmed(yes: bool, what: &str) -> Result<bool, Fault> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        let told = "nothing was changed: there is no terminal to confirm the change at";
        return Err(Fault::yours("not-confirmed", told).hint("add --yes"));
    }
    let _ = write!(anstream::stderr(), "{what}? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|e| Fault::world("io", format!("cannot read the answer: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
