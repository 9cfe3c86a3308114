//! What a recipe for images may hold: names, packages, suites, build arguments, texts. Each rule is written here once: the reader of
//! service files reports an error with its place in the file, and the builder applies the rule to every caller. Pure.

use crate::path_validation::{account_path, file_path};
use crate::validation_error::{Validated, ValidationError};
use crate::{ContainerSource, ImageCustom, ImageSource, ImageSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Debian's own limit for names of users; suites are no longer either.
pub const NAME_BYTES_MAX: usize = 32;
pub const PACKAGES_MAX: usize = 5_000;
pub const SUITES_MAX: usize = 32;
pub const GROUPS_MAX: usize = 64;
pub const ARGS_MAX: usize = 64;
/// The limit of a file's text and of a script: anything larger belongs in an artifact.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
pub const ARG_BYTES_MAX: usize = 16 << 10;
/// Below are the packages' own users, above are `nobody` and the numbers that mean no user.
pub const UIDS: RangeInclusive<u32> = 100..=65_533;
pub const MODE_MAX: u32 = 0o7777;
/// Variables that the builder sets for every script.
const TAKEN: &[&str] = &[
    "DEBCONF_NONINTERACTIVE_SEEN",
    "DEBIAN_FRONTEND",
    "ENV",
    "HOME",
    "IFS",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "OPTARG",
    "OPTIND",
    "PATH",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "SHELL",
    "SOURCE_DATE_EPOCH",
    "TERM",
    "TZ",
    "USER",
];

/// Debian policy 5.6.7: at least two of a-z 0-9 + - . beginning with a letter or digit.
pub fn package(text: &str) -> Validated {
    let good = text.len() >= 2
        && text.len() <= 128
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let wrong = ValidationError::new("bad-package", format!("`{text}` is no package name"), "expected a name of a-z, 0-9, +, - and .");
    match () {
        () if good => Ok(()),
        () if text.contains(['=', '/']) => Err(wrong.hint("versions cannot be chosen: an image always has the newest of its suites")),
        () if text.trim().contains([' ', ',']) => Err(wrong.hint("one name for each text of the list")),
        () => Err(wrong),
    }
}

/// The name of a release, or of a suite beside it.
pub fn suite(text: &str) -> Validated {
    let wrong =
        ValidationError::new("bad-suite", format!("`{text}` is no suite"), "expected the name of a Debian suite, such as \"bookworm\"");
    let good =
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    match () {
        () if text.len() > NAME_BYTES_MAX => Err(wrong.hint(format!("at most {NAME_BYTES_MAX} bytes"))),
        () if good => Ok(()),
        () => Err(wrong),
    }
}

/// A part of an archive.
pub fn component(text: &str) -> Validated {
    let good = text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let wrong =
        ValidationError::new("bad-component", format!("`{text}` is no component"), "expected a part of the archive, such as \"main\"");
    match () {
        () if good => Ok(()),
        () if text.contains('/') => Err(wrong.hint("components of components, such as \"updates/main\", are of no Debian in use")),
        () => {
            Err(wrong
                .hint("Debian has main, contrib, non-free-firmware and non-free; Ubuntu has main, restricted, universe and multiverse"))
        }
    }
}

/// The address of an archive, as apt's sources have it.
pub fn archive_address(text: &str) -> Validated {
    let plain = text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'#'));
    let rest = ["http://", "https://", "file:/"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if plain && rest.is_some_and(|rest| !rest.is_empty()) {
        return Ok(());
    }
    let expected = "expected an address as the machine's sources have it, such as \"http://mirror.example/debian\"";
    Err(ValidationError::new("bad-source", format!("`{text}` is no address of an archive"), expected))
}

/// The name of a user or a group.
pub fn account(text: &str, what: &str) -> Validated {
    let good = |text: &str| {
        text.len() <= NAME_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    if good(text) {
        return Ok(());
    }
    let wrong = ValidationError::new(
        "bad-name",
        format!("`{text}` is no name of a {what}"),
        format!("expected a-z, 0-9, - and _, beginning with a letter, at most {NAME_BYTES_MAX} bytes"),
    );
    let lower = text.to_lowercase();
    Err(if good(&lower) { wrong.hint(format!("\"{lower}\" would do")) } else { wrong })
}

/// The name of a variable.
pub fn variable(text: &str) -> Validated {
    let good =
        !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        return Ok(());
    }
    Err(ValidationError::new(
        "bad-name",
        format!("`{text}` is no name of a variable"),
        "expected letters, digits and _, not beginning with a digit",
    ))
}

