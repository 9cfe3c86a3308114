//! Volumes: directories of the host that a service's servers share, and the rules of the host policy for them. Pure: no path is looked up here.

use crate::validation_error::{Validated, ValidationError};
use crate::{Names, ServiceName, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most volumes of one service.
pub const VOLUMES_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1_000;

/// `volume "uploads" { ... }` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: VolumeName,
    /// A directory of the host.
    pub source: String,
    /// Where a server has it.
    pub at: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Places of a server that something else is mounted on, or that its programs come from. Nothing above or below them is a volume.
const NOT_AT: &[&str] = &["/proc", "/sys", "/dev", "/run/secrets", "/tmp", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// These as they are: what lies below them may be a volume.
const NOT_EXACTLY_AT: &[&str] = &["/app", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/var", "/var/lib"];

/// Directories of the host that are no volume, each with all that is below it.
const NOT_OF_HOST: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var/run",
];
/// And these as they are: each holds the data of many.
const NOT_EXACTLY_OF_HOST: &[&str] =
    &["/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp"];

fn wrong_path(text: &str) -> ValidationError {
    ValidationError::new(
        "bad-path",
        format!("`{text}` is no path of a directory"),
        "expected a path from the root, such as \"/srv/uploads\"",
    )
}

/// One way to write each path: no `.`, `..` or doubled `/`, so that paths can be compared as texts.
fn plain(text: &str) -> Validated {
    let wrong = wrong_path(text);
    match () {
        () if text.len() > PATH_BYTES_MAX => Err(wrong.hint(format!("at most {PATH_BYTES_MAX} bytes"))),
        () if !text.starts_with('/') => Err(wrong.hint("it begins with /")),
        () if text.chars().any(char::is_control) => Err(wrong.hint("no control characters stand in it")),
        () if text == "/" => Ok(()),
        () if text.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) => {
            Err(wrong.hint("leave out what is empty, `.` or `..`, and the / at the end"))
        }
        () if text.ends_with("/*") => Err(wrong.hint("only the host policy has patterns")),
        () => Ok(()),
    }
}

fn is_within(path: &str, place: &str) -> bool {
    place == "/" || path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A directory of the host that can be a volume, by its name alone.
pub fn source(text: &str) -> Validated {
    plain(text)?;
    let is_system = text == "/" || NOT_EXACTLY_OF_HOST.contains(&text) || NOT_OF_HOST.iter().any(|place| is_within(text, place));
    if is_system {
        let said = format!("`{text}` belongs to the system of this machine");
        return Err(ValidationError::new(
            "system-directory",
            said,
            "expected a directory of this service's data, such as \"/srv/uploads\"",
        ));
    }
    Ok(())
}

/// Where a server can have a volume: nothing that is mounted there, no secret and no program is hidden by it.
pub fn at(text: &str) -> Validated {
    plain(text)?;
    let hides = |place: &&&str| is_within(text, place) || is_within(place, text);
    let exactly = || ["/"].iter().chain(NOT_EXACTLY_AT).find(|place| **place == text);
    let Some(place) = exactly().or_else(|| NOT_AT.iter().find(hides)) else { return Ok(()) };
    let said = format!("a volume at `{text}` would hide what a server has at {place}");
    Err(ValidationError::new("hides", said, "expected a place of its own, such as \"/uploads\" or \"/var/lib/shop\""))
}

/// Two places of which one lies within the other: the servers that share the outer one could exchange a directory on the way to the inner.
pub fn overlap(one: &str, other: &str) -> bool {
    is_within(one, other) || is_within(other, one)
}

/// A directory that the host policy lets be a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRule {
    /// Of these services.
    pub services: BTreeSet<ServiceName>,
    pub read_only: bool,
    /// It is a mount point: where nothing is mounted, the volume is gone.
    pub mounted: bool,
}

/// What is mounted of the host, as the policy says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// The directory that must be a mount point.
    pub mount_point: Option<String>,
}

/// A path that a rule of the policy names: a directory, or `DIR/*` for each directory in it.
pub fn pattern(text: &str) -> Validated {
    match text.strip_suffix("/*") {
        // What lies directly in /srv is a volume; /srv is not.
        Some(dir) => plain(dir).and_then(|()| source(&format!("{dir}/x"))),
        None => source(text),
    }
}

/// The rule for this directory: its own, or that of the directory that it lies in. None: there is none.
fn rule<'a>(rules: &'a BTreeMap<String, VolumeRule>, source: &str) -> Option<(String, &'a VolumeRule)> {
    if let Some(rule) = rules.get(source) {
        return Some((source.to_string(), rule));
    }
    let (dir, _) = source.rsplit_once('/')?;
    rules.get(&format!("{dir}/*")).map(|rule| (dir.to_string(), rule))
}

