//! What a service takes from its container image, where its file leaves a setting to that. Pure.
//!
//! The release carries the settings as they came out, and which of them were left to the image: so a rollout of a newer image takes what
//! that one says, and nobody below the control plane has to know of it.

use crate::{
    ContainerDefaults, ContainerHealthcheck, Drain, Fault, FromContainer, Health, LeftToImage, Probe, Release, RouteAddress, ServiceSpec,
};
use std::collections::BTreeSet;

/// The kernel makes these, and a link in them may lead out of a container (CVE-2024-21626).
pub const NO_WORKDIR: &[&str] = &["proc", "sys", "dev"];

/// Ports or volumes of an image in a note.
const SHOWN_MAX: usize = 20;

/// Whether a server may begin in this directory.
pub fn is_workdir(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    path.starts_with('/')
        && path.len() < 4096
        && !path.contains('\0')
        && !parts.contains(&"..")
        && parts.first().is_none_or(|first| !NO_WORKDIR.contains(first))
}

/// Whether an image gives a service no release, now and later.
pub fn is_unusable(fault: &Fault) -> bool {
    ["no-command", "image-user", "image-workdir", "needs-port", "policy-user", "policy-exec", "guard-denied"].contains(&fault.code.as_str())
}

impl Release {
    /// The image's settings in place of those that the service leaves to it. `defaults`: what the image says; None: it is no container image.
    pub fn on(self, left: &BTreeSet<LeftToImage>, defaults: Option<&ContainerDefaults>) -> Result<Release, Fault> {
        let mut release = Release { container: None, ..self.silent(left) };
        let Some(image) = defaults else { return release.must_be_whole() };
        let service = release.service.clone();
        let bad = |code: &str, text: String, hint: &str| Fault::yours(code, format!("{service}: {text}")).hint(hint);
        for one in left {
            match one {
                LeftToImage::Run => release.run = image.run(),
                LeftToImage::User => match (&image.user, image.ids) {
                    (None, _) => {}
                    (Some(_), Some((uid, gid))) if uid.max(gid) <= 65_535 => release.user = format!("{uid}:{gid}"),
                    (Some(name), _) => {
                        let text = format!(
                            "the image's user {:?} is not in its /etc/passwd, or not within 0 to 65535",
                            crate::text::shown(name, 64)
                        );
                        return Err(bad("image-user", text, "name one in numbers: user = \"1000:1000\""));
                    }
                },
                LeftToImage::Port => release.port = port(image),
                LeftToImage::Signal => {
                    if let Some(signal) = image.stop_signal.as_deref().and_then(signal) {
                        release.drain.signal = signal.to_string();
                    }
                }
                LeftToImage::Health => {
                    if let Some(check) = &image.healthcheck {
                        release.health = health(check);
                    }
                }
            }
        }
        if let Some(dir) = image.workdir.as_deref().filter(|dir| !is_workdir(dir)) {
            let text = format!("the image's working directory {:?} is none that a server may have", crate::text::shown(dir, 64));
            return Err(bad("image-workdir", text, "set another WORKDIR, a path from the root outside of /proc, /sys and /dev"));
        }
        release.container = Some(FromContainer { env: image.env.clone(), workdir: image.workdir.clone(), left: left.clone() });
        release.must_be_whole()
    }

    /// With what counts where nobody says anything, in place of settings that are left to the image.
    #[must_use]
    pub fn silent(mut self, left: &BTreeSet<LeftToImage>) -> Release {
        for one in left {
            match one {
                LeftToImage::Run => self.run = Vec::new(),
                LeftToImage::User => self.user = ServiceSpec::default_user(),
                LeftToImage::Port => self.port = None,
                LeftToImage::Signal => self.drain.signal = Drain::default().signal,
                LeftToImage::Health => self.health = Health::default(),
            }
        }
        self
    }

    /// What the file's reader cannot see of a service that leaves settings to its image.
    fn must_be_whole(self) -> Result<Release, Fault> {
        let (service, image) = (&self.service, &self.image_name);
        if self.run.first().is_none_or(String::is_empty) {
            return Err(Fault::yours("no-command", format!("{service}: neither the service nor its image {image} says what runs"))
                .hint(format!("write `run = [\"/usr/bin/program\"]` in service \"{service}\"")));
        }
        let needs = match &self.health.probe {
            Probe::Http { .. } | Probe::Tcp => Some("health over the network"),
            Probe::Exec { .. } | Probe::Running => None,
        };
        let routed = self.route.as_ref().map(|route| match route.listen {
            RouteAddress::Edge(_) => "a route",
            RouteAddress::Internal(_) => "an internal route",
        });
        if let (Some(what), None) = (needs.or(routed), self.port) {
            let text = format!("{service}: {what} needs the service's port, and its image {image} does not expose exactly one TCP port");
            return Err(Fault::yours("needs-port", text).hint(format!("write `port = 8080` in service \"{service}\"")));
        }
        Ok(self)
    }
}

