//! Hostile programs on this host: they run inside an instance and try what the host must prevent.
//! Run as root: `cargo test -p host --test all hostile:: -- --ignored --test-threads 1`
//!
//! The oracles are what the programs observed, in their logs, and the kernel's own lists.

use crate::common::{Host, Want};
use model::{DesiredGroup, Probe};

const PERL: &str = "/usr/bin/perl";

/// Each probe prints without end, leaves a child in a session of its own, and never ends.
#[test]
#[ignore = "needs root"]
fn a_probe_that_floods_fills_nothing_and_leaves_nothing() {
    let mut host = Host::new();
    host.start();
    let count = "while :; do [ \"$(busybox wc -l < /tmp/probes)\" -ge 3 ] && echo three; sleep 0.05; done 2>/dev/null";
    let mut spec = host.group(Want { name: "flood-r1-1", run: &["sh", "-c", count], ..Want::default() });
    let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
    // No other process sleeps for exactly this time.
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

/// The shim checks its own log whenever the instance prints something; what the runtime logs about an instance is not a file.
#[test]
#[ignore = "needs root"]
fn a_shim_s_own_log_is_bounded() {
    let mut host = Host::new();
    host.start();
    host.declare(
        1,
        host.group(Want { name: "talk-r1-1", run: &["sh", "-c", "while :; do echo word; sleep 0.05; done"], ..Want::default() }),
    );
    host.until_log("talk-r1-1-1", "word");
    let dir = host.layout.instances().join("talk-r1-1-1");
    let log = dir.join("shim.log");
    // As if the shim had logged it.
    let mut said = std::fs::File::options().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut said, &vec![b'x'; usize::try_from(disk::log::LOG_BYTES_MAX).unwrap() + 1]).unwrap();
    host.until_true("the shim's log is rotated", || {
        let bytes = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        if bytes == 0 && disk::log::previous(&log).exists() { Ok(()) } else { Err(format!("{bytes} bytes")) }
    });
    assert!(!dir.join("runtime.log").exists());
    assert!(std::fs::read_dir(&dir).unwrap().flatten().all(|e| e.metadata().unwrap().len() <= disk::log::LOG_BYTES_MAX + 1));
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
    assert_eq!(std::env::consts::ARCH, "x86_64", "the calls are named by the numbers of x86_64");
    let mut host = Host::with(&[PERL], &[("bin/old", &old_call())]);
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

/// Takes all resources it can get, and signals every process it can reach.
const GREEDY: &str = r#"$| = 1; my ($n, @kept) = (0);
while ((my $fd = syscall(294, 0)) >= 0) { $n++ } print "inotify=$n\n";
print "killed=", kill(9, -1), "\n"; print "greedy is done\n"; sleep 10000;"#;

/// What a program can learn about its identity and its host.
const LOOK: &str = r#"$| = 1; print "inotify=", (syscall(294, 0) >= 0 ? "ok" : int($!)), "\n";
sub show { my ($name) = @_; open(my $file, "<", $name) or return print "$name: $!\n"; while (my $line = <$file>) { print "$name: $line" } }
show($_) for "/proc/self/mountinfo", "/proc/self/uid_map", "/proc/self/cgroup", "/etc/mine", "/etc/theirs";
for my $name ("/etc/mine", "/bin", "/etc/hosts", "/tmp") { my @s = stat $name; print "owner of $name=$s[4]:$s[5]\n" }
if (open(my $out, ">>", "/dev/stdout")) { print $out "stdout is mine\n"; close $out } else { print "stdout: $!\n" }
show("/proc/self/limits"); print "look is done\n"; sleep 10000;"#;

#[test]
#[ignore = "needs root"]
fn services_share_no_ids_quotas_or_signals_and_see_no_path_of_the_host() {
    let mut host = Host::with(&[PERL], &[("etc/mine", b"mine\n"), ("etc/theirs", b"theirs\n")]);
    let data = host.layout.root().display().to_string();
    host.start();
    let user = |name: &'static str, program: &'static str, user: &str| {
        let mut spec = host.group(Want { name, run: &[PERL, "-e", program], ..Want::default() });
        let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
        release.user = user.to_string();
        spec
    };
    let (greedy, look, root) =
        (user("greedy-r1-1", GREEDY, "65534:65534"), user("look-r1-1", LOOK, "1000:1000"), user("root-r1-1", LOOK, "0:0"));
    host.declare(1, greedy);
    host.until_log("greedy-r1-1-1", "greedy is done");
    host.declare(1, look);
    host.declare(1, root);
    host.until_log("look-r1-1-1", "look is done");
    host.until_log("root-r1-1-1", "look is done");
    let (look, root) = (host.log("look-r1-1-1"), host.log("root-r1-1-1"));
    println!("{}{look}", host.log("greedy-r1-1-1"));
    assert!(look.contains("inotify=ok") && root.contains("inotify=ok"), "one service used up another's quota:\n{look}");
    assert!(look.contains("stdout is mine"), "{look}");
    assert!(look.lines().any(|l| l.starts_with("/proc/self/limits: Max core file size        1                    1 ")), "{look}");
    for (log, owner) in [(&look, "0:0"), (&root, "0:0")] {
        for name in ["/bin", "/etc/hosts", "/tmp"] {
            assert!(log.contains(&format!("owner of {name}={owner}\n")), "{name}: {log}");
        }
        for secret in [data.as_str(), "/dev/loop", "objects", "afresh-"] {
            let told = log.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "it sees {secret}");
        }
    }
    // A file that the image gives to 1000 alone, and one of another.
    assert!(look.contains("owner of /etc/mine=1000:1000\n") && look.contains("/etc/mine: mine\n"), "{look}");
    assert!(look.contains("/etc/theirs: Permission denied"), "{look}");
    assert!(!root.contains("/etc/mine: mine") && !root.contains("/etc/theirs: theirs"), "root without its powers: {root}");
    // What the host sees: a range for each service, used by nothing else here, and the same again for its next servers.
    let ids = ["greedy-r1-1-1", "look-r1-1-1", "root-r1-1-1"].map(|id| host.uid_of(id));
    println!("on the host they are {ids:?}");
    let range = |uid: u32| uid >> 16;
    assert!(ids.iter().all(|uid| (0x7000_0000..0x7ffe_0000).contains(uid)), "{ids:x?}");
    assert!(range(ids[0]) != range(ids[1]) && range(ids[1]) != range(ids[2]) && range(ids[0]) != range(ids[2]), "{ids:x?}");
    assert_eq!(ids.map(|uid| uid & 0xffff), [65_534, 1_000, 0]);
    host.restart();
    host.kill_program(&model::InstanceId::new("look-r1-1-1").unwrap());
    host.until_log("look-r1-1-2", "look is done");
    assert_eq!(host.uid_of("look-r1-1-2"), ids[1], "a service keeps its ids");
    assert_eq!(host.observe("root-r1-1").deaths, 0, "what one kills is its own");
    let mut bad = host.web("bad-r1-1", 1);
    if let DesiredGroup::Run { release, .. } = &mut bad.desired {
        release.user = "65536".to_string();
    }
    assert_eq!(host.try_declare(1, bad).unwrap_err().code, "bad-spec");
}

