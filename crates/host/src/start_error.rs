//! Why a program was not started, in one line of our own, out of what an OCI runtime said of it. Pure.

use model::text::shown;

const REASON_BYTES_MAX: usize = 300;
/// What runc and crun put before the cause, each around the one within.
const AROUND: [&str; 6] = [
    "runc run failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "error during container init: ",
    "OCI runtime error: ",
    "error executing setns process: ",
];

/// `program`: the first word of the command.
pub fn reason(said: &str, program: &str) -> String {
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("the OCI runtime gave no reason");
    let cause = cause(last);
    let program = shown(program, 200);
    let is_path = program.contains('/');
    let text = if cause.contains("not found in $PATH") || cause.contains("executable file") && cause.contains("not found") && !is_path {
        format!("the image has no program {program:?} in its PATH")
    } else if is_path && cause.contains("no such file or directory") && cause.contains("stat ") {
        format!("the image has no file {program:?}")
    } else if cause.contains("permission denied") && cause.contains("exec") {
        format!("{program:?} cannot be executed: permission denied")
    } else {
        format!("{program:?} did not start: {cause}")
    };
    shown(&text, REASON_BYTES_MAX)
}

/// Without the words around it.
fn cause(message: &str) -> &str {
    let mut rest = message;
    while let Some(inner) = AROUND.iter().find_map(|head| rest.strip_prefix(head)) {
        rest = inner;
    }
    rest.strip_suffix(": unknown").unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let runc = "runc run failed: unable to start container process: ";
        for (said, program, is) in [
            (format!("{runc}exec: \"srv\": executable file not found in $PATH"), "srv", "the image has no program \"srv\" in its PATH"),
            (
                format!("{runc}error during container init: exec: \"srv\": executable file not found in $PATH: unknown"),
                "srv",
                "the image has no program \"srv\" in its PATH",
            ),
            (
                "executable file `srv` not found in $PATH: No such file or directory".to_string(),
                "srv",
                "the image has no program \"srv\" in its PATH",
            ),
            (format!("{runc}exec: \"/srv\": stat /srv: no such file or directory"), "/srv", "the image has no file \"/srv\""),
            (format!("{runc}exec: \"/srv\": permission denied"), "/srv", "\"/srv\" cannot be executed: permission denied"),
            (
                format!("{runc}error during container init: no space left on device"),
                "/srv",
                "\"/srv\" did not start: no space left on device",
            ),
            ("first\nlast\n\n".to_string(), "a", "\"a\" did not start: last"),
            (String::new(), "a", "\"a\" did not start: the OCI runtime gave no reason"),
        ] {
            assert_eq!(reason(&said, program), is, "{said}");
        }
        assert!(reason(&"\u{1b}x".repeat(1_000), &"\u{1b}".repeat(9_000)).len() <= REASON_BYTES_MAX + "…".len());
    }
}
