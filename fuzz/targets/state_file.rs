//! Any bytes in a state file and its spare: what is taken has the digest that it says, and what is written is read back.
#![no_main]

use disk::state::{self, Found};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use std::fs;
use std::sync::LazyLock;

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a directory in memory"));

fn read(path: &std::path::Path) -> Found<Vec<u8>> {
    state::read(path, 1 << 20, |bytes| Ok(bytes.to_vec()))
}

/// Whether these bytes are a sealed state file with this content, by the format's own description.
fn seals(bytes: &[u8], generation: u64, content: &[u8]) -> bool {
    let sum = Sha256::new().chain_update(format!("{generation}\n")).chain_update(content).finalize();
    let hex: String = sum.iter().map(|b| format!("{b:02x}")).collect();
    let head = format!("{{\"afresh_state\":1,\"generation\":{generation},\"sha256\":\"{hex}\"}}\n");
    bytes.strip_prefix(head.as_bytes()) == Some(content)
}

fuzz_target!(|input: (&[u8], Option<&[u8]>, u16, u8)| {
    let (bytes, beside, at, bit) = input;
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
    // Written over whatever stood there, it is read back; with one bit flipped in one copy the other is taken.
    state::write(&path, bytes, 0o600, disk::Lasting::Soon).expect("there is room");
    assert!(matches!(read(&path), Found::Good(good) if good.value == bytes && good.twice), "what was written is not read back");
    let mut flipped = fs::read(&path).expect("it was written");
    let at = usize::from(at) % flipped.len();
    flipped[at] ^= 1 << (bit % 8);
    fs::write(&path, &flipped).expect("there is room");
    assert!(matches!(read(&path), Found::Good(good) if good.value == bytes), "a flipped bit was taken for content");
});
