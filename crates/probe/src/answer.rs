//! Whether the bytes of an HTTP answer are healthy. Pure.

use model::QUOTED_BYTES_MAX;
use model::text::shown;

/// A longer head is not healthy. Interim responses before it count.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// As many as the balancer takes from a server whose answer it forwards.
const HEADERS_MAX: usize = 256;

/// What the bytes so far say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head is not complete: read on.
    Incomplete,
    /// The final head is complete and says 2xx or 3xx. The body decides nothing.
    Healthy,
    /// The final head is complete and says something else; its body begins at this byte.
    Unhealthy { status: u16, body: usize },
    /// It will never be an answer of HTTP/1: why.
    Invalid(String),
}

/// Redirects are healthy and are not followed. Interim responses (1xx) are skipped, but for 101, which is final.
pub fn judge(bytes: &[u8]) -> Answer {
    let mut from = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&bytes[from..]) {
            Err(e) => return Answer::Invalid(format!("{e}")),
            Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
                return Answer::Invalid(format!("its head has more than {HEAD_BYTES_MAX} bytes"));
            }
            Ok(httparse::Status::Partial) => return Answer::Incomplete,
            Ok(httparse::Status::Complete(length)) => {
                from += length;
                match response.code.unwrap_or(0) {
                    100 | 102..=199 => {}
                    200..=399 => return Answer::Healthy,
                    status => return Answer::Unhealthy { status, body: from },
                }
            }
        }
    }
}

/// Why an answer that has ended is not healthy, on one short line: `500 "database is locked"`. None: it is healthy.
pub fn reason(bytes: &[u8]) -> Option<String> {
    let quoted = |bytes: &[u8]| shown(String::from_utf8_lossy(bytes).trim(), QUOTED_BYTES_MAX);
    Some(match judge(bytes) {
        Answer::Healthy => return None,
        Answer::Incomplete if bytes.is_empty() => "the connection was closed without an answer".to_string(),
        Answer::Incomplete => format!("the answer ended within its head: \"{}\"", quoted(bytes)),
        Answer::Invalid(why) => format!("no HTTP answer ({why}): \"{}\"", quoted(bytes)),
        Answer::Unhealthy { status, body } => match first_line(bytes, body) {
            Some(line) => format!("{status} \"{}\"", shown(&line, QUOTED_BYTES_MAX)),
            None => format!("{status}, without a body"),
        },
    })
}

fn first_line(bytes: &[u8], body: usize) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..body]).to_ascii_lowercase();
    let body = String::from_utf8_lossy(&bytes[body..]).into_owned();
    // A chunk begins with a line that has its length.
    let is_chunked = head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    let body = if is_chunked { body.split_once('\n').map_or("", |(_, rest)| rest) } else { &body };
    body.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_final_status() {
        for (bytes, want) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Answer::Healthy),
            (b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", Answer::Healthy),
            (b"HTTP/1.1 204\r\n\r\n", Answer::Healthy),
            (b"HTTP/1.1 399 x\r\n\r\n", Answer::Healthy),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Answer::Healthy),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", Answer::Unhealthy { status: 404, body: 26 }),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Answer::Unhealthy { status: 101, body: 36 }),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Answer::Healthy),
            (b"HTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 503 x\r\n\r\n", Answer::Unhealthy { status: 503, body: 45 }),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Answer::Incomplete),
            (b"HTTP/1.1 200 OK\r\n", Answer::Incomplete),
            (b"HTTP/1.1 20", Answer::Incomplete),
            (b"", Answer::Incomplete),
        ] {
            assert_eq!(judge(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
        let invalid = [
            &b"HTTP/1.1 2000 OK\r\n\r\n"[..],
            b"SSH-2.0-x 200\r\n",
            b"\xff\xff",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        ];
        for bytes in invalid {
            assert!(matches!(judge(bytes), Answer::Invalid(_)), "{:?}", String::from_utf8_lossy(bytes));
        }
        let mut large = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        large.resize(HEAD_BYTES_MAX, b'x');
        assert!(matches!(judge(&large), Answer::Invalid(why) if why.contains("65536 bytes")));
    }

    #[test]
    fn a_reason_has_the_status_and_the_first_words() {
        for (answer, want) in [
            ("HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\ndatabase is locked\nmore", "500 \"database is locked\""),
            ("HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n12\r\nstill warming up\r\n0\r\n", "503 \"still warming up\""),
            ("HTTP/1.0 404 Not Found\r\n\r\n", "404, without a body"),
            ("HTTP/1.0 404 Not Found\r\nX: y", "the answer ended within its head: \"HTTP/1.0 404 Not Found??X: y\""),
            ("SSH-2.0-OpenSSH\u{1b}[2J", "no HTTP answer (invalid HTTP version): \"SSH-2.0-OpenSSH?[2J\""),
            ("", "the connection was closed without an answer"),
        ] {
            assert_eq!(reason(answer.as_bytes()).as_deref(), Some(want), "{answer:?}");
        }
        assert_eq!(reason(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        let long = format!("HTTP/1.1 500 x\r\n\r\n{}", "é\u{202e}".repeat(5_000));
        let said = reason(long.as_bytes()).unwrap();
        assert!(said.len() < QUOTED_BYTES_MAX + 20 && !said.contains('\u{202e}'), "{said}");
    }
}
