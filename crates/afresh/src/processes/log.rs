//! Where the daemons' own lines go: stderr. journald gets their priority (sd-daemon(3)) and no time, which it adds itself.

use std::fmt::Result;
use std::os::unix::fs::MetadataExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `AFRESH_LOG` says which lines; a second subscriber in one process would be a harmless bug.
pub fn start() {
    let filter = EnvFilter::try_from_env("AFRESH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let _ = if is_journal() {
        lines.with_ansi(false).event_format(ForJournal).try_init()
    } else {
        lines.with_ansi(crate::show::colour_on_stderr()).with_target(false).try_init()
    };
}

/// systemd names the device and inode of what it connected us to: it may be redirected since, or be that of a parent.
fn is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/dev/fd/2").is_ok_and(|own| named.to_str() == Some(&format!("{}:{}", own.dev(), own.ino())))
}

struct ForJournal;

impl<S: Subscriber + for<'a> LookupSpan<'a>, F: for<'a> FormatFields<'a> + 'static> FormatEvent<S, F> for ForJournal {
    fn format_event(&self, context: &FmtContext<'_, S, F>, mut out: Writer<'_>, event: &Event<'_>) -> Result {
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        text.lines().try_for_each(|line| writeln!(out, "<{priority}>{line}"))
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
