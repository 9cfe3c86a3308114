//! What a program does that means harm, on this very host: it runs inside an instance and tries what the host must not let it.
//! Run as root: `cargo test -p host --test all hostile:: -- --ignored --test-threads 1`
//!
//! The oracles are what the programs saw, told in their logs, and the kernel's own lists.

use crate::common::{Host, Want};
use model::{GroupWish, Probe};

const PERL: &str = "/usr/bin/perl";

/// Each probe prints without end, leaves a child in a session of its own, and never ends.
#[test]
#[ignore = "needs root"]
fn a_probe_that_floods_fills_nothing_and_leaves_nothing() {
    let Some(mut host) = Host::new() else { return };
    host.start();
    let count = "while :; do [ \"$(busybox wc -l < /tmp/probes)\" -ge 3 ] && echo three; sleep 0.05; done 2>/dev/null";
    let mut spec = host.group(Want { name: "flood-r1-1", run: &["sh", "-c", count], ..Want::default() });
    let GroupWish::Run { release, .. } = &mut spec.wish else { unreachable!() };
    // Nobody else sleeps for just as long.
    let long = 100_000 + std::process::id();
    let flood = format!("echo probe >> /tmp/probes; busybox setsid sleep {long} & exec busybox yes");
    release.health.timeout_ms = 2_000;
    release.health.probe = Probe::Exec { command: ["sh", "-c", &flood].map(str::to_string).to_vec() };
    host.declare(1, spec);
    let most = std::cell::Cell::new(0);
    host.until_true("three probes", || {
        most.set(most.get().max(host.keeper_bytes()));
        if host.log("flood-r1-1-1").contains("three") { Ok(()) } else { Err(host.log("flood-r1-1-1")) }
    });
    let left = host.program_count(&format!("sleep\u{0}{long}\u{0}"));
    println!("the keeper took {} MiB at most; {left} processes of 3 probes are left", most.get() >> 20);
    assert!(most.get() < 128 << 20, "{} MiB", most.get() >> 20);
    assert!(left <= 1, "{left} are left");
}

/// System calls by number, made by a process of its own each: `name=errno`, `name=ok` or `name=signal N`.
const CALLS: &str = r#"$| = 1;
sub try { my ($name, @call) = @_;
  my $pid = fork; if (!$pid) { $! = 0; my $got = syscall($call[0], @call[1..$#call]); exit($got == -1 ? int($!) : 0) }
  waitpid $pid, 0; my $how = $?; print $name, "=", ($how & 127 ? "signal " . ($how & 127) : ($how >> 8) || "ok"), "\n" }
my $high = 1 << 32;
try("unix", 41, 1, 1, 0); try("inet", 41, 2, 1, 0); try("inet6", 41, 10, 1, 0); try("route", 41, 16, 3, 0);
try("inet-high", 41, $high | 2, 1, 0);
try("vsock", 41, 40, 1, 0); try("vsock-high", 41, $high | 40, 1, 0); try("vsock-higher", 41, (1 << 63) | 40, 1, 0);
try("alg", 41, 38, 5, 0); try("alg-high", 41, $high | 38, 5, 0); try("packet", 41, 17, 3, 0);
try("audit", 41, 16, 3, 9); try("audit-high", 41, 16, 3, $high | 9); try("route-high", 41, $high | 16, 3, $high);
try("getpid", 39); try("personality", 135, 0xffffffff); try("aslr-off", 135, 0x40000);
try("unshare-user", 272, 0x10000000); try("setns", 308, 0, 0); try("mount", 165, 0, 0, 0, 0, 0); try("ptrace", 101, 0, 0, 0, 0);
try("bpf", 321, 0, 0, 0); try("keyctl", 250, 0, 0, 0); try("io_uring", 425, 1, 0); try("userfaultfd", 323, 0);
try("perf", 298, 0, 0, 0, 0, 0); try("clone3", 435, 0, 0); try("clone-user", 56, 0x10000011, 0, 0, 0, 0);
try("x32-getpid", 0x40000000 | 39); try("x32-socket", 0x40000000 | 41, 40, 1, 0);
system("/bin/old"); print "int80=", ($? & 127 ? "signal " . ($? & 127) : $? >> 8), "\n";
print "done\n"; sleep 10000;
"#;

/// A program of 64 bits that ends itself with 42 by a call of 32 bits: `mov eax, 1; mov ebx, 42; int 0x80`.
fn old_call() -> Vec<u8> {
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
    let at = 0x40_0000u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    elf.extend((at + 120).to_le_bytes());
    elf.extend(64u64.to_le_bytes());
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, at, at, 120 + code.len() as u64, 120 + code.len() as u64, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[test]
#[ignore = "needs root"]
fn seccomp_in_an_instance() {
    if !cfg!(target_arch = "x86_64") {
        return println!("SKIPPED: the calls are named by the numbers of x86_64");
    }
    let Some(mut host) = Host::with(&[PERL], &[("bin/old", &old_call())]) else { return };
    host.start();
    host.declare(1, host.group(Want { name: "calls-r1-1", run: &[PERL, "-e", CALLS], ..Want::default() }));
    host.until_log("calls-r1-1-1", "done");
    let log = host.log("calls-r1-1-1");
    println!("{log}");
    let said = |name: &str| log.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).unwrap_or("nothing").to_string();
    for name in ["unix", "inet", "inet6", "route", "inet-high", "route-high", "getpid", "personality"] {
        assert_eq!(said(name), "ok", "{name}");
    }
    let refused = "vsock vsock-high vsock-higher alg alg-high packet audit audit-high aslr-off unshare-user setns mount ptrace bpf keyctl \
        io_uring userfaultfd perf clone3 clone-user";
    for name in refused.split_ascii_whitespace() {
        assert_eq!(said(name), "38", "{name}");
    }
    for name in ["x32-getpid", "x32-socket", "int80"] {
        assert_eq!(said(name), "signal 31", "{name}");
    }
}