/// `8080/tcp` or `8080`, if there is one such port alone.
fn port(image: &ContainerDefaults) -> Option<u16> {
    let tcp = |text: &String| {
        text.split_once('/').map_or(Some(text.as_str()), |(port, kind)| (kind == "tcp").then_some(port)).map(str::to_string)
    };
    let mut all = image.ports.iter().filter_map(tcp);
    match (all.next(), all.next()) {
        (Some(one), None) => one.parse().ok().filter(|port| *port > 0),
        _ => None,
    }
}

/// With or without SIG, or by its number on Linux: one of those that a server may be ended with.
fn signal(text: &str) -> Option<&'static str> {
    const SIGNALS: [(&str, &str); 7] =
        [("TERM", "15"), ("INT", "2"), ("QUIT", "3"), ("HUP", "1"), ("USR1", "10"), ("USR2", "12"), ("WINCH", "28")];
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.into_iter().find(|(known, number)| *known == name || *number == name).map(|(known, _)| known)
}

/// Within what a service file may say of health.
fn health(check: &ContainerHealthcheck) -> Health {
    let default = Health::default();
    Health {
        probe: Probe::Exec { command: check.test.clone() },
        every_ms: check.interval_ms.map_or(default.every_ms, |ms| ms.clamp(10, 3_600_000)),
        timeout_ms: check.timeout_ms.map_or(default.timeout_ms, |ms| ms.clamp(10, 600_000)),
        healthy_for_ms: default.healthy_for_ms,
        unhealthy_after: check.retries.map_or(default.unhealthy_after, |n| n.clamp(1, 100)),
    }
}

