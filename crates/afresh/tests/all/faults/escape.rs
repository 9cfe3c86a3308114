//! Ways out of the sandbox, tried by a recipe's script and by a package's postinst on the built product. Each prints what it managed.
//! `AFRESH_PROGRAM=/path` tries them against another build.
//!
//! Against the sandbox that was only a chroot 45 of the 59 managed something.

use super::house::House;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

const WAYS: &str = include_str!("escape.pl");

/// What files of the image hold, as the kernel shows it.
pub fn read(house: &House, digest: &str, files: &[&str]) -> Vec<String> {
    let object = house.store("objects").join(digest.trim_start_matches("sha256:"));
    let at = house.dir().join("looked-into");
    fs::create_dir_all(&at).unwrap();
    let read = |file: &&str| {
        let script = "set -e; mount -o loop,ro \"$1\" \"$2\"; cat \"$2/$3\"; umount \"$2\"";
        let mut c = Command::new("unshare");
        let done =
            c.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&object).arg(&at).arg(file).output().unwrap();
        assert!(done.status.success(), "{file}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    files.iter().map(read).collect()
}

#[test]
#[ignore = "needs root"]
fn no_script_finds_a_way_out() {
    ways_out(None);
}

/// Where the users of a sandbox cannot be given numbers of their own (Afresh is root of a user namespace, and the packages lie on a
/// filesystem that is not that namespace's), scripts have the numbers of who bakes and none of their rights.
#[test]
#[ignore = "needs root"]
fn no_script_finds_a_way_out_where_the_numbers_are_the_hosts() {
    ways_out(Some(":"));
}

fn ways_out(as_root_of_users: Option<&'static str>) {
    let mut house = House::with(&["/usr/bin/perl"]);
    house.as_root_of_users = as_root_of_users;
    let target = house.dir().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("secret"), "xyzzy-plugh\n").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("afresh-escape-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let namespaces = ["mnt", "user", "net", "pid", "uts", "ipc"]
        .map(|n| format!("HOST_{n}='{}' ", fs::read_link(format!("/proc/self/ns/{n}")).unwrap().display()));
    let run = |to: &str| {
        format!(
            "mkdir -p /usr/share/escape; cat /proc/self/uid_map > /usr/share/escape/users; {}perl /usr/share/tool/escape.pl {}/secret {} {} {name} xyzzy-plugh > /usr/share/escape/{to} 2>&1",
            namespaces.concat(),
            target.display(),
            target.display(),
            tcp.local_addr().unwrap().port(),
        )
    };
    house.put_with("tool", "2", &[("postinst", &format!("#!/bin/sh\n{}\n", run("postinst")))], &[("usr/share/tool/escape.pl", WAYS)]);
    house.mirror.publish();
    house.more = format!("  script = {}\n", serde_json::to_string(&run("recipe")).unwrap());
    let (_, digest) = house.good_bake("escape");
    let users = read(&house, &digest, &["usr/share/escape/users"]).remove(0);
    let first: u32 = users.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("== users: {users}");
    assert_eq!(first == 0, as_root_of_users.is_some(), "{users}");
    let count = WAYS.lines().filter(|l| l.starts_with("try ")).count();
    assert!(count > 50);
    for (who, said) in ["postinst", "recipe"].iter().zip(read(&house, &digest, &["usr/share/escape/postinst", "usr/share/escape/recipe"])) {
        println!("== the {who}:\n{said}");
        assert_eq!(said.lines().filter(|l| l.starts_with("way ")).count(), count, "{who}: not every way was tried to its end");
        let found: Vec<&str> = said.lines().filter(|l| l.starts_with("way ") && !l.ends_with(": nothing")).collect();
        // That is what it means that the numbers are the host's; none of the other ways makes use of it.
        let known: &[&str] = if as_root_of_users.is_some() { &["way root is root of the host: GOT number 0 is the host's 0"] } else { &[] };
        assert_eq!(found, known, "{who} managed {} of {count}", found.len());
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "nothing was written on the host");
    house.is_clean("escape");
}

/// Links in a tree, and what the builder itself writes at their places.
#[test]
#[ignore = "needs root"]
fn links_in_a_tree_lead_the_builder_nowhere() {
    use super::deb::{Entry, deb};
    use std::os::unix::fs::PermissionsExt;
    let mut house = House::new();
    let outside = house.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
    let to = outside.to_str().unwrap().to_string();
    // A package's link where the builder keeps services from starting, and a recipe's where the service's code is mounted.
    let control = "Package: tool\nVersion: 2\nArchitecture: amd64\nMaintainer: eve <eve@example.org>\nDescription: evil\n";
    let entries = vec![Entry::dir("./usr/"), Entry::dir("./usr/sbin/"), Entry::link("./usr/sbin/policy-rc.d", &format!("{to}/policy"))];
    let bytes = deb(control, false, &entries, &["debian-binary", "control.tar", "data.tar"]);
    house.mirror.put_file("tool", "2", "Package: tool\nVersion: 2\nArchitecture: amd64\nDepends: month-base\n".into(), bytes);
    house.mirror.publish();
    house.more = format!("  script = \"mkdir -p /var/log; rm -r /app; ln -s {to} /app; ln -s {to} /var/log/linked\"\n");
    let (_, digest) = house.good_bake("links");
    let written: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|e| e.file_name()).collect();
    let mode = fs::metadata(&outside).unwrap().permissions().mode() & 0o7777;
    println!("== outside: {written:?}, mode {mode:o}");
    assert!(written.is_empty() && mode == 0o700, "outside: {written:?}, mode {mode:o}");

    // One that the image itself ships is in the image as it was shipped.
    house.put_with(
        "tool",
        "3",
        &[("postinst", "#!/bin/sh\n/usr/sbin/policy-rc.d; echo $? > /usr/share/tool/asked\n")],
        &[("usr/sbin/policy-rc.d", "of the package\n")],
    );
    house.mirror.publish();
    house.more = "  script = \"ls() { :; }; test -d /app && test ! -L /app\"\n".into();
    let (_, own) = house.good_bake("its own policy");
    assert_ne!(own, digest);
    let said = read(&house, &own, &["usr/sbin/policy-rc.d", "usr/share/tool/asked"]);
    println!("== its own policy-rc.d: {said:?}");
    assert_eq!(said, ["of the package\n", "101\n"], "services did not start meanwhile, and what was shipped stands");
    house.is_clean("links");
}

