//! `logs`: what a server's program printed. Read from the data directory, so that it works while nothing runs.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use clap::Args;
use model::{Fault, InstanceId};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// Print what a server's program printed
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh logs web-r2-5-1 --follow")]
pub struct Logs {
    /// As `afresh instances` lists them; also of one that is gone
    pub instance: InstanceId,
    /// Stay and print what comes
    #[arg(long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
}

impl Logs {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("logs")?;
        let path = context.layout.log(&self.instance);
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Fault::yours("no-log", format!("no log of {} in {}", self.instance, context.data_dir().display()))
                    .hint("`afresh instances` lists the servers; is --data-dir right?")
            }
            _ => failure::io("cannot read", &path, &e),
        })?;
        let mut reader = BufReader::new(file);
        let broken = |e: std::io::Error| failure::io("cannot read", &path, &e);
        let mut last = VecDeque::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            // Programs print what they like: bytes that are no text are shown as such, never an error.
            if reader.read_until(b'\n', &mut line).map_err(broken)? == 0 {
                last.drain(..).for_each(|line: String| show::text(&line));
                if !self.follow {
                    return Ok(Exit::Succeeded);
                }
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            last.push_back(String::from_utf8_lossy(&line).into_owned());
            match self.tail {
                Some(n) if last.len() > n => drop(last.pop_front()),
                Some(_) => {}
                None => last.drain(..).for_each(|line| show::text(&line)),
            }
        }
    }
}
