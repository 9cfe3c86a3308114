//! A waiver as a `[[waiver]]` table of TOML, as [`Waiver::load`] reads it.

use crate::date::show_day;
use crate::waiver::Waiver;
use std::fmt::Write as _;

impl Waiver {
    /// Appends the table to what a file of waivers has.
    #[must_use]
    pub fn appended_to(&self, file: &str) -> String {
        let mut text = file.to_string();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str("[[waiver]]\n");
        for (name, value) in [
            ("rule", &self.rule),
            ("resource", &self.resource),
            ("evidence", &self.evidence),
            ("owner", &self.owner),
            ("reason", &self.reason),
            ("ticket", &self.ticket),
            ("granted", &show_day(self.granted_s)),
            ("expires", &show_day(self.expires_s)),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} = {}", quoted(value));
        }
        text
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::parse_s;

    #[test]
    fn any_text_is_read_as_it_was_written() {
        let day = |text| parse_s(text).unwrap();
        let mut file = "# reviewed".to_string();
        let mut all = Vec::new();
        for value in ["OPS-17", "a \"b\" \\ c", "tab\tand\nline", "é…\u{7f}", "\"\n[[waiver]]\nrule = \"x"] {
            let waiver = Waiver {
                rule: "r".into(),
                resource: format!("web {value}"),
                evidence: "0".repeat(32),
                owner: value.into(),
                reason: value.into(),
                ticket: value.into(),
                granted_s: day("2026-11-01"),
                expires_s: day("2026-11-15"),
            };
            file = waiver.appended_to(&file);
            all.push(waiver);
            assert_eq!(Waiver::load(&file).unwrap(), all);
        }
        assert!(file.starts_with("# reviewed\n\n[[waiver]]\n"));
    }
}
