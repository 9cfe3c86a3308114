//! What is exposed by the files of a root directory: an image before it is used, a host, a server. Judged from bytes and modes.
//!
//! The caller walks the tree and reads; it gives each file to [`judge`], which asks the [`Tree`] for what a file includes. What
//! cannot be read is `Unknown`, never safe. Only exposures are returned: a file of which nothing is said holds none of those known here.

mod credentials;
mod daemons;
mod exposure;
mod files;
mod firewall;
mod listeners;
mod login;
mod packages;
mod postgres;
mod reach;
mod redis;
mod settings;
mod shares;
mod stores;
mod survey;
mod text;
mod web;

pub use exposure::{Exposure, blocks_image, stops_image};
pub use files::judge;
pub use firewall::Firewall;
pub use listeners::{Listener, Protocol, exposed, listeners, sensitive};
pub use survey::Survey;

use crate::ternary::Fact;

/// The root directory. Paths are absolute in it; no answer comes from outside of it.
pub trait Tree {
    /// `None`: there is no such file.
    fn read(&self, path: &str) -> Fact<Option<Vec<u8>>>;
    /// The names in a directory, sorted. `None`: there is no such directory.
    fn list(&self, path: &str) -> Fact<Option<Vec<String>>>;
    /// Of a whole file, as databases of packages write it. It is asked only where the answer counts: the file may be large.
    fn checksum(&self, path: &str, kind: Checksum) -> Fact<String>;
}

/// Of the content of a file, as a database of packages has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// In hexadecimal digits, as dpkg has it.
    Md5,
    /// In base 64, as apk has it.
    Sha1,
}

/// One file or directory of the walk. Links are not given.
#[derive(Debug, Clone)]
pub struct File<'a> {
    pub path: &'a str,
    pub mode: u32,
    pub owner: u32,
    pub is_directory: bool,
    /// On a mount beside the root, a volume or what the host gives to a server: judged as a host's own, whatever the root is.
    pub is_mounted: bool,
    /// The first megabytes.
    pub content: Fact<&'a [u8]>,
}

/// What a file of configuration exposes, by its path and text.
type Judge = fn(&str, &str, &dyn Tree) -> Vec<Exposure>;

/// What a secret in the tree means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An image is copied and shared: no secret belongs in it.
    Image,
    /// A host keeps keys of its own: only those that others can read are exposed.
    Host,
}

impl File<'_> {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    fn is_read_by_others(&self) -> bool {
        self.mode & 0o004 != 0
    }

    fn is_written_by_others(&self) -> bool {
        self.mode & 0o002 != 0
    }
}
