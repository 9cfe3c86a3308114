#!/usr/bin/perl
# Tries every way out of the sandbox that its authors knew of, and prints what each managed. Numbers of system calls are those of x86-64.
# Arguments: a file of the host that holds SECRET, a directory of the host that root may write, a TCP port and the name of an abstract
# socket on which the host listens, and what is secret.
# No module is there to use.
my ($file, $dir, $port, $name, $secret) = @ARGV;
$| = 1;
sub try {
    my ($what, $code) = @_;
    my $got = eval { local $SIG{ALRM} = sub { die }; alarm 20; my $g = $code->(); alarm 0; $g };
    alarm 0;
    print "way $what: ", (defined $got && length $got ? "GOT $got" : "nothing"), "\n";
}
sub slurp { my $p = shift; open(my $f, '<', $p) or return ''; sysread($f, my $t, 4096); $t // '' }
sub holds { index($_[0], $secret) >= 0 }
sub ok { my $r = shift; $r >= 0 ? shift : '' }
# The kernel refused for another reason than a missing right: the call itself is open.
sub open_call { my ($r, $what) = @_; $r >= 0 ? "$what went well" : ($! == 1 || $! == 38 || $! == 13) ? '' : "$what reached the kernel: $!" }
sub in_dir { my $p = shift; opendir(my $d, $p) or return (); map { "$p/$_" } grep { !/^\.\.?$/ } readdir $d }
sub pids { opendir(my $d, '/proc') or return (); grep { /^\d+$/ } readdir $d }
sub put { my $p = shift; open(my $f, '>', $p) or return ''; print $f "x\n"; close $f; "wrote $p" }
sub str { my $s = shift() . "\0"; $s }

try 'read through /proc/1/root' => sub { holds(slurp("/proc/1/root$file")) ? 'the secret' : '' };
try 'write through /proc/1/root' => sub { put("/proc/1/root$dir/pwned") };
try 'read through /proc/1/cwd' => sub { holds(slurp("/proc/1/cwd$file")) || holds(slurp('/proc/1/cwd' . '/..' x 20 . $file)) ? 'the secret' : '' };
try 'any process: root' => sub { join ' ', grep { holds(slurp("/proc/$_/root$file")) } pids() };
try 'any process: cwd' => sub { join ' ', grep { holds(slurp("/proc/$_/cwd" . '/..' x 20 . $file)) } pids() };
try 'any thread: root' => sub { join ' ', grep { holds(slurp("$_/root$file")) } map { in_dir("/proc/$_/task") } pids() };
try 'open descriptors that are directories' => sub {
    join ' ', grep { -d $_ && holds(slurp($_ . '/..' x 20 . $file)) } map { in_dir("/proc/$_/fd") } pids()
};
try 'open descriptors of files' => sub {
    my %ours = map { (stat $_)[0] => 1 } '/', qw(/tmp /tmp/packages /dev /dev/shm /run /proc /proc/sys);
    my @got;
    for my $fd (map { in_dir("/proc/$_/fd") } pids()) {
        my ($to, $dev) = (readlink $fd, (stat $fd)[0]);
        push @got, "$fd -> $to" if $to && $to =~ m{^/} && $to ne '/dev/null' && !$ours{$dev // ''};
    }
    "@got"
};
try "the bake's program, to write" => sub { join ' ', grep { open(my $f, '+<', "/proc/$_/exe") } grep { (readlink("/proc/$_/exe") // '') !~ m{^/usr/bin/} } pids() };
try 'the arguments of PID 1' => sub { my $t = slurp('/proc/1/cmdline'); $t =~ m{\Q$dir\E|/store/|/proc/\d} ? do { $t =~ tr/\0/ /; substr $t, 0, 120 } : '' };
try 'the environment of PID 1' => sub { my $t = slurp('/proc/1/environ'); join ' ', grep { /^(SUDO_|SSH_|CARGO|AFRESH|GNUPG|XDG)/ } split /\0/, $t };
try "the packages' directory and up" => sub { holds(slurp('/tmp/packages' . '/..' x 20 . $file)) ? 'the secret' : '' };
try 'write into the packages' => sub { put('/tmp/packages/pwned') };
try 'mount' => sub { mkdir '/tmp/m'; open_call(syscall(165, str('none'), str('/tmp/m'), str('tmpfs'), 0, 0), 'mount') };
try 'mount /proc again' => sub { mkdir '/tmp/p'; open_call(syscall(165, str('proc'), str('/tmp/p'), str('proc'), 0, 0), 'mount') };
try 'mount /sys' => sub { mkdir '/tmp/s'; open_call(syscall(165, str('sysfs'), str('/tmp/s'), str('sysfs'), 0, 0), 'mount') };
try 'unmount /tmp/packages' => sub { open_call(syscall(166, str('/tmp/packages'), 2), 'umount2') };
try 'open_tree' => sub { open_call(syscall(428, -100, str('/'), 1), 'open_tree') };
try 'fsopen' => sub { open_call(syscall(430, str('tmpfs'), 0), 'fsopen') };
try 'a block device by mknod' => sub {
    my @got;
    for my $line (split /\n/, slurp('/proc/partitions')) {
        my ($major, $minor, undef, $disk) = $line =~ /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)/ or next;
        for my $at ("/dev/$disk", "/tmp/$disk", "/root-$disk") {
            syscall(133, str($at), 0060600, $major * 256 + $minor) == 0 or next;
            push @got, $at if open(my $f, '<', $at) and sysread($f, my $b, 512);
            unlink $at;
        }
    }
    "@got"
};
try "the kernel's memory by mknod" => sub {
    my @got;
    for ([mem => 1], [kmem => 2], [port => 4], [kmsg => 11]) {
        my ($n, $minor) = @$_;
        for my $at ("/dev/$n", "/tmp/$n", "/root-$n") {
            syscall(133, str($at), 0020600, 256 + $minor) == 0 or next;
            push @got, $at if sysopen(my $f, $at, 0);
            unlink $at;
        }
    }
    "@got"
};
try 'chroot and up' => sub {
    mkdir '/tmp/c'; chroot('/tmp/c') or return '';
    chdir '..' for 1 .. 60; chroot '.';
    holds(slurp(substr $file, 1)) ? 'the secret' : 'chroot went well'
};
try 'pivot_root' => sub { open_call(syscall(155, str('/tmp'), str('/tmp')), 'pivot_root') };
try 'unshare a user namespace' => sub { my $p = fork; if (!$p) { exit(syscall(272, 0x10020000) == 0 ? 7 : 0) } waitpid $p, 0; $? >> 8 == 7 ? 'a user namespace' : '' };
try 'clone a user namespace' => sub { my $p = syscall(56, 0x10000011, 0, 0, 0, 0); if ($p == 0) { syscall(231, 0) } $p > 0 ? do { waitpid $p, 0; 'a user namespace' } : '' };
try 'clone3 a user namespace' => sub {
    my $args = pack('Q8', 0x10000000, 0, 0, 0, 17, 0, 0, 0);
    my $p = syscall(435, $args, 64); if ($p == 0) { syscall(231, 0) } $p > 0 ? do { waitpid $p, 0; 'a user namespace' } : ''
};
try "enter a namespace of PID 1's" => sub { join ' ', grep { open(my $f, '<', "/proc/1/ns/$_") and syscall(308, fileno($f), 0) == 0 } qw(mnt user net pid uts ipc cgroup) };
try 'the host\'s own namespaces' => sub { join ' ', grep { (readlink("/proc/self/ns/$_") // '') eq ($ENV{"HOST_$_"} // '-') } qw(mnt user net pid uts ipc) };
try 'root is root of the host' => sub { my ($in, $out) = slurp('/proc/self/uid_map') =~ /^\s*(\d+)\s+(\d+)/; $out == 0 ? "number $in is the host's $out" : '' };
try 'capabilities' => sub {
    my ($hex) = slurp('/proc/self/status') =~ /CapBnd:\s*([0-9a-f]+)/; my $bits = hex $hex;
    my %n = (2 => 'DAC_READ_SEARCH', 12 => 'NET_ADMIN', 13 => 'NET_RAW', 16 => 'SYS_MODULE', 17 => 'SYS_RAWIO', 18 => 'SYS_CHROOT', 19 => 'SYS_PTRACE', 21 => 'SYS_ADMIN', 22 => 'SYS_BOOT', 24 => 'SYS_RESOURCE', 25 => 'SYS_TIME', 27 => 'MKNOD', 34 => 'SYSLOG', 38 => 'PERFMON', 39 => 'BPF', 40 => 'CHECKPOINT_RESTORE');
    join ' ', map { $n{$_} } sort { $a <=> $b } grep { $bits >> $_ & 1 } keys %n
};
try 'new privileges by a set-id program' => sub { slurp('/proc/self/status') =~ /NoNewPrivs:\s*0/ ? 'may be gained' : '' };
try 'no filter of system calls' => sub { slurp('/proc/self/status') =~ /Seccomp:\s*0/ ? 'all are open' : '' };
try 'ptrace' => sub { my $p = fork; if (!$p) { sleep 30; exit } my $r = open_call(syscall(101, 16, $p, 0, 0), 'ptrace'); kill 9, $p; waitpid $p, 0; $r };
try "another process's memory" => sub { my $b = "\0" x 8; open_call(syscall(310, 1, pack('pQ', $b, 8), 1, pack('QQ', 0x400000, 8), 1, 0), 'process_vm_readv') };
try 'a descriptor of PID 1' => sub { my $p = syscall(434, 1, 0); $p < 0 ? '' : open_call(syscall(438, $p, 1, 0), 'pidfd_getfd') };
try 'the root of a disk by its handle' => sub {
    my @got;
    for my $at ('/tmp/packages', '/', '/usr', '/tmp') {
        opendir(my $d, $at) or next;
        my $fd = syscall(2, str($at), 0200000, 0);
        next if $fd < 0;
        for my $ino (2, 1, 128) {
            my $handle = pack('LlLL', 8, 1, $ino, 0) . "\0" x 16;
            my $root = syscall(304, $fd, $handle, 0200000);
            next if $root < 0;
            push @got, holds(slurp("/proc/self/fd/$root$file")) ? "the secret, by $at" : "a handle of $at";
        }
    }
    "@got"
};
try 'keyrings' => sub { open_call(syscall(250, 0, -3, 1, 0, 0), 'keyctl') };
try 'add_key' => sub { open_call(syscall(248, str('user'), str('escape'), str('x'), 1, -4), 'add_key') };
try 'bpf' => sub { open_call(syscall(321, 0, pack('LLLL', 2, 4, 4, 1) . "\0" x 100, 72), 'bpf') };
try 'perf_event_open' => sub { open_call(syscall(298, pack('LLQ', 1, 112, 0) . "\0" x 120, 0, -1, -1, 0), 'perf_event_open') };
try 'io_uring' => sub { open_call(syscall(425, 8, "\0" x 120), 'io_uring_setup') };
try 'userfaultfd' => sub { open_call(syscall(323, 1), 'userfaultfd') };
try 'kexec' => sub { open_call(syscall(246, 0, 0, 0, 0xffff), 'kexec_load') };
try 'a module' => sub { open_call(syscall(176, str('escape_no_such_module'), 0), 'delete_module') };
try 'reboot' => sub { open_call(syscall(169, 1, 2, 3, 0), 'reboot') };
try 'swapon' => sub { open_call(syscall(167, str('/no/such/file'), 0), 'swapon') };
try "the kernel's log" => sub { my $b = "\0" x 4096; open_call(syscall(103, 3, $b, 4096), 'syslog') };
try 'settings of the kernel' => sub {
    join ' ', grep { sysopen(my $f, $_, 1) } qw(/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sys/fs/protected_symlinks /proc/sysrq-trigger /proc/sys/kernel/ns_last_pid)
};
try 'what /proc tells of the kernel' => sub { join ' ', grep { length slurp($_) } qw(/proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/kpagecount /proc/kmsg /proc/slabinfo /proc/vmallocinfo /proc/1/stack) };
try '/sys' => sub { join ' ', in_dir('/sys') };
try 'sockets of other families' => sub { join ' ', grep { syscall(41, $_, 3, 0) >= 0 || syscall(41, $_, 1, 0) >= 0 || syscall(41, $_, 5, 0) >= 0 } 15, 17, 38, 40, 0xff00000028, 44 };
try 'netlink beyond routes' => sub { join ' ', grep { syscall(41, 16, 3, $_) >= 0 } 4, 6, 9, 12, 15, 16 };
try "the host's loopback" => sub { my $s = syscall(41, 2, 1, 0); $s >= 0 && syscall(42, $s, pack('SnC4x8', 2, $port, 127, 0, 0, 1), 16) == 0 ? "port $port" : '' };
try "the host's abstract sockets" => sub { my $s = syscall(41, 1, 1, 0); my $a = pack('S', 1) . "\0" . $name; $s >= 0 && syscall(42, $s, $a, length $a) == 0 ? $name : '' };
try 'the terminal' => sub { sysopen(my $f, '/dev/tty', 2) ? do { syscall(16, fileno($f), 0x5412, str('x')) == 0 ? 'typed a key' : '' } : '' };
try 'typing into any terminal' => sub { syscall(16, 0, 0x5412, str('x')) == 0 ? 'typed' : '' };
try 'processes of the host' => sub { my @p = grep { slurp("/proc/$_/cmdline") =~ m{afresh\0bake|cargo|systemd} } pids(); "@p" };
try 'more files than it may hold' => sub { my ($n) = slurp('/proc/self/limits') =~ /Max file size\s+(\S+)/; $n eq 'unlimited' ? 'no limit' : '' };
try 'more processes than it may have' => sub { my ($n) = slurp('/proc/self/limits') =~ /Max processes\s+(\S+)/; $n eq 'unlimited' || $n > 10000 ? "$n" : '' };
