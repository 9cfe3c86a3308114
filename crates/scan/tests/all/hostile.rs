//! Trees that were made to stop, mislead or exhaust a scan.

use crate::estate::Estate;
use crate::labelled::findings;
use guard::root::Purpose;
use guard::{Finding, Verdict};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, mknodat};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn rows(root: &Path, purpose: Purpose) -> Vec<String> {
    let mark = |verdict| if verdict == Verdict::Unknown { "?" } else { "" };
    findings(root, purpose, 2).iter().map(|f| format!("{}{} {}", f.via, mark(f.verdict), f.id)).collect()
}

#[test]
fn no_link_leads_out_of_the_tree() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut estate = Estate::clean(dir.path(), 1);
    let key = estate.key("");
    fs::write(outside.path().join("key.pem"), &key).unwrap();
    fs::create_dir(outside.path().join("sites")).unwrap();
    fs::write(outside.path().join("sites/x.conf"), "server {\n root /opt;\n}\n").unwrap();
    fs::create_dir_all(dir.path().join("etc/nginx")).unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink(outside.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
    symlink("../../../../../../../../../..", dir.path().join("up")).unwrap();
    symlink("/proc/self/root", dir.path().join("self")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    // Neither does one that the survey of the tree reads: a site of outside would make /opt a web root.
    symlink(outside.path().join("sites"), dir.path().join("etc/nginx/conf.d")).unwrap();
    estate.write("/opt/.env", 0o644, "A=1\n");
    assert_eq!(rows(dir.path(), Purpose::Image), [""; 0]);
}

#[test]
fn what_would_wait_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 2);
    estate.directory("/etc/redis", 0o755);
    for path in ["etc/redis/redis.conf", "etc/crontab", "srv-pipe"] {
        mknodat(CWD, dir.path().join(path), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert_eq!(rows(dir.path(), Purpose::Image), [""; 0]);
}

#[test]
fn any_name_is_shown_and_any_byte_of_it_is_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 3);
    let key = estate.key("");
    for name in [&b"a\xff"[..], b"new\nline", b"\x1b[2J", b"-rf", b"\xe2\x80\xae"] {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), &key).unwrap();
    }
    let found = rows(dir.path(), Purpose::Image);
    assert_eq!(found, ["secret /\u{1b}[2J", "secret /-rf", "secret /a\\xff", "secret /new\nline", "secret /\u{202e}"]);
}

/// 16 TiB of nothing, with a key before, between and behind: what is written is read, and no hole is.
#[test]
fn an_endless_hole_is_skipped_and_what_lies_behind_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 4);
    let mut file = File::create(dir.path().join("sparse")).unwrap();
    let size = [1_u64 << 43, 1 << 40, 1 << 35].into_iter().find(|size| file.set_len(*size).is_ok()).unwrap();
    assert_eq!(rows(dir.path(), Purpose::Image), [""; 0]);
    for place in [100, size / 2, size - 4096] {
        let key = estate.key("");
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(key.as_bytes()).unwrap();
    }
    assert_eq!(rows(dir.path(), Purpose::Image), ["secret /sparse", "secret /sparse", "secret /sparse"]);
}

#[test]
fn a_tree_deeper_than_any_is_unknown_and_the_rest_is_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 5);
    let key = estate.key("");
    let deep = format!("/a{}", "/d".repeat(300));
    estate.directory(&deep, 0o755);
    estate.write("/z/key.pem", 0o600, key);
    let found = rows(dir.path(), Purpose::Image);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("unread? /a/d/d/") && found[1] == "secret /z/key.pem", "{found:?}");
}

/// More entries than are held at once: memory does not grow with them.
#[test]
fn a_directory_of_many_entries_is_walked_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 6);
    let key = estate.key("");
    for n in 0..5000 {
        File::create(dir.path().join("tmp").join(format!("{n}"))).unwrap();
    }
    estate.write("/tmp/4999.pem", 0o600, key);
    assert_eq!(rows(dir.path(), Purpose::Image), ["secret /tmp/4999.pem"]);
}

#[test]
fn what_cannot_be_read_is_unknown_with_what_would_answer_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut estate = Estate::clean(dir.path(), 7);
    fs::set_permissions(dir.path().join("etc/shadow"), fs::Permissions::from_mode(0o644)).unwrap();
    for path in ["/opt/a/one", "/opt/a/two", "/root/.pgpass"] {
        estate.write(path, 0o000, "x");
    }
    estate.directory("/srv/closed", 0o000);
    let found = as_nobody(dir.path(), Purpose::Image);
    let expected = [
        ("/opt/a", "2 files in it cannot be read: Permission denied"),
        ("/root/.pgpass", "could not read /root/.pgpass"),
        ("/srv/closed", "the directory cannot be opened: Permission denied"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (finding, (path, cause)) in found.iter().zip(expected) {
        assert_eq!((finding.verdict, finding.id.as_str()), (Verdict::Unknown, path));
        assert!(finding.why.contains(cause) && finding.fix.contains("as root"), "{finding:#?}");
    }
    // On a host, what nobody else can read exposes nothing by what is in it; a file of credentials may be a configuration too.
    let found = as_nobody(dir.path(), Purpose::Host);
    assert_eq!(found.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["/root/.pgpass", "/srv/closed"]);
    fs::set_permissions(dir.path().join("srv/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// In a thread that has no rights of root, if this process has them; threads that it starts have none either.
fn as_nobody(root: &Path, purpose: Purpose) -> Vec<Finding> {
    let scan = || {
        if rustix::process::geteuid().is_root() {
            let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
        }
        findings(root, purpose, 2)
    };
    std::thread::scope(|scope| scope.spawn(scan).join().unwrap())
}

/// Twelve includes of itself would be read some 10^8 times.
#[test]
fn includes_that_multiply_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 9);
    for (path, line) in [
        ("/etc/redis/redis.conf", "include /etc/redis/redis.conf\n"),
        ("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config\n"),
        ("/etc/sudoers", "@include /etc/sudoers\n"),
        ("/etc/samba/smb.conf", "include = /etc/samba/smb.conf\n"),
        ("/etc/postgresql/15/main/postgresql.conf", "include 'postgresql.conf'\n"),
    ] {
        estate.directory(path.rsplit_once('/').unwrap().0, 0o755);
        estate.write(path, 0o644, line.repeat(12));
    }
    estate.write("/etc/postgresql/15/main/pg_hba.conf", 0o644, "host all all 0.0.0.0/0 trust\n");
    let found = rows(dir.path(), Purpose::Image);
    for rule in ["redis-without-password?", "sshd-root-password?", "sudo-without-password?"] {
        assert!(found.iter().any(|row| row.starts_with(rule)), "{rule}: {found:?}");
    }
}
