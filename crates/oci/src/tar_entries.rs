//! Reads a tar stream that nobody vouches for. Names, records and maps are bounded before they are held; what two readers could
//! understand differently is refused. It must not know what a layer is.

use crate::pax;
use crate::sparse;
use crate::sparse::Piece;
use crate::tar_header::{BLOCK, Header};
use crate::trouble::broken;
use std::io;
use std::io::Read;

/// Of one name, or of all records of an entry: as much as Go reads.
const EXTENSION: u64 = 1 << 20;
/// Headers that speak of the next entry, one after another.
const EXTENSIONS: usize = 8;
/// The year 2514: a later time is a mistake, and no filesystem keeps it.
const TIME_MAX: u64 = 1 << 34;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    /// To a file that came before, of this layer or a lower one.
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Directory,
    Fifo,
    Device,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is written.
    pub name: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    /// In the order of the archive; the last of a name counts.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a file, with its holes.
    pub bytes: u64,
    /// What of it is in the stream.
    pub pieces: Vec<Piece>,
}

pub struct Entries<R> {
    from: R,
    /// Bytes that were read.
    position: u64,
    /// Data of the last entry that nobody read yet.
    left: u64,
    /// What fills its last block.
    fill: u64,
    buffer: Vec<u8>,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// As GNU tar writes them.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: sparse::Told,
}

