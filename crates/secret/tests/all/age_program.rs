//! The oracle is Debian's age: its files are opened here, and it opens ours.

use crate::support::{House, is, name, service, value};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn age(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("age")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs the Debian package age: tools/deps.sh test");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "age {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn key(dir: &Path) -> (String, String) {
    let file = dir.join("own.key");
    let made = Command::new("age-keygen").arg("-o").arg(&file).output().expect("this test needs the Debian package age");
    assert!(made.status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_string();
    (text, public)
}

#[test]
fn its_files_are_opened_here() {
    let house = House::new();
    let (own, public) = key(house.dir.path());
    let identities = secret::identities(&own, "own.key").unwrap();
    let of_web = house.secrets.recipient(&service("web")).unwrap();
    for args in [vec!["-r", &public], vec!["-a", "-r", &public], vec!["-r", &of_web, "-r", &public], vec!["-a", "-r", &of_web]] {
        let file = age(&args, b"hunter2\n");
        let ours = secret::decrypt_with(&name("db"), &identities, &file).unwrap();
        assert_eq!(ours.is_some(), args.contains(&public.as_str()), "{args:?}");
        assert!(ours.is_none_or(|value| is(&value, "hunter2\n")));
        let of_service = house.secrets.open(&service("web"), &name("db"), &file);
        match args.contains(&of_web.as_str()) {
            true => assert!(is(&of_service.unwrap(), "hunter2\n")),
            false => assert_eq!(of_service.unwrap_err().code, "secret-other-recipient"),
        }
    }
}

/// Without any program of ours, root gets at its values: with the machine's key and age.
#[test]
fn it_opens_what_is_stored_here() {
    let house = House::new();
    let version = house.put("web", "hunter2");
    let (key, file) = (house.path("machine.key"), house.path("values/web").join(version.as_str()));
    let plain = age(&["-d", "-i", key.to_str().unwrap(), file.to_str().unwrap()], b"");
    assert_eq!(plain, b"hunter2");
}

#[test]
fn what_is_no_such_file_is_said_without_its_bytes() {
    let house = House::new();
    house.put("web", "x");
    let recipient = house.secrets.recipient(&service("web")).unwrap();
    let whole = secret::encrypt_for(&recipient, &value("hunter2")).unwrap();
    let armoured = age(&["-a", "-r", &recipient], b"hunter2");
    let files: [(&[u8], &str); 7] = [
        (b"", "secret-bad-age"),
        (b"hunter2", "secret-bad-age"),
        (b"age-encryption.org/v1\n-> scrypt AAAA 18\nhunter2", "secret-bad-age"),
        (&whole[..whole.len() - 1], "secret-bad-age"),
        (&whole[..30], "secret-bad-age"),
        (&armoured[..armoured.len() / 2], "secret-bad-age"),
        (&age(&["-r", &recipient], &vec![b'x'; 65_537]), "secret-too-large"),
    ];
    for (file, code) in files {
        let fault = house.secrets.open(&service("web"), &name("db"), file).unwrap_err();
        assert_eq!(fault.code, code, "{} bytes", file.len());
        assert!(fault.hint.is_some() && !format!("{fault:?}").contains("hunter2"), "{fault:?}");
    }
    for text in ["", "# comment\n", "hunter2", "AGE-SECRET-KEY-1HUNTER2", "AGE-PLUGIN-YUBIKEY-1QQQQQQQQ"] {
        let fault = secret::identities(text, "own.key").err().unwrap();
        assert!(fault.code == "bad-identity" && !format!("{fault:?}").to_lowercase().contains("hunter2"), "{fault:?}");
    }
}
