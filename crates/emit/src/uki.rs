//! Makes one EFI program of kernel, initrd and command line (a unified kernel image): systemd's stub with four sections more.
//! It must not sign: what it gives can be signed as any EFI program, and then signature covers the command line and the root hash in it.
//!
//! ```text
//! DOS header ▸ "PE\0\0" ▸ COFF header ▸ optional header ▸ section table ▸ the stub's sections ▸ .osrel .cmdline .initrd .linux
//! ```

use model::Fault;

const NEW_HEADER: usize = 40;
/// Initialised data, readable.
const READABLE: u32 = 0x4000_0040;

/// Sections in the order they are added; the stub finds them by name.
pub struct Section<'a> {
    pub name: &'static str,
    pub bytes: &'a [u8],
}

fn bad(why: &str) -> Fault {
    Fault::yours("bad-efi-stub", format!("the EFI stub cannot be used: {why}"))
        .hint("take linuxx64.efi.stub from the package systemd-boot-efi of the image's release")
}

fn u16_at(b: &[u8], at: usize) -> Result<u16, Fault> {
    let bytes = b.get(at..at + 2).ok_or_else(|| bad("it is cut short"))?;
    Ok(u16::from_le_bytes(bytes.try_into().expect("two bytes were taken")))
}

fn u32_at(b: &[u8], at: usize) -> Result<u32, Fault> {
    let bytes = b.get(at..at.saturating_add(4)).ok_or_else(|| bad("it is cut short"))?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
}