/// The network is closed except for the host's own connections to servers; other tables are not touched.
#[test]
#[ignore = "needs root"]
fn services_reach_neither_each_other_nor_the_host() {
    let mut host = Host::new();
    let theirs = format!("afreshtest{}", std::process::id());
    let nft = |text: &str| Host::run(&["nft", "-f", "-"], text);
    nft(&format!("table inet {theirs} {{\n chain c {{\n  type filter hook input priority 5; policy accept;\n  counter accept\n }}\n}}\n"));
    let stateless = || Host::run(&["nft", "-s", "list", "table", "inet", &theirs], "");
    let before = stateless();
    host.start();
    host.declare(1, host.web("web-r1-1", 2));
    let seen = host.until("web-r1-1", "2 healthy", |seen| seen.instances.iter().filter(|i| i.healthy_ms.is_some()).count() == 2);
    let target = seen.instances[0].addr.expect("it has a port");
    let std::net::SocketAddr::V4(v4) = target else { unreachable!() };
    let [a, b, c, _] = v4.ip().octets();
    let gateway = std::net::Ipv4Addr::new(a, b, c, 1);
    let listener = std::net::TcpListener::bind((gateway, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reach = |to: String| format!("busybox nc -w 2 {to} </dev/null && echo reached {to} || echo closed {to};");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let tries =
        format!("{} {} echo tried; sleep 10000", reach(format!("{} {}", target.ip(), target.port())), reach(format!("{gateway} {port}")),);
    host.declare(1, host.group(Want { name: "spy-r1-1", run: &["sh", "-c", &tries], ..Want::default() }));
    host.until_log("spy-r1-1-1", "tried");
    let log = host.log("spy-r1-1-1");
    println!("{log}");
    assert_eq!(log.matches("closed ").count(), 2, "{log}");
    assert!(crate::common::get(target, "/healthz").is_ok(), "the host's own connections get in");
    assert_eq!(stateless(), before, "other tables");
    // The host's rules are flushed: ours are restored.
    let ours = format!("afresh_{}", host.mark());
    Host::run(&["nft", "delete", "table", "inet", &ours], "");
    host.until_true(
        "our table again",
        || {
            if Host::run(&["nft", "list", "tables"], "").contains(&ours) { Ok(()) } else { Err(String::new()) }
        },
    );
    drop(host);
    assert!(!Host::run(&["nft", "list", "tables"], "").contains(&ours), "it is gone with all else");
    assert_eq!(stateless(), before);
    Host::run(&["nft", "delete", "table", "inet", &theirs], "");
}

/// Whatever the policy says since, a group that has had a server keeps its count, also under a restarted keeper; one that has not
/// is refused from that moment on.
#[test]
#[ignore = "needs root"]
fn what_is_distrusted_begins_nowhere_and_melts_nothing() {
    let mut host = Host::new();
    host.start();
    host.declare(1, host.web("web-r1-1", 2));
    let two = |seen: &model::GroupSeen| seen.instances.iter().filter(|i| i.healthy_ms.is_some()).count() == 2;
    let before = host.until("web-r1-1", "2 healthy", two);
    let refuse = host.layout.root().join("refuse");
    std::fs::write(&refuse, "").unwrap();
    for (round, restart) in [false, true].into_iter().enumerate() {
        if restart {
            host.restart();
        }
        let victim = host.until("web-r1-1", "2 healthy", two).instances[0].id.clone();
        host.kill_program(&victim);
        let seen = host.until("web-r1-1", "replaced", |seen| two(seen) && seen.instances.iter().all(|i| i.id != victim));
        println!("restarted: {restart}; replaced {victim}: {:?}", seen.instances.iter().map(|i| i.id.as_str()).collect::<Vec<_>>());
        let name = format!("new-r1-{round}");
        host.declare(1, host.web(&name, 1));
        let seen = host.until(&name, "a refusal", |seen| seen.trouble.is_some());
        println!("{name}: {}", seen.trouble.as_ref().unwrap());
        assert!(seen.trouble.unwrap().contains("is not trusted") && seen.instances.is_empty());
    }
    std::fs::remove_file(&refuse).unwrap();
    host.until("new-r1-0", "healthy", |seen| seen.instances.iter().any(|i| i.healthy_ms.is_some()));
    assert!(before.instances.iter().all(|i| i.exit.is_none()));
}
