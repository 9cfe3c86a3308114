//! Images as builders make them and as they do not, unpacked by us and by umoci: every entry is compared.

use crate::images::{Image, Item, Pack, device, dir, fifo, file, hard, of_items, opaque, symlink, whiteout};
use crate::seen;
use crate::stores::{flatten, limits};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A capability in the form of the kernel: cap_net_bind_service, effective and permitted.
pub const CAPABILITY: &[u8] = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/// What a base image looks like: the root itself is an entry, as Docker writes it.
fn base() -> Vec<Item> {
    vec![
        dir("./").time(1_500_000_000),
        dir("bin").time(1_500_000_001),
        file("bin/sh", "#!").mode(0o755),
        hard("bin/ash", "bin/sh"),
        symlink("bin/link", "sh"),
        dir("etc"),
        file("etc/passwd", "root:x:0:0\n"),
        file("etc/shadow", "x").mode(0o640).owner(0, 42),
        dir("tmp").mode(0o1777),
        dir("var"),
        dir("var/lib").mode(0o2755).owner(7, 8),
        file("var/lib/data", "1").owner(1000, 1000),
        dir("usr"),
        dir("usr/lib"),
        file("usr/lib/a.so", "a"),
        symlink("lib", "usr/lib"),
        symlink("outside", "/etc/passwd"),
        symlink("up", "../../../../etc"),
    ]
}

fn images() -> Vec<(&'static str, Vec<Vec<Item>>)> {
    let long = "long/".repeat(45);
    vec![
        ("one layer", vec![base()]),
        (
            "whiteouts",
            vec![
                base(),
                vec![
                    dir("bin"),
                    whiteout("bin/", "ash"),
                    whiteout("", "tmp"),
                    whiteout("", "lib"),
                    dir("etc"),
                    whiteout("etc/", "nothing"),
                ],
                vec![dir("tmp").mode(0o777), file("tmp/new", "n")],
            ],
        ),
        (
            "opaque directories",
            vec![
                base(),
                vec![
                    dir("var").time(1_500_000_100),
                    opaque("var/"),
                    dir("var/lib"),
                    file("var/lib/other", "2"),
                    dir("etc"),
                    opaque("etc/"),
                ],
                vec![dir("usr"), dir("usr/lib"), file("usr/lib/b.so", "b"), opaque("usr/lib/")],
            ],
        ),
        (
            "hard links over layers",
            vec![
                base(),
                vec![hard("etc/passwd-", "etc/passwd"), file("bin/sh", "changed").mode(0o755), hard("bin/third", "bin/ash")],
                vec![whiteout("etc/", "passwd"), hard("linked", "etc/passwd-"), hard("tolink", "outside")],
            ],
        ),
        (
            "kinds change",
            vec![
                base(),
                vec![file("var", "now a file"), dir("outside"), file("outside/x", "x"), symlink("etc", "usr")],
                vec![dir("bin"), dir("bin/sh"), file("bin/sh/y", "y"), file("up", "file"), symlink("tmp", "usr")],
            ],
        ),
        (
            "through links",
            vec![
                base(),
                vec![file("lib/b.so", "b"), dir("lib/sub"), file("lib/sub/c", "c"), symlink("bin/up", "..")],
                vec![file("bin/up/etc/hosts", "h"), whiteout("lib/", "a.so")],
            ],
        ),
        (
            "attributes",
            vec![
                vec![
                    dir("./"),
                    file("ping", "p").mode(0o755).xattr("security.capability", CAPABILITY),
                    file("su", "s").mode(0o4755),
                    file("wall", "w").mode(0o2755).owner(0, 5),
                    file("meta", "m").xattr("user.note", b"line\nline").xattr("user.empty", b"x"),
                    dir("d").xattr("user.d", b"1").mode(0o000),
                    file("none", "").mode(0),
                    fifo("pipe").owner(3, 4),
                    file("rich", "r").owner(4_000_000_000, 70_000),
                ],
                vec![dir("d").mode(0o700), file("ping", "q").mode(0o755)],
            ],
        ),
        (
            "long names",
            vec![vec![
                dir(&format!("./{long}")),
                file(&format!("{long}{}", "n".repeat(200)), "n"),
                symlink("to", &format!("/{long}{}", "t".repeat(150))),
                hard("hard", &format!("{long}{}", "n".repeat(200))),
                file("größe 日本", "u"),
                file("a b\tc\\", "s"),
            ]],
        ),
        (
            "directories nobody made",
            vec![
                vec![dir("./"), file("opt/app/bin/run", "r"), file("opt/app/etc/conf", "c")],
                vec![dir("opt").mode(0o750), file("srv/x", "x"), whiteout("opt/app/", "etc")],
                vec![file("opt/app/etc/conf", "again")],
            ],
        ),
        (
            "the same name twice",
            vec![
                vec![
                    dir("./"),
                    file("x", "first"),
                    file("x", "second"),
                    symlink("y", "x"),
                    file("y", "file"),
                    dir("z"),
                    dir("z").mode(0o711),
                ],
                vec![whiteout("", "x"), whiteout("", "x"), dir("y")],
            ],
        ),
        ("devices", vec![vec![dir("./"), dir("dev"), device("dev/null"), file("dev/x", "x")], vec![dir("dev"), device("dev/x")]]),
    ]
}

