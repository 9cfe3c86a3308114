//! Output. Everything that reaches a terminal goes through here, so that a closed pipe, colours, widths and foreign text are handled once.

mod difference;
mod event;
mod failure;
mod foreign;
mod happened;
pub mod live;
mod plan;
pub mod raw_terminal;
mod screen;
mod table;
pub mod tree;
pub mod upkeep;
mod words;

pub use difference::difference;
pub use event::Journal;
pub use failure::failure;
pub use foreign::safe_line;
pub use happened::{happened, without_numbers};
pub use plan::{plan, removal, renamed};
pub use screen::Screen;
pub use table::table;
pub use words::{ago, bytes, clock, command, now, span, step, times, verdict};

use anstyle::{AnsiColor, Style};
use model::Fault;
use serde::Serialize;
use std::io::{IsTerminal, Write};

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const RED: Style = AnsiColor::Red.on_default();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const CYAN: Style = AnsiColor::Cyan.on_default();
/// Of servers, side by side.
pub const PREFIXES: [Style; 6] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Yellow.on_default(),
    AnsiColor::Green.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::BrightRed.on_default(),
];

/// The text in a style; the stream takes the style out again where colours are not wanted.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// One line to stdout. A reader that closed the pipe (`afresh events | head`) is no error.
pub fn line(text: impl std::fmt::Display) {
    if writeln!(anstream::stdout(), "{}", foreign::safe(&text.to_string())).is_err() {
        std::process::exit(0);
    }
}

/// One line of a program that is not ours, byte for byte: its colours stay in also where nobody sees them.
pub fn raw_line(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).is_err() {
        std::process::exit(0);
    }
}

/// As [`raw_line`], to stderr.
pub fn raw_err_line(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// Text as it is, without an end of line.
pub fn text(text: &str) {
    if write!(anstream::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// One object on one line to stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(foreign::safe_json(&text)),
        Err(error) => note(format!("cannot write this as JSON: {error}")),
    }
}

/// One line to stderr: news for people, not the answer.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{}", foreign::safe(&text.to_string()));
}

pub fn err_text(text: &str) {
    note(text.trim_end());
}

/// `error[code]: message` and `hint: ...`, the one form of errors.
pub fn error(fault: &Fault) {
    note(format!("{}: {}", paint(RED.bold(), format!("error[{}]", fault.code)), fault.message));
    if let Some(hint) = &fault.hint {
        note(format!("{}: {hint}", paint(CYAN.bold(), "hint")));
    }
}

pub fn flush() {
    let _ = std::io::stdout().flush();
}

pub fn colour_on_stderr() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// Whether stdout is a terminal on which lines can be drawn again.
pub fn live_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}
