//! A place where a machine's root is put together: a tmpfs in a mount namespace of its own, or a plain directory
//! where memory is short. A tmpfs here is seen by nobody else and is gone the moment we are, also after kill -9.

use disk::files;
use disk::lock::Work;
use disk::within::Root;
use model::Fault;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::program;

pub struct Tree {
    /// Where we see it.
    seen: PathBuf,
    /// Where commands made by [`Tree::command`] see it.
    inside: PathBuf,
    holder: Option<Holder>,
    /// What it may hold.
    limit: u64,
    _work: Work,
}

impl Tree {
    /// On tmpfs if `bytes` (with as much again to spare) are there in memory.
    pub fn begin(work: Work, bytes: u64) -> Result<Tree, Fault> {
        let inside = work.path().join("tree");
        std::fs::create_dir(&inside).map_err(files::at("cannot make", &inside))?;
        files::set_mode(&inside, 0o755)?;
        if program::memory_available() > bytes.saturating_mul(2) {
            let size = PathBuf::from(bytes.saturating_mul(2).to_string());
            // An empty file takes no page, but it takes the kernel's memory.
            let inodes = PathBuf::from((bytes / 1024 + 200_000).to_string());
            let script = "mount -t tmpfs -o size=$2,nr_inodes=$3,mode=755 afresh \"$1\"";
            let holder = Holder::begin(script, &[&inside, &size, &inodes], "mounting a tmpfs")?;
            return Ok(Tree { seen: holder.see(&inside), inside, holder: Some(holder), limit: bytes.saturating_mul(2), _work: work });
        }
        files::want_space(&inside, bytes, "the image's tree")?;
        Ok(Tree { seen: inside.clone(), inside, holder: None, limit: bytes.saturating_mul(2), _work: work })
    }

    pub fn path(&self) -> &Path {
        &self.seen
    }

    /// A tree in memory that is full is no full disk: its packages are larger than they say.
    pub fn explain(&self, fault: Fault) -> Fault {
        if fault.code != "disk-full" || self.holder.is_none() {
            return fault;
        }
        let text = format!("the packages unpack to more than {} MB, twice what they say: {}", self.limit / 1_000_000, fault.message);
        Fault::world("tree-too-large", text)
            .hint("a package is larger than its Installed-Size, or its scripts write without end: take it out of the image's packages")
            .again(false)
    }

    /// What lies in it is reached through this alone.
    pub fn root(&self) -> Result<Root, Fault> {
        Root::open(&self.seen)
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn is_on_disk(&self) -> bool {
        self.holder.is_none()
    }

    /// A program in the tree's mount namespace, with all rights of who bakes.
    pub fn enter(&self, program: &Path) -> Command {
        let mut c = match &self.holder {
            Some(holder) => {
                let mut c = program::command("nsenter");
                c.arg(format!("--mount=/proc/{}/ns/mnt", holder.id())).arg("--").arg(program);
                c
            }
            None => program::command(program),
        };
        c.process_group(0);
        c
    }

    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// A command in the tree's mount namespace, and in process and mount namespaces of its own: when it is killed, all it started goes too.
    pub fn command(&self, flags: &[&str], program: &str) -> Command {
        let mut c = match &self.holder {
            Some(holder) => {
                let mut c = program::command("nsenter");
                c.arg(format!("--mount=/proc/{}/ns/mnt", holder.id())).args(["--", "unshare"]);
                c
            }
            None => program::command("unshare"),
        };
        c.args(["--mount", "--pid", "--fork", "--kill-child"]).args(flags).arg("--").arg(program);
        c.process_group(0);
        c
    }
}

/// A process that keeps a mount namespace, and with it what is mounted there. It ends when we do, however that is.
pub struct Holder(Child);

impl Holder {
    /// Runs a shell script with these arguments in a new mount namespace and keeps that.
    pub fn begin(script: &str, args: &[&Path], what: &str) -> Result<Holder, Fault> {
        let mut c = program::command("unshare");
        // It reads its input to the end; that comes when we close it, or when we are gone.
        c.args(["--mount", "--propagation", "private", "--", "sh", "-c", &format!("{{ {script}; }} && echo ready && exec cat"), "sh"])
            .args(args);
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program::spawn(&mut c, "unshare")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        if line.trim() == "ready" {
            return Ok(Holder(child));
        }
        drop(child.stdin.take());
        let done = child.wait_with_output().map_err(files::at("cannot wait for", Path::new("unshare")))?;
        Err(program::ended_badly(what, done.status, &String::from_utf8_lossy(&done.stderr)).hint("run it as root with the right to mount"))
    }

    /// Where we see a path of that namespace.
    pub fn see(&self, inside: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.0.id(), inside.display()))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
