//! Secrets in files of packages: what anybody can download is no exposure of this system; what was changed since, or is of no package, is.

use crate::root_tree::{Memory, checksum, rows};
use guard::root::{Checksum, Purpose, blocks_image};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libtls.so.30";

/// A shared library with keys for its own tests in it, as libgnutls has them.
fn library(word: &str) -> String {
    let body = "MII7lC4HwWWwlE73yTC3K8KiGBiFllsU6fauasxR1uyXzKY7GkkCb9wrZozozjAF";
    ["\x7fELF\0\0", word, "\0-----BEGIN ", "PRIVATE", " KEY-----\n", body, "\n", body, "\n-----END ", "PRIVATE", " KEY-----\n\0"].concat()
}

fn tree(path: &str, content: &str) -> Memory {
    let mut tree = Memory::clean();
    tree.add(path, 0o644, content);
    tree
}

/// As dpkg keeps a package: its list, and the checksums of its files without the first slash.
fn dpkg(tree: &mut Memory, path: &str, content: &str) {
    tree.add("/var/lib/dpkg/info/libtls30:amd64.list", 0o644, format!("/.\n/usr\n{path}\n"));
    let sum = checksum(Checksum::Md5, content.as_bytes());
    tree.add("/var/lib/dpkg/info/libtls30:amd64.md5sums", 0o644, format!("{}  usr/bin/other\n{sum}  {}\n", "0".repeat(32), &path[1..]));
}

fn in_image(tree: &Memory) -> Vec<String> {
    rows(&tree.scan(Purpose::Image))
}

fn scan(tree: &Memory) -> Vec<String> {
    let found = rows(&tree.scan(Purpose::Image));
    assert_eq!(rows(&tree.scan(Purpose::Host)), found, "a file that others can read is the same on a host");
    found
}

#[test]
fn what_a_package_ships_below_usr_is_known_to_all_as_long_as_it_is_unchanged() {
    let mut owned = tree(LIBRARY, &library("a"));
    dpkg(&mut owned, LIBRARY, &library("a"));
    assert_eq!(scan(&owned), [""; 0]);

    let mut changed = tree(LIBRARY, &library("b"));
    dpkg(&mut changed, LIBRARY, &library("a"));
    assert_eq!(scan(&changed), [format!("secret {LIBRARY}")]);

    // The same bytes as a package's file, where no package put them.
    let copy = "/usr/lib/copy.so";
    let mut of_none = tree(copy, &library("a"));
    dpkg(&mut of_none, LIBRARY, &library("a"));
    assert_eq!(scan(&of_none), [format!("secret {copy}")]);

    let mut without_checksum = tree(LIBRARY, &library("a"));
    without_checksum.add("/var/lib/dpkg/info/libtls30:amd64.list", 0o644, format!("{LIBRARY}\n"));
    assert_eq!(scan(&without_checksum), [format!("secret {LIBRARY}")]);

    let mut checksum_alone = tree(LIBRARY, &library("a"));
    dpkg(&mut checksum_alone, LIBRARY, &library("a"));
    checksum_alone.nodes.remove("/var/lib/dpkg/info/libtls30:amd64.list");
    assert_eq!(scan(&checksum_alone), [format!("secret {LIBRARY}")], "a package that dpkg does not have");
}

#[test]
fn elsewhere_and_in_configuration_it_is_a_secret_whoever_ships_it() {
    for path in
        ["/etc/x/server.key", "/opt/x.key", "/var/lib/x.key", "/root/x.key", "/home/a/x.key", "/srv/x.key", "/app/x.key", "/usrx/x.key"]
    {
        let mut tree = tree(path, &library("a"));
        dpkg(&mut tree, path, &library("a"));
        assert_eq!(scan(&tree), [format!("secret {path}")]);
    }
    let mut tree = tree(LIBRARY, &library("a"));
    dpkg(&mut tree, LIBRARY, &library("a"));
    tree.add("/var/lib/dpkg/info/libtls30:amd64.conffiles", 0o644, format!("/etc/other\n{LIBRARY}\n"));
    assert_eq!(scan(&tree), [format!("secret {LIBRARY}")]);
}

#[test]
fn credentials_and_keystores_of_packages_are_known_to_all_too() {
    for (path, content, rule) in [
        ("/usr/share/x/.netrc", "machine x login ann password tr0ub4dor\n", "credentials"),
        ("/usr/share/x/id.keytab", "\x05\x02key", "keystore"),
        ("/usr/share/x/.bash_history", "mysql -u root -phunter22 shop\n", "history"),
    ] {
        let mut owned = tree(path, content);
        dpkg(&mut owned, path, content);
        assert_eq!(scan(&owned), [""; 0]);
        dpkg(&mut owned, path, "another");
        assert_eq!(scan(&owned), [format!("{rule} {path}")]);
    }
    // What everybody can change is no question of who knows it.
    let mut writable = Memory::clean();
    writable.add(LIBRARY, 0o666, library("a"));
    dpkg(&mut writable, LIBRARY, &library("a"));
    assert_eq!(scan(&writable), [format!("world-writable {LIBRARY}")]);
}

