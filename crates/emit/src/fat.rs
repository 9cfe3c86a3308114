//! A FAT32 volume with one file in it, for the firmware to find. Its id is given and its times are fixed, so it depends on content only.
//! It must not be used for anything that is later changed: the firmware reads it, nobody writes it. Written here because the `fatfs`
//! crate (0.3.6) makes directories whose `.` and `..` fsck.fat wants to repair; one file laid out in a row needs little more than headers.
//!
//! ```text
//! boot sector, FSInfo, their copies (32 sectors) ▏ FAT ▏ FAT ▏ cluster 2: root ▏ 3: EFI ▏ 4: BOOT ▏ 5...: BOOTX64.EFI
//! ```

use model::Fault;

const SECTOR: usize = 512;
const RESERVED: usize = 32;
/// FAT32 begins at 65525 clusters, and a cluster here is a sector.
const LEAST: usize = 40 << 20;
const MOST: usize = 1 << 30;
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;
const LAST: u32 = 0x0fff_ffff;
const LABEL: &[u8; 11] = b"AFRESH     ";
/// 1980-01-01, the first day FAT has.
const DAY: u16 = 0x0021;
const IS_LABEL: u8 = 0x08;
const IS_DIR: u8 = 0x10;
const IS_FILE: u8 = 0x20;

struct Shape {
    sectors: usize,
    fat_sectors: usize,
    clusters: usize,
}

/// The sector a cluster begins at: `RESERVED + 2 * fat_sectors + cluster - 2`.
fn shape(bytes: usize) -> Shape {
    let sectors = bytes / SECTOR;
    // 128 entries of a FAT in a sector; a few entries too many do no harm.
    let fat_sectors = (sectors - RESERVED + 2).div_ceil(128);
    Shape { sectors, fat_sectors, clusters: sectors - RESERVED - 2 * fat_sectors }
}

/// `EFI/BOOT/BOOTX64.EFI` is what firmware starts from a disk it has no boot entry for: any disk it sees for the first time.
pub fn esp(id: u32, boot: &[u8]) -> Result<Vec<u8>, Fault> {
    if boot.is_empty() || boot.len() > MOST {
        return Err(Fault::yours("bad-boot-size", format!("the boot program has {} bytes: 1 byte to 1 GiB will do", boot.len())));
    }
    let size = (boot.len() + boot.len() / 32 + (8 << 20)).next_multiple_of(8 << 20).max(LEAST);
    let shape = shape(size);
    let used = boot.len().div_ceil(SECTOR);
    assert!(used + 3 <= shape.clusters && shape.clusters >= 65_525, "the file fits and the volume is FAT32");
    let mut disk = vec![0; size];
    for copy in [0, 6] {
        put(&mut disk, copy, &boot_sector(id, &shape));
        put(&mut disk, copy + 1, &info_sector(shape.clusters - used - 3, FILE as usize + used));
    }
    let fat = table(used);
    let data = RESERVED + 2 * shape.fat_sectors;
    put(&mut disk, RESERVED, &fat);
    put(&mut disk, RESERVED + shape.fat_sectors, &fat);
    let length = u32::try_from(boot.len()).expect("it was looked at above");
    let directory = |entries: &[[u8; 32]]| entries.concat();
    put(&mut disk, data, &directory(&[entry(LABEL, IS_LABEL, 0, 0), entry(b"EFI        ", IS_DIR, EFI, 0)]));
    // The parent of a directory in the root is written as cluster 0.
    put(
        &mut disk,
        data + 1,
        &directory(&[entry(b".          ", IS_DIR, EFI, 0), entry(b"..         ", IS_DIR, 0, 0), entry(b"BOOT       ", IS_DIR, BOOT, 0)]),
    );
    put(
        &mut disk,
        data + 2,
        &directory(&[
            entry(b".          ", IS_DIR, BOOT, 0),
            entry(b"..         ", IS_DIR, EFI, 0),
            entry(b"BOOTX64 EFI", IS_FILE, FILE, length),
        ]),
    );
    put(&mut disk, data + 3, boot);
    Ok(disk)
}

