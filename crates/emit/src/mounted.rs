//! An erofs volume to look into: mounted by loop, read-only, in a mount namespace that nobody else sees and that ends with us.

use disk::files;
use model::Fault;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use store::program;

pub struct Mounted {
    holder: Child,
    seen: PathBuf,
    _at: tempfile::TempDir,
}

impl Mounted {
    pub fn open(volume: &Path) -> Result<Mounted, Fault> {
        program::need_root("looking into an erofs volume")?;
        let volume = volume.canonicalize().map_err(files::at("cannot read", volume))?;
        let at = tempfile::Builder::new()
            .prefix("afresh-look-")
            .tempdir()
            .map_err(files::at("cannot make", Path::new("a temporary directory")))?;
        let script = "mount -t erofs -o ro,loop,nosuid,nodev,noexec \"$1\" \"$2\" && echo ready && exec cat";
        let mut c = program::command("unshare");
        c.args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]).arg(&volume).arg(at.path());
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = program::spawn(&mut c, "unshare")?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        if line.trim() == "ready" {
            let seen = PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.path().display()));
            return Ok(Mounted { holder, seen, _at: at });
        }
        drop(holder.stdin.take());
        let done = holder.wait_with_output().map_err(files::at("cannot wait for", Path::new("unshare")))?;
        let text = String::from_utf8_lossy(&done.stderr).trim().to_string();
        Err(Fault::world("cannot-mount", format!("{} cannot be mounted: {text}", volume.display()))
            .hint("is it an erofs volume, and does this machine's kernel have loop devices and erofs?"))
    }

    pub fn path(&self) -> &Path {
        &self.seen
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It reads its stdin to the end; closing that ends it, and with it the namespace and the mount.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
