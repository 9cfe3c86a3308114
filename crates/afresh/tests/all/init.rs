//! `init` as a user runs it, and `dev` over a small image: a save is served, a broken one is not, and nothing is left.

use crate::fleet::world::{Fleet, IMAGE, get, send};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn init(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_afresh")).arg("init").arg(dir).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_file_is_written_once_and_passes_validate() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("shop");
    std::fs::create_dir(&app).unwrap();
    let out = init(&app, &[]);
    assert!(out.status.code() == Some(2) && text(&out.stderr).contains("error[nothing-known]"), "{}", text(&out.stderr));
    std::fs::write(app.join("app.py"), "from flask import Flask\napp = Flask(__name__)\n@app.route('/healthz')\ndef h(): return 'ok'\n")
        .unwrap();
    let dry = init(&app, &["--dry-run"]);
    assert!(dry.status.success() && !app.join("afresh.hcl").exists());
    let out = init(&app, &[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let file = app.join("afresh.hcl");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text(&dry.stdout), written);
    let check =
        |verb: &[&str]| Command::new(env!("CARGO_BIN_EXE_afresh")).args(verb).arg("--file").arg(&file).output().unwrap().status.code();
    assert_eq!((check(&["validate"]), check(&["fmt", "--check"])), (Some(0), Some(0)));
    // Never over what is there, not even a link to nowhere.
    let again = init(&app, &[]);
    assert!(again.status.code() == Some(2) && text(&again.stderr).contains("error[file-exists]"), "{}", text(&again.stderr));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &file).unwrap();
    assert_eq!(init(&app, &[]).status.code(), Some(2));
    assert!(!dir.path().join("elsewhere").exists());
}

/// Found by a reader: with a Dockerfile alone there was nothing, and beside code its image was never offered.
#[test]
fn a_dockerfile_alone_is_deployed_as_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("shop");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("Dockerfile"), "FROM scratch\nCOPY app /app\nUSER 1000\nEXPOSE 8080\nCMD [\"/app\"]\n").unwrap();
    let debian = init(&app, &["--debian"]);
    assert!(debian.status.code() == Some(2) && text(&debian.stderr).contains("error[nothing-known]"), "{}", text(&debian.stderr));
    let out = init(&app, &[]);
    assert!(out.status.success() && text(&out.stderr).contains("build the image"), "{}", text(&out.stderr));
    let file = app.join("afresh.hcl");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("oci     = \"oci-archive:/srv/shop.tar\"") && !written.contains("debian "), "{written}");
    assert!(!app.join(".afreshignore").exists(), "no code is deployed beside the image");
    for verb in [&["validate"][..], &["fmt", "--check"]] {
        let done = Command::new(env!("CARGO_BIN_EXE_afresh")).args(verb).arg("--file").arg(&file).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{verb:?}: {}", text(&done.stderr));
    }
}

