//! Any bytes in a state file and its spare: what is taken has the digest that it says, and what is written is read back.
#![no_main]

use disk::state::{self, Found};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use std::fs;
use std::sync::LazyLock;

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a directory in memory"));

/// What all readers of state files ask for: one JSON value and nothing behind it.
fn read(path: &std::path::Path) -> Found<Vec<u8>> {
    state::read(path, 1 << 20, |bytes| serde_json::from_slice::<Vec<u8>>(bytes).map(|_| bytes.to_vec()).map_err(|e| e.to_string()))
}

/// Whether these bytes are a sealed state file with this content, by the format's own description.
fn seals(bytes: &[u8], generation: u64, content: &[u8]) -> bool {
    let sum = Sha256::new().chain_update(format!("{generation}\n")).chain_update(content).finalize();
    let hex: String = sum.iter().map(|b| format!("{b:02x}")).collect();
    let head = format!("{{\"afresh_state\":1,\"generation\":{generation},\"sha256\":\"{hex}\"}}\n");
    bytes.strip_prefix(head.as_bytes()) == Some(content)
}

/// What happens to one of the two copies on a disk: a byte becomes another, or all from there on is lost.
type Damage = (bool, u16, Option<u8>);

fuzz_target!(|input: (&[u8], Option<&[u8]>, u16, u8, Vec<Damage>)| {
    let (bytes, beside, at, bit, damages) = input;
    let path = DIR.path().join("state.json");
    let spare = state::spare(&path);
    let _ = fs::remove_file(&spare);
    fs::write(&path, bytes).expect("there is room");
    if let Some(beside) = beside {
        fs::write(&spare, beside).expect("there is room");
    }
    if let Found::Good(good) = read(&path)
        && good.generation > 0
    {
        let whole = [Some(bytes), beside].into_iter().flatten().any(|copy| seals(copy, good.generation, &good.value));
        assert!(whole, "content was taken that no copy seals");
    }
    let content = serde_json::to_vec(bytes).expect("plain data");
    let bytes = content.as_slice();
    // Written over whatever stood there, it is read back; with one bit flipped in one copy the other is taken.
    state::write(&path, bytes, 0o600, disk::Lasting::Soon).expect("there is room");
    assert!(matches!(read(&path), Found::Good(good) if good.value == bytes && good.twice), "what was written is not read back");
    let mut flipped = fs::read(&path).expect("it was written");
    let at = usize::from(at) % flipped.len();
    flipped[at] ^= 1 << (bit % 8);
    fs::write(&path, &flipped).expect("there is room");
    assert!(matches!(read(&path), Found::Good(good) if good.value == bytes), "a flipped bit was taken for content");
    // Whatever becomes of both copies, what is taken is one of them as it was sealed.
    let mut copies = [&path, &spare].map(|path| fs::read(path).expect("it was written"));
    for (of_spare, at, byte) in damages {
        let copy = &mut copies[usize::from(of_spare)];
        let at = usize::from(at) % copy.len().max(1);
        match byte {
            Some(byte) if !copy.is_empty() => copy[at] = byte,
            _ => copy.truncate(at),
        }
    }
    fs::write(&path, &copies[0]).expect("there is room");
    fs::write(&spare, &copies[1]).expect("there is room");
    if let Found::Good(good) = read(&path)
        && good.generation > 0
    {
        assert!(copies.iter().any(|copy| seals(copy, good.generation, &good.value)), "content was taken that no copy seals");
    }
});