fn unpack(image: &Image, at: &Path) -> std::path::PathBuf {
    let (layout, bundle) = (at.join("umoci"), at.join("bundle"));
    image.write(&layout);
    let done = Command::new("umoci").args(["unpack", "--image"]).arg(format!("{}:t", layout.display())).arg(&bundle).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    bundle.join("rootfs")
}

/// Where we mean to be different; everything else must be the same.
fn ours_by_intent(theirs: &mut seen::Tree, ours: &seen::Tree, begun: i64) {
    // A server's devices come from the runtime.
    theirs.retain(|_, seen| seen.what != "device");
    for (path, seen) in theirs.iter_mut() {
        // A directory that no entry speaks of, and the one it lies in, are of the moment at which umoci unpacks. Ours are of 1970, or of the
        // time that their entry says, so that the same image is the same object.
        if seen.what == "dir" && seen.mtime >= begun {
            seen.mtime = ours.get(path).map_or(0, |o| o.mtime);
        }
    }
}

#[test]
#[ignore = "needs root and umoci"]
fn every_entry_is_as_umoci_unpacks_it() {
    for (n, (name, layers)) in images().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let begun = std::fs::metadata(dir.path()).unwrap().mtime();
        let image = of_items(&layers, [Pack::Gzip, Pack::Plain][n % 2]);
        let rootfs = unpack(&image, dir.path());
        let tars: Vec<Vec<u8>> = layers.iter().map(|l| crate::images::tar(l)).collect();
        flatten(dir.path(), &tars, &limits()).unwrap_or_else(|f| panic!("{name}: {f:?}"));
        let (ours, mut theirs) = (seen::tree(&dir.path().join("root")), seen::tree(&rootfs));
        ours_by_intent(&mut theirs, &ours, begun);
        let difference = seen::difference(&ours, &theirs);
        assert!(difference.is_empty(), "{name}:\n{}", difference.join("\n"));
        assert!(ours.len() >= 2, "{name}");
    }
}

