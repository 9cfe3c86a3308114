//! What a path in a service file may be: a file in an image, an account's home or shell, the directory of a service's code.
//! Pure: no path is looked up on this machine.

use crate::ArtifactSource;
use crate::validation_error::{Validated, ValidationError};

const PATH_BYTES_MAX: usize = 4_000;

/// Places that an image does not keep, each with all that is below it: the builder or the starting machine makes them again.
pub const NOT_KEPT: &[&str] = &[
    "/app",
    "/dev",
    "/etc/.pwd.lock",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/apt/auth.conf.d",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
    "/etc/passwd-",
    "/etc/resolv.conf",
    "/etc/shadow-",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/subgid-",
    "/etc/subuid-",
    "/proc",
    "/root/.bash_history",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/cache/man",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/apt",
    "/var/lib/dbus/machine-id",
    "/var/lib/dpkg",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lock",
    "/var/log",
    "/var/run",
    "/var/tmp",
];
/// And paths with this prefix: two servers with the same host key are one server to an eavesdropper.
const HOST_KEYS: &str = "/etc/ssh/ssh_host_";

/// A path in an image that something is to be written to: none that could be written in two ways, none that the image would not keep.
/// What would need an escape in a service file is refused, as a block's name is taken as it stands.
pub fn file_path(text: &str) -> Validated {
    let wrong =
        ValidationError::new("bad-path", format!("`{text}` is no path of a file"), "expected a path from the root, such as \"/etc/motd\"");
    let parts = || text.split('/').skip(1);
    match () {
        () if text.len() > PATH_BYTES_MAX => Err(wrong.hint("at most 4000 bytes")),
        () if !text.starts_with('/') => Err(wrong.hint("it begins with /")),
        () if text.ends_with('/') => Err(wrong.hint("it ends with the file's name; directories are created automatically")),
        () if parts().any(|part| matches!(part, "" | "." | "..")) => Err(wrong.hint("leave out what is empty, `.` or `..`")),
        () if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\' | '\u{feff}'))
            || text.contains("${")
            || text.contains("%{") =>
        {
            Err(wrong.hint("quotes, backslashes, control characters, ${ and %{ cannot stand in it"))
        }
        () => match NOT_KEPT.iter().find(|place| is_within(text, place)).or(text.starts_with(HOST_KEYS).then_some(&HOST_KEYS)) {
            Some(place) => {
                let said = format!("`{text}` would not stay in the image");
                let hint = format!("{place} is made again by the builder, or when the machine starts");
                Err(ValidationError::new("bad-path", said, "expected a path that an image keeps, such as \"/etc/motd\"").hint(hint))
            }
            None => Ok(()),
        },
    }
}

fn is_within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// As it can stand in `/etc/passwd`.
pub fn account_path(text: &str) -> Validated {
    let parts_good = text.starts_with('/') && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if parts_good && text.len() <= PATH_BYTES_MAX && !text.contains(|c: char| c.is_control() || c == ':') {
        return Ok(());
    }
    let wrong = ValidationError::new("bad-path", format!("`{text}` is no path"), "expected a path from the root, such as \"/srv/shop\"");
    Err(wrong.hint(match () {
        () if !text.starts_with('/') => "it begins with /",
        () if text.contains(':') => "no `:` can stand in it",
        () if parts_good => "no control characters, at most 4000 bytes",
        () => "leave out what is empty, `.` or `..`",
    }))
}

/// A file that is read where the service file is: from the root, or relative to it.
pub fn source(text: &str) -> Validated {
    let wrong = ValidationError::new("bad-path", format!("`{text}` is no path of a file"), "expected a path, such as \"/etc/shop/db-url\"");
    match () {
        () if text.is_empty() || text.ends_with('/') => Err(wrong.hint("it ends with the file's name")),
        () if text.len() > PATH_BYTES_MAX => Err(wrong.hint("at most 4000 bytes")),
        () if text.chars().any(char::is_control) => Err(wrong.hint("no control characters stand in it")),
        () => Ok(()),
    }
}

/// System directories that are never one service's code.
const SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];
/// And these with all that is below them.
const SYSTEM_WHOLLY: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
];

/// Where a service's code is packed from, as a file names it.
pub fn artifact(text: &str) -> Validated {
    let wrong = |message: String| ValidationError::new("bad-path", message, "expected a directory or tarball, such as \"./dist\"");
    if text.trim().is_empty() {
        return Err(wrong("this path is empty".to_string()));
    }
    if text.len() > PATH_BYTES_MAX || text.contains(|c: char| c.is_control()) {
        return Err(wrong("this is no path".to_string()).hint("no control characters, at most 4000 bytes"));
    }
    match ArtifactSource::of(text) {
        Ok(None) => {}
        Ok(Some(_)) => return Ok(()),
        Err(fault) => {
            let expected = "expected a path, oci://REGISTRY/NAME:TAG or https://LINK sha256:DIGITS";
            return Err(ValidationError { hint: fault.hint, ..ValidationError::new("bad-reference", fault.message, expected) });
        }
    }
    if text.starts_with('/') {
        no_system_directory(text)?;
    }
    Ok(())
}

/// Refuses a directory of the system itself: whoever names `/etc` as a service's code packs the host's keys. `path` begins at the root.
pub fn no_system_directory(path: &str) -> Validated {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let whole = format!("/{}", parts.join("/"));
    // Anybody may use the memory below /dev/shm.
    let shared = is_within(&whole, "/dev/shm") && whole != "/dev/shm";
    if !shared && (SYSTEM.contains(&whole.as_str()) || SYSTEM_WHOLLY.iter().any(|place| is_within(&whole, place))) {
        let wrong = ValidationError::new(
            "system-directory",
            format!("`{whole}` belongs to the system of this machine"),
            "expected a service's own code",
        );
        return Err(wrong.hint("copy what the service needs into its own directory, such as ./dist"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn a_systems_own_directories_are_no_artifact() {
        for bad in [
            "/",
            "//",
            "/etc",
            "/etc/",
            "/./etc",
            "/srv/../etc",
            "/../etc/ssh",
            "/usr",
            "/usr/lib/x",
            "/proc/self",
            "/root",
            "/home",
            "",
            " ",
            "a\nb",
        ] {
            assert!(artifact(bad).is_err(), "{bad:?}");
        }
        for good in ["dist", "./dist", "../x", "/srv/shop", "/root/shop", "/home/eve", "/etcetera", "/usr/local/shop", "/tmp/x", "/var/www"]
        {
            assert_eq!(artifact(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_fault_says_what_was_expected() {
        let fault = Fault::from(file_path("/run/x").unwrap_err());
        assert_eq!(fault.code, "bad-path");
        assert!(fault.hint.unwrap().contains("/run is made again"));
    }
}
