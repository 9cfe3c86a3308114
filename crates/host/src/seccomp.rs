//! The system calls an instance may make. Default-deny: what is not listed answers ENOSYS, so that a kernel newer than this
//! list opens nothing, and C libraries fall back to older calls. The list is what ordinary servers use; it leaves out all that
//! needs a capability (instances have none), kernel keyrings, tracing, io_uring, user namespaces, bpf, perf and modules.

use serde_json::{Value, json};

/// Clone flags that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u64 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

const FILES: &str = "access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 \
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs \
    fsync ftruncate futimesat getcwd getdents getdents64 getxattr ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr \
    lseek lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read \
    readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink \
    symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev \
    name_to_handle_at cachestat";

const WAITING: &str = "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 futex futex_waitv futex_wait \
    futex_wake futex_requeue inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
    io_setup io_submit pause pipe pipe2 poll ppoll pselect6 select signalfd signalfd4 timerfd_create timerfd_gettime timerfd_settime";

const MEMORY: &str = "brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall munmap \
    pkey_alloc pkey_free pkey_mprotect remap_file_pages shmat shmctl shmdt shmget map_shadow_stack mseal";

const PROCESSES: &str = "alarm arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid \
    geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid \
    ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 \
    process_mrelease restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp \
    set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid \
    setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill times tkill uname vfork wait4 waitid";

const TALKING: &str = "accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd recvfrom recvmmsg recvmsg semctl semget semop semtimedop sendmmsg sendmsg sendto \
    setsockopt shutdown socketpair";

const TIME: &str = "clock_getres clock_gettime clock_nanosleep getrandom gettimeofday nanosleep time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_settime";

/// `linux.seccomp` of the OCI config, for this machine's architecture.
pub fn profile() -> Value {
    let allowed: Vec<&str> =
        [FILES, WAITING, MEMORY, PROCESSES, TALKING, TIME].iter().flat_map(|list| list.split_ascii_whitespace()).collect();
    let architectures = if cfg!(target_arch = "aarch64") { json!(["SCMP_ARCH_AARCH64"]) } else { json!(["SCMP_ARCH_X86_64"]) };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": architectures,
        "syscalls": [
            { "names": allowed, "action": "SCMP_ACT_ALLOW" },
            // Threads and children, but no new namespaces. The flags of clone3 lie behind a pointer, so it stays out.
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
            // Every family but AF_VSOCK, which would reach past the network namespace.
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 0xffff_ffff_u64, "op": "SCMP_CMP_EQ" }] },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_listed_and_nothing_twice() {
        let profile = profile().to_string();
        for name in [
            "mount",
            "umount2",
            "ptrace",
            "bpf",
            "setns",
            "unshare",
            "clone3",
            "keyctl",
            "add_key",
            "io_uring_setup",
            "reboot",
            "kexec_load",
            "init_module",
            "pivot_root",
            "userfaultfd",
            "perf_event_open",
        ] {
            assert!(!profile.contains(&format!("\"{name}\"")), "{name} is allowed");
        }
        let mut all: Vec<&str> =
            [FILES, WAITING, MEMORY, PROCESSES, TALKING, TIME].iter().flat_map(|l| l.split_ascii_whitespace()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
