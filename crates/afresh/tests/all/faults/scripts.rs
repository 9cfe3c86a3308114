//! Maintainer scripts that fail, and packages that no honest mirror gives.

use super::deb::{Entry, deb};
use super::house::{House, Told};

const FAILING: &str = "#!/bin/sh\necho I am failing\necho and say so >&2\nexit 3\n";
const BAD_TRIGGER: &str = "#!/bin/sh\n[ \"$1\" != triggered ] || { echo the trigger is failing; exit 5; }\n";

fn failed<'a>(says: &[&'a str]) -> Told<'a> {
    Told { exit: 7, code: "maintainer-script-failed", says: says.to_vec(), hint: "take the package out" }
}

#[test]
#[ignore = "needs root"]
fn a_script_that_fails_is_named_and_its_words_are_shown() {
    let mut house = House::new();
    house.good_bake("first");
    house.put("other", "1", &[("postinst", "#!/bin/sh\ndpkg-trigger tool-trigger\n")]);
    let words = ["I am failing", "and say so", "exit status 3"];
    for (what, scripts, says) in [
        ("preinst", vec![("preinst", FAILING)], [&["the preinst of the package tool 2.0"][..], &words].concat()),
        ("postinst", vec![("postinst", FAILING)], [&["the postinst of the package tool 2.1"][..], &words].concat()),
        (
            "trigger",
            vec![("triggers", "interest-noawait tool-trigger\n"), ("postinst", BAD_TRIGGER)],
            vec!["the trigger", "of the package tool 2.2", "the trigger is failing", "exit status 5"],
        ),
        ("no interpreter", vec![("preinst", "#!/usr/bin/perl6\n")], vec!["the preinst of the package tool 2.3", "unable to execute"]),
    ] {
        let n = ["preinst", "postinst", "trigger", "no interpreter"].iter().position(|w| *w == what).unwrap();
        house.put("tool", &format!("2.{n}"), &scripts);
        house.packages = vec!["tool".into(), "other".into()];
        house.mirror.publish();
        house.fails(&format!("maintainer script: {what}"), &["bake", "base"], &failed(&says));
        house.put("tool", &format!("2.{n}.1"), &[]);
        house.mirror.publish();
        assert_eq!(house.good_bake(what).0, "baked", "{what}: the next bake recovers");
    }
}

const CONTROL: &str = "Package: tool\nVersion: VERSION\nArchitecture: amd64\nMaintainer: eve <eve@example.org>\nDescription: evil\n";

/// Each as a package that is unpacked by us, and as one that dpkg unpacks because it has a preinst.
#[test]
#[ignore = "needs root"]
fn a_hostile_package_reaches_nothing_outside_its_tree() {
    let mut house = House::new();
    house.good_bake("first");
    let outside = house.dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let door = outside.to_str().unwrap();
    let up = format!("./{}{}/evil", "../".repeat(30), &door[1..]);
    let long = "x".repeat(300);
    let whole: &[&str] = &["debian-binary", "control.tar", "data.tar"];
    let (sudo, arm) = (CONTROL.replace("Package: tool", "Package: sudo"), CONTROL.replace("amd64", "arm64"));
    let plain = || vec![Entry::dir("./opt/"), Entry::file("./opt/f", "x")];
    let cases: Vec<(&str, Vec<Entry>, &str, &[&str])> = vec![
        ("a path with .. in it", vec![Entry::file(&up, "evil")], CONTROL, whole),
        ("an absolute path", vec![Entry::file(&format!("{door}/evil"), "evil")], CONTROL, whole),
        (
            "a file through an absolute link",
            vec![Entry::dir("./opt/"), Entry::link("./opt/door", door), Entry::file("./opt/door/evil", "evil")],
            CONTROL,
            whole,
        ),
        ("a disk", vec![Entry::dir("./opt/"), Entry::device("./opt/disk", true)], CONTROL, whole),
        ("the kernel's memory", vec![Entry::dir("./opt/"), Entry::device("./opt/mem", false)], CONTROL, whole),
        ("a file of 8 GB that is not there", vec![Entry::dir("./opt/"), Entry::sized("./opt/huge", 8 << 30)], CONTROL, whole),
        ("a name too long", vec![Entry::dir("./opt/"), Entry::long(&long), Entry::file("./opt/short", "x")], CONTROL, whole),
        ("parts in the wrong order", plain(), CONTROL, &["debian-binary", "data.tar", "control.tar"]),
        ("parts before their version", plain(), CONTROL, &["control.tar", "debian-binary", "data.tar"]),
        ("no data", vec![], CONTROL, &["debian-binary", "control.tar"]),
        ("another package's name", plain(), &sudo, whole),
        ("another machine's", plain(), &arm, whole),
    ];
    for (n, (what, entries, control, order)) in cases.iter().enumerate() {
        for late in [false, true] {
            let version = format!("3.{n}.{}", u8::from(late));
            let control = control.replace("VERSION", &version);
            let index = format!("Package: tool\nVersion: {version}\nArchitecture: amd64\nDepends: month-base\n");
            house.mirror.put_file("tool", &version, index, deb(&control, late, entries, order));
            house.mirror.publish();
            let what = format!("hostile package: {what}{}", if late { ", unpacked by dpkg" } else { "" });
            let said = house.run(&["bake", "base", "--json"]);
            let told = Told { exit: 7, code: "bad-package-file", says: vec![], hint: "tell whoever" };
            house.told(&what, &["bake", "base"], &said, &told);
            let message = said.field("message");
            assert!(
                message.contains("packages/") || message.contains(&format!("tool {version}")),
                "{what}: it names the package: {message}"
            );
            assert!(std::fs::read_dir(&outside).unwrap().next().is_none(), "{what}: something was written outside");
            house.is_clean(&what);
        }
    }
    // Not hostile: sudo is one. It is kept as it is.
    house.mirror.put_file(
        "tool",
        "4",
        "Package: tool\nVersion: 4\nArchitecture: amd64\n".into(),
        deb(&CONTROL.replace("VERSION", "4"), false, &[Entry::setuid("./usr/bin/tool", "x")], whole),
    );
    house.mirror.publish();
    assert_eq!(house.good_bake("a set-uid program").0, "baked");
    house.put("tool", "5", &[]);
    house.mirror.publish();
    house.good_bake("an honest one");
}
