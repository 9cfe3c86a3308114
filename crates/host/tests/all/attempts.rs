//! What a program in a server tries to reach, and what it saw: perl without modules, so that the server's image needs nothing else.

use crate::common::{Host, Want};
use crate::estate::in_network;
use model::{DesiredGroup, GroupSpec};
use std::collections::BTreeMap;

pub const PERL: &str = "/usr/bin/perl";

/// Tries what its arguments name (`tcp|udp|ping|freebind ADDRESS PORT`, `ask ADDRESS PORT NAME TYPE udp|tcp`), all at once, and prints one line for
/// each. `hush` asks over a connected socket: the kernel tells no other of an ICMP error. No modules: the server's image has none.
pub const TRY: &str = r#"$| = 1;
sub packed { my ($a) = @_; if ($a !~ /:/) { return pack("C4", split /\./, $a) }
  my ($l, $r) = split /::/, $a, 2; my @l = split /:/, $l; my @r = defined $r ? split(/:/, $r) : ();
  pack("n8", map { hex } @l, (0) x (8 - @l - @r), @r) }
sub address { my ($a, $port) = @_; my $p = packed($a);
  length($p) == 4 ? (2, pack("S n a4 x8", 2, $port, $p)) : (10, pack("S n N a16 N", 10, $port, 0, $p, 0)) }
sub six { my $t = join ":", map { sprintf "%x", $_ } unpack("n8", $_[0]); $t =~ s/(^|:)0(:0)+(:|$)/::/; $t }
sub ready { my ($fh, $write, $s) = @_; my ($r, $w) = ("", ""); vec($write ? $w : $r, fileno($fh), 1) = 1; select($r, $w, undef, $s) > 0 }
sub try { my ($how, $a, $port, $from) = @_; my ($family, $to) = address($a, $port);
  if ($how eq "tcp") { socket(my $s, $family, 1 | 2048, 0) or return "no socket: $!";
    connect($s, $to) or $! == 115 or return "failed: $!"; ready($s, 1, 3) or return "nothing";
    my $e = unpack("i", getsockopt($s, 1, 4)); $! = $e; return $e ? "failed: $!" : "reached" }
  if ($how eq "udp" || $how eq "freebind") { socket(my $s, $family, 2, 0) or return "no socket: $!";
    if ($how eq "freebind") { setsockopt($s, $family == 2 ? 0 : 41, $family == 2 ? 15 : 78, pack("i", 1)); my (undef, $me) = address($from, 0); bind($s, $me) or return "no bind: $!" }
    send($s, "x", 0, $to) or return "failed: $!"; ready($s, 0, 2) or return "nothing"; recv($s, my $got, 100, 0); return defined $got && length $got ? "reached" : "failed: $!" }
  if ($how eq "route") { socket(my $s, 2, 1 | 2048, 0); my $via = packed($from);
    setsockopt($s, 0, 4, pack("C C C a4 C", 131, 7, 4, $via, 0)) or return "no option: $!";
    connect($s, $to) or $! == 115 or return "failed: $!"; ready($s, 1, 2) or return "nothing"; my $e = unpack("i", getsockopt($s, 1, 4)); $! = $e; return $e ? "failed: $!" : "reached" }
  if ($how eq "dns") { socket(my $s, $family, 2, 0); send($s, pack("n6", 7, 0x0100, 1, 0, 0, 0) . "\2db\7example\3org\0" . pack("nn", 1, 1), 0, $to) or return "failed: $!";
    ready($s, 0, 2) or return "nothing"; recv($s, my $got, 9000, 0); return length($got) > 30 ? "reached" : "no answer" }
  if ($how eq "flood") { socket(my $s, $family, 2, 0); for my $n (1 .. $from) { my $l = "f$n"; send($s, pack("n6", 7, 0x0100, 1, 0, 0, 0) . chr(length $l) . "$l\7example\3org\0" . pack("nn", 1, 1), 0, $to) }
    return "sent $from" }
  if ($how eq "ask" || $how eq "hush") { my (undef, undef, undef, $name, $kind, $over, $extra) = @_; my $wait = $how eq "ask" ? 6 : 1; my $got = "";
    my %kinds = (A => 1, NS => 2, PTR => 12, TXT => 16, AAAA => 28);
    my $q = pack("n6", 7, 0x0100, 1, 0, 0, $extra ? 1 : 0) . join("", map { chr(length) . $_ } split /\./, $name) . "\0" . pack("nn", $kinds{$kind}, 1);
    $q .= pack("C n n N n n n", 0, 41, 1232, 0, 4 + length $extra, 65001, length $extra) . $extra if $extra;
    if ($over eq "tcp") { socket(my $s, $family, 1, 0); connect($s, $to) or return "failed: $!"; syswrite($s, pack("n", length $q) . $q); ready($s, 0, $wait) or return "nothing";
      sysread($s, my $n, 2); $n = unpack("n", $n); while (length $got < $n) { ready($s, 0, $wait) or return "cut"; sysread($s, $got, $n, length $got) or return "cut" } }
    else { socket(my $s, $family, 2, 0); connect($s, $to) if $how eq "hush"; send($s, $q, 0, $to) or return "failed: $!"; ready($s, 0, $wait) or return "nothing"; defined recv($s, $got, 9000, 0) or return "failed: $!" }
    my (undef, $flags, undef, $n) = unpack("n4", $got); my @said = (qw(NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED))[$flags & 15];
    my $at = 12; while (my $l = ord substr($got, $at, 1)) { $at += $l + 1 } $at += 5;
    for (1 .. $n) { while (1) { my $l = ord substr($got, $at, 1); if ($l >= 192) { $at += 2; last } $at += $l + 1; last if !$l }
      my ($t, undef, undef, $len) = unpack("n n N n", substr($got, $at, 10)); my $data = substr($got, $at + 10, $len); $at += 10 + $len;
      push @said, $t == 1 ? join(".", unpack("C4", $data)) : $t == 28 ? six($data) : $t == 12 ? "PTR" : "other" }
    push @said, "truncated" if $flags & 0x200; return join(" ", @said) }
  if ($how eq "large") { socket(my $s, $family, 2, 0); send($s, "x" x 4000, 0, $to) or return "failed: $!"; ready($s, 0, 2) or return "nothing"; recv($s, my $got, 9000, 0); return length($got) == 4000 ? "reached" : "cut" }
  if ($how eq "ping") { socket(my $s, $family, 2, $family == 2 ? 1 : 58) or return "no socket: $!";
    send($s, pack("C C n n n", $family == 2 ? 8 : 128, 0, 0, 1, 1), 0, $to) or return "failed: $!"; ready($s, 0, 2) or return "nothing"; return "reached" }
  if ($how eq "raw") { socket(my $s, $family, 3, 1) or return "no socket: $!"; return "a raw socket" } }