/// The name of a build argument: a variable that the builder does not use.
pub fn arg_name(text: &str) -> Validated {
    variable(text)?;
    if text.len() > 64 || TAKEN.contains(&text) || text.starts_with("LD_") || text.starts_with("DPKG_") {
        let wrong = ValidationError::new(
            "bad-name",
            format!("`{text}` is no name for a build argument"),
            "expected another name, of at most 64 bytes",
        );
        return Err(wrong.hint("the builder sets it, so that each bake gives the same image"));
    }
    Ok(())
}

/// The value of a build argument.
pub fn arg_value(name: &str, text: &str) -> Validated {
    let expected = format!("expected at most {ARG_BYTES_MAX} bytes");
    match () {
        () if text.len() > ARG_BYTES_MAX => {
            Err(ValidationError::new("out-of-range", format!("the build argument `{name}` has {} bytes", text.len()), expected))
        }
        () => crate::text::lines(text)
            .map_err(|wrong| ValidationError { message: format!("build argument `{name}`: {}", wrong.message), ..wrong }),
    }
}

/// A recipe's text, a file's or the script.
fn text(what: &str, text: &str) -> Validated {
    let expected = format!("expected at most {TEXT_BYTES_MAX} bytes");
    match () {
        () if text.len() > TEXT_BYTES_MAX => {
            Err(ValidationError::new("out-of-range", format!("{what} has {} bytes", text.len()), expected)
                .hint("what is large belongs in the service's artifact"))
        }
        () => crate::text::lines(text).map_err(|wrong| ValidationError { message: format!("{what}: {}", wrong.message), ..wrong }),
    }
}

fn few(what: &str, count: usize, most: usize) -> Validated {
    if count <= most {
        return Ok(());
    }
    Err(ValidationError::new("out-of-range", format!("{count} {what}"), format!("expected at most {most}")))
}

impl ImageSpec {
    /// The first error, for callers that have the recipe without the file it came from.
    pub fn check(&self) -> Validated {
        if let Some(source) = &self.oci {
            return container(self, source);
        }
        upon(self)?;
        for level in self.levels() {
            suite(&level.debian)?;
            few("packages", level.packages.len(), PACKAGES_MAX)?;
            level.packages.iter().try_for_each(|p| package(p))?;
            level.custom.check()?;
        }
        Ok(())
    }
}

/// A container image comes as it is: nothing is put into it.
fn container(spec: &ImageSpec, source: &ContainerSource) -> Validated {
    let is_plain = spec.base.is_none() && spec.debian.is_empty() && spec.packages.is_empty() && spec.custom.is_empty();
    if !is_plain {
        let said = format!("the container image {} has packages, files or a base", spec.name);
        return Err(ValidationError::new("not-with-oci", said, "expected nothing of a recipe but its schedule and its checks"));
    }
    container_source(&source.reference)?;
    source.auth.iter().chain(&source.ca).try_for_each(|path| whole_path(path))
}

/// Where a container image is.
pub fn container_source(text: &str) -> Validated {
    let expected = "expected registry.example.org/shop/app:1.4, oci-archive:FILE or oci:DIRECTORY";
    match text.parse::<ImageSource>() {
        Err(fault) => Err(ValidationError { hint: fault.hint, ..ValidationError::new("bad-reference", fault.message, expected) }),
        Ok(ImageSource::Registry(_)) => Ok(()),
        Ok(ImageSource::Layout(path, _) | ImageSource::Archive(path, _)) => whole_path(&path.to_string_lossy()),
    }
}

/// A path from the root, without `.` and `..`.
pub fn whole_path(text: &str) -> Validated {
    let plain =
        text.starts_with('/') && text.len() <= 4_000 && !text.split('/').any(|part| part == "." || part == "..") && !text.contains('\0');
    let wrong =
        || ValidationError::new("bad-path", format!("`{text}` is no path"), "expected a path from the root, such as \"/usr/bin/python3\"");
    if plain { Ok(()) } else { Err(wrong()) }
}

/// Whether an image and its bases fit together, and each base by itself is valid.
pub fn upon(spec: &ImageSpec) -> Validated {
    let levels = spec.levels();
    few("levels of base images", levels.len(), ImageSpec::LEVELS_MAX)?;
    let mut users: BTreeMap<&str, u32> = BTreeMap::new();
    for level in levels {
        if level.archive() != spec.archive() {
            let said = format!("the suites of {} are not those of its base {}", spec.name, level.name);
            return Err(ValidationError::new("base-differs", said, "expected the same: packages of two releases do not fit together"));
        }
        for (name, user) in &level.custom.users {
            if users.contains_key(name.as_str()) {
                let said = format!("the user {name} is created by {} and by one of its bases", level.name);
                return Err(ValidationError::new("duplicate-name", said, "expected each user once"));
            }
            if let Some((other, uid)) = users.iter().find(|(_, uid)| **uid == user.uid) {
                let said = format!("the user {name} has the number {uid}, which {other} of a base has");
                return Err(ValidationError::new("uid-taken", said, "expected a number of its own for each"));
            }
        }
        users.extend(level.custom.users.iter().map(|(name, user)| (name.as_str(), user.uid)));
    }
    Ok(())
}