/// What a release has from its image, and what of the image it does not use, a sentence each.
pub fn notes(release: &Release, image: &ContainerDefaults) -> Vec<String> {
    let Some(from) = &release.container else { return Vec::new() };
    let left = |one| from.left.contains(&one);
    let shown = |text: &str| crate::text::shown(text, 80);
    let list = |all: &[String]| {
        let more = all.len().saturating_sub(SHOWN_MAX);
        let all = all.iter().take(SHOWN_MAX).map(|one| shown(one)).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{all} and {more} more") } else { all }
    };
    let mut taken = Vec::new();
    let mut notes = Vec::new();
    if left(LeftToImage::Run) {
        taken.push(format!("run = {}", shown(&format!("{:?}", release.run))));
    }
    match &image.user {
        Some(_) if left(LeftToImage::User) => taken.push(format!("user = {:?}", release.user)),
        None if left(LeftToImage::User) => {
            notes
                .push(format!("the image names no user: servers run as nobody ({}); `user = \"0:0\"` is root of the server", release.user));
        }
        _ => {}
    }
    if left(LeftToImage::Port) {
        match release.port {
            Some(port) => taken.push(format!("port = {port}")),
            None if image.ports.is_empty() => {}
            None => notes.push(format!("the image exposes {}: none of them is the service's port by itself", list(&image.ports))),
        }
    }
    if left(LeftToImage::Health) && image.healthcheck.is_some() {
        taken.push("health".to_string());
    }
    if let Some(text) = &image.stop_signal {
        match signal(text) {
            Some(signal) if left(LeftToImage::Signal) => taken.push(format!("drain.signal = {signal:?}")),
            None => notes.push(format!(
                "the image's stop signal {:?} is none that servers are ended with: {}",
                shown(text),
                release.drain.signal
            )),
            Some(_) => {}
        }
    }
    let variables = if image.env.len() == 1 { "1 variable".to_string() } else { format!("{} variables", image.env.len()) };
    taken.extend((!image.env.is_empty()).then_some(variables));
    taken.extend(image.workdir.iter().filter(|_| release.artifact.is_none()).map(|dir| format!("the working directory {:?}", shown(dir))));
    if !taken.is_empty() {
        notes.insert(0, format!("from its image: {}", taken.join(", ")));
    }
    let unkept: Vec<String> = image.volumes.iter().filter(|at| !release.volumes.iter().any(|v| v.at == **at)).cloned().collect();
    if !unkept.is_empty() {
        notes.push(format!(
            "the image wants a volume at {}: without a `volume` block, what is written there goes with the server",
            list(&unkept)
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Limits, Network, Route};
    use std::collections::BTreeMap;

    fn release() -> Release {
        Release {
            service: "web".parse().unwrap(),
            number: 1,
            image_name: "app".parse().unwrap(),
            image: Digest::of(b"image"),
            artifact: None,
            run: vec!["/own".to_string()],
            env: BTreeMap::from([("A".to_string(), "own".to_string())]),
            secrets: Default::default(),
            user: "7:8".to_string(),
            port: Some(80),
            health: Health { probe: Probe::Tcp, ..Health::default() },
            drain: Drain { signal: "INT".to_string(), within_ms: 9 },
            limits: Limits::default(),
            volumes: Vec::new(),
            exclusive: false,
            network: Network::closed(),
            route: Some(Route::on(([127, 0, 0, 1], 80).into())),
            checks: Vec::new(),
            migrate: None,
            container: None,
        }
    }

    fn image() -> ContainerDefaults {
        ContainerDefaults {
            entrypoint: vec!["/e".to_string()],
            cmd: vec!["c".to_string()],
            env: BTreeMap::from([("A".to_string(), "image".to_string()), ("B".to_string(), "b".to_string())]),
            user: Some("app".to_string()),
            ids: Some((1000, 1001)),
            workdir: Some("/srv".to_string()),
            ports: vec!["53/udp".to_string(), "8080/tcp".to_string()],
            volumes: vec!["/data".to_string()],
            stop_signal: Some("SIGQUIT".to_string()),
            healthcheck: Some(ContainerHealthcheck {
                test: vec!["/alive".to_string()],
                interval_ms: Some(0),
                timeout_ms: Some(u64::MAX),
                start_period_ms: None,
                retries: Some(5),
            }),
        }
    }

    #[test]
    fn what_is_left_to_the_image_is_the_images_and_nothing_else() {
        let none = release().on(&BTreeSet::new(), Some(&image())).unwrap();
        let from = none.container.clone().unwrap();
        assert_eq!((from.env, from.workdir.as_deref()), (image().env, Some("/srv")));
        assert_eq!(Release { container: None, ..none }, release(), "a file that says all has all of it");

        let all: BTreeSet<LeftToImage> = LeftToImage::ALL.into();
        let taken = release().on(&all, Some(&image())).unwrap();
        assert_eq!((taken.run.join(" ").as_str(), taken.user.as_str(), taken.port), ("/e c", "1000:1001", Some(8080)));
        assert_eq!((taken.drain.signal.as_str(), taken.drain.within_ms), ("QUIT", 9));
        assert_eq!((&taken.health.probe, taken.health.unhealthy_after), (&Probe::Exec { command: vec!["/alive".into()] }, 5));
        assert_eq!((taken.health.every_ms, taken.health.timeout_ms), (10, 600_000), "within what a file may say");
        assert_eq!(taken.env, release().env, "the service's own stay apart");

        // What the image before said is not kept where the next is silent.
        let quiet = ContainerDefaults { cmd: vec!["/other".to_string()], ports: vec!["9000".to_string()], ..ContainerDefaults::default() };
        let next = taken.clone().on(&all, Some(&quiet)).unwrap();
        assert_eq!((next.run, next.user.as_str(), next.port), (vec!["/other".to_string()], "65534:65534", Some(9000)));
        assert_eq!((next.health, next.drain.signal.as_str()), (Health::default(), "TERM"));
        assert_eq!(next.container.unwrap(), FromContainer { left: all.clone(), ..FromContainer::default() });
        assert_eq!(taken.clone().on(&all, Some(&image())).unwrap(), taken, "the same again");
    }

    #[test]
    fn what_an_image_cannot_say_is_an_error_or_left_out() {
        let code = |change: fn(&mut ContainerDefaults)| {
            let mut image = image();
            change(&mut image);
            release().on(&LeftToImage::ALL.into(), Some(&image)).map_err(|f| f.code)
        };
        assert_eq!(code(|i| (i.entrypoint, i.cmd) = Default::default()).unwrap_err(), "no-command");
        assert_eq!(code(|i| i.ids = None).unwrap_err(), "image-user");
        assert_eq!(code(|i| i.ids = Some((0, 65_536))).unwrap_err(), "image-user");
        assert_eq!(code(|i| i.ports.push("8081/tcp".into())).unwrap_err(), "needs-port");
        assert_eq!(code(|i| i.ports = vec!["0/tcp".into()]).unwrap_err(), "needs-port");
        assert_eq!(code(|i| i.ports = vec!["53/udp".into()]).unwrap_err(), "needs-port");
        for dir in ["/proc/self/fd/7", "//proc", "/./sys", "/a/../proc", "relative", "", "/dev"] {
            assert!(!is_workdir(dir), "{dir}");
        }
        assert!(["/", "/srv/app", "/process", "/srv/proc"].into_iter().all(is_workdir));
        assert_eq!(code(|i| i.workdir = Some("/proc/self/fd/7".into())).unwrap_err(), "image-workdir");
        assert_eq!(code(|i| i.stop_signal = Some("SIGKILL".into())).unwrap().drain.signal, "TERM");
        assert_eq!(code(|i| i.stop_signal = Some("3".into())).unwrap().drain.signal, "QUIT");
        assert_eq!(release().on(&LeftToImage::ALL.into(), None).unwrap_err().code, "no-command");
    }

    #[test]
    fn where_each_value_is_from() {
        let taken = release().on(&LeftToImage::ALL.into(), Some(&image())).unwrap();
        assert_eq!(
            notes(&taken, &image()),
            [
                "from its image: run = [\"/e\", \"c\"], user = \"1000:1001\", port = 8080, health, drain.signal = \"QUIT\", 2 variables, the working directory \"/srv\"",
                "the image wants a volume at /data: without a `volume` block, what is written there goes with the server",
            ]
        );
        let own = release().on(&BTreeSet::new(), Some(&image())).unwrap();
        let many = ContainerDefaults { volumes: (0..25).map(|n| format!("/{n}")).collect(), ..image() };
        assert!(notes(&own, &many)[1].contains("/18, /19 and 5 more: "), "{:?}", notes(&own, &many));
        assert_eq!(notes(&own, &image())[0], "from its image: 2 variables, the working directory \"/srv\"");
    }
}