my %kids; for my $what (@ARGV) { my $pid = open(my $fh, "-|"); if (!$pid) { print try(split / /, $what); exit 0 } $kids{$what} = $fh }
for my $what (@ARGV) { my $fh = $kids{$what}; my $said = join "", <$fh>; print "$what = $said\n" } print "tried\n"; sleep 10000;
"#;

pub fn with_network(mut spec: GroupSpec, json: &str) -> GroupSpec {
    if let DesiredGroup::Run { release, .. } = &mut spec.desired {
        release.network = serde_json::from_str(json).unwrap();
        release.limits.pids = 512;
    }
    spec
}

/// What a server of this network saw of each attempt.
pub fn tried(host: &Host, name: &str, network: &str, attempts: &[String]) -> BTreeMap<String, String> {
    let mut run = vec![PERL, "-e", TRY];
    run.extend(attempts.iter().map(String::as_str));
    host.declare(1, with_network(host.group(Want { name, run: &run, ..Want::default() }), network));
    let id = format!("{name}-1");
    host.until_log(&id, "tried\n");
    let log = host.log(&id);
    log.lines().filter_map(|line| line.split_once(" = ")).map(|(what, saw)| (what.to_string(), saw.to_string())).collect()
}

/// One attempt in the network of a process, with all rights there.
pub fn attempt(pid: i64, what: &str) -> String {
    attempt_in(&format!("/proc/{pid}/ns/net"), what)
}

pub fn attempt_in(network: &str, what: &str) -> String {
    let said = in_network(network, &[PERL, "-e", &TRY.replace("sleep 10000;", ""), what]);
    said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(" = ")).unwrap_or(&said).to_string()
}
