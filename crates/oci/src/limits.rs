//! How much a container image may be. Whoever serves one decides its sizes: each is bounded before it is held or written.

use crate::trouble::too_large;
use model::Fault;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Limits {
    /// Of a manifest, an index or a config.
    pub document_bytes: u64,
    pub layers: usize,
    /// Of one layer as it is transferred.
    pub layer_bytes: u64,
    /// Of all layers of an image as they are transferred.
    pub packed_bytes: u64,
    /// Of all layers of an image, unpacked.
    pub plain_bytes: u64,
    /// Of holes in files of all layers: they take no room in a layer, and packing reads them.
    pub hole_bytes: u64,
    /// A layer may unpack to this however small it is.
    pub plain_bytes_any: u64,
    /// Beyond that, to this many times its size.
    pub ratio: u64,
    /// Entries of all layers, and directories that entries are in and that none of them speaks of.
    pub entries: u64,
    /// Of all files' extended attributes: each file may have them again, and a layer has them packed.
    pub attribute_bytes: u64,
    /// Of all layers' names that are held while the layers are read.
    pub name_bytes: u64,
    pub redirects: u32,
    /// Tries of one request after the first, and of one blob after an attempt that brought nothing.
    pub retries: u32,
    /// Before the first further try; it doubles.
    pub backoff: Duration,
    /// What a registry may ask us to wait before the next try.
    pub retry_after: Duration,
    /// A connection that brings nothing for this long is given up.
    pub silence: Duration,
    /// A body that is slower than this many bytes a second, after the first minute, is given up.
    pub least_rate: u64,
    /// Fetching the layers of an image is given up after this.
    pub fetch: Duration,
    /// And what is done with them then: reading, unpacking, packing.
    pub unpack: Duration,
    /// When that is over; a pull sets it.
    pub until: Option<Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            document_bytes: 4 << 20,
            layers: 500,
            layer_bytes: 16 << 30,
            packed_bytes: 32 << 30,
            plain_bytes: 64 << 30,
            plain_bytes_any: 1 << 30,
            ratio: 200,
            hole_bytes: 4 << 30,
            entries: 500_000,
            attribute_bytes: 8 << 20,
            name_bytes: 256 << 20,
            redirects: 5,
            retries: 5,
            backoff: Duration::from_secs(1),
            retry_after: Duration::from_secs(60),
            silence: Duration::from_secs(30),
            least_rate: 64 << 10,
            fetch: Duration::from_secs(6 * 3600),
            unpack: Duration::from_secs(3600),
            until: None,
        }
    }
}

impl Limits {
    /// What a layer of this size may unpack to.
    pub fn plain_of(&self, packed: u64) -> u64 {
        self.plain_bytes_any.max(packed.saturating_mul(self.ratio)).min(self.plain_bytes)
    }

    /// How much time is left; an error if there is none.
    pub fn left(&self) -> Result<Duration, Fault> {
        let left = self.until.map_or(self.unpack, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(too_large(format!("unpacking it takes more than {} s", self.unpack.as_secs())));
        }
        Ok(left)
    }

    /// How long a body may take beyond what its size asks for.
    pub fn grace(&self) -> Duration {
        self.silence * 2
    }

    /// How long a body of this many bytes may take.
    pub fn time_of(&self, bytes: u64) -> Duration {
        (self.grace() + Duration::from_secs(bytes / self.least_rate.max(1))).min(self.fetch)
    }
}
