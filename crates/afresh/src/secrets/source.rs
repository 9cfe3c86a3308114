//! The sources of secrets: a file, what a command prints, a file of age. Bounded in time and size; no message has a byte of a value.

use super::command;
use super::identity::{self, IdentityArgs};
use super::open::{must_be_closed_to_others, open};
use crate::context::Context;
use crate::show;
use model::text::shown;
use model::{Fault, SECRET_BYTES_MAX, SecretName, SecretSource, SecretSpec};
use secret::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Armour makes a file of age a third larger.
const AGE_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX;
/// Of a command.
const SHOWN_BYTES_MAX: usize = 300;

pub enum Source {
    Clear(Value),
    /// None of the caller's identities opens it: it may be for the service.
    Sealed(Vec<u8>),
}

pub fn read(context: &Context, spec: &SecretSpec, args: &IdentityArgs) -> Result<Source, Fault> {
    let name = &spec.name;
    let what = format!("secret {name}");
    match &spec.source {
        SecretSource::File { path } => {
            let path = context.beside_file(path);
            let file = open(&what, &path)?;
            must_be_closed_to_others(&what, &path, &file)?;
            let bytes = read_bounded(&what, &path, file, SECRET_BYTES_MAX)?;
            Value::new(name, bytes).map(Source::Clear)
        }
        SecretSource::Command { command } => {
            announce(name, command);
            let dir = context.file.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_path_buf);
            command::run(name, command, &dir).and_then(|bytes| Value::new(name, bytes)).map(Source::Clear)
        }
        SecretSource::Age { path } => {
            let path = context.beside_file(path);
            let file = read_bounded(&what, &path, open(&what, &path)?, AGE_BYTES_MAX)?;
            let own = identity::own(args)?;
            Ok(match secret::decrypt_with(name, &own, &file)? {
                Some(value) => Source::Clear(value),
                None => Source::Sealed(file),
            })
        }
    }
}

/// Before it runs: the file may be a stranger's, and also `plan` needs the value, as a changed secret is another release.
fn announce(name: &SecretName, command: &[String]) {
    let command = shown(&command.join(" "), SHOWN_BYTES_MAX);
    show::note(format!(
        "secret {name}: running a command of the service file on this machine as uid {}: {command}",
        nix::unistd::geteuid()
    ));
}

fn read_bounded(what: &str, path: &Path, file: File, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let most = u64::try_from(bytes_max + 1).unwrap_or(u64::MAX);
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    file.take(most).read_to_end(&mut bytes).map_err(|e| Fault::world("io", format!("{what}: {}: {e}", path.display())))?;
    Ok(std::mem::take(&mut *bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Layout;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Every way in which a source can be wrong, as people see it.
    #[test]
    fn wrong_sources() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8], mode: u32| {
            fs::write(dir.path().join(name), bytes).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        put("empty", b"", 0o600);
        put("open", b"hunter2", 0o644);
        put("written-by-all", b"hunter2", 0o602);
        put("large", &vec![b'h'; SECRET_BYTES_MAX + 1], 0o600);
        put("no-age", b"hunter2", 0o600);
        put("cut.age", b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUx", 0o600);
        put("passphrase.age", b"age-encryption.org/v1\n-> scrypt MDEyMzQ1Njc4OWFiY2RlZg 15\nYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI\n--- bW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW0\n0123456789abcdefx", 0o600);
        put("no.key", b"hunter2", 0o600);
        put("open.key", b"hunter2", 0o644);
        fs::create_dir(dir.path().join("directory")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        let context = Context::over(dir.path().join("afresh.hcl"), Layout::new(dir.path()), false);
        let file = |path: &str| SecretSource::File { path: path.to_string() };
        let age = |path: &str| SecretSource::Age { path: path.to_string() };
        let command = |script: &str| SecretSource::Command { command: ["sh", "-c", script].map(str::to_string).to_vec() };
        let key = |name: &str| IdentityArgs { identity: Some(dir.path().join(name)) };
        let table: Vec<(SecretSource, IdentityArgs)> =
            ["none", "directory", "pipe", "dangling", "empty", "open", "written-by-all", "large"]
                .iter()
                .map(|name| (file(name), IdentityArgs::default()))
                .chain(
                    ["none", "directory", "empty", "no-age", "cut.age", "passphrase.age"]
                        .iter()
                        .map(|name| (age(name), IdentityArgs::default())),
                )
                .chain(["none", "no.key", "open.key"].iter().map(|name| (age("no-age"), key(name))))
                .chain(
                    [("echo hunter2; echo hunter2 >&2; exit 7"), "true", "yes hunter2", "kill -9 $$"]
                        .iter()
                        .map(|s| (command(s), IdentityArgs::default())),
                )
                .chain([(
                    SecretSource::Command { command: vec!["/no/such/program".to_string(), "hunter2".to_string()] },
                    IdentityArgs::default(),
                )])
                .collect();
        let mut told = String::new();
        for (source, args) in table {
            let spec = SecretSpec { name: SecretName::new("db").unwrap(), source };
            let fault = read(&context, &spec, &args).err().unwrap_or_else(|| panic!("{spec:?} was read"));
            let hint = fault.hint.unwrap_or_default();
            let source = format!("{:?}", spec.source).replace("hunter2", "VALUE");
            told.push_str(&format!("{source}\n  error[{}]: {}\n  hint: {hint}\n\n", fault.code, fault.message));
        }
        let told = told.replace(&dir.path().display().to_string(), "DIR");
        assert!(!told.contains("hunter2"), "{told}");
        insta::assert_snapshot!(told);
    }
}