/// Whether the service may have this volume; `Err`: why not.
pub fn permitted(rules: &BTreeMap<String, VolumeRule>, names: &Names, service: &ServiceName, volume: &Volume) -> Result<Permitted, String> {
    let source_dir = &volume.source;
    // What a journal or a request holds went through the reader of service files; whoever mounts asks again.
    source(source_dir).and_then(|()| at(&volume.at)).map_err(|wrong| wrong.message)?;
    let Some((dir, rule)) =
        rule(rules, source_dir).filter(|(_, rule)| names.others_of(service).chain([service]).any(|name| rule.services.contains(name)))
    else {
        return Err(format!("the host policy does not let {service} have {source_dir}"));
    };
    if rule.read_only && !volume.read_only {
        return Err(format!("the host policy lets {service} read {source_dir}, not write to it"));
    }
    Ok(Permitted { mount_point: rule.mounted.then_some(dir) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_system_is_no_volume() {
        for bad in [
            "/",
            "",
            "srv/x",
            "/etc",
            "/etc/x",
            "/proc/1/root",
            "/sys",
            "/dev/shm",
            "/run/docker",
            "/root/.ssh",
            "/var",
            "/var/run/x",
            "/usr/x",
            "/srv",
            "/srv/",
            "/srv//x",
            "/srv/../etc",
            "/srv/./x",
            "/srv/x/",
            "/srv/x\n",
            "/home",
            "/tmp",
        ] {
            assert!(source(bad).is_err(), "{bad:?}");
        }
        for good in ["/srv/uploads", "/var/lib/shop", "/home/shop/uploads", "/data", "/etcetera", "/runs"] {
            assert_eq!(source(good), Ok(()), "{good:?}");
        }
        for bad in ["/*", "/etc/*", "/srv/../*", "*", "/run/*", "/srv/*/*"] {
            assert!(pattern(bad).is_err(), "{bad:?}");
        }
        assert_eq!((pattern("/srv/*"), pattern("/srv/uploads")), (Ok(()), Ok(())));
    }

    #[test]
    fn a_volume_hides_nothing() {
        for bad in [
            "/",
            "/proc",
            "/proc/x",
            "/run",
            "/run/secrets",
            "/run/secrets/db",
            "/dev/x",
            "/etc",
            "/etc/x",
            "/tmp",
            "/tmp/x",
            "/app",
            "/usr",
            "/lib/x",
            "x",
        ] {
            assert!(at(bad).is_err(), "{bad:?}");
        }
        for good in ["/uploads", "/app/uploads", "/run/shop", "/var/lib/shop", "/usr/share/shop", "/srv", "/home", "/library"] {
            assert_eq!(at(good), Ok(()), "{good:?}");
        }
        assert!(overlap("/a", "/a") && overlap("/a/b", "/a") && overlap("/a", "/a/b") && !overlap("/a", "/ab"));
    }

    #[test]
    fn only_what_the_policy_names_is_permitted_and_only_to_whom_it_names() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        let rule =
            |services: &[&str], read_only, mounted| VolumeRule { services: services.iter().map(|s| name(s)).collect(), read_only, mounted };
        let rules = BTreeMap::from([
            ("/srv/uploads".to_string(), rule(&["web"], false, true)),
            ("/srv/shared/*".to_string(), rule(&["web", "api"], true, false)),
            ("/srv/shared/own".to_string(), rule(&["api"], false, false)),
        ]);
        let volume = |source: &str, read_only| Volume {
            name: VolumeName::new("v").unwrap(),
            source: source.to_string(),
            at: "/v".to_string(),
            read_only,
        };
        let mut names = Names::default();
        names.rename(&name("first"), &name("web"));
        let may = |service: &str, source: &str, read_only| permitted(&rules, &names, &name(service), &volume(source, read_only));
        assert_eq!(may("web", "/srv/uploads", false).unwrap().mount_point.as_deref(), Some("/srv/uploads"));
        assert_eq!(may("web", "/srv/shared/a", true).unwrap().mount_point, None);
        assert!(may("api", "/srv/shared/own", false).is_ok());
        assert!(may("first", "/srv/uploads", false).is_ok(), "it is called web now");
        for (service, source, read_only) in [
            ("api", "/srv/uploads", true),
            ("second", "/srv/uploads", false),
            ("web", "/srv/shared/a", false),
            // Its own rule counts, not that of the directory.
            ("web", "/srv/shared/own", true),
            ("web", "/srv/shared/a/b", true),
            ("web", "/srv/shared", true),
            ("web", "/srv/uploads/a", false),
            ("web", "/srv/uploads/../../etc", false),
            ("web", "/srv/shared/..", true),
            ("web", "/srv/shared/*", true),
        ] {
            assert!(may(service, source, read_only).is_err(), "{service} {source} {read_only}");
        }
    }
}
