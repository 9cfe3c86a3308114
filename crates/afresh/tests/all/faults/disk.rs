//! A disk that is full, at each step that writes to it.

use super::house::{House, Told};
use crate::mirror::Package;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A small disk as the data directory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(house: &House, megabytes: u64) -> Disk {
        fs::create_dir_all(&house.data).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "small"]).arg(&house.data).status().unwrap();
        assert!(done.success());
        Disk(house.data.clone())
    }

    /// Leaves this much free.
    fn leave(&self, megabytes: u64) {
        let filler = self.0.join("filler");
        let _ = fs::remove_file(&filler);
        let seen = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = seen.blocks_available() * seen.fragment_size();
        let file = fs::File::create(&filler).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, i64::try_from(free - (megabytes << 20)).unwrap()).unwrap();
    }

    fn free(&self) {
        let _ = fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

const LITTLE_MEMORY: &str = "printf 'MemTotal: 1000 kB\\nMemAvailable: 1000 kB\\n' > $T/meminfo; mount --bind $T/meminfo /proc/meminfo";

fn full<'a>(says: &[&'a str]) -> Told<'a> {
    Told { exit: 7, code: "disk-full", says: says.to_vec(), hint: "free some" }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_told_and_the_next_run_goes_on() {
    let mut house = House::new();
    let disk = Disk::mount(&house, 500);
    house.good_bake("first");
    let data = house.data.display().to_string();

    disk.leave(20);
    house.fails("disk full: lists", &["bake", "base"], &full(&["lists", &data]));
    disk.free();

    // 30 MB that no packing makes smaller, so that each step needs room.
    house.put_large("tool", "2", &noise(30 << 20));
    house.mirror.publish();
    assert_eq!(house.run(&["image", "lock", "base"]).exit, 0);
    disk.leave(20);
    house.fails("disk full: fetch", &["image", "fetch", "base"], &full(&["packages", &data]));
    disk.free();
    assert_eq!(house.run(&["image", "fetch", "base"]).exit, 0);

    house.before = LITTLE_MEMORY.into();
    disk.leave(60);
    house.fails("disk full: unpack, told before", &["image", "build", "base"], &full(&["tree", &data]));
    house.before.clear();
    disk.leave(5);
    house.fails("disk full: emit, told before", &["image", "build", "base"], &full(&["image", &data]));
    disk.free();
    assert_eq!(house.good_bake("room is there").0, "baked");

    // Small in its package, large in the tree: nobody can tell before.
    house.put_large("tool", "3", &vec![0; 120 << 20]);
    house.mirror.publish();
    assert_eq!(house.run(&["image", "lock", "base"]).exit, 0);
    assert_eq!(house.run(&["image", "fetch", "base"]).exit, 0);
    house.before = LITTLE_MEMORY.into();
    disk.leave(115);
    house.fails("disk full: unpack", &["image", "build", "base"], &full(&["No space left", &data]));
    house.before.clear();
    disk.free();
    // Twenty kilobytes of noise again and again: gzip sees it, erofs does not.
    let block = noise(20 << 10);
    house.put_large("tool", "4", &block.repeat(4096));
    house.mirror.publish();
    assert_eq!(house.run(&["image", "lock", "base"]).exit, 0);
    assert_eq!(house.run(&["image", "fetch", "base"]).exit, 0);
    disk.leave(40);
    house.fails("disk full: mkfs", &["image", "build", "base"], &full(&["mkfs.erofs"]));
    disk.free();
    assert_eq!(house.good_bake("room is there").0, "baked");

    // A package that is a thousand times what it says, in memory.
    house.put_large("tool", "5", &vec![0; 400 << 20]);
    house.mirror.publish();
    let told = Told { exit: 7, code: "tree-too-large", says: vec!["tool", "MB"], hint: "Installed-Size" };
    house.fails("a package larger than it says", &["bake", "base"], &told);
    house.put("tool", "6", &[]);
    house.mirror.publish();
    assert_eq!(house.good_bake("an honest one").0, "baked");
    drop(disk);
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    };
    (0..bytes / 8).flat_map(next).collect()
}

impl House {
    fn put_large(&mut self, name: &'static str, version: &str, bytes: &[u8]) {
        let root = self.dir().join("large");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("usr/share/tool")).unwrap();
        fs::write(root.join("usr/share/tool/large"), bytes).unwrap();
        self.mirror.pack(&Package { name, version: version.into(), depends: "month-base", ..Package::default() }, &root);
    }
}
