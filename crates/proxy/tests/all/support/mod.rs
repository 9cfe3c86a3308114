//! What the tests use: servers that misbehave on purpose and keep their own counts, a client that accounts for every request, and a rig
//! that acts as the keeper.

pub mod client;
pub mod rig;
pub mod server;

use std::time::{Duration, Instant};

/// Waits for a condition, with a long timeout, since the machine is shared.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is().await {
        assert!(Instant::now() < end, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How often a test kills: `AFRESH_KILLS` (ARCHITECTURE, "Tests").
pub fn kills() -> u64 {
    std::env::var("AFRESH_KILLS").map_or(20, |text| text.parse().expect("AFRESH_KILLS is a number"))
}

/// A small checksum over a body, so that a wrong byte is noticed.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}
