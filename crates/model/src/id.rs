//! Names and ids: one type each, so that a group's name can never be used where a service's is meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Why a text is not a valid name. `at` is the byte of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {why}")]
pub struct NameError {
    pub what: &'static str,
    pub text: String,
    pub why: &'static str,
}

/// Lower-case letters, digits and `-`, beginning with a letter, at most 63 bytes: a DNS label, safe as a path and an interface.
fn plain(text: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    match bytes.next() {
        None => return Err("it is empty"),
        Some(b'a'..=b'z') => {}
        Some(_) => return Err("it must begin with a letter a-z"),
    }
    if text.len() > 63 {
        return Err("it is longer than 63 bytes");
    }
    if !bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err("only a-z, 0-9 and - are allowed in it");
    }
    Ok(())
}

/// As [`plain`], with one dot and a number after it: `web.7`.
fn numbered(text: &str) -> Result<(), &'static str> {
    let (name, number) = text.split_once('.').ok_or("it must look like web.7")?;
    plain(name)?;
    digits(number).ok_or("a number must follow the dot").map(drop)
}

/// As [`numbered`], with `x` before the number: `web.x17`.
fn numbered_run(text: &str) -> Result<(), &'static str> {
    let (name, number) = text.split_once(".x").ok_or("it must look like web.x17")?;
    plain(name)?;
    digits(number).ok_or("a number must follow the x").map(drop)
}

/// A number of at most 18 digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    if text.len() > 18 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The parts of an id whose rule was checked when it was made.
fn service_of(id: &str) -> ServiceName {
    ServiceName(id.split_once('.').map_or("", |(service, _)| service).into())
}

fn number_of(id: &str, mark: &str) -> u64 {
    id.split_once(mark).and_then(|(_, number)| digits(number)).expect("checked when it was made")
}

/// It becomes a part of a file's name.
fn session(text: &str) -> Result<(), &'static str> {
    let number = text.strip_prefix('s').unwrap_or_default();
    let is_number = (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    if is_number { Ok(()) } else { Err("it must be s and a number") }
}

/// It becomes a file's name.
fn hex64(text: &str) -> Result<(), &'static str> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() == 64 && text.bytes().all(is_digit) { Ok(()) } else { Err("it must be 64 lower-case hex digits") }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                match $rule(&text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(why) => Err(NameError { what: $what, text, why }),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.to_string()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(/** A service: `web`. */ ServiceName, "service name", plain);
name!(/** A recipe for images: `base`. */ ImageName, "image name", plain);
name!(/** A secret: `db`. */ SecretName, "name of a secret", plain);
name!(/** A tier: `background`. */ TierName, "tier name", plain);
name!(/** A route: by default the name of the service behind it. */ RouteName, "route name", plain);
name!(/** A group of servers of one release, `web-r42-7`: service, release, rotation. Never used twice. */ GroupName, "group name", plain);
name!(/** One server, `web-r42-7-3`: its group and a number that the keeper never uses twice in that group. */ InstanceId, "instance id", plain);
name!(/** One service going from one release to another, `web.7`: service and running number. */ RotationId, "rotation id", numbered);
name!(/** Rotations of several services, `rollout.3`. */ RolloutId, "rollout id", numbered);
name!(/** One run of a command beside a service, `web.x17`: service and running number. */ RunId, "run id", numbered_run);
name!(/** A command inside a server that runs, `s1764000000123`: as the keeper numbers them. */ ExecId, "session id", session);
name!(
    /** Which value of a secret: a keyed digest (HMAC-SHA256) over service, name and value. Equal values have equal versions in one service;
    without the machine's key a version says nothing of the value. */
    SecretVersion,
    "version of a secret",
    hex64
);

impl GroupName {
    /// The only place where group names are made.
    pub fn of(service: &ServiceName, release: u64, rotation: &RotationId) -> Result<Self, NameError> {
        Self::new(format!("{service}-r{release}-{}", rotation.number()))
    }

    /// The group of a run, `web-r42-x17`: service, release, and the run's number.
    pub fn of_run(service: &ServiceName, release: u64, run: u64) -> Result<Self, NameError> {
        Self::new(format!("{service}-r{release}-x{run}"))
    }

    /// The parts that [`GroupName::of_run`] joined. None: it is not the group of a run.
    pub fn run(&self) -> Option<(ServiceName, u64, u64)> {
        marked(&self.0, "x")
    }

    /// The group of the migration that a rotation runs before the servers of `new`, `web-r42-7-m`.
    pub fn of_migration(new: &GroupName) -> Result<Self, NameError> {
        let group = Self::new(format!("{new}-m"))?;
        InstanceId::new(format!("{group}-1"))?;
        Ok(group)
    }

    /// Service, release and the number of the rotation. None: it is not the group of a migration.
    pub fn migration(&self) -> Option<(ServiceName, u64, u64)> {
        marked(self.0.strip_suffix("-m")?, "")
    }

    /// A group of a service that runs a command instead of the service: of a check, a migration or a run.
    pub fn is_one_shot(&self) -> bool {
        self.parts().is_some() && marked(&self.0, "").is_none()
    }

    /// The parts that [`GroupName::of`] joined: service, release and the number of the rotation. The group of a check (with `-c1` at the
    /// end) or a migration (`-m`) belongs to the same rotation; the group of a run to none (0). None: it is not the name of a service's group.
    pub fn parts(&self) -> Option<(ServiceName, u64, u64)> {
        let made = marked(&self.0, "").or_else(|| marked(self.0.rsplit_once('-')?.0, ""));
        made.or_else(|| self.run().map(|(service, release, _)| (service, release, 0)))
    }
}

