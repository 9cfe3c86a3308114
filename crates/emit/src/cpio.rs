//! Writes a cpio archive in the form the kernel unpacks as its first root ("newc"). Owners are root, times are zero, inodes count up.
//! Not compressed: the firmware reads a few megabytes faster than an emulated processor unpacks them.

#[derive(Default)]
pub struct Cpio {
    out: Vec<u8>,
    inodes: u32,
}

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const DEVICE: u32 = 0o020_000;

impl Cpio {
    pub fn dir(&mut self, path: &str) {
        self.entry(path, DIR | 0o755, (0, 0), &[]);
    }

    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.entry(path, FILE | mode, (0, 0), bytes);
    }

    /// A character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, DEVICE | mode, (major, minor), &[]);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.out.resize(self.out.len().next_multiple_of(512), 0);
        self.out
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        let size = u32::try_from(bytes.len()).expect("nothing in an initrd is over 4 GiB");
        let links = if mode & 0o170_000 == DIR { 2 } else { 1 };
        let inode = self.inodes;
        self.inodes += 1;
        let name = path.len() as u32 + 1;
        self.out.extend_from_slice(b"070701");
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0] {
            self.out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.out.extend_from_slice(path.as_bytes());
        self.out.push(0);
        self.pad();
        self.out.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_itself_unpacks_it() {
        let mut c = Cpio::default();
        c.dir("sub");
        c.file("sub/a", 0o755, b"hello");
        c.file("empty", 0o644, b"");
        let bytes = c.finish();
        let dir = tempfile::tempdir().unwrap();
        let Ok(mut child) =
            Command::new("busybox").args(["cpio", "-idm"]).current_dir(dir.path()).stdin(Stdio::piped()).stderr(Stdio::null()).spawn()
        else {
            return;
        };
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read(dir.path().join("sub/a")).unwrap(), b"hello");
        assert_eq!(std::fs::read(dir.path().join("empty")).unwrap(), b"");
    }
}