/// Found by a reader: keys and passwords beside the code were deployed, and no line said so.
#[test]
fn what_is_private_is_left_out_or_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let private = [
        ".env",
        ".env.local",
        ".envrc",
        ".npmrc",
        ".netrc",
        "id_rsa",
        "id_ed25519",
        "auth.json",
        "tls.key",
        "server-key.pem",
        "own.pem",
        "x.tfstate",
    ];
    let app = |name: &str, ignore: Option<&str>| {
        let app = dir.path().join(name);
        std::fs::create_dir(&app).unwrap();
        std::fs::write(app.join("app.py"), "from flask import Flask\napp = Flask(__name__)\n").unwrap();
        for name in private {
            std::fs::write(app.join(name), "-----BEGIN PRIVATE KEY-----").unwrap();
        }
        if let Some(text) = ignore {
            std::fs::write(app.join(".afreshignore"), text).unwrap();
        }
        app
    };
    let fresh = app("fresh", None);
    let out = init(&fresh, &[]);
    assert!(out.status.success() && !text(&out.stderr).contains("warning"), "{}", text(&out.stderr));
    let ignored = std::fs::read_to_string(fresh.join(".afreshignore")).unwrap();
    assert_eq!(store::private_files(&fresh).unwrap().len(), 0, "{ignored}");
    // A list of its own that lets some in, and the warning of whoever deploys it.
    let old = app("old", Some("*.pem\n*.key\nid_*\n.npmrc\n.netrc\nauth.json\n*.tfstate\n"));
    let said = text(&init(&old, &[]).stderr);
    assert!(said.contains("warning: .env, .env.local, .envrc of "), "{said}");
    let mut plan = Command::new(env!("CARGO_BIN_EXE_afresh"));
    plan.arg("plan").arg("--file").arg(old.join("afresh.hcl")).arg("--data-dir").arg(dir.path().join("data")).env("NO_COLOR", "1");
    let said = text(&plan.output().unwrap().stderr);
    assert!(said.contains("warning: .env, .env.local, .envrc of ") && said.contains("give what it holds as a `secret`"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn dev_serves_each_save_and_keeps_the_last_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::empty(dir.path(), "data");
    // As `dev` leaves it behind: marked, and with images.
    fleet.start(&[]).unwrap();
    fleet.stop();
    std::fs::write(fleet.data.join(".afresh-dev"), "").unwrap();
    let app = dir.path().join("app");
    std::fs::create_dir_all(app.join("node_modules")).unwrap();
    let page = |content: &str| std::fs::write(app.join("healthz"), content).unwrap();
    let serve = |script: &str| std::fs::write(app.join("serve.sh"), script).unwrap();
    page("one ok\n");
    serve("exec busybox httpd -f -p 8080 -h /app\n");
    let service = format!(
        "service \"web\" {{\n  tier = \"web\"\n  image = image.base\n  artifact = \".\"\n  run = [\"sh\", \"serve.sh\"]\n  port = 8080\n  count = 3\n  \
         health {{ path = \"/healthz\" }}\n  route {{ listen = \"{}\" }}\n}}\n",
        fleet.listen
    );
    std::fs::write(app.join("afresh.hcl"), format!("{IMAGE}{service}")).unwrap();
    std::fs::write(app.join(".afreshignore"), "node_modules\nsecret.txt\nafresh.hcl\n").unwrap();
    std::fs::write(app.join("secret.txt"), "ok\n").unwrap();
    let mut dev = fleet.command(&["dev", app.to_str().unwrap()]);
    let mut child = dev.env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |word: &str| loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended before it said {word:?}")).unwrap();
        println!("dev: {line}");
        if line.contains(word) {
            break line;
        }
    };
    let first = until("ok web@r1 serves after");
    assert!(first.contains(&format!("http://{}/", fleet.listen)), "{first}");
    assert!(get(fleet.listen, "/healthz", 5_000).unwrap().ends_with("one ok\n"));
    assert!(get(fleet.listen, "/secret.txt", 5_000).is_err(), "what is ignored is not deployed");
    // No code: nothing is rotated for it, so the next release is that of the next save.
    std::fs::write(app.join("node_modules/x.js"), "x").unwrap();
    page("two ok\n");
    until("ok web@r2 serves after");
    assert!(get(fleet.listen, "/healthz", 5_000).unwrap().ends_with("two ok\n"));
    serve("echo this is broken; exit 3\n");
    let broken = until("broken web@r3");
    assert!(broken.contains("web@r2 goes on"), "{broken}");
    until("this is broken");
    assert!(get(fleet.listen, "/healthz", 5_000).unwrap().ends_with("two ok\n"));
    serve("exec busybox httpd -f -p 8080 -h /app # mended\n");
    page("three ok\n");
    until("serves after");
    assert!(get(fleet.listen, "/healthz", 5_000).unwrap().ends_with("three ok\n"));
    send(child.id(), Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(get(fleet.listen, "/healthz", 1_000).is_err(), "nobody serves any more");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(fleet.data.to_str().unwrap()), "{mounts}");
    let left: Vec<_> = std::fs::read_dir(&fleet.data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| ["store", ".afresh-dev", "afresh.json", "afresh.json.spare"].contains(&name.as_str())), "{left:?}");
}
