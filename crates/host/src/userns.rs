//! The user and network namespaces of an instance. Inside, ids 0 to 65535 are its own; on the host they are a range that belongs
//! to its service alone, so that its root is an unprivileged user here, and services share no quota, signal or file.
//!
//! The kernel also charges what a namespace's users consume (inotify, for example) to the creator of the namespace. So it is created
//! by the range's own first id; if root created it, all services would share root's quotas.

use crate::{command, state_files};
use model::Fault;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);
const SAID_BYTES_MAX: u64 = 400;

/// The ids of one service on the host, by the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Range(pub u32);

impl Range {
    pub const SIZE: u32 = 1 << 16;

    /// The host's number of an id of the inside.
    pub fn on_host(self, inside: u32) -> Option<u32> {
        (inside < Self::SIZE).then(|| self.0.checked_add(inside)).flatten()
    }
}

pub struct Namespaces {
    pub user: OwnedFd,
    pub network: OwnedFd,
}

/// A process that only keeps the namespaces until we hold them ourselves.
struct Holder(Child);

impl Holder {
    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.0.id()))
    }

    fn open(&self, namespace: &str) -> Result<OwnedFd, Fault> {
        let path = self.proc().join("ns").join(namespace);
        File::open(&path).map(OwnedFd::from).map_err(|e| state_files::at(&path, "opening", e))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both new; the network is owned by the user namespace, so that its `/sys` can be mounted inside.
pub fn make(range: Range) -> Result<Namespaces, Fault> {
    let id = range.0.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=+sys_admin", "--ambient-caps=+sys_admin"]);
    command.args(["unshare", "--user", "--net"]);
    let all = (0, range.0, Range::SIZE);
    let holder = hold(command, &format!("the ids from {}", range.0), [all, all])?;
    Ok(Namespaces { user: holder.open("user")?, network: holder.open("net")? })
}

/// For a mount: files of the first user and group of each pair appear as files of the second. Nobody runs in it.
pub fn of_mount(user: (u32, u32), group: (u32, u32)) -> Result<OwnedFd, Fault> {
    let mut command = Command::new("unshare");
    command.arg("--user");
    let holder = hold(command, &format!("a mount of files of {}", user.0), [(user.0, user.1, 1), (group.0, group.1, 1)])?;
    holder.open("user")
}

/// `maps`: of users and of groups: the first inside, the first outside, how many.
fn hold(mut command: Command, what: &str, maps: [(u32, u32, u32); 2]) -> Result<Holder, Fault> {
    let no = |why: String| {
        Fault::world("user-namespace", format!("making a user namespace for {what}: {why}"))
            .hint("`sysctl user.max_user_namespaces` must not be 0, and the kernel needs CONFIG_USER_NS; for details: `afresh doctor`")
    };
    command.args(["--", "sh", "-c", "echo made; read end"]).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut holder = Holder(command.spawn().map_err(|e| no(format!("{program}: {e}")))?);
    let (mut out, mut err) = match (holder.0.stdout.take(), holder.0.stderr.take()) {
        (Some(out), Some(err)) => (out, err),
        _ => return Err(Fault::ours("user-namespace", "a child's pipes are missing")),
    };
    let mut word = [0; 5];
    let made = command::wait_readable(&out, WITHIN) && out.read(&mut word).is_ok_and(|n| n > 0);
    if !made {
        let _ = holder.0.kill();
        let mut said = Vec::new();
        let _ = (&mut err).take(SAID_BYTES_MAX).read_to_end(&mut said);
        return Err(no(String::from_utf8_lossy(&said).trim().to_string()));
    }
    for (map, (inside, outside, count)) in ["uid_map", "gid_map"].into_iter().zip(maps) {
        let written = std::fs::write(holder.proc().join(map), format!("{inside} {outside} {count}\n"));
        written.map_err(|e| no(format!("{map}: {e}")))?;
    }
    Ok(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_inside_stays_in_the_range() {
        let range = Range(0x7000_0000);
        assert_eq!(range.on_host(0), Some(0x7000_0000), "root inside is not root here");
        assert_eq!(range.on_host(65_534), Some(0x7000_fffe));
        assert_eq!((range.on_host(65_536), range.on_host(u32::MAX), Range(u32::MAX - 3).on_host(4)), (None, None, None));
    }
}
