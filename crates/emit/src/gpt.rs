//! Lays partitions out on a disk: protective MBR, GUID partition table, its copy at the end (UEFI 2.10, chapter 5).
//! It must not choose ids: they are given, so that equal content has equal ids. Written here because the crates that write GPT
//! bring a serialiser and three macro crates for what is two structures of fixed layout.

use std::fmt;

pub const SECTOR: u64 = 512;
/// Partitions begin and end on whole mebibytes: a multiple of every block, page and erase size in use.
pub const ALIGN: u64 = 1 << 20;
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Sectors of one copy: the header and the entries.
const TABLE: u64 = 1 + (ENTRIES * ENTRY) as u64 / SECTOR;

/// In the order of its digits; on disk the first three groups are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guid(pub [u8; 16]);

pub const ESP: Guid = Guid(*b"\xc1\x2a\x73\x28\xf8\x1f\x11\xd2\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
/// Root and its verity tree on x86-64, from the Discoverable Partitions Specification.
pub const ROOT: Guid = Guid(*b"\x4f\x68\xbc\xe3\xe8\xcd\x4d\xb1\x96\xe7\xfb\xca\xf9\x84\xb7\x09");
pub const ROOT_VERITY: Guid = Guid(*b"\x2c\x73\x57\xed\xeb\xd2\x46\xd9\xae\xc1\x23\xd4\x37\xec\x2b\xf5");
/// "Linux filesystem data": nothing mounts it by itself.
pub const DATA: Guid = Guid(*b"\x0f\xc6\x3d\xaf\x84\x83\x47\x72\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
/// Attribute bit 60 of the specification above: read-only.
pub const READ_ONLY: u64 = 1 << 60;

impl Guid {
    fn on_disk(self) -> [u8; 16] {
        let mut b = self.0;
        b[0..4].reverse();
        b[4..6].reverse();
        b[6..8].reverse();
        b
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

/// `name`: at most 36 ASCII characters.
pub struct Entry {
    pub kind: Guid,
    pub id: Guid,
    pub name: String,
    pub flags: u64,
    pub bytes: u64,
}

pub struct Laid {
    pub disk_bytes: u64,
    /// Where each partition begins.
    pub at: Vec<u64>,
    /// The disk's first and last bytes, and where the last begin.
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
    pub tail_at: u64,
}

pub fn lay(disk: Guid, entries: &[Entry]) -> Laid {
    assert!(entries.len() <= ENTRIES, "a table has 128 entries");
    let mut next = ALIGN;
    let mut at = Vec::new();
    for entry in entries {
        at.push(next);
        next += entry.bytes.next_multiple_of(ALIGN);
    }
    let disk_bytes = (next + TABLE * SECTOR).next_multiple_of(ALIGN);
    let last = disk_bytes / SECTOR - 1;

    let mut table = vec![0; ENTRIES * ENTRY];
    for ((slot, entry), at) in table.chunks_mut(ENTRY).zip(entries).zip(&at) {
        write_entry(slot, entry, at / SECTOR);
    }
    let crc = crc32(&table);
    let mut head = protective_mbr(last);
    head.extend(header(disk, crc, 1, last, 2));
    head.extend_from_slice(&table);
    let mut tail = table;
    tail.extend(header(disk, crc, last, 1, last + 1 - TABLE));
    Laid { disk_bytes, at, head, tail_at: disk_bytes - tail.len() as u64, tail }
}

fn write_entry(slot: &mut [u8], entry: &Entry, first: u64) {
    assert!(entry.name.len() <= 36 && entry.name.is_ascii(), "partition name {}", entry.name);
    slot[0..16].copy_from_slice(&entry.kind.on_disk());
    slot[16..32].copy_from_slice(&entry.id.on_disk());
    let last = first + entry.bytes.next_multiple_of(ALIGN) / SECTOR - 1;
    slot[32..40].copy_from_slice(&first.to_le_bytes());
    slot[40..48].copy_from_slice(&last.to_le_bytes());
    slot[48..56].copy_from_slice(&entry.flags.to_le_bytes());
    for (at, unit) in slot[56..].chunks_mut(2).zip(entry.name.encode_utf16()) {
        at.copy_from_slice(&unit.to_le_bytes());
    }
}

/// One sector. `here` and `there` are the sectors of this copy and the other.
fn header(disk: Guid, table_crc: u32, here: u64, there: u64, table: u64) -> Vec<u8> {
    let last = here.max(there);
    let mut b = Vec::with_capacity(SECTOR as usize);
    b.extend_from_slice(b"EFI PART\0\0\x01\0");
    b.extend_from_slice(&92u32.to_le_bytes());
    b.extend_from_slice(&[0; 8]); // its checksum, below; reserved
    for sector in [here, there, 1 + TABLE, last - TABLE] {
        b.extend_from_slice(&sector.to_le_bytes());
    }
    b.extend_from_slice(&disk.on_disk());
    b.extend_from_slice(&table.to_le_bytes());
    for number in [ENTRIES as u32, ENTRY as u32, table_crc] {
        b.extend_from_slice(&number.to_le_bytes());
    }
    let crc = crc32(&b);
    b[16..20].copy_from_slice(&crc.to_le_bytes());
    b.resize(SECTOR as usize, 0);
    b
}

/// One partition of type EE over the whole disk, so that tools that know no GPT leave it alone.
fn protective_mbr(last: u64) -> Vec<u8> {
    let mut b = vec![0; SECTOR as usize];
    b[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    b[454..458].copy_from_slice(&1u32.to_le_bytes());
    b[458..462].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    b[510..512].copy_from_slice(&[0x55, 0xaa]);
    b
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sample() -> Laid {
        let entry = |kind, id: u8, name: &str, bytes| Entry { kind, id: Guid([id; 16]), name: name.into(), flags: 0, bytes };
        let entries = [
            entry(ESP, 1, "esp", 64 << 20),
            Entry { flags: READ_ONLY, ..entry(ROOT, 2, "afresh-root-0123456789abcdef", 5_000_000) },
            entry(ROOT_VERITY, 3, "afresh-root-hash-0123456789abcdef", 4096),
        ];
        lay(Guid(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"), &entries)
    }

    fn write(laid: &Laid) -> tempfile::NamedTempFile {
        use std::os::unix::fs::FileExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(laid.disk_bytes).unwrap();
        file.as_file().write_all_at(&laid.head, 0).unwrap();
        file.as_file().write_all_at(&laid.tail, laid.tail_at).unwrap();
        file
    }

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn partitions_are_aligned_apart_and_inside() {
        let laid = sample();
        assert_eq!(laid.at, [1 << 20, 65 << 20, 70 << 20]);
        assert_eq!(laid.disk_bytes, 72 << 20);
        assert_eq!(laid.head.len() as u64, 34 * 512);
        assert_eq!(laid.tail_at + laid.tail.len() as u64, laid.disk_bytes);
    }

    #[test]
    fn sfdisk_and_sgdisk_find_no_fault_and_read_it_back() {
        let file = write(&sample());
        if let Ok(said) = Command::new("sfdisk").arg("--json").arg(file.path()).output() {
            let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
            let table = &json["partitiontable"];
            assert_eq!(table["id"], "00112233-4455-6677-8899-AABBCCDDEEFF");
            let root = &table["partitions"][1];
            assert_eq!((root["start"].as_u64(), root["size"].as_u64()), (Some(133_120), Some(10_240)));
            assert_eq!(root["type"], "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709");
            assert_eq!((&root["name"], &root["attrs"]), (&"afresh-root-0123456789abcdef".into(), &"GUID:60".into()));
            assert_eq!(table["partitions"][2]["type"], "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5");
            assert_eq!(table["partitions"][0]["type"], "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
            assert!(Command::new("sfdisk").args(["--verify", "--quiet"]).arg(file.path()).output().unwrap().status.success());
        }
        if let Ok(said) = Command::new("sgdisk").arg("--verify").arg(file.path()).output() {
            let text = String::from_utf8_lossy(&said.stdout);
            assert!(text.contains("No problems found"), "{text}");
        }
    }
}
