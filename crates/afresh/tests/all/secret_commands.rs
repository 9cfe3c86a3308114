//! Commands that a service file names for its secrets: printed before they run, and not run by who only reads the file.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn afresh(dir: &Path, args: &[&str], stderr: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.args(args).arg("--file").arg(dir.join("afresh.hcl")).arg("--data-dir").arg(dir.join("data")).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(stderr).unwrap()).output().unwrap()
}

/// Found by a reader: `plan` of a cloned file ran its commands, and no line said so.
#[test]
fn each_is_printed_before_it_runs_and_readers_of_the_file_run_none() {
    let dir = tempfile::tempdir().unwrap();
    let (stderr, ran) = (dir.path().join("stderr"), dir.path().join("ran"));
    // What was printed until then is what it copies.
    let file = format!(
        "image \"base\" {{\n  debian = \"bookworm\"\n  packages = [\"python3\"]\n}}\n\n\
         secret \"db\" {{ command = [\"cp\", \"{}\", \"{}\"] }}\n\n\
         service \"web\" {{\n  tier = \"front\"\n  image = image.base\n  run = [\"x\"]\n  count = 1\n  env {{ DB = secret.db }}\n}}\n",
        stderr.display(),
        ran.display()
    );
    std::fs::write(dir.path().join("afresh.hcl"), file).unwrap();
    for args in [["validate"].as_slice(), &["validate", "--json"], &["fmt", "--check"], &["fmt"], &["plan", "--keep-secrets"]] {
        afresh(dir.path(), args, &stderr);
        assert!(!ran.exists(), "{args:?} ran it: {}", std::fs::read_to_string(&stderr).unwrap());
    }
    for verb in [["plan"].as_slice(), &["plan", "--json"], &["deploy", "--yes"]] {
        afresh(dir.path(), verb, &stderr);
        let printed = std::fs::read_to_string(&ran).unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&stderr).unwrap()));
        let line = format!("secret db: running a command of the service file on this machine as uid {}: cp ", nix::unistd::geteuid());
        assert!(printed.contains(&line), "{verb:?}: {printed:?}");
        std::fs::remove_file(&ran).unwrap();
    }
}
