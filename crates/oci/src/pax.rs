//! Records of an extended header: `length key=value\n`, the length counting itself. A value may hold any byte, also a newline.

use crate::trouble::broken;
use std::io;

pub struct Record<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

pub fn records(mut bytes: &[u8]) -> io::Result<Vec<Record<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let record = one(bytes).ok_or_else(|| broken("an extended header is malformed"))?;
        bytes = &bytes[record.0..];
        all.push(record.1);
    }
    Ok(all)
}

fn one(bytes: &[u8]) -> Option<(usize, Record<'_>)> {
    let space = bytes.iter().take(12).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((length, Record { key: &body[..equals], value: &body[equals + 1..] }))
}

pub fn number(value: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(value).ok().and_then(|t| t.parse().ok()).ok_or_else(|| broken("a number in an extended header is none"))
}

/// Whole seconds: `1350244992.023960108` is 1350244992. Before 1970 is 1970.
pub fn seconds(value: &[u8]) -> io::Result<u64> {
    let whole = value.split(|b| *b == b'.').next().unwrap_or_default();
    if whole.starts_with(b"-") { Ok(0) } else { number(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_equals_signs() {
        let all = records(b"12 path=a=b\n17 mtime=1.5\n\n\n\n\n").unwrap();
        assert_eq!(all.iter().map(|r| (r.key, r.value)).collect::<Vec<_>>(), [(&b"path"[..], &b"a=b"[..]), (b"mtime", b"1.5\n\n\n\n")]);
        for bad in [&b"x"[..], b"5 a=b\n", b"99 a=b\n", b"6 a=bc", b"0 a=b\n", b"5 ab\n", b"184467440737095516150 a=b\n", b"3 \n"] {
            assert!(records(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!((seconds(b"12.9").unwrap(), seconds(b"-3.1").unwrap(), seconds(b"x").is_err()), (12, 0, true));
    }
}