/// `SERVICE-rRELEASE-` and a number behind this mark.
fn marked(text: &str, mark: &str) -> Option<(ServiceName, u64, u64)> {
    let number = |text: &str, mark: &str| digits(text.strip_prefix(mark)?);
    let (front, last) = text.rsplit_once('-')?;
    let (service, release) = front.rsplit_once('-')?;
    Some((ServiceName::new(service).ok()?, number(release, "r")?, number(last, mark)?))
}

impl InstanceId {
    /// The group that it belongs to. None: no keeper made this name.
    pub fn group(&self) -> Option<GroupName> {
        let (group, number) = self.0.rsplit_once('-')?;
        number.parse::<u64>().ok()?;
        GroupName::new(group).ok()
    }

    /// The service of that group.
    pub fn service(&self) -> Option<ServiceName> {
        self.group()?.parts().map(|(service, _, _)| service)
    }
}

impl RotationId {
    pub fn of(service: &ServiceName, number: u64) -> Self {
        Self(format!("{service}.{number}").into())
    }

    pub fn number(&self) -> u64 {
        number_of(&self.0, ".")
    }

    pub fn service(&self) -> ServiceName {
        service_of(&self.0)
    }
}

impl RunId {
    pub fn of(service: &ServiceName, number: u64) -> Self {
        Self(format!("{service}.x{number}").into())
    }

    pub fn number(&self) -> u64 {
        number_of(&self.0, ".x")
    }

    pub fn service(&self) -> ServiceName {
        service_of(&self.0)
    }
}

impl RolloutId {
    pub fn of(number: u64) -> Self {
        Self(format!("rollout.{number}").into())
    }

    pub fn number(&self) -> u64 {
        number_of(&self.0, ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_are_made() {
        for good in ["web", "a", "web-2", "a-b-c9"] {
            assert_eq!(ServiceName::new(good).map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "Web", "2web", "-web", "we b", "../etc", "web/1", "ü", &"x".repeat(64)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_rotation_knows_its_service_and_number() {
        let service = ServiceName::new("web").unwrap();
        let rotation = RotationId::of(&service, 7);
        assert_eq!((rotation.service(), rotation.number()), (service.clone(), 7));
        assert_eq!(GroupName::of(&service, 42, &rotation).unwrap().as_str(), "web-r42-7");
        let parts = |text: &str| GroupName::new(text).unwrap().parts().map(|(s, r, n)| (s.to_string(), r, n));
        assert_eq!(parts("web-r42-7"), Some(("web".into(), 42, 7)));
        assert_eq!(parts("web-r42-7-c2"), Some(("web".into(), 42, 7)));
        assert_eq!(parts("web-r42-7-c1a2b3c4d"), Some(("web".into(), 42, 7)));
        assert_eq!(parts("web-r1-2-r42-7"), Some(("web-r1-2".into(), 42, 7)));
        assert_eq!(parts("web-r42-x17"), Some(("web".into(), 42, 0)), "a run is of no rotation");
        let run = GroupName::of_run(&service, 42, 17).unwrap();
        assert_eq!((run.as_str(), run.run()), ("web-r42-x17", Some((service.clone(), 42, 17))));
        assert!(["web-r42-7", "web-r42-7-c2", "web-r42-x"].iter().all(|text| GroupName::new(*text).unwrap().run().is_none()));
        let migration = GroupName::of_migration(&GroupName::new("web-r42-7").unwrap()).unwrap();
        assert_eq!((migration.as_str(), migration.migration()), ("web-r42-7-m", Some((service.clone(), 42, 7))));
        assert_eq!(parts("web-r42-7-m"), Some(("web".into(), 42, 7)));
        for other in ["web-r42-7", "web-r42-7-c1", "web-r42-7-m1", "web-r42-7-m-m", "web-r42-x7-m", "web-r42-m", "web-m", "m"] {
            assert_eq!(GroupName::new(other).unwrap().migration(), None, "{other}");
        }
        let long = GroupName::new(format!("{}-r1-2", "x".repeat(56))).unwrap();
        assert!(GroupName::of_migration(&long).is_err(), "its server's name would be too long");
        for (group, is_one_shot) in
            [("web-r42-7", false), ("web-r42-7-m", true), ("web-r42-7-c1", true), ("web-r42-x7", true), ("web", false)]
        {
            assert_eq!(GroupName::new(group).unwrap().is_one_shot(), is_one_shot, "{group}");
        }
        for other in ["web", "web-r1", "web-1-2", "web-rx-2", "image-base-1764000000000", "web-r1-", "web-r1-c2"] {
            assert_eq!(parts(other), None, "{other}");
        }
        let service = |text: &str| InstanceId::new(text).unwrap().service().map(String::from);
        assert_eq!(service("web-r42-7-3").as_deref(), Some("web"));
        assert_eq!(service("web-r42-7-c2-1").as_deref(), Some("web"), "a check's");
        assert_eq!(service("web-r42-x17-1").as_deref(), Some("web"), "a run's");
        assert_eq!(service("web-r1-2-r42-7-3").as_deref(), Some("web-r1-2"));
        for other in ["web", "web-r42-7", "web-r42-7-x", "image-base-1764000000000-1"] {
            assert_eq!(service(other), None, "{other}");
        }
        let run = RunId::new("web.x17").unwrap();
        assert_eq!((run.service().as_str(), run.number(), &run), ("web", 17, &RunId::of(&run.service(), 17)));
        assert!(["web", "web.x", "web.17", ".x1", "web.xx", "web.x1.x2"].iter().all(|bad| RunId::new(*bad).is_err()));
        for bad in ["web", "web.", "web.x", ".7", "web.7.8"] {
            assert!(RotationId::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
