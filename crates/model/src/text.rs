//! What a text that people or programs read may contain: nothing that hides, reorders or ends what is shown. Pure.
//!
//! A bidirectional override shows a name or a script as another one than runs (CVE-2021-42574); a line feed in a name forges a line
//! of a log; an escape character rewrites the terminal that shows it.

use crate::validation_error::{Validated, ValidationError};

/// A caller's reason, or another text on one line.
pub const LINE_BYTES_MAX: usize = 200;

/// True for what reorders or ends lines, or is invisible: no editor shows a text with it as it is.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    ) || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// False for what is not shown as it is: control characters (tabs and ends of lines too), and what hides or reorders others.
pub fn is_shown(c: char) -> bool {
    !c.is_control() && !is_hidden(c)
}

/// The first forbidden character, with its byte offset. Tabs and line ends are allowed.
pub fn forbidden(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(_, c)| is_hidden(*c) || (c.is_control() && !matches!(c, '\t' | '\n' | '\r')))
}

fn wrong(c: char) -> ValidationError {
    let (code, what) = if c == '\0' {
        ("nul-byte", "NUL".to_string())
    } else if c.is_control() {
        ("control-character", format!("the control character U+{:04X}", u32::from(c)))
    } else {
        ("hidden-character", format!("the invisible character U+{:04X}", u32::from(c)))
    };
    ValidationError::new(code, format!("this text has {what} in it"), "expected characters that are shown as they are")
}

/// A text of any number of lines.
pub fn lines(text: &str) -> Validated {
    forbidden(text).map_or(Ok(()), |(_, c)| Err(wrong(c)))
}

/// A text on one line of at most [`LINE_BYTES_MAX`] bytes.
pub fn line(text: &str) -> Validated {
    lines(text)?;
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(wrong(c)),
        None if text.len() > LINE_BYTES_MAX => Err(ValidationError::new(
            "out-of-range",
            format!("this text has {} bytes", text.len()),
            format!("expected at most {LINE_BYTES_MAX}"),
        )),
        None => Ok(()),
    }
}

/// A size in the largest unit that says it in whole numbers: `64 MiB`, `1500 bytes`.
pub fn bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

/// Foreign text for one line of a log: every character that is not shown as it is becomes `?`, and what is too long is cut.
pub fn shown(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > bytes_max {
            out.push('…');
            break;
        }
        out.push(if is_shown(c) { c } else { '?' });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_is_refused() {
        for bad in ["\u{202e}x", "a\u{2066}b", "\u{200b}", "\u{feff}", "a\u{1b}[2J", "\u{7f}", "\u{85}", "a\0", "\u{2028}", "\u{e0041}"] {
            assert!(lines(bad).is_err() && line(bad).is_err(), "{bad:?}");
        }
        for good in ["", "a\tb\r\n", "größe 日本 🎉", "👩\u{200d}🔧"] {
            assert_eq!(lines(good), Ok(()), "{good:?}");
        }
        for bad in ["a\nb", "a\tb", "a\r", &"x".repeat(LINE_BYTES_MAX + 1)] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
        assert_eq!(line(&"x".repeat(LINE_BYTES_MAX)), Ok(()));
    }

    #[test]
    fn what_is_shown_is_one_line_and_short() {
        assert_eq!(shown("a\nb\u{202e}c", 80), "a?b?c");
        assert_eq!(shown("ääää", 4), "ää…");
        assert_eq!(shown("", 0), "");
    }
}