fn put(disk: &mut [u8], sector: usize, bytes: &[u8]) {
    disk[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
}

/// Microsoft's FAT specification 1.03, section 3.
fn boot_sector(id: u32, shape: &Shape) -> Vec<u8> {
    let mut b = Vec::with_capacity(SECTOR);
    b.extend_from_slice(b"\xeb\x58\x90AFRESH  ");
    b.extend_from_slice(&(SECTOR as u16).to_le_bytes());
    b.push(1); // sectors of a cluster
    b.extend_from_slice(&(RESERVED as u16).to_le_bytes());
    b.push(2); // FATs
    b.extend_from_slice(&[0, 0, 0, 0, 0xf8, 0, 0]); // what only FAT12 and FAT16 have, and a fixed disk
    b.extend_from_slice(&[63, 0, 255, 0]); // tracks and heads, which nobody uses
    b.extend_from_slice(&[0; 4]);
    b.extend_from_slice(&(shape.sectors as u32).to_le_bytes());
    b.extend_from_slice(&(shape.fat_sectors as u32).to_le_bytes());
    b.extend_from_slice(&[0; 4]);
    b.extend_from_slice(&ROOT.to_le_bytes());
    b.extend_from_slice(&[1, 0, 6, 0]); // sectors of FSInfo and of the copy of this one
    b.extend_from_slice(&[0; 12]);
    b.extend_from_slice(&[0x80, 0, 0x29]);
    b.extend_from_slice(&id.to_le_bytes());
    b.extend_from_slice(LABEL);
    b.extend_from_slice(b"FAT32   ");
    b.resize(510, 0);
    b.extend_from_slice(&[0x55, 0xaa]);
    b
}

fn info_sector(free: usize, next: usize) -> Vec<u8> {
    let mut b = b"RRaA".to_vec();
    b.resize(484, 0);
    b.extend_from_slice(b"rrAa");
    b.extend_from_slice(&(free as u32).to_le_bytes());
    b.extend_from_slice(&(next as u32).to_le_bytes());
    b.resize(508, 0);
    b.extend_from_slice(&[0, 0, 0x55, 0xaa]);
    b
}

/// Three directories of a cluster each, then the file's clusters in a row.
fn table(used: usize) -> Vec<u8> {
    let mut entries = vec![0x0fff_fff8, LAST, LAST, LAST, LAST];
    let last = FILE + used as u32 - 1;
    entries.extend((FILE..=last).map(|cluster| if cluster == last { LAST } else { cluster + 1 }));
    entries.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn entry(name: &[u8; 11], kind: u8, cluster: u32, bytes: u32) -> [u8; 32] {
    let mut e = [0; 32];
    e[..11].copy_from_slice(name);
    e[11] = kind;
    for at in [16, 18, 24] {
        e[at..at + 2].copy_from_slice(&DAY.to_le_bytes()); // made, read, written
    }
    e[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    e[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    e[28..32].copy_from_slice(&bytes.to_le_bytes());
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn other_tools_read_the_file_back_and_find_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        for size in [1usize, 512, 513, 3_000_001, 20 << 20] {
            let boot: Vec<u8> = (0..size).map(|i| (i ^ (i >> 8)) as u8).collect();
            let volume = esp(0xafe5_0001, &boot).unwrap();
            let at = dir.path().join("esp");
            std::fs::write(&at, &volume).unwrap();
            if let Ok(said) = Command::new("mcopy").arg("-i").arg(&at).args(["::/EFI/BOOT/BOOTX64.EFI", "-"]).output() {
                assert!(said.stdout == boot, "mtools: {}", String::from_utf8_lossy(&said.stderr));
            }
            if let Ok(said) = Command::new("fsck.fat").arg("-nv").arg(&at).output() {
                let text = String::from_utf8_lossy(&said.stdout);
                assert!(said.status.success() && text.contains("32 bit entries") && text.contains(" 4 files"), "{text}");
            }
        }
        assert_eq!(esp(1, b"").unwrap_err().code, "bad-boot-size");
    }
}
