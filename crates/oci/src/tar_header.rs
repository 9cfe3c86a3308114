//! One header block of a tar stream: ustar, GNU and the oldest form.

use crate::trouble::broken;
use std::io;

pub const BLOCK: usize = 512;

pub struct Header(pub [u8; BLOCK]);

impl Header {
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// Some writers summed signed bytes.
    pub fn check(&self) -> io::Result<()> {
        let told = self.number(148, 8)?;
        let rest = || self.0[..148].iter().chain(&self.0[156..]);
        let unsigned: u64 = rest().map(|b| u64::from(*b)).sum::<u64>() + 8 * 32;
        let signed: i64 = rest().map(|b| i64::from(b.cast_signed())).sum::<i64>() + 8 * 32;
        if told == unsigned || i64::try_from(told) == Ok(signed) { Ok(()) } else { Err(broken("the checksum of a header is wrong")) }
    }

    pub fn kind(&self) -> u8 {
        self.0[156]
    }

    pub fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    fn text(&self, at: usize, length: usize) -> &[u8] {
        let field = &self.0[at..at + length];
        &field[..field.iter().position(|b| *b == 0).unwrap_or(length)]
    }

    pub fn name(&self) -> Vec<u8> {
        let (prefix, name) = (self.text(345, 155), self.text(0, 100));
        if self.is_ustar() && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
    }

    /// Whether Go takes another part of this header for the first part of the name: star has times behind a shorter one, and Go before 1.8
    /// wrote it where GNU tar has times.
    pub fn has_other_prefix(&self) -> bool {
        let is_star = self.is_ustar() && &self.0[508..] == b"tar\0" && self.text(345, 155).len() > 131;
        is_star || self.is_gnu() && [345, 357].into_iter().any(|at| self.0[at] != 0 && self.number(at, 12).is_err())
    }

    pub fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    /// Octal digits, or the number itself where the first bit is set. A blank field is 0.
    pub fn number(&self, at: usize, length: usize) -> io::Result<u64> {
        let field = &self.0[at..at + length];
        if field[0] == 0x80 {
            let (high, low) = field[1..].split_at(field.len() - 1 - (field.len() - 1).min(8));
            if high.iter().any(|b| *b != 0) {
                return Err(broken("a number in a header is too large"));
            }
            return Ok(low.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        }
        let text = field.iter().position(|b| *b == 0).map_or(field, |end| &field[..end]).trim_ascii();
        let digit = |n: u64, b: &u8| match b {
            b'0'..=b'7' => n.checked_mul(8).map(|n| n + u64::from(b - b'0')),
            _ => None,
        };
        text.iter().try_fold(0, digit).ok_or_else(|| broken("a number in a header is none"))
    }

    pub fn size(&self) -> io::Result<u64> {
        self.number(124, 12)
    }

    /// Before 1970 is 1970.
    pub fn time(&self) -> io::Result<u64> {
        if self.0[136] == 0xff { Ok(0) } else { self.number(136, 12) }
    }
}
