//! What may reach a terminal. Logs, file names and answers are foreign text: an escape sequence in them retitles the terminal, writes its
//! clipboard or forges a line (a carriage return suffices), and a bidirectional override shows another text than is there. Colours stay,
//! and end with the text. Pure.

use anstyle::Reset;
use std::borrow::Cow;

/// Of one escape sequence that sets colours.
const SGR_BYTES_MAX: usize = 32;

/// The text with `?` for every character that is not shown as it is, but for tabs, ends of lines and colours.
pub fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c == '\n' || is_plain(c)) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest, mut has_colours) = (String::with_capacity(text.len()), text, false);
    while let Some(c) = rest.chars().next() {
        let length = match sgr(rest) {
            Some(length) => {
                has_colours = true;
                out.push_str(&rest[..length]);
                length
            }
            None => {
                out.push(if c == '\n' || is_plain(c) { c } else { '?' });
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    let reset = Reset.to_string();
    if has_colours && !out.ends_with(&reset) {
        out.push_str(&reset);
    }
    Cow::Owned(out)
}

/// As [`safe`], and no end of line.
pub fn safe_line(text: &str) -> String {
    safe(text).replace('\n', "?")
}

/// JSON with escapes for such characters: the value stays the same. They occur within its strings alone.
pub fn safe_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_plain) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    Cow::Owned(out)
}

fn is_plain(c: char) -> bool {
    c == '\t' || model::text::is_shown(c)
}

/// The length of the colour sequence at the beginning of a text: `ESC [ numbers m`.
fn sgr(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let end = numbers.bytes().take(SGR_BYTES_MAX).position(|b| !matches!(b, b'0'..=b'9' | b';' | b':'))?;
    (numbers.as_bytes()[end] == b'm').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_colours_and_nothing_else() {
        for (foreign, want) in [
            ("größe 日本 👩\u{200d}🔧\tx\ny", "größe 日本 👩\u{200d}🔧\tx\ny"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[38:2::1:2:3mred", "\u{1b}[38:2::1:2:3mred\u{1b}[0m"),
            ("\u{1b}]0;title\u{7}\u{1b}]52;c;eA==\u{1b}\\", "?]0;title??]52;c;eA==?\\"),
            ("\u{1b}[2J\u{1b}[6n\u{1b}[?1049h\u{1b}c", "?[2J?[6n?[?1049h?c"),
            ("x\rforged | y\u{8}\u{7f}", "x?forged | y??"),
            ("\u{9b}31m\u{9d}0;t\u{9c}\u{202e}gnp\u{feff}", "?31m?0;t??gnp?"),
            ("\u{1b}\u{1b}[m\u{1b}", "?\u{1b}[m?\u{1b}[0m"),
            ("\u{1b}[", "?["),
        ] {
            assert_eq!(safe(foreign), want, "{foreign:?}");
            // Sanitised text may pass through here again.
            assert_eq!(safe(want), want);
        }
        let long = format!("\u{1b}[{}m", "1;".repeat(100));
        assert!(safe(&long).starts_with("?["));
        assert_eq!(safe_line("a\nb\r"), "a?b?");
    }

    #[test]
    fn json_keeps_its_value_and_has_no_such_characters() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2028}\u{e0041}\t\r\n\"\\ü👩\u{200d}🔧";
        let json = serde_json::to_string(text).unwrap();
        let safe = safe_json(&json);
        assert!(safe.chars().all(model::text::is_shown), "{safe:?}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        assert_eq!(safe_json("{\"a\":\"ü\"}"), "{\"a\":\"ü\"}");
    }
}
