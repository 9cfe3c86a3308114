//! What is mounted in the tree: filesystems that the kernel makes up are left out, and none is entered that could keep the scan waiting.

use rustix::fd::AsFd;
use rustix::fs::fstatfs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    Disk,
    /// `/proc`, `/sys` and their like hold no files of anybody.
    MadeUp,
    /// A server or a program answers for it, or does not.
    Remote,
}

/// linux/magic.h.
const MADE_UP: &[u64] = &[
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x1980_0202, // mqueue
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x0000_0187, // autofs
    0xde5e_81e4, // efivarfs
    0x6e73_6673, // nsfs
    0x4249_4e4d, // binfmt_misc
    0x0000_1cd1, // devpts
    0xf97c_ff8c, // selinuxfs
];
const REMOTE: &[u64] = &[
    0x0000_6969, // nfs
    0x0000_517b, // smb
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x6573_5546, // fuse
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x5346_414f, // afs
    0x0bd0_0bd0, // lustre
    0x0116_1970, // gfs2
    0x7461_636f, // ocfs2
];

/// `None`: the kernel does not say.
pub fn of(directory: impl AsFd) -> Option<Mounted> {
    let kind = fstatfs(directory).ok()?.f_type as u64 & 0xffff_ffff;
    Some(if MADE_UP.contains(&kind) {
        Mounted::MadeUp
    } else if REMOTE.contains(&kind) {
        Mounted::Remote
    } else {
        Mounted::Disk
    })
}
