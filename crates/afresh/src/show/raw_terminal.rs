//! The terminal while a command inside a server has it: bytes go both ways as they are. When it ends, the terminal is as it was.

use api::exec::Size;
use model::Fault;
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::Write;

/// Attributes, the other screen, mouse and paste reports off; the cursor on. A program that is killed leaves them as they were.
const RESET: &[u8] = b"\x1b[0m\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h";

pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub fn enter() -> Result<Self, Fault> {
        let no = |e: rustix::io::Errno| Fault::world("io", format!("cannot use the terminal: {e}"));
        let before = tcgetattr(std::io::stdin()).map_err(no)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(no)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        print(RESET);
        // What the terminal answered to a query of the command must not be typed into the caller's shell.
        let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

pub fn size() -> Size {
    let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(Size { rows: 24, cols: 80 }, |size| Size { rows: size.ws_row, cols: size.ws_col })
}

pub fn print(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}
