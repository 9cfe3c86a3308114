//! Any lines as a rotation's journal: folding refuses or accepts, deciding over what was accepted gives an answer; neither panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{EventLine, Fence, Time, View};
use rotation::{Rotation, decide, explain};

fuzz_target!(|bytes: &[u8]| {
    let mut rotation: Option<Rotation> = None;
    let mut lines: Vec<EventLine> = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Ok(line) = serde_json::from_slice::<EventLine>(line) else { return };
        lines.push(line);
        let Ok(folded) = Rotation::fold(&lines) else { return };
        rotation = Some(folded);
    }
    let Some(rotation) = rotation else { return };
    let seen = View::default();
    for now in [0, 1, 1_000_000, u64::MAX] {
        let _ = explain(&rotation, &seen, Time(now));
        let _ = decide(&rotation, &seen, &[], Time(now), Fence(now));
    }
});