impl ImageCustom {
    fn check(&self) -> Validated {
        few("further suites", self.suites.len(), SUITES_MAX)?;
        self.suites.iter().try_for_each(|s| suite(s))?;
        few("components", self.components.len(), SUITES_MAX)?;
        self.components.iter().try_for_each(|c| component(c))?;
        few("addresses without signatures", self.allow_unsigned.len(), SUITES_MAX)?;
        self.allow_unsigned.iter().try_for_each(|a| archive_address(a))?;
        let mut uids = BTreeSet::new();
        for (name, user) in &self.users {
            account(name, "user")?;
            if !UIDS.contains(&user.uid) {
                let expected = format!("expected a whole number from {} to {}", UIDS.start(), UIDS.end());
                return Err(ValidationError::new("out-of-range", format!("the user {name} has the number {}", user.uid), expected));
            }
            if !uids.insert(user.uid) {
                let said = format!("two users have the number {}", user.uid);
                return Err(ValidationError::new("uid-taken", said, "expected a number of its own for each"));
            }
            few("groups of one user", user.groups.len(), GROUPS_MAX)?;
            user.groups.iter().try_for_each(|g| account(g, "group"))?;
            user.home.iter().chain(&user.shell).try_for_each(|p| account_path(p))?;
        }
        for (path, file) in &self.files {
            file_path(path)?;
            text(path, &file.content)?;
            if file.mode > MODE_MAX {
                let said = format!("{path}: {:o} are no permissions", file.mode);
                return Err(ValidationError::new("bad-mode", said, "expected at most 7777, in octal"));
            }
        }
        few("build arguments", self.args.len(), ARGS_MAX)?;
        for (name, value) in &self.args {
            arg_name(name)?;
            arg_value(name, value)?;
        }
        match &self.script {
            Some(script) => text("the script", script),
            None if !self.args.is_empty() => Err(needs_script()),
            None => Ok(()),
        }
    }
}

