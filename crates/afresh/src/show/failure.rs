//! Why servers fail, for people: every line that is known. Pure.

use super::{DIM, clock, paint};
use model::Failure;

/// How the last one ended and what it printed last, and what a health check was answered.
pub fn failure(failure: &Failure) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(probe) = &failure.probe {
        let when = format!("{} at {}", probe.instance, clock(probe.at));
        all.extend(with_lines(format!("{when}: {}", probe.what()), &probe.lines));
    }
    let Some(death) = &failure.last_death else { return all };
    let when = format!("{} at {}", death.instance, clock(death.at));
    match &death.exit {
        None => all.push(format!("{when}: {death}")),
        Some(exit) if exit.lines.is_empty() => all.push(format!("{when}: {}; it printed nothing", exit.how())),
        Some(exit) => all.extend(with_lines(format!("{when}: {}", exit.how()), &exit.lines)),
    }
    all
}

fn with_lines(what: String, lines: &[String]) -> Vec<String> {
    if lines.is_empty() {
        return vec![what];
    }
    let printed = lines.iter().map(|line| format!("  {} {line}", paint(DIM, "|")));
    std::iter::once(format!("{what}; its last lines:")).chain(printed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{FailedProbe, Time};

    #[test]
    fn a_server_that_never_answered_is_shown_with_what_it_printed_last() {
        let lines = ["connecting to 10.0.0.5", "connection refused, trying again"].map(String::from).to_vec();
        let instance = "web-r1-1-3".parse().unwrap();
        let probe = FailedProbe { instance, at: Time(0), probe: "TCP".into(), answer: "connection refused on port 8080".into(), lines };
        let shown = failure(&Failure { group: "web-r1-1".parse().unwrap(), deaths: 0, last_death: None, probe: Some(probe) });
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[0].ends_with("health check TCP: connection refused on port 8080; its last lines:"), "{shown:?}");
        assert!(shown[2].ends_with("connection refused, trying again"), "{shown:?}");
    }
}
