//! One line of a server as a message for other logs: journald's native protocol, or RFC 5424. Pure.
//!
//! A program chooses the bytes of its lines, never a field: in journald's protocol each value has its length before it, and what frames a
//! message of syslog (a datagram, or its length) does not depend on its text.

use api::logs::Stream;
use model::{InstanceId, Time};

/// Of a line that is sent to syslog: RFC 5424 asks for 2 KiB of each receiver, and most take 8.
const SYSLOG_BYTES_MAX: usize = 8_000;
/// What is sent of a line whose datagram was too large for the kernel.
pub const SHORT_BYTES: usize = 1_000;
/// local0, as syslog counts facilities.
const FACILITY: u8 = 16;

pub struct Message<'a> {
    pub host: &'a str,
    pub instance: &'a InstanceId,
    pub at: Option<Time>,
    pub stream: Option<Stream>,
    pub text: &'a str,
}

impl Message<'_> {
    fn service(&self) -> String {
        self.instance.service().map_or_else(|| "afresh".to_string(), |service| service.to_string())
    }

    /// err, warning or info: what is printed to stderr is no error by itself.
    fn severity(&self) -> u8 {
        if self.stream == Some(Stream::Afresh) { 4 } else { 6 }
    }

    fn stream(&self) -> &'static str {
        self.stream.map_or("-", Stream::name)
    }

    /// The datagram that systemd-journald takes: `NAME`, the length of the value as 64 bits, the value.
    pub fn journald(&self) -> Vec<u8> {
        let group = self.instance.group();
        let release = group.as_ref().and_then(|group| group.parts().or_else(|| group.run())).map(|(_, release, _)| release.to_string());
        let mut out = Vec::with_capacity(self.text.len() + 400);
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        };
        field("MESSAGE", self.text);
        field("PRIORITY", &self.severity().to_string());
        field("SYSLOG_IDENTIFIER", &self.service());
        field("AFRESH_INSTANCE", self.instance.as_str());
        field("AFRESH_SERVICE", &self.service());
        field("AFRESH_RELEASE", release.as_deref().unwrap_or("-"));
        field("AFRESH_STREAM", self.stream());
        if let Some(at) = self.at {
            field("SYSLOG_TIMESTAMP", &stamp(Some(at)));
        }
        out
    }

    /// `<134>1 2026-11-29T12:00:00.123Z host web web-r2-5-1 stdout - text`
    pub fn rfc5424(&self) -> Vec<u8> {
        let priority = FACILITY * 8 + self.severity();
        let (at, service) = (stamp(self.at), self.service());
        let head = format!("<{priority}>1 {at} {} {} {} {} - ", word(self.host, 255), word(&service, 48), self.instance, self.stream());
        let mut out = head.into_bytes();
        out.extend_from_slice(cut(self.text, SYSLOG_BYTES_MAX).as_bytes());
        out
    }
}

/// Framed for a stream: its length before it (RFC 6587).
pub fn framed(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

/// As much of a text as fits.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A header's field: printable ASCII without spaces.
fn word(text: &str, bytes_max: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(bytes_max).collect();
    if word.is_empty() { "-".to_string() } else { word }
}

fn stamp(at: Option<Time>) -> String {
    let stamp = at.and_then(|at| i64::try_from(at.0).ok()).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "-".to_string(), |stamp| format!("{stamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(instance: &'a InstanceId, text: &'a str) -> Message<'a> {
        Message { host: "shop 1", instance, at: Some(Time(1_764_000_000_123)), stream: Some(Stream::Stderr), text }
    }

    #[test]
    fn a_message_of_rfc_5424_has_its_fields() {
        let instance = "web-r2-5-1".parse().unwrap();
        let text = String::from_utf8(message(&instance, "a\u{1b}[2J ü").rfc5424()).unwrap();
        assert_eq!(text, "<134>1 2025-11-24T16:00:00.123Z shop1 web web-r2-5-1 stderr - a\u{1b}[2J ü");
        assert_eq!(framed(b"abc"), b"3 abc");
        let long = "ü".repeat(60_000);
        assert!(String::from_utf8(message(&instance, &long).rfc5424()).unwrap().len() <= SYSLOG_BYTES_MAX + 100);
        let unknown = Message { at: None, stream: None, ..message(&instance, "x") };
        assert_eq!(String::from_utf8(unknown.rfc5424()).unwrap(), "<134>1 - shop1 web web-r2-5-1 - - x");
    }

    /// The reader of the protocol, written from its description (systemd's `JOURNAL_NATIVE_PROTOCOL`).
    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n').unwrap();
            let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{name}");
            let length = usize::try_from(u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap())).unwrap();
            let value = &bytes[end + 9..end + 9 + length];
            assert_eq!(bytes[end + 9 + length], b'\n');
            all.push((name, String::from_utf8(value.to_vec()).unwrap()));
            bytes = &bytes[end + 10 + length..];
        }
        all
    }

    #[test]
    fn no_text_of_a_program_becomes_a_field_of_journald() {
        let instance = "web-r2-5-1".parse().unwrap();
        let forged = "x\n_UID=0\nPRIORITY=0\nMESSAGE\n\0\0\0";
        let all = fields(&message(&instance, forged).journald());
        let of = |name: &str| all.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        assert_eq!((of("MESSAGE"), of("PRIORITY"), of("_UID")), (vec![forged], vec!["6"], vec![]));
        assert_eq!((of("SYSLOG_IDENTIFIER"), of("AFRESH_RELEASE"), of("AFRESH_STREAM")), (vec!["web"], vec!["2"], vec!["stderr"]));
    }
}