/// Build arguments without a script that could read them.
pub fn needs_script() -> ValidationError {
    ValidationError::new("needs-script", "`args` needs `script`: nothing else reads them", "the image has no `script`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageFile, ImageName, ImageUser};

    fn with(change: impl FnOnce(&mut ImageSpec)) -> Result<(), &'static str> {
        let mut spec = ImageSpec {
            name: ImageName::new("a").unwrap(),
            base: None,
            debian: "bookworm".to_string(),
            packages: vec!["curl".to_string()],
            oci: None,
            rebuild: None,
            max_age_ms: None,
            window: None,
            jitter_ms: 0,
            checks: Vec::new(),
            custom: ImageCustom::default(),
        };
        change(&mut spec);
        spec.check().map_err(|wrong| {
            assert!(!wrong.message.is_empty() && !wrong.expected.is_empty(), "{wrong:?}");
            wrong.code
        })
    }

    fn file(path: &str, mode: u32) -> impl FnOnce(&mut ImageSpec) {
        let file = (path.to_string(), ImageFile { content: "x".to_string(), mode });
        |spec| spec.custom.files.extend([file])
    }

    fn user(name: &str, uid: u32, home: &str, group: &str) -> impl FnOnce(&mut ImageSpec) {
        let user = ImageUser { uid, home: Some(home.to_string()), shell: None, groups: vec![group.to_string()] };
        let user = (name.to_string(), user);
        |spec| spec.custom.users.extend([user])
    }

    fn args(args: &[(&str, &str)], script: Option<&str>) -> impl FnOnce(&mut ImageSpec) {
        let args: BTreeMap<_, _> = args.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        let script = script.map(str::to_string);
        |spec| (spec.custom.args, spec.custom.script) = (args, script)
    }

    #[test]
    fn what_cannot_be_is_told() {
        for path in [
            "etc/x",
            "/etc/../x",
            "/etc//x",
            "/etc/x\n",
            "/",
            "/etc/",
            "/a\"b",
            "/a${b}",
            "/run/x",
            "/etc/ssh/ssh_host_rsa_key",
            "/etc/hostname",
            "/var/log/a/b",
            "/tmp",
        ] {
            assert_eq!(with(file(path, 0o644)), Err("bad-path"), "{path}");
        }
        assert_eq!(with(file("/etc/x", 0o10_000)), Err("bad-mode"));
        for (name, home, group, code) in [
            ("root;rm", "/srv", "adm", "bad-name"),
            ("eve", "x", "adm", "bad-path"),
            ("eve", "/srv:/x", "adm", "bad-path"),
            ("eve", "/srv", "a b", "bad-name"),
        ] {
            assert_eq!(with(user(name, 1000, home, group)), Err(code), "{name} {home} {group}");
        }
        for uid in [0, 99, 65_534, u32::MAX] {
            assert_eq!(with(user("eve", uid, "/srv", "adm")), Err("out-of-range"), "{uid}");
        }
        let twice = |spec: &mut ImageSpec| {
            user("eve", 1000, "/srv", "adm")(spec);
            user("adam", 1000, "/srv", "adm")(spec);
        };
        assert_eq!(with(twice), Err("uid-taken"));
        for name in ["", "1A", "A-B", "A=B", "PATH", "SOURCE_DATE_EPOCH", "LD_PRELOAD", &"A".repeat(65)] {
            assert_eq!(with(args(&[(name, "x")], Some("true"))), Err("bad-name"), "{name}");
        }
        assert_eq!(with(args(&[("A", "x\0")], Some("true"))), Err("nul-byte"));
        assert_eq!(with(args(&[("A", &"x".repeat(ARG_BYTES_MAX + 1))], Some("true"))), Err("out-of-range"));
        assert_eq!(with(args(&[("A", "x")], None)), Err("needs-script"));
        assert_eq!(with(args(&[], Some(&"x".repeat(TEXT_BYTES_MAX + 1)))), Err("out-of-range"));
        assert_eq!(with(|spec| spec.packages.push("--option".to_string())), Err("bad-package"));
        assert_eq!(with(|spec| spec.debian = "--x".to_string()), Err("bad-suite"));
        assert_eq!(with(|spec| spec.custom.suites.push("x".repeat(33))), Err("bad-suite"));
        assert_eq!(with(|spec| spec.custom.components = vec!["main".into(), "non-free-firmware".into()]), Ok(()));
        assert_eq!(with(|spec| spec.custom.components.push("updates/main".into())), Err("bad-component"));
    }

    #[test]
    fn what_stands_upon_another_goes_with_it() {
        let on = |top: &dyn Fn(&mut ImageSpec), base: &dyn Fn(&mut ImageSpec)| {
            with(|spec| {
                let mut low = ImageSpec { name: ImageName::new("low").unwrap(), ..spec.clone() };
                base(&mut low);
                top(spec);
                spec.base = Some(Box::new(low));
            })
        };
        let eve = |spec: &mut ImageSpec| user("eve", 1000, "/srv", "adm")(spec);
        assert_eq!(on(&eve, &|spec| user("adam", 1001, "/srv", "adm")(spec)), Ok(()));
        assert_eq!(on(&eve, &eve), Err("duplicate-name"));
        assert_eq!(on(&eve, &|spec| user("adam", 1000, "/srv", "adm")(spec)), Err("uid-taken"));
        assert_eq!(on(&|_| {}, &|spec| spec.debian = "trixie".to_string()), Err("base-differs"));
        assert_eq!(on(&|spec| spec.custom.suites.push("sid".to_string()), &|_| {}), Err("base-differs"));
        assert_eq!(on(&|_| {}, &|spec| spec.packages.push("--option".to_string())), Err("bad-package"));
        let high = |spec: &mut ImageSpec| (1..ImageSpec::LEVELS_MAX).for_each(|_| spec.base = Some(Box::new(spec.clone())));
        assert_eq!(with(high), Ok(()));
        assert_eq!(on(&|_| {}, &high), Err("out-of-range"));
    }

    #[test]
    fn what_can_be_is_taken() {
        for path in ["/etc/it's", "/etc/hostname.d/x", "/etc/ä ö", "/application", "/var/lib/aptly"] {
            assert_eq!(with(file(path, 0o4755)), Ok(()), "{path}");
        }
        assert_eq!(with(user("eve", 100, "/srv/eve", "adm")), Ok(()));
        assert_eq!(with(user("eve", 65_533, "/", "adm")), Err("bad-path"));
        assert_eq!(with(args(&[("CHANNEL", "it's\n$x"), ("a_1", "")], Some("true"))), Ok(()));
    }
}