/// Only the owner of a package knows whether others can get it: what opens an account is shown, and stops no image.
#[test]
fn a_token_of_an_issuer_in_a_package_is_shown() {
    let (path, text) = ("/usr/share/x/settings.py", ["token = \"gl", "pat-", "Zx8mQ2wErT5yUi9oPa3s\"\n"].concat());
    let mut tree = tree(path, &text);
    dpkg(&mut tree, path, &text);
    assert_eq!(scan(&tree), [format!("secret-of-package {path}")]);
    assert!(tree.scan(Purpose::Image).iter().all(|e| !blocks_image(&e.finding())));
    dpkg(&mut tree, path, "another");
    assert_eq!(scan(&tree), [format!("secret {path}")]);
    assert!(tree.scan(Purpose::Image).iter().all(|e| blocks_image(&e.finding())));
    // In what a package brings of its tests, it is a sample.
    let path = "/usr/share/x/tests/settings.py";
    tree = self::tree(path, &text);
    dpkg(&mut tree, path, &text);
    assert_eq!(scan(&tree), [""; 0]);
}

/// As Python 3.11 compiles it: magic, flags, time and size of the source.
#[test]
fn what_python_compiled_from_a_packages_file_is_of_that_package() {
    let (source, text) = ("/usr/lib/python3/dist-packages/x/keys.py", library("a"));
    let compiled = |size: usize| {
        let head = [b"\xa7\r\r\n", &[0; 4][..], b"time", &u32::try_from(size).unwrap().to_le_bytes()].concat();
        [head.as_slice(), text.as_bytes()].concat()
    };
    let of_source = "/usr/lib/python3/dist-packages/x/__pycache__/keys.cpython-311.pyc";
    let mut tree = tree(source, &text);
    dpkg(&mut tree, source, &text);
    tree.add(of_source, 0o644, compiled(text.len()));
    assert_eq!(scan(&tree), [""; 0]);
    tree.add(of_source, 0o644, compiled(text.len() + 1));
    assert_eq!(scan(&tree), [format!("secret {of_source}")], "of another source");
    tree.add(of_source, 0o644, compiled(text.len()));
    dpkg(&mut tree, source, "another");
    assert_eq!(scan(&tree), [format!("secret {of_source}"), format!("secret {source}")], "the source was changed");
}

#[test]
fn directories_that_are_one_have_two_names() {
    let mut tree = tree(LIBRARY, &library("a"));
    dpkg(&mut tree, LIBRARY.strip_prefix("/usr").unwrap(), &library("a"));
    assert_eq!(scan(&tree), [""; 0]);
}

#[test]
fn images_without_dpkg_have_a_file_for_each_package() {
    let mut tree = tree(LIBRARY, &library("a"));
    tree.nodes.retain(|path, _| !path.starts_with("/var/lib/dpkg") && path != "/usr/bin/passwd");
    let sums = |content: &str| format!("{}  .{LIBRARY}\n", checksum(Checksum::Md5, content.as_bytes()));
    tree.add("/var/lib/dpkg/status.d/libtls30", 0o644, "Package: libtls30\nVersion: 1\n");
    tree.add("/var/lib/dpkg/status.d/libtls30.md5sums", 0o644, sums(&library("a")));
    assert_eq!(scan(&tree), [""; 0]);
    tree.add("/var/lib/dpkg/status.d/libtls30.md5sums", 0o644, sums("another"));
    assert_eq!(scan(&tree), [format!("secret {LIBRARY}")]);
    // A package without a list: what it owns is not known.
    tree.add("/var/lib/dpkg/status.d/tools", 0o644, "Package: tools\nVersion: 1\n").add("/usr/bin/su", 0o4755, "\x7fELF");
    assert_eq!(scan(&tree), ["setuid-without-package? /usr/bin/su".to_string(), format!("secret {LIBRARY}")]);
}

