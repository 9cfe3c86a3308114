//! The system calls an instance may make. Default-deny: what is not listed returns ENOSYS, so that a kernel newer than this list
//! allows nothing more, and C libraries fall back to older calls. Calls of another architecture (32 bits, x32) kill the process.
//!
//! The names are data in `seccomp.txt`, which says where they come from; only calls that depend on their arguments are here.

use serde_json::{Value, json};

const NAMES: &str = include_str!("seccomp.txt");

/// Clone flags that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u64 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const NETLINK_ROUTE: u64 = 0;

/// `linux.seccomp` of the OCI config, for this machine's architecture.
pub fn profile() -> Value {
    let architectures = if cfg!(target_arch = "aarch64") { json!(["SCMP_ARCH_AARCH64"]) } else { json!(["SCMP_ARCH_X86_64"]) };
    let allow = |name: &str, args: Value| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": args });
    let mut syscalls = vec![
        json!({ "names": names(), "action": "SCMP_ACT_ALLOW" }),
        // Threads and children, but no new namespaces. The flags of clone3 are behind a pointer, so it is not allowed.
        allow("clone", json!([{ "index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }])),
        allow("socket", json!([int(0, AF_NETLINK), int(2, NETLINK_ROUTE)])),
        allow("socketpair", json!([int(0, AF_UNIX)])),
    ];
    syscalls.extend([AF_UNIX, AF_INET, AF_INET6].map(|family| allow("socket", json!([int(0, family)]))));
    // PER_LINUX, PER_LINUX32, both with UNAME26, and the query of the current one.
    syscalls.extend([0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].map(|persona| allow("personality", json!([int(0, persona)]))));
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": architectures, "syscalls": syscalls })
}

/// A parameter of 32 bits. The kernel reads only the low half of the register, so the filter must too: comparing the whole register
/// would allow every value, or none, when a caller sets a high bit.
fn int(index: u32, value: u64) -> Value {
    json!({ "index": index, "value": 0xffff_ffff_u64, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" })
}

fn names() -> Vec<&'static str> {
    NAMES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_listed_and_nothing_twice() {
        let all = names();
        let never = "mount umount2 ptrace process_vm_readv process_vm_writev bpf setns unshare clone clone3 keyctl add_key request_key \
            io_uring_setup io_uring_enter reboot kexec_load init_module finit_module pivot_root chroot userfaultfd perf_event_open \
            open_by_handle_at mount_setattr move_mount open_tree fsopen statmount listmount socket socketpair personality modify_ldt \
            quotactl swapon acct settimeofday clock_settime sethostname syslog kcmp pidfd_getfd vhangup iopl ioperm";
        for name in never.split_ascii_whitespace() {
            assert!(!all.contains(&name), "{name} is allowed with any arguments");
        }
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, all, "sorted, and each once");
        for name in ["read", "futex", "execve", "arch_prctl", "inotify_init1", "landlock_create_ruleset", "rseq"] {
            assert!(all.contains(&name), "{name} is not allowed");
        }
    }

    /// What a filter of these rules would decide for a call, evaluated from the rules themselves.
    fn allows(name: &str, args: [u64; 3]) -> bool {
        let profile = profile();
        let holds = |arg: &Value| {
            let (mask, want) = (arg["value"].as_u64().unwrap(), arg["valueTwo"].as_u64().unwrap());
            assert_eq!(arg["op"], "SCMP_CMP_MASKED_EQ", "anything else compares 64 bits");
            args[arg["index"].as_u64().unwrap() as usize] & mask == want
        };
        profile["syscalls"].as_array().unwrap().iter().any(|rule| {
            let named = rule["names"].as_array().unwrap().iter().any(|n| n == name);
            named && rule["args"].as_array().is_none_or(|args| args.iter().all(holds))
        })
    }

    #[test]
    fn a_high_bit_changes_nothing() {
        for high in [0, 1u64 << 32, 1 << 63, 0xffff_ffff_0000_0000] {
            for (family, want) in [(1, true), (2, true), (10, true), (40, false), (38, false), (17, false), (0, false)] {
                assert_eq!(allows("socket", [high | family, 1, 0]), want, "family {family}, high {high:x}");
            }
            for (protocol, want) in [(0, true), (6, false), (9, false), (15, false)] {
                assert_eq!(allows("socket", [high | 16, 3, high | protocol]), want, "netlink {protocol}, high {high:x}");
            }
            assert!(allows("socketpair", [high | 1, 1, 0]) && !allows("socketpair", [high | 40, 1, 0]));
            assert!(allows("clone", [high | 0x11, 0, 0]) && !allows("clone", [high | 0x1000_0011, 0, 0]));
            assert!(allows("personality", [high | 0xffff_ffff, 0, 0]) && !allows("personality", [high | 0x40_0000, 0, 0]));
        }
    }
}
