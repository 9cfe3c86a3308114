//! Turns a tree into an erofs file whose bytes depend on the tree only.

use crate::program;
use disk::files;
use model::{Digest, Fault};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const TOOL: &str = "mkfs.erofs";

/// What it takes of memory for a file, with its name (measured: 4.6 kB).
const FILE_BYTES: u64 = 5_000;
/// More than it takes for half a million files.
const MEMORY_BYTES: u64 = 4 << 30;
/// The code of a fault that says that a tree was not packed for its size.
pub const TOO_LARGE: &str = "tree-too-large";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// As they are: the quickest to make and to read.
    Plain,
    /// `level` 0: lz4; above: lz4hc.
    Lz4(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub pack: Pack,
    /// Seconds since 1970 for the volume, and for files unless `keep_times`.
    pub epoch: u64,
    pub keep_times: bool,
    /// Everything belongs to root and extended attributes are left out.
    pub plain_owner: bool,
    /// The volume's id, where its bytes must tell what it was made from.
    pub id: Option<[u8; 16]>,
}

/// How images are packed. Measured on 214 MB: lz4 takes 0.7 s and gives 133 MB, lz4hc 3.2 s and 123 MB: not worth four times the wait.
pub const IMAGE_PACK: Pack = Pack::Lz4(0);

/// How every image is packed, and what images are built on.
pub fn of_image(epoch: u64) -> Options {
    Options { pack: IMAGE_PACK, epoch, keep_times: true, plain_owner: false, id: None }
}

/// For a tree of which nobody knows who made it: a few megabytes of an archive are files that take hours and all memory.
pub fn bounded(entries: u64, within: Duration) -> Result<Command, Fault> {
    program::want_memory(entries.saturating_mul(FILE_BYTES), "packing the files")?;
    let seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX).max(1);
    Ok(program::command_bounded(seconds, MEMORY_BYTES, TOOL))
}

/// Writes `out` and says its digest and size. `command` brings mkfs.erofs up where `tree` is visible to it.
pub fn make(mut command: Command, tree: &Path, out: &Path, options: Options) -> Result<(Digest, u64), Fault> {
    match options.pack {
        Pack::Plain => {}
        Pack::Lz4(0) => drop(command.arg("-zlz4")),
        Pack::Lz4(level) => drop(command.arg(format!("-zlz4hc,{level}"))),
    }
    // Without one it says nothing: a volume is known by the digest of its bytes.
    let id = options.id.map_or("00000000-0000-4000-8000-000000000000".to_string(), uuid);
    command.args(["-U", &id]);
    if options.keep_times {
        // As -T, but files that are older keep their own time.
        command.arg("--preserve-mtime").env("SOURCE_DATE_EPOCH", options.epoch.to_string());
    } else {
        command.arg("--ignore-mtime").arg(format!("-T{}", options.epoch));
    }
    if options.plain_owner {
        command.args(["--all-root", "-x-1"]);
    }
    command.arg("--quiet").arg(out).arg(tree);
    let done = program::run(&mut command, TOOL)?;
    if program::ran_out_of_time(done.status) || done.stderr.contains("Cannot allocate memory") {
        let text = format!("{TOOL} was ended: packing the files takes more time or memory than it may ({} MB)", MEMORY_BYTES / 1_000_000);
        return Err(Fault::world(TOO_LARGE, text).hint("are there too many files? data belongs into a volume").again(false));
    }
    if !done.status.success() {
        return Err(program::ended_badly(TOOL, done.status, &done.stderr));
    }
    files::digest_file(out)
}

fn uuid(id: [u8; 16]) -> String {
    let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_ends_at_its_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, out) = (dir.path().join("tree"), dir.path().join("out"));
        std::fs::create_dir(&tree).unwrap();
        (0..8000).for_each(|n| std::fs::write(tree.join(n.to_string()), "").unwrap());
        make(bounded(1, Duration::from_secs(60)).unwrap(), &tree, &out, of_image(0)).unwrap();
        let fault = make(program::command_bounded(60, 20 << 20, TOOL), &tree, &out, of_image(0)).unwrap_err();
        assert_eq!(fault.code, TOO_LARGE, "{fault:?}");
        assert_eq!(bounded(1 << 50, Duration::MAX).unwrap_err().code, "memory-short");
    }

    #[test]
    fn packing_ends_at_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program::command_bounded(1, MEMORY_BYTES, "sh");
        // It takes what else it is given for its own arguments.
        command.args(["-c", "read line < \"$0\""]).arg(pipe(dir.path()));
        assert_eq!(make(command, dir.path(), dir.path(), of_image(0)).unwrap_err().code, TOO_LARGE);
    }

    /// Nobody ever writes to it.
    fn pipe(dir: &Path) -> std::path::PathBuf {
        let at = dir.join("pipe");
        nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap();
        at
    }
}