#[test]
fn apk_keeps_all_in_one_file() {
    for database in ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"] {
        let mut tree = tree("/usr/lib/libtls.so.30", &library("a"));
        tree.nodes.retain(|path, _| !path.starts_with("/var/lib/dpkg") && path != "/usr/bin/passwd");
        let of = |content: &str| {
            let sum = checksum(Checksum::Sha1, content.as_bytes());
            format!("P:tls\nF:usr/lib\nM:0:0:0755\nR:libz.so\nZ:Q1AAAA=\nR:libtls.so.30\na:0:0:755\nZ:Q1{sum}\n\n")
        };
        tree.add(database, 0o644, of(&library("a")));
        assert_eq!(scan(&tree), [""; 0]);
        tree.add(database, 0o644, of("another"));
        assert_eq!(scan(&tree), ["secret /usr/lib/libtls.so.30"]);
    }
}

#[test]
fn a_database_that_cannot_be_read_vouches_for_nothing() {
    for (part, expected) in [("list", true), ("md5sums", false)] {
        let mut tree = tree(LIBRARY, &library("a"));
        dpkg(&mut tree, LIBRARY, &library("a"));
        tree.unreadable.insert(format!("/var/lib/dpkg/info/libtls30:amd64.{part}"));
        let found = scan(&tree);
        assert!(found.contains(&format!("secret {LIBRARY}")), "{part}: {found:?}");
        let is_said = found.iter().any(|row| row.starts_with("unread?"));
        assert_eq!(is_said, expected, "{part}: {found:?}");
    }
}

/// A host has checkouts of code. A token that an issuer gave out is one wherever it lies.
#[test]
fn keys_of_tests_in_code_on_a_host_are_samples_and_tokens_are_not() {
    let token = ["token = \"gl", "pat-", "Zx8mQ2wErT5yUi9oPa3s\"\n"].concat();
    let dump = "-- MySQL dump 10.13  Distrib 8.0\nINSERT INTO `users` VALUES (1);\n";
    for directory in ["/srv/code/crates/x/tests", "/home/a/x/fixtures", "/opt/go/src/tls/testdata"] {
        let mut tree = Memory::clean();
        tree.add(&format!("{directory}/server.pem"), 0o644, library("a"));
        tree.add(&format!("{directory}/schema.sql"), 0o644, dump);
        assert_eq!(rows(&tree.scan(Purpose::Host)), [""; 0]);
        let of_image = [format!("readable-dump {directory}/schema.sql"), format!("secret {directory}/server.pem")];
        assert_eq!(rows(&tree.scan(Purpose::Image)), of_image, "who has the image has it");
        tree.add(&format!("{directory}/live.py"), 0o644, &token);
        assert_eq!(rows(&tree.scan(Purpose::Host)), [format!("secret {directory}/live.py")]);
    }
    let mut tree = Memory::clean();
    tree.add("/srv/code/server.pem", 0o644, library("a"));
    assert_eq!(rows(&tree.scan(Purpose::Host)), ["secret /srv/code/server.pem"]);
}

/// What pip, npm, gem and Go bring of their tests is nobody's secret; beside it, and of an issuer, a key is one.
#[test]
fn what_a_library_publishes_is_shown_and_stops_nothing() {
    let key = library("a");
    for (path, rule) in [
        ("/usr/lib/python3.11/site-packages/tornado/test/test.key", "secret-of-sample"),
        ("/usr/local/go/src/crypto/tls/testdata/example-key.pem", "secret-of-sample"),
        ("/srv/app/node_modules/x/README.md", "secret-of-sample"),
        ("/etc/ssl/private/ssl-cert-snakeoil.key", "secret-of-sample"),
        ("/srv/app/node_modules/x/server.key", "secret"),
        ("/srv/app/tests/server.key", "secret"),
        ("/etc/ssl/private/server.key", "secret"),
    ] {
        let mut tree = Memory::clean();
        tree.add(path, 0o644, &key);
        let found = in_image(&tree);
        assert_eq!(found, [format!("{rule} {path}")]);
        assert_eq!(tree.scan(Purpose::Image).iter().any(|e| blocks_image(&e.finding())), rule == "secret");
    }
    let token = ["token = \"gl", "pat-", "Zx8mQ2wErT5yUi9oPa3s\"\n"].concat();
    let mut tree = Memory::clean();
    tree.add("/usr/lib/python3/site-packages/x/tests/settings.py", 0o644, token);
    assert_eq!(in_image(&tree), ["secret /usr/lib/python3/site-packages/x/tests/settings.py"]);
    // RPM's database is not read: a key that is compiled into its library is a test vector, and one in a file of its own is not.
    for (path, rule) in [("/usr/lib64/libgnutls.so.30", "secret-of-sample"), ("/usr/local/lib/x.so", "secret")] {
        let mut tree = Memory::default();
        tree.add("/var/lib/rpm/rpmdb.sqlite", 0o644, "");
        tree.add(path, 0o644, &key);
        assert!(in_image(&tree).contains(&format!("{rule} {path}")), "{:?}", in_image(&tree));
    }
}
