//! Which parts of a sparse file are in the stream. GNU tar has written four forms of it; Go and with it Docker read all of them.

use crate::pax;
use crate::tar_header::{BLOCK, Header};
use crate::trouble::broken;
use std::io;

/// A file of as many pieces is no use to anybody, and each costs memory.
const PIECES: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub at: u64,
    pub bytes: u64,
}

/// In order, without overlap, within the file; together exactly what the stream holds.
pub fn check(pieces: &[Piece], real: u64, stored: u64) -> io::Result<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for piece in pieces {
        let next = piece.at.checked_add(piece.bytes).filter(|next| *next <= real && piece.at >= end);
        end = next.ok_or_else(|| broken("the map of a sparse file is out of order, or leads out of the file"))?;
        sum += piece.bytes;
    }
    if sum == stored { Ok(()) } else { Err(broken("the map of a sparse file is of another size than its data")) }
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) -> io::Result<()> {
    if pieces.len() == PIECES {
        return Err(broken(format!("a sparse file is in more than {PIECES} pieces")));
    }
    pieces.push(piece);
    Ok(())
}

/// The oldest form: the map begins in the header and goes on in blocks behind it.
pub fn of_header(header: &Header, mut more: impl FnMut() -> io::Result<[u8; BLOCK]>) -> io::Result<(Vec<Piece>, u64)> {
    let mut pieces = Vec::new();
    read(header, 386, 4, &mut pieces)?;
    let mut goes_on = header.0[482] != 0;
    while goes_on {
        let block = Header(more()?);
        read(&block, 0, 21, &mut pieces)?;
        goes_on = block.0[504] != 0;
    }
    Ok((pieces, header.number(483, 12)?))
}

fn read(block: &Header, at: usize, count: usize, pieces: &mut Vec<Piece>) -> io::Result<()> {
    for field in (at..).step_by(24).take(count) {
        if block.0[field] == 0 {
            break;
        }
        push(pieces, Piece { at: block.number(field, 12)?, bytes: block.number(field + 12, 12)? })?;
    }
    Ok(())
}

/// What extended headers say of a sparse file.
#[derive(Default)]
pub struct Told {
    version: (Option<u64>, Option<u64>),
    pub name: Option<Vec<u8>>,
    pub real: Option<u64>,
    pub pieces: Option<Vec<Piece>>,
    /// An offset whose length is still to come.
    offset: Option<u64>,
    has_map: bool,
    is_unclear: bool,
}

impl Told {
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"major" => self.version.0 = Some(pax::number(value)?),
            b"minor" => self.version.1 = Some(pax::number(value)?),
            b"name" => {
                self.is_unclear |= value.is_empty();
                self.name = Some(value.to_vec());
            }
            b"size" | b"realsize" => {
                let real = pax::number(value)?;
                self.is_unclear |= self.real.is_some_and(|other| other != real);
                self.real = Some(real);
            }
            b"map" => {
                self.is_unclear |= self.pieces.is_some() || value.is_empty();
                self.has_map = true;
                let numbers: Vec<u64> =
                    value.split(|b| *b == b',').filter(|n| !n.is_empty()).map(pax::number).collect::<io::Result<_>>()?;
                let pieces = self.pieces.insert(Vec::new());
                for pair in numbers.chunks(2) {
                    let [at, bytes] = *pair else { return Err(broken("the map of a sparse file ends in the middle")) };
                    push(pieces, Piece { at, bytes })?;
                }
            }
            b"offset" => self.offset = Some(pax::number(value)?),
            b"numbytes" => {
                self.is_unclear |= self.has_map;
                let at = self.offset.take().ok_or_else(|| broken("the map of a sparse file has a length without an offset"))?;
                push(self.pieces.get_or_insert_default(), Piece { at, bytes: pax::number(value)? })?;
            }
            _ => {}
        }
        Ok(())
    }

    pub fn is_sparse(&self) -> bool {
        self.version != (None, None) || self.pieces.is_some()
    }

    /// The map stands before the data.
    pub fn is_of_data(&self) -> bool {
        self.version == (Some(1), Some(0))
    }

    /// Whether every reader takes this for the same sparse file, or for none. `is_plain`: it is a file whose header says nothing of holes.
    pub fn check(&self, is_plain: bool) -> io::Result<()> {
        let is_known = matches!(self.version, (None, None) | (Some(0), Some(0 | 1)) | (Some(1), Some(0)));
        let is_told = self.is_sparse() || self.name.is_some() || self.real.is_some();
        if self.is_unclear || !is_known || is_told && !(is_plain && self.is_sparse()) {
            return Err(broken("what an extended header says of a sparse file is not clear"));
        }
        Ok(())
    }
}

/// The newest form: the map stands before the data, numbers in lines, filled to a whole block. `next` reads a block; says also how many it read.
pub fn of_data(mut next: impl FnMut() -> io::Result<[u8; BLOCK]>) -> io::Result<(Vec<Piece>, u64)> {
    let mut lines = Lines { block: [0; BLOCK], at: BLOCK, blocks: 0 };
    let count = lines.number(&mut next)?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (at, bytes) = (lines.number(&mut next)?, lines.number(&mut next)?);
        push(&mut pieces, Piece { at, bytes })?;
    }
    Ok((pieces, lines.blocks * BLOCK as u64))
}

struct Lines {
    block: [u8; BLOCK],
    at: usize,
    blocks: u64,
}

impl Lines {
    fn number(&mut self, next: &mut impl FnMut() -> io::Result<[u8; BLOCK]>) -> io::Result<u64> {
        let mut text = Vec::new();
        loop {
            if self.at == BLOCK {
                (self.block, self.at, self.blocks) = (next()?, 0, self.blocks + 1);
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return pax::number(&text),
                b'0'..=b'9' if text.len() < 20 => text.push(byte),
                _ => return Err(broken("the map of a sparse file is malformed")),
            }
        }
    }
}