impl Extended {
    fn records(&mut self, bytes: &[u8]) -> io::Result<()> {
        for record in pax::records(bytes)? {
            // An empty value takes back what was said.
            let is_set = !record.value.is_empty();
            let number = || is_set.then(|| pax::number(record.value)).transpose();
            match record.key {
                b"path" => self.name = is_set.then(|| record.value.to_vec()),
                b"linkpath" => self.link = is_set.then(|| record.value.to_vec()),
                b"size" => self.size = number()?,
                b"uid" => self.uid = number()?,
                b"gid" => self.gid = number()?,
                b"mtime" => self.mtime = is_set.then(|| pax::seconds(record.value)).transpose()?,
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((name.to_vec(), record.value.to_vec()));
                    } else if let Some(rest) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.take(rest, record.value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Entries<R> {
    pub fn new(from: R) -> Self {
        Entries { from, position: 0, left: 0, fill: 0, buffer: vec![0; 1 << 17] }
    }

    /// Where in the stream the data of the last entry begin, as long as nobody read of it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is left of the stream, behind the end of the archive.
    pub fn into_inner(self) -> R {
        self.from
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.from.read_exact(&mut block)?;
        self.position += BLOCK as u64;
        Ok(block)
    }

    /// None: the stream ends between two entries.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.from.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(Header(block)))
    }

    fn skip(&mut self) -> io::Result<()> {
        let mut rest = self.left + self.fill;
        while rest > 0 {
            let most = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            self.from.read_exact(&mut self.buffer[..most])?;
            self.position += most as u64;
            rest -= most as u64;
        }
        (self.left, self.fill) = (0, 0);
        Ok(())
    }

    fn expect(&mut self, bytes: u64) {
        self.left = bytes;
        self.fill = bytes.next_multiple_of(BLOCK as u64) - bytes;
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let bytes = header.size()?;
        if bytes > EXTENSION {
            return Err(broken(format!("an extended header has {bytes} bytes, more than {EXTENSION}")));
        }
        self.expect(bytes);
        let mut held = vec![0; usize::try_from(bytes).map_err(|_| broken("an extended header is too large"))?];
        self.from.read_exact(&mut held)?;
        self.position += bytes;
        self.left = 0;
        self.skip()?;
        Ok(held)
    }

    /// The next entry; None: the archive ends here.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let (mut extended, mut spoke) = (Extended::default(), Vec::new());
        for _ in 0..EXTENSIONS {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            if header.is_zero() {
                return Ok(None);
            }
            header.check()?;
            let kind = header.kind();
            // Go keeps the last of two, and none that stands before one of the whole archive.
            if spoke.contains(&kind) || kind == b'g' && !spoke.is_empty() {
                return Err(broken("two extended headers of the same kind speak of one entry"));
            }
            match kind {
                b'L' => extended.long_name = Some(name_of(self.extension(&header)?)),
                b'K' => extended.long_link = Some(name_of(self.extension(&header)?)),
                b'x' => {
                    let held = self.extension(&header)?;
                    extended.records(&held)?;
                }
                // Of the whole archive: comments, in practice; Docker ignores it too.
                b'g' => {
                    self.extension(&header)?;
                    continue;
                }
                _ => return self.entry(&header, extended).map(Some),
            }
            spoke.push(kind);
        }
        Err(broken(format!("more than {EXTENSIONS} extended headers speak of one entry")))
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> io::Result<Entry> {
        if extended.name.is_some() && extended.long_name.is_some() || extended.link.is_some() && extended.long_link.is_some() {
            return Err(broken("two extended headers give one entry its name"));
        }
        if header.has_other_prefix() {
            return Err(broken("a header has what another reader takes for the first part of its name"));
        }
        let told = extended.name.or(extended.long_name);
        let name = extended.sparse.name.clone().or(told).unwrap_or_else(|| header.name());
        let link = || extended.link.or(extended.long_link).unwrap_or_else(|| header.link());
        let stored = extended.size.map_or_else(|| header.size(), Ok)?;
        let kind = match header.kind() {
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::Symlink(link()),
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // As directories were written before there was a kind for them.
            0 | b'0' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            other => return Err(broken(format!("an entry is of the unknown kind {:?}", char::from(other)))),
        };
        extended.sparse.check(kind == Kind::File && header.kind() != b'S')?;
        let number = |told: Option<u64>, at: usize| {
            let n = told.map_or_else(|| header.number(at, 8), Ok)?;
            // The last number means nobody.
            u32::try_from(n).ok().filter(|n| *n != u32::MAX).ok_or_else(|| broken(format!("an entry belongs to the user or group {n}")))
        };
        let mut entry = Entry {
            kind,
            mode: u32::try_from(header.number(100, 8)? & 0o7777).unwrap_or(0),
            uid: number(extended.uid, 108)?,
            gid: number(extended.gid, 116)?,
            mtime: i64::try_from(extended.mtime.map_or_else(|| header.time(), Ok)?.min(TIME_MAX)).unwrap_or(0),
            xattrs: extended.xattrs,
            bytes: 0,
            pieces: Vec::new(),
            name,
        };
        if entry.kind == Kind::File {
            (entry.pieces, entry.bytes) = self.file(header, &extended.sparse, stored)?;
        } else if stored != 0 {
            return Err(broken("an entry that is no file has data"));
        }
        Ok(entry)
    }

    fn file(&mut self, header: &Header, told: &sparse::Told, stored: u64) -> io::Result<(Vec<Piece>, u64)> {
        let (pieces, real, stored) = if header.kind() == b'S' {
            if !header.is_gnu() {
                return Err(broken("a sparse file has a header of another form"));
            }
            let (pieces, real) = sparse::of_header(header, || self.block())?;
            (pieces, real, stored)
        } else if told.is_of_data() {
            let (pieces, map) = sparse::of_data(|| self.block())?;
            let stored = stored.checked_sub(map).ok_or_else(|| broken("the map of a sparse file is larger than the file"))?;
            (pieces, told.real.ok_or_else(|| broken("a sparse file has no size"))?, stored)
        } else if told.is_sparse() {
            let pieces = told.pieces.clone().ok_or_else(|| broken("a sparse file has no map"))?;
            (pieces, told.real.ok_or_else(|| broken("a sparse file has no size"))?, stored)
        } else {
            (vec![Piece { at: 0, bytes: stored }], stored, stored)
        };
        sparse::check(&pieces, real, stored)?;
        if stored.checked_add(BLOCK as u64).is_none() {
            return Err(broken("a file is too large"));
        }
        self.expect(stored);
        Ok((pieces, real))
    }

    /// Hands the data of the entry that was read last to `take`, each with its place in the file.
    pub fn data(&mut self, entry: &Entry, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        for piece in &entry.pieces {
            let (mut at, mut rest) = (piece.at, piece.bytes);
            while rest > 0 {
                let most = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
                let n = self.from.read(&mut self.buffer[..most])?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                take(at, &self.buffer[..n])?;
                (at, rest) = (at + n as u64, rest - n as u64);
                self.left -= n as u64;
                self.position += n as u64;
            }
        }
        Ok(())
    }
}

/// GNU tar ends it with a zero.
fn name_of(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}