/// Memory, processes and room in the tree: what a script asks for without end is refused, and what it left ends with it.
#[test]
#[ignore = "needs root"]
fn a_script_that_takes_without_end_gets_no_more_than_its_share() {
    const TAKES: &str = r#"
mkdir -p /usr/share/escape; exec > /usr/share/escape/took
perl -e 'my $x = ""; vec($x, 6 * 2**30, 8) = 1; print "memory all\n"' 2> /dev/null || echo memory refused
perl -e 'my @p; while (@p < 5000) { my $p = fork; last unless defined $p; if (!$p) { sleep 600; exit } push @p, $p } kill 9, @p; 1 while wait > 0; print "processes ", scalar @p, "\n"'
perl -e '$SIG{XFSZ} = "IGNORE"; open(my $f, ">", "/big"); my ($n, $b) = (0, "x" x 2**20); while ($n < 8192) { last unless syswrite($f, $b); $n++ } unlink "/big"; print "megabytes $n\n"'
echo end
"#;
    let mut house = House::with(&["/usr/bin/perl"]);
    house.more = format!("  script = {}\n", serde_json::to_string(TAKES).unwrap());
    let (_, digest) = house.good_bake("without end");
    let said = read(&house, &digest, &["usr/share/escape/took"]).remove(0);
    println!("== took: {said}");
    let number = |what: &str| {
        said.lines().find_map(|l| l.strip_prefix(what)?.trim().parse::<u32>().ok()).unwrap_or_else(|| panic!("{what}: {said}"))
    };
    assert!(said.contains("memory refused\n") && said.ends_with("end\n"), "{said}");
    assert!((1000..4200).contains(&number("processes ")), "{said}");
    assert!(number("megabytes ") < 4096, "{said}");
    house.is_clean("without end");
}
