//! The checksum of a whole file, as databases of packages have it. It says that a file is its package's, against mistakes: MD5 and SHA-1 say
//! nothing about somebody who means to deceive, and he can change the database as well.

use crate::is_over;
use crate::read::fill;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guard::root::Checksum;
use md5::Md5;
use rustix::fd::AsFd;
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use std::time::Instant;

const PIECE: usize = 1 << 20;
/// No package has a larger file. One of a hostile tree would be read for hours, and holes count.
const SIZE_MAX: u64 = 2 << 30;

/// `file`: opened to be read.
pub fn of(file: impl AsFd, kind: Checksum, until: Option<Instant>) -> Result<String, Errno> {
    match kind {
        Checksum::Md5 => digest::<Md5>(&file, until).map(hex::encode),
        Checksum::Sha1 => digest::<Sha1>(&file, until).map(|bytes| STANDARD.encode(bytes)),
    }
}

fn digest<D: Digest>(file: &impl AsFd, until: Option<Instant>) -> Result<Vec<u8>, Errno> {
    let (mut digest, mut at, mut piece) = (D::new(), 0, Vec::new());
    loop {
        if at > SIZE_MAX {
            return Err(Errno::FBIG);
        }
        if is_over(until) {
            return Err(Errno::TIMEDOUT);
        }
        fill(file, at, PIECE, &mut piece)?;
        digest.update(&piece);
        at += piece.len() as u64;
        if piece.len() < PIECE {
            return Ok(digest.finalize().to_vec());
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use super::*;
    use std::fs::File;

    /// By the tools that the packages' databases are made with: md5sum(1), and openssl(1) for base 64.
    #[test]
    fn checksums_are_those_of_the_tools() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (size, md5, sha1) in SUMS {
            std::fs::write(&path, vec![b'a'; *size]).unwrap();
            let of = |kind| of(File::open(&path).unwrap(), kind, None);
            assert_eq!((of(Checksum::Md5), of(Checksum::Sha1)), (Ok((*md5).to_string()), Ok((*sha1).to_string())), "{size}");
        }
        assert_eq!(of(File::open(&path).unwrap(), Checksum::Md5, Some(Instant::now())), Err(Errno::TIMEDOUT));
    }

    const SUMS: &[(usize, &str, &str)] = &[
        (0, "d41d8cd98f00b204e9800998ecf8427e", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        (1, "0cc175b9c0f1b6a831c399e269772661", "hvfkN/qlp/zhXR3cuerq6jd2Z7g="),
        (1048576, "7202826a7791073fe2787f0c94603278", "RUAn1k47hVc1VS1CIw7qHL1kX6A="),
        (5242887, "46aa0b5bedd5a87a635f8459bf773593", "tF4h63RkT+Smez6ULED8EtCvp0E="),
    ];
}
