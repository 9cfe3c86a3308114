//! The system calls that scripts may not make: those that reach past the sandbox, or into parts of the kernel that no script needs.
//! What is newer than this list answers ENOSYS, as it would on an older kernel.

use nix::libc;
use seccompiler::sock_filter;

/// Answered with EPERM.
const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Namespaces; `clone` is looked at more closely.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes, and files by handle.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// The last call that this list knows of: `mseal`.
const LAST: u32 = 462;
/// NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. NEWTIME is a signal's number for `clone`, so it is not among them.
const CLONE_NEW: u32 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
const FAMILIES: [u32; 4] = [libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];
/// Input put into a terminal, and a console's own calls.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const ANY_BIT: u16 = 0x45;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// If so, goes on with the next; if not, leaves out `over`.
fn when(code: u16, k: u32, over: u8) -> sock_filter {
    sock_filter { code, jt: 0, jf: over, k }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// Where the low half of an argument lies: every parameter that is looked at has 32 bits, whatever stands in the other half.
fn argument(n: u32) -> sock_filter {
    op(LOAD, 16 + 8 * n)
}

fn program() -> Vec<sock_filter> {
    let errno = |e: i32| op(RETURN, ERRNO | e.unsigned_abs());
    let mut all = vec![op(LOAD, 4), sock_filter { code: EQUAL, jt: 1, jf: 0, k: ARCH }, op(RETURN, KILL), op(LOAD, 0)];
    // Also the calls of x32, which have bit 30.
    all.extend([when(GREATER, LAST, 1), errno(libc::ENOSYS)]);
    // Its flags lie behind a pointer; C libraries then use `clone`.
    all.extend([when(EQUAL, number(libc::SYS_clone3), 1), errno(libc::ENOSYS)]);
    for call in REFUSED {
        all.extend([when(EQUAL, number(*call), 1), errno(libc::EPERM)]);
    }
    all.extend([when(EQUAL, number(libc::SYS_clone), 4), argument(0), when(ANY_BIT, CLONE_NEW, 1), errno(libc::EPERM), op(RETURN, ALLOW)]);
    all.extend([when(EQUAL, number(libc::SYS_ioctl), 5), argument(1)]);
    all.extend([sock_filter { code: EQUAL, jt: 1, jf: 0, k: TIOCSTI }, when(EQUAL, TIOCLINUX, 1), errno(libc::EPERM), op(RETURN, ALLOW)]);
    // Of sockets what a network namespace of its own holds apart; of netlink the routes.
    let count = u8::try_from(FAMILIES.len()).unwrap_or(0);
    all.extend([when(EQUAL, number(libc::SYS_socket), count + 7), argument(0)]);
    for (n, family) in (0u8..).zip(FAMILIES) {
        all.push(sock_filter { code: EQUAL, jt: count - n, jf: 0, k: family });
    }
    all.push(errno(libc::EAFNOSUPPORT));
    all.extend([when(EQUAL, libc::AF_NETLINK as u32, 3), argument(2)]);
    all.extend([sock_filter { code: EQUAL, jt: 1, jf: 0, k: libc::NETLINK_ROUTE as u32 }, errno(libc::EPROTONOSUPPORT), op(RETURN, ALLOW)]);
    all.push(op(RETURN, ALLOW));
    all
}

/// For this thread and what it starts.
pub fn apply() -> Result<(), String> {
    seccompiler::apply_filter(&program()).map_err(|e| format!("cannot set its system calls: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classic machine, as its manual describes it; it shares nothing with the kernel's.
    fn answer(call: libc::c_long, args: [u64; 3], arch: u32) -> u32 {
        let mut data = Vec::new();
        data.extend(number(call).to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        args.iter().for_each(|a| data.extend(a.to_le_bytes()));
        let (all, mut at, mut value) = (program(), 0, 0);
        loop {
            let one = &all[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { one.jt } else { one.jf });
            match one.code {
                LOAD => value = u32::from_le_bytes(data[one.k as usize..][..4].try_into().unwrap()),
                EQUAL => at += jump(value == one.k),
                GREATER => at += jump(value > one.k),
                ANY_BIT => at += jump(value & one.k != 0),
                RETURN => return one.k,
                other => panic!("{other:x}"),
            }
        }
    }

    #[test]
    fn what_is_refused_and_what_is_not() {
        let is = |call, args| answer(call, args, ARCH);
        let errno = |e: i32| ERRNO | e as u32;
        for call in REFUSED {
            assert_eq!(is(*call, [0; 3]), errno(libc::EPERM), "{call}");
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_fchownat, libc::SYS_setxattr, libc::SYS_fork, libc::SYS_mseal] {
            assert_eq!(is(call, [0; 3]), ALLOW, "{call}");
        }
        assert_eq!(is(463, [0; 3]), errno(libc::ENOSYS));
        assert_eq!(is(0x4000_0000 + libc::SYS_mount, [0; 3]), errno(libc::ENOSYS), "x32");
        assert_eq!(is(libc::SYS_clone3, [0; 3]), errno(libc::ENOSYS));
        assert_eq!(answer(libc::SYS_read, [0; 3], 0x4000_0003), KILL, "calls of another machine have other numbers");
        for (flags, expected) in [
            (0x11, ALLOW),
            (0x0120_0011, ALLOW),
            (0x1000_0011, errno(libc::EPERM)),
            (0xff_1000_0011, errno(libc::EPERM)),
            (0x0002_0011, errno(libc::EPERM)),
        ] {
            assert_eq!(is(libc::SYS_clone, [flags, 0, 0]), expected, "{flags:x}");
        }
        for (request, expected) in
            [(0x5401, ALLOW), (0x5412, errno(libc::EPERM)), (0x1_0000_5412, errno(libc::EPERM)), (0x541c, errno(libc::EPERM))]
        {
            assert_eq!(is(libc::SYS_ioctl, [0, request, 0]), expected, "{request:x}");
        }
        let no = errno(libc::EAFNOSUPPORT);
        for (family, protocol, expected) in [
            (1, 0, ALLOW),
            (2, 6, ALLOW),
            (10, 17, ALLOW),
            (16, 0, ALLOW),
            (16, 9, errno(libc::EPROTONOSUPPORT)),
            (17, 0, no),
            (38, 0, no),
            (40, 0, no),
            (0xff_0000_0028, 0, no),
            (0, 0, no),
        ] {
            assert_eq!(is(libc::SYS_socket, [family, 1, protocol]), expected, "{family} {protocol}");
        }
    }
}
