//! Runs maintainer scripts in a tree: own process, mount, network, host name and IPC namespaces, a fixed environment,
//! nothing of the machine to see but its kernel. What a script says is kept.

use crate::exec;
use crate::tree::Tree;
use model::Fault;
use std::path::Path;

/// Longer than the slowest configure of a large system; a script that asks a question ends here.
const PATIENCE_S: u32 = 1800;

/// Makes the little of /dev, /proc and /run that scripts need, then hands over to `$4..` in the tree. Everything is mounted in the sandbox's own namespace.
const ENTER: &str = r#"
set -eu
umask 022
root=$1; packages=$2; name=$3; shift 3
# The file belongs to the machine's own root; root of a user namespace may still give its own machine a name.
{ echo "$name" > /proc/sys/kernel/hostname; } 2> /dev/null || hostname "$name"
mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=256m shm "$root/dev/shm"
for node in null:666:1:3 zero:666:1:5 full:666:1:7 random:666:1:8 urandom:666:1:9 tty:666:5:0; do
  IFS=: read -r n mode major minor <<EOF
$node
EOF
  # Root of a user namespace may make no devices: it gets the machine's own, which are the same.
  mknod -m "$mode" "$root/dev/$n" c "$major" "$minor" 2> /dev/null || { : > "$root/dev/$n"; mount --bind "/dev/$n" "$root/dev/$n"; }
done
ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755,size=64m run "$root/run"
mkdir -m 1777 "$root/run/lock"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -m 755 "$root/tmp/packages"
mount --bind -o ro "$packages" "$root/tmp/packages"
exec chroot "$root" "$@"
"#;

pub struct Sandbox<'a> {
    pub tree: &'a Tree,
    /// Package files, seen read-only as /tmp/packages.
    pub packages: &'a Path,
    /// `SOURCE_DATE_EPOCH` for the scripts.
    pub epoch: u64,
}

impl Sandbox<'_> {
    /// Runs a shell script in the tree. Err: it could not be run; its own end is in the answer.
    pub fn run(&self, script: &str, args: &[&str], line: impl FnMut(&str)) -> Result<exec::Done, Fault> {
        let flags = ["--net", "--uts", "--ipc", "--propagation", "private"];
        let mut c = self.tree.command(&flags, "timeout");
        c.args(["--signal=KILL", &PATIENCE_S.to_string(), "sh", "-c", ENTER, "sh"]).arg(self.tree.inside()).arg(self.packages);
        c.args(["afresh-bake", "/bin/sh", "-c", script, "sh"]).args(args);
        c.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("DEBCONF_NONINTERACTIVE_SEEN", "true");
        c.env("PYTHONHASHSEED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SHELL", "/bin/sh")
            .env("TERM", "dumb");
        exec::run_lines(&mut c, "the sandbox", line)
    }
}
