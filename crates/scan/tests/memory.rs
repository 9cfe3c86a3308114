//! What a hostile list of packages costs. A test binary of its own: the peak of a process counts what other tests take.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make trees, and stop where that fails")]

use guard::root::Purpose;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn rows(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let options = scan::Options { purpose: Purpose::Image, threads: 1, until: None };
    scan::scan(root, &options, &mut |event| {
        if let scan::Event::Finding(finding) = event {
            found.push(format!("{} {}", finding.via, finding.id));
        }
    })
    .unwrap();
    found
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hostile_list_of_packages_costs_no_more_than_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("var/lib/dpkg/info");
    fs::create_dir_all(&info).unwrap();
    fs::create_dir_all(dir.path().join("etc/cron.d")).unwrap();
    fs::write(dir.path().join("helper"), "\x7fELF").unwrap();
    fs::set_permissions(dir.path().join("helper"), fs::Permissions::from_mode(0o4755)).unwrap();
    let before = peak_kib();
    // Paths of six bytes: what holds each as text takes ten times the file.
    for list in 0..6 {
        let mut file = std::io::BufWriter::new(fs::File::create(info.join(format!("{list}.list"))).unwrap());
        for number in 0..2_000_000_u32 {
            writeln!(file, "/{list}{number:x}").unwrap();
        }
    }
    for table in 0..60 {
        let text = "* * * * * root /a /b /c /d\n".repeat(30_000)
            + &(0..20_000).map(|n| format!("* * * * * root /{table}/{n}\n")).collect::<String>();
        fs::write(dir.path().join(format!("etc/cron.d/{table}")), &text[..text.len().min(1 << 20)]).unwrap();
    }
    let found = rows(dir.path());
    assert!(found.contains(&"setuid-without-package /helper".to_string()), "a list that was cut off owns nothing for sure: {found:?}");
    let more = peak_kib() - before;
    assert!(more < 250 << 10, "the scan took {} MiB", more >> 10);
}
