//! An image verified on another machine: its own root file system, host name, time zone, locale, umask and user, no network, a copy of
//! the store that can only be read. And a difference that somebody planted, told by path and by byte.

use super::house::{House, Said};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a machine needs for that, besides `afresh` itself.
const TOOLS: &[&str] = &[
    "/usr/bin/setpriv",
    "/usr/bin/unshare",
    "/usr/bin/nsenter",
    "/usr/bin/timeout",
    "/usr/bin/mkfs.erofs",
    "/usr/bin/sh",
    "/usr/bin/cat",
    "/usr/bin/mount",
    "/usr/bin/mkdir",
    "/usr/bin/mknod",
    "/usr/bin/ln",
    "/usr/bin/id",
    "/usr/bin/hostname",
    "/usr/bin/date",
    "/usr/sbin/chroot",
    "/usr/sbin/losetup",
    "/usr/bin/umount",
    "/usr/sbin/pivot_root",
    "/usr/bin/true",
    "/usr/bin/env",
];

/// A root file system of this machine's programs: nothing else of it is to be seen from inside.
fn root(house: &House) -> PathBuf {
    let root = house.dir().join("elsewhere");
    let mut files: Vec<PathBuf> = TOOLS.iter().map(PathBuf::from).collect();
    files.push(house.program().to_path_buf());
    let mut all: Vec<(PathBuf, PathBuf)> = Vec::new();
    for file in &files {
        let said = Command::new("ldd").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let place = if file == house.program() { PathBuf::from("/usr/bin/afresh") } else { file.clone() };
        all.push((file.clone(), place));
        all.extend(text.split_whitespace().filter(|w| w.starts_with('/') && !w.ends_with(':')).map(|w| {
            let usr = if w.starts_with("/usr") { PathBuf::from(w) } else { Path::new("/usr").join(&w[1..]) };
            (PathBuf::from(w), usr)
        }));
    }
    for (from, to) in all {
        let to = root.join(to.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
    for (link, to) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        fs::create_dir_all(root.join(to)).unwrap();
        std::os::unix::fs::symlink(to, root.join(link)).unwrap();
    }
    for dir in ["dev", "proc", "sys", "tmp", "work", "data", "etc"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    for dir in ["tmp", "work"] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(house.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Enters the root in namespaces of its own; the copy of the store is mounted read-only.
const ENTER: &str = r#"
set -e
hostname elsewhere.example
mount --bind "$1" "$1"; mount --bind "$2" "$1/data"; mount -o remount,bind,ro "$1/data"
mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
mount -t tmpfs work "$1/work"
cd "$1"; shift 2
mkdir -p old; pivot_root . old; umount -l /old
umask 0077
exec env -i PATH=/usr/sbin:/usr/bin TZ=Pacific/Kiritimati LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 TMPDIR=/nowhere HOME=/nowhere USER=eve "$@"
"#;

/// Whose namespaces they are.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Root,
    /// Another user, who is root of a user namespace with so many users in it.
    User(u32),
}

fn elsewhere(root: &Path, data: &Path, who: Who, args: &[&str]) -> Said {
    let mut c = Command::new("unshare");
    if who != Who::Root {
        // It waits for its maps: only this user's own root may write them.
        c.args(["--user", "--setuid", "0", "--setgid", "0"]);
    }
    c.args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--propagation", "private"]);
    c.args(["sh", "-c", ENTER, "sh"]).arg(root).arg(data).args(args);
    let done = match who {
        Who::Root => c.stdin(Stdio::null()).output().unwrap(),
        Who::User(count) => mapped(c, count),
    };
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    Said { exit: done.status.code().unwrap_or(-1), stdout: text(&done.stdout), stderr: text(&done.stderr) }
}

/// Runs it as user 100000, whose namespace has `count` users from there on. What newuidmap does for who is not root.
fn mapped(c: Command, count: u32) -> std::process::Output {
    let args: Vec<String> = c.get_args().map(|a| a.to_string_lossy().into_owned()).filter(|a| !matches!(a.as_str(), "--user")).collect();
    // First the user namespace alone, which says that it is there and waits; then, mapped, the others.
    let script = "echo there; read -r _; exec \"$@\"";
    let mut outer = Command::new("setpriv");
    outer
        .args(["--reuid", "100000", "--regid", "100000", "--clear-groups", "unshare", "--user", "sh", "-c", script, "sh", "unshare"])
        .args(&args);
    let mut child = outer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = [0u8; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", child.id()), format!("0 100000 {count}\n")).unwrap();
    }
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child.wait_with_output().unwrap()
}

const VERIFY: &[&str] = &["afresh", "image", "verify", "base", "--rebuild", "--work", "/work/here", "--data-dir", "/data"];

#[test]
#[ignore = "needs root"]
fn an_image_is_built_again_on_another_machine_and_is_the_same() {
    let mut house = House::new();
    house.put("tool", "1", &[("preinst", "#!/bin/sh\nexit 0\n"), ("postinst", "#!/bin/sh\necho configured > /usr/share/tool/state\n")]);
    house.mirror.publish();
    let (_, digest) = house.good_bake("here");
    let (root, copy) = (root(&house), house.dir().join("copy"));
    assert!(Command::new("cp").arg("-a").arg(&house.data).arg(&copy).status().unwrap().success());
    let facts = elsewhere(
        &root,
        &copy,
        Who::Root,
        &["sh", "-c", "hostname; id -u; date +%Z; umask; cat /proc/self/uid_map; cat /proc/net/dev | grep -c :"],
    );
    println!("== elsewhere, as root: {}", facts.stdout.replace('\n', " | "));
    let said = elsewhere(&root, &copy, Who::Root, VERIFY);
    println!("{}{}", said.stderr, said.stdout);
    assert_eq!(said.exit, 0, "{said:?}");
    assert!(said.stdout.contains("built again: the same bytes"));

    // The user's own copy, which he may read.
    let theirs = house.dir().join("theirs");
    assert!(Command::new("cp").arg("-a").arg(&house.data).arg(&theirs).status().unwrap().success());
    for dir in [&theirs, &root] {
        assert!(Command::new("chown").args(["-R", "100000:100000"]).arg(dir).status().unwrap().success());
    }
    let facts = elsewhere(&root, &theirs, Who::User(65_536), &["sh", "-c", "hostname; id -u; date +%Z; umask; cat /proc/self/uid_map"]);
    println!("== elsewhere, as a user: {}{}", facts.stdout.replace('\n', " | "), facts.stderr);
    let said = elsewhere(&root, &theirs, Who::User(65_536), &[VERIFY, &["--json"]].concat());
    println!("{}{}", said.stderr, said.stdout);
    assert_eq!((said.exit, said.json()["again"].as_str()), (0, Some(digest.as_str())), "{said:?}");
    let said = elsewhere(&root, &theirs, Who::User(1), &[VERIFY, &["--json"]].concat());
    println!("== elsewhere, as a user alone: exit {}\n{}", said.exit, said.stderr);
    assert_eq!((said.exit, said.field("code").as_str()), (2, "few-users"), "{said:?}");

    // A copy that lacks a package, where there is no network.
    let gone = fs::read_dir(copy.join("store/packages")).unwrap().flatten().find(|e| e.path().is_file()).unwrap().path();
    fs::remove_file(gone).unwrap();
    let said = elsewhere(&root, &copy, Who::Root, &[VERIFY, &["--json"]].concat());
    println!("== elsewhere, a package short: exit {}\n{}", said.exit, said.stderr);
    assert_eq!((said.exit, said.field("code").as_str()), (7, "store-incomplete"), "{said:?}");
    house.is_clean("verified elsewhere");
}

/// Somebody with the key gives out an image that has one more thing in it than its lock makes. Signature and bytes are right.
#[test]
#[ignore = "needs root"]
fn what_was_planted_is_told_by_path_and_byte() {
    let house = House::new();
    let (_, digest) = house.good_bake("here");
    let hex = digest.trim_start_matches("sha256:");
    let tree = house.dir().join("tree");
    fs::create_dir_all(&tree).unwrap();
    let object = house.store("objects").join(hex);
    let planted = house.dir().join("planted.erofs");
    let script = r#"set -e; mount -t tmpfs t "$2"; mkdir "$2/a" "$2/b"; mount -t erofs -o loop,ro "$1" "$2/a"; cp -a "$2/a/." "$2/b"
        printf 'X' | dd of="$2/b/usr/share/tool/version" bs=1 seek=1 conv=notrunc status=none; echo evil > "$2/b/usr/bin/backdoor"; chmod 4755 "$2/b/usr/bin/tar"
        mkfs.erofs --quiet --preserve-mtime "$3" "$2/b""#;
    let mut c = Command::new("unshare");
    let done =
        c.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&object).arg(&tree).arg(&planted).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let store = store::Store::open(&model::Layout::new(&house.data)).unwrap();
    let mut manifest = store.manifest(&model::Digest::new(&digest).unwrap()).unwrap();
    let lock = store.lock_of(&manifest.digest).unwrap();
    let sum = String::from_utf8(Command::new("sha256sum").arg(&planted).output().unwrap().stdout).unwrap();
    manifest.digest = model::Digest::new(format!("sha256:{}", &sum[..64])).unwrap();
    store.put(&planted, &manifest).unwrap();
    attest::attest(&store, &lock, &manifest, &attest::signing_key(&store).unwrap()).unwrap();
    let planted = manifest.digest.to_string();
    let said = house.run(&["image", "verify", &planted]);
    println!("== planted, signature and bytes: exit {}\n{}{}", said.exit, said.stdout, said.stderr);
    assert_eq!(said.exit, 0, "{said:?}");
    let said = house.run(&["image", "verify", &planted, "--rebuild"]);
    println!("== planted, built again: exit {}\n{}{}", said.exit, said.stdout, said.stderr);
    assert_eq!(said.exit, 7);
    for word in [
        "/usr/bin/backdoor: it is only in the first",
        "/usr/share/tool/version: its bytes differ from byte 1 on",
        "/usr/bin/tar: its mode is 4755 and",
    ] {
        assert!(said.stdout.contains(word), "{word}: {said:?}");
    }
    assert!(said.stderr.contains("not-reproducible") && said.stderr.contains(&digest), "{said:?}");

    // Another lock laid in the place of its own.
    let own = house.store("locked").join(format!("{}.lock", manifest.inputs.hex()));
    let text = fs::read_to_string(&own).unwrap();
    fs::remove_file(&own).unwrap();
    fs::write(&own, text.lines().filter(|l| !l.contains("\"name\":\"tool\"")).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let said = house.run(&["image", "verify", &digest, "--rebuild", "--json"]);
    println!("== another lock: exit {}\n{}", said.exit, said.stderr);
    assert_eq!((said.exit, said.field("code").as_str()), (7, "lock-damaged"), "{said:?}");
}
