//! A FAT32 volume with one file in it, for the firmware to find. Its id is given and its times are all zero, so it depends on content only.
//! It must not be used for anything that is later changed: the firmware reads it, nobody writes it.

use fatfs::{FatType, FormatVolumeOptions, FsOptions};
use std::io::{Cursor, Result, Write};

/// What firmware starts on a disk without boot entries of its own: every disk on a machine that sees it first.
const PLACE: [&str; 3] = ["EFI", "BOOT", "BOOTX64.EFI"];
/// FAT32 begins at 65525 clusters: with clusters of 512 bytes, 33 MB.
const LEAST: usize = 40 << 20;

/// `fatfs` is built without its clock, so all times are its fixed ones.
pub fn esp(id: u32, boot: &[u8]) -> Result<Vec<u8>> {
    let size = (boot.len() + (8 << 20)).next_multiple_of(8 << 20).max(LEAST);
    let mut disk = Cursor::new(vec![0; size]);
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(512).volume_id(id).volume_label(*b"AFRESH ESP ");
    fatfs::format_volume(&mut disk, options)?;
    let fs = fatfs::FileSystem::new(&mut disk, FsOptions::new())?;
    let [efi, sub, name] = PLACE;
    let dir = fs.root_dir().create_dir(efi)?.create_dir(sub)?;
    let mut file = dir.create_file(name)?;
    file.write_all(boot)?;
    file.flush()?;
    drop(file);
    drop(dir);
    fs.unmount()?;
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn other_tools_read_the_file_back_and_find_no_fault() {
        let boot: Vec<u8> = (0..3_000_001u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let volume = esp(0xafe5_0001, &boot).unwrap();
        assert!(volume == esp(0xafe5_0001, &boot).unwrap(), "made twice, equal");
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("esp");
        std::fs::write(&at, &volume).unwrap();
        if let Ok(said) = Command::new("mcopy").arg("-i").arg(&at).args(["::/EFI/BOOT/BOOTX64.EFI", "-"]).output() {
            assert!(said.stdout == boot, "mtools: {}", String::from_utf8_lossy(&said.stderr));
        }
        if let Ok(said) = Command::new("fsck.fat").arg("-nv").arg(&at).output() {
            let text = String::from_utf8_lossy(&said.stdout);
            assert!(said.status.success() && text.contains("FAT32") || text.contains("32 bits/entry"), "{text}");
        }
    }
}
