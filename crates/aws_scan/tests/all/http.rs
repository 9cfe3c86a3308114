//! One request of HTTP/1.1, as a server of a test reads it.

use std::collections::BTreeMap;
use std::io::BufRead;

/// The words of its first line, its headers by names in lower case, its body. None: the connection ended.
pub fn receive(reader: &mut impl BufRead) -> Option<(Vec<String>, BTreeMap<String, String>, String)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let words = lines[0].split(' ').map(str::to_string).collect();
    let fields = lines[1..].iter().map(|line| line.split_once(':').unwrap());
    let headers: BTreeMap<String, String> = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string())).collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some((words, headers, String::from_utf8(body).unwrap()))
}