/// GNU tar writes sparse files in four forms. It is asked itself what they hold: umoci does not know the oldest.
#[test]
#[ignore = "needs root"]
fn sparse_files_are_as_gnu_tar_unpacks_them() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    let sparse = |name: &str, pieces: &[(u64, &[u8])], bytes: u64| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(from.join(name)).unwrap();
        pieces.iter().for_each(|(at, data)| file.write_all_at(data, *at).unwrap());
        file.set_len(bytes).unwrap();
    };
    sparse("hole", &[], 1 << 20);
    sparse("end", &[(3 << 20, b"end")], (3 << 20) + 3);
    sparse("middle", &[(0, b"begin"), (1 << 20, &[7; 5000])], 4 << 20);
    let many: Vec<(u64, &[u8])> = (0..60).map(|n| (n << 16, &b"piece"[..])).collect();
    sparse("many", &many, 5 << 20);
    sparse("plain", &[(0, &[1; 10_000])], 10_000);
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("s.tar");
        let done = Command::new("tar")
            .args(["-S", "--sort=name", "--numeric-owner", "-C"])
            .arg(&from)
            .args(form)
            .arg("-cf")
            .arg(&at)
            .arg(".")
            .status();
        assert!(done.unwrap().success());
        let tar = std::fs::read(&at).unwrap();
        assert!(tar.len() < 1 << 20, "the holes are not in it");
        let rootfs = place.path().join("tar");
        std::fs::create_dir(&rootfs).unwrap();
        assert!(Command::new("tar").args(["-xpS", "--numeric-owner", "-C"]).arg(&rootfs).arg("-f").arg(&at).status().unwrap().success());
        flatten(place.path(), &[tar], &limits()).unwrap();
        let difference = seen::difference(&seen::tree(&place.path().join("root")), &seen::tree(&rootfs));
        assert!(difference.is_empty(), "{form:?}:\n{}", difference.join("\n"));
        assert!(std::fs::metadata(place.path().join("root/hole")).unwrap().blocks() < 100, "a hole stays one");
    }
}

/// The same image from a directory and from an archive, in a store in memory and one on a disk, is the same object; and what is in the
/// object is what was flattened.
#[test]
#[ignore = "needs root: mounts, files of many users"]
fn the_same_image_is_the_same_object() {
    use crate::stores::{place, place_in};
    use oci::Options;
    for (name, layers) in images() {
        let image = of_items(&layers, Pack::Gzip);
        // Another filesystem gives its files in another order.
        let memory = tempfile::tempdir().unwrap();
        assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(memory.path()).status().unwrap().success());
        let (one, other) = (place(), place_in(memory.path()));
        let at = one.layout(&image);
        let first = one.pull(&at, &Options::default()).unwrap_or_else(|f| panic!("{name}: {f:?}"));
        assert_eq!((first.did, first.manifest.container.as_ref().unwrap().manifest.clone()), (store::Did::Baked, image.digest()));
        let again = one.pull(&at, &Options::default()).unwrap();
        assert_eq!((again.did, &again.manifest.digest), (store::Did::Nothing, &first.manifest.digest), "{name}");

        let archive = one.dir.path().join("image.tar");
        let from = one.dir.path().join("layout");
        assert!(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(from).arg(".").status().unwrap().success());
        let second = if name == "attributes" {
            // Filesystems in memory take no `user.*` before Linux 6.6: that must be an error and not another image.
            other.pull(&format!("oci-archive:{}:t", archive.display()), &Options::default())
        } else {
            Ok(other.pull(&format!("oci-archive:{}:t", archive.display()), &Options::default()).unwrap())
        };
        match second {
            Ok(second) => assert_eq!(second.manifest.digest, first.manifest.digest, "{name}"),
            Err(fault) => assert_eq!(fault.code, "no-xattrs"),
        }
        drop(other);
        assert!(Command::new("umount").arg(memory.path()).status().unwrap().success());

        let mounted = one.dir.path().join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        let object = one.store.path(&first.manifest.digest).unwrap();
        assert!(Command::new("mount").args(["-t", "erofs", "-o", "ro,loop"]).arg(&object).arg(&mounted).status().unwrap().success());
        let held = seen::tree(&mounted);
        assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
        let tars: Vec<Vec<u8>> = layers.iter().map(|l| crate::images::tar(l)).collect();
        flatten(one.dir.path(), &tars, &limits()).unwrap();
        let difference = seen::difference(&held, &seen::tree(&one.dir.path().join("root")));
        assert!(difference.is_empty(), "{name}:\n{}", difference.join("\n"));
    }
}