fn put(b: &mut [u8], at: usize, value: u32) {
    b[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Where things are in the stub's headers.
struct Headers {
    coff: usize,
    optional: usize,
    table: usize,
    sections: usize,
    section_align: u32,
    file_align: u32,
}

fn headers(stub: &[u8]) -> Result<Headers, Fault> {
    if !stub.starts_with(b"MZ") {
        return Err(bad("it is no EFI program"));
    }
    let pe = u32_at(stub, 0x3c)? as usize;
    if stub.get(pe..pe.saturating_add(4)) != Some(b"PE\0\0") {
        return Err(bad("it has no PE header"));
    }
    let (coff, optional) = (pe + 4, pe + 24);
    if u16_at(stub, optional)? != 0x20b {
        return Err(bad("it is not for 64 bits"));
    }
    let (section_align, file_align) = (u32_at(stub, optional + 32)?, u32_at(stub, optional + 36)?);
    if !section_align.is_power_of_two() || !file_align.is_power_of_two() {
        return Err(bad("its alignment is no power of two"));
    }
    let table = optional + u16_at(stub, coff + 16)? as usize;
    Ok(Headers { coff, optional, table, sections: u16_at(stub, coff + 2)? as usize, section_align: section_align.max(4096), file_align })
}

pub fn build(stub: &[u8], new: &[Section]) -> Result<Vec<u8>, Fault> {
    let h = headers(stub)?;
    let room_until = u32_at(stub, h.optional + 60)? as usize;
    if h.table + (h.sections + new.len()) * NEW_HEADER > room_until.min(stub.len()) {
        return Err(bad("its section table has no room for four more"));
    }
    let (mut address, mut end) = (u32_at(stub, h.optional + 56)?, room_until);
    for i in 0..h.sections {
        let at = h.table + i * NEW_HEADER;
        let (size, virtual_at, raw, raw_at) =
            (u32_at(stub, at + 8)?, u32_at(stub, at + 12)?, u32_at(stub, at + 16)?, u32_at(stub, at + 20)?);
        address = address.max(virtual_at.saturating_add(size));
        end = end.max(raw_at as usize + raw as usize);
        let name = stub[at..at + 8].split(|b| *b == 0).next().unwrap_or_default();
        if new.iter().any(|n| n.name.as_bytes() == name) {
            return Err(bad(&format!("it already has a section {}", String::from_utf8_lossy(name))));
        }
    }
    // What lies behind the last section are symbols, which nobody here reads.
    let mut out = stub.get(..end).ok_or_else(|| bad("it is cut short"))?.to_vec();
    for (i, section) in new.iter().enumerate() {
        let size = u32::try_from(section.bytes.len()).map_err(|_| bad("a section over 4 GiB was asked for"))?;
        address = address.checked_next_multiple_of(h.section_align).ok_or_else(|| bad("the sections do not fit in 4 GiB"))?;
        out.resize(out.len().next_multiple_of(h.file_align as usize), 0);
        let raw_at = u32::try_from(out.len()).map_err(|_| bad("the sections do not fit in 4 GiB"))?;
        let at = h.table + (h.sections + i) * NEW_HEADER;
        out[at..at + NEW_HEADER].fill(0);
        out[at..at + section.name.len()].copy_from_slice(section.name.as_bytes());
        for (offset, value) in [(8, size), (12, address), (16, size.next_multiple_of(h.file_align)), (20, raw_at), (36, READABLE)] {
            put(&mut out, at + offset, value);
        }
        out.extend_from_slice(section.bytes);
        address = address.checked_add(size).ok_or_else(|| bad("the sections do not fit in 4 GiB"))?;
    }
    out.resize(out.len().next_multiple_of(h.file_align as usize), 0);
    let count = u16::try_from(h.sections + new.len()).map_err(|_| bad("it has too many sections"))?;
    out[h.coff + 2..h.coff + 4].copy_from_slice(&count.to_le_bytes());
    for (offset, value) in
        [(h.coff + 8, 0), (h.coff + 12, 0), (h.optional + 64, 0), (h.optional + 56, address.next_multiple_of(h.section_align))]
    {
        put(&mut out, offset, value); // no symbols, no checksum (firmware does not look at it), the size in memory
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::pe::PeFile64;
    use object::{Object, ObjectSection};

    /// The smallest thing with the headers of a stub and one section of code.
    fn stub() -> Vec<u8> {
        let mut b = vec![0u8; 0x600];
        b[..2].copy_from_slice(b"MZ");
        put(&mut b, 0x3c, 0x80);
        b[0x80..0x84].copy_from_slice(b"PE\0\0");
        b[0x84..0x88].copy_from_slice(&[0x64, 0x86, 1, 0]);
        b[0x94..0x96].copy_from_slice(&240u16.to_le_bytes());
        b[0x98..0x9a].copy_from_slice(&0x20bu16.to_le_bytes());
        for (at, v) in [(32, 512), (36, 512), (56, 0x2200), (60, 0x400), (108, 16)] {
            put(&mut b, 0x98 + at, v);
        }
        let t = 0x98 + 240;
        b[t..t + 5].copy_from_slice(b".text");
        for (at, v) in [(8, 0x1f0), (12, 0x2000), (16, 0x200), (20, 0x400), (36, 0x6000_0020)] {
            put(&mut b, t + at, v);
        }
        b
    }

    #[test]
    fn another_reader_finds_every_section_as_it_was_given() {
        let big = vec![7u8; 100_000];
        let new = [Section { name: ".cmdline", bytes: b"console=ttyS0" }, Section { name: ".linux", bytes: &big }];
        let out = build(&stub(), &new).unwrap();
        let file = PeFile64::parse(&*out).unwrap();
        let mut end = 0;
        for section in file.sections() {
            assert!(section.address() >= end, "sections in memory do not overlap");
            end = section.address() + section.size();
        }
        for section in &new {
            let seen = file.section_by_name(section.name).unwrap();
            assert_eq!(&seen.data().unwrap()[..section.bytes.len()], section.bytes);
        }
        assert!(u32_at(&out, 0x98 + 56).unwrap() as u64 >= end);
    }

    #[test]
    fn what_is_no_stub_is_refused_and_never_a_panic() {
        let good = stub();
        let new = [Section { name: ".linux", bytes: b"k" }];
        for cut in 0..good.len() {
            let _ = build(&good[..cut], &new);
        }
        for at in 0..0x200 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut b = good.clone();
                b[at] = value;
                let _ = build(&b, &new);
            }
        }
        assert_eq!(build(b"#!/bin/sh", &new).unwrap_err().code, "bad-efi-stub");
        let twice = build(&good, &new).unwrap();
        assert!(build(&twice, &new).unwrap_err().message.contains(".linux"));
    }
}
