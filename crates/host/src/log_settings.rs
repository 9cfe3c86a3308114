//! What becomes of the logs of all servers, as whoever starts the keeper says it.

use std::fmt;
use std::path::PathBuf;

/// The room of all logs of a host, where nobody says otherwise. Looked at every few seconds; each log has a bound of its own in between.
pub const TOTAL_BYTES: u64 = 1 << 30;
/// Less would leave nothing of most logs.
pub const TOTAL_BYTES_MIN: u64 = 16 << 20;

const JOURNALD: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    Journald(PathBuf),
    Syslog(PathBuf),
    /// Name and port: looked up at each connection.
    Udp(String),
    Tcp(String),
}

impl Forward {
    /// `journald`, `syslog`, each with `:/SOCKET` for another socket; `udp:HOST:PORT`, `tcp:HOST:PORT` for a syslog that is elsewhere.
    pub fn parse(text: &str) -> Result<Self, String> {
        let socket =
            |path: &str| if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err("a socket's path begins with /".to_string()) };
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':').ok_or("it needs HOST:PORT")?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            if host.is_empty() || !is_port || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(format!("{text:?} is not HOST:PORT"));
            }
            Ok(text.to_string())
        };
        match text.split_once(':') {
            None if text == "journald" => Ok(Self::Journald(JOURNALD.into())),
            None if text == "syslog" => Ok(Self::Syslog(SYSLOG.into())),
            Some(("journald", path)) => socket(path).map(Self::Journald),
            Some(("syslog", path)) => socket(path).map(Self::Syslog),
            Some(("udp", text)) => address(text).map(Self::Udp),
            Some(("tcp", text)) => address(text).map(Self::Tcp),
            _ => Err("written journald, syslog, syslog:/SOCKET, udp:HOST:PORT or tcp:HOST:PORT".to_string()),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journald(path) => write!(f, "journald ({})", path.display()),
            Self::Syslog(path) => write!(f, "syslog ({})", path.display()),
            Self::Udp(address) => write!(f, "syslog at {address} (UDP)"),
            Self::Tcp(address) => write!(f, "syslog at {address} (TCP)"),
        }
    }
}

/// Beside being kept for each server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The room that all of them may take together.
    pub total_bytes: u64,
    /// Where each line is sent to as well.
    pub forward: Option<Forward>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { total_bytes: TOTAL_BYTES, forward: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_is_read() {
        for (text, want) in [
            ("journald", Forward::Journald(JOURNALD.into())),
            ("syslog", Forward::Syslog(SYSLOG.into())),
            ("syslog:/run/x.sock", Forward::Syslog("/run/x.sock".into())),
            ("udp:10.0.0.5:514", Forward::Udp("10.0.0.5:514".into())),
            ("tcp:[::1]:6514", Forward::Tcp("[::1]:6514".into())),
        ] {
            assert_eq!(Forward::parse(text).unwrap(), want);
        }
        for bad in ["", "x", "journald:", "syslog:x", "udp:", "udp:host", "tcp::514", "tcp:a b:1", "tcp:a:0", "tcp:a:70000"] {
            assert!(Forward::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
