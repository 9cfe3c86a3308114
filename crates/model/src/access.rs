//! Who may do what: roles, what a grant covers, and what the host policy reserves for root, whoever deploys.
//!
//! Pure. The host policy binds every identity but the administrator; the server determines identities, callers never name their own.
//! Where the policy sets nothing, the defaults here apply, and they are narrow.

use crate::network::NetworkPolicy;
use crate::{
    ContainerSource, Fault, ImageSource, ImageSpec, Limits, Names, Probe, Release, ServiceName, ServiceSpec, TierName, Volume, VolumeRule,
    volume,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// In growing order: each may do what the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Read,
    Deploy,
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Read, Role::Deploy, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Deploy => "deploy",
            Role::Admin => "admin",
        }
    }

    pub fn of(text: &str) -> Option<Role> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }
}

/// A role and the services it is for. Neither services nor tiers: `read` covers all, `deploy` is refused by [`Grant::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: Role,
    #[serde(default)]
    pub services: BTreeSet<ServiceName>,
    /// Covers every service of these tiers.
    #[serde(default)]
    pub tiers: BTreeSet<TierName>,
}

impl Grant {
    pub fn admin() -> Self {
        Self { role: Role::Admin, services: BTreeSet::new(), tiers: BTreeSet::new() }
    }

    /// Whether the grant is for named services alone.
    pub fn is_scoped(&self) -> bool {
        self.role != Role::Admin && !(self.services.is_empty() && self.tiers.is_empty())
    }

    pub fn check(&self) -> Result<(), Fault> {
        match self.role {
            Role::Deploy if !self.is_scoped() => Err(Fault::yours("bad-grant", "role deploy is for named services or tiers")
                .hint("name them: --service web,worker or --tier web")),
            Role::Admin if !(self.services.is_empty() && self.tiers.is_empty()) => {
                Err(Fault::yours("bad-grant", "role admin is for every service").hint("omit the services and tiers, or choose role deploy"))
            }
            _ => Ok(()),
        }
    }
}

/// Addresses and ports that may be listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// None: any address of the machine.
    pub ip: Option<IpAddr>,
    pub from: u16,
    pub to: u16,
}

impl Listen {
    fn covers(&self, address: SocketAddr) -> bool {
        (self.from..=self.to).contains(&address.port()) && self.ip.is_none_or(|ip| ip == address.ip())
    }
}

/// The most that one instance, and one service, may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Most {
    pub memory_bytes: u64,
    pub cpu_milli: u64,
    pub pids: u64,
    pub count: u32,
}

/// A user of this machine who may call the API over the socket that the policy names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub uid: u32,
    #[serde(flatten)]
    pub grant: Grant,
}

/// How a registry may be spoken to. A recipe may name these files of the host, and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(default)]
    pub plain_http: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPolicy {
    pub listen: Vec<Listen>,
    /// Numbers that an instance's user and group may have, from and to.
    pub users: Vec<(u32, u32)>,
    /// Identities whose recipes are accepted, and those whose recipes may have a script.
    pub recipes: BTreeSet<String>,
    pub scripts: BTreeSet<String>,
    /// Registries, or paths in them, that recipes of others than the administrator may pull from.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistryRule>,
    /// Directories of the host that servers may have as volumes, by path or `DIR/*`. This binds the administrator too.
    #[serde(default)]
    pub volumes: BTreeMap<String, VolumeRule>,
    pub health_exec: bool,
    pub checks: bool,
    /// Identities that may run commands beside the services that they may deploy.
    #[serde(default)]
    pub run: BTreeSet<String>,
    /// Whether commands may be run inside servers that run. False binds the administrator too.
    #[serde(default = "yes")]
    pub exec: bool,
    pub most: Most,
    #[serde(default)]
    pub network: NetworkPolicy,
    /// Where the peers call; None: they cannot.
    pub socket: Option<String>,
    /// By name.
    pub peers: BTreeMap<String, Peer>,
}

fn yes() -> bool {
    true
}

impl Default for HostPolicy {
    /// Applies where there is no policy: unprivileged ports, no user 0, nothing that runs beside the program itself.
    fn default() -> Self {
        Self {
            listen: vec![Listen { ip: None, from: 1024, to: u16::MAX }],
            users: vec![(1000, 65_534)],
            recipes: BTreeSet::new(),
            scripts: BTreeSet::new(),
            registries: BTreeMap::new(),
            volumes: BTreeMap::new(),
            health_exec: false,
            checks: false,
            run: BTreeSet::new(),
            exec: true,
            most: Most { memory_bytes: 2 << 30, cpu_milli: 2_000, pids: 512, count: 10 },
            network: NetworkPolicy::default(),
            socket: None,
            peers: BTreeMap::new(),
        }
    }
}

const SHOW: &str = "show what this host allows: `afresh policy show`; only root can change it";

fn no(code: &str, why: String) -> Result<(), Fault> {
    Err(Fault::yours(code, why).hint(SHOW))
}

impl HostPolicy {
    /// Whether a caller who is not the administrator may run this.
    pub fn permits(&self, spec: &ServiceSpec) -> Result<(), Fault> {
        let name = &spec.name;
        if let Some(route) = &spec.route
            && route.listen.edge().is_some_and(|listen| !self.listen.iter().any(|l| l.covers(listen)))
        {
            return no("policy-port", format!("{name}: the host policy allows no route on {}", route.listen));
        }
        self.network.permits(&spec.network).or_else(|(code, why)| no(code, format!("{name}: {why}")))?;
        self.permits_user(name, &spec.user)?;
        if matches!(spec.health.probe, Probe::Exec { .. }) {
            self.permits_health_exec(name)?;
        }
        if !spec.checks.is_empty() || spec.migrate.is_some() || !spec.jobs.is_empty() {
            self.permits_checks(name)?;
        }
        self.permits_count(name, spec.count)?;
        self.permits_limits(name, &spec.limits)
    }

    /// As [`HostPolicy::permits`], for what a container image may say in place of the service.
    pub fn permits_release(&self, release: &Release) -> Result<(), Fault> {
        self.permits_user(&release.service, &release.user)?;
        if matches!(release.health.probe, Probe::Exec { .. }) { self.permits_health_exec(&release.service) } else { Ok(()) }
    }

    pub fn permits_user(&self, service: &ServiceName, user: &str) -> Result<(), Fault> {
        for part in user.split(':') {
            // A user that is not a number is not allowed.
            let allowed = part.parse::<u32>().is_ok_and(|id| self.users.iter().any(|(from, to)| (*from..=*to).contains(&id)));
            if !allowed {
                return no("policy-user", format!("{service}: the host policy allows no instance to run as {user}"));
            }
        }
        Ok(())
    }

    pub fn permits_health_exec(&self, service: &ServiceName) -> Result<(), Fault> {
        if self.health_exec { Ok(()) } else { no("policy-exec", format!("{service}: the host policy allows no health check by `exec`")) }
    }

    pub fn permits_checks(&self, service: &ServiceName) -> Result<(), Fault> {
        if self.checks {
            Ok(())
        } else {
            no("policy-check", format!("{service}: the host policy allows no commands of checks, migrations and jobs"))
        }
    }

    /// Whether this identity may have a command run beside the service.
    pub fn permits_run(&self, who: &str, service: &ServiceName) -> Result<(), Fault> {
        if self.run.contains(who) { Ok(()) } else { no("policy-run", format!("{service}: the host policy lets {who} run no commands")) }
    }

    /// Whether a service may have this volume: [`HostPolicy::volumes`] are all that there are, whoever deploys.
    /// A rule goes on for a service that was renamed since, whichever of its names it has: none of them is ever another service's.
    pub fn permits_volume(&self, names: &Names, service: &ServiceName, volume: &Volume) -> Result<volume::Permitted, Fault> {
        volume::permitted(&self.volumes, names, service, volume).map_err(|why| {
            let (mode, source) = (if volume.read_only { "  read_only = true" } else { "" }, &volume.source);
            let rule = format!("volume \"{source}\" {{ services = [\"{service}\"]{mode} }}");
            Fault::yours("policy-volume", format!("{service}: volume {}: {why}", volume.name))
                .hint(format!("root can write `{rule}` into the host policy; `afresh policy show` prints what it allows"))
        })
    }

    /// Whether this identity may have a command run inside a server of the service.
    pub fn permits_exec(&self, who: &str, is_admin: bool, service: &ServiceName) -> Result<(), Fault> {
        if !self.exec {
            return no("policy-no-exec", format!("{service}: the host policy lets nobody run commands inside servers"));
        }
        if is_admin { Ok(()) } else { self.permits_run(who, service) }
    }

    pub fn permits_count(&self, service: &ServiceName, count: u32) -> Result<(), Fault> {
        if count <= self.most.count {
            return Ok(());
        }
        no("policy-count", format!("{service}: {count} servers, and the host policy allows at most {}", self.most.count))
    }

    fn permits_limits(&self, service: &ServiceName, limits: &Limits) -> Result<(), Fault> {
        let most = &self.most;
        for (what, wanted, allowed, unit) in [
            ("memory", limits.memory_bytes, most.memory_bytes, " bytes"),
            ("cpu", limits.cpu_milli, most.cpu_milli, "m"),
            ("pids", limits.pids, most.pids, ""),
        ] {
            if wanted > allowed {
                let told = format!("{service}: {what} of {wanted}{unit}, and the host policy allows at most {allowed}{unit}");
                return no("policy-limits", told);
            }
        }
        Ok(())
    }

    /// Whether a recipe that this host does not have yet is accepted from this identity.
    pub fn permits_recipe(&self, who: &str, image: &ImageSpec) -> Result<(), Fault> {
        if !self.recipes.contains(who) {
            let told = format!(
                "image {}: its recipe differs from the one on this host, and the host policy accepts no recipe from {who}",
                image.name
            );
            return Err(Fault::yours("policy-recipe", told)
                .hint("let the administrator deploy the new recipe first, or add the identity to `recipes` of the host policy"));
        }
        if let Some(source) = &image.oci {
            self.permits_registry(who, image, source)?;
        }
        // An unsigned package has the scripts of whoever is on the path to its mirror.
        let levels = image.levels();
        let may_run = |level: &&ImageSpec| level.custom.script.is_some() || !level.custom.allow_unsigned.is_empty();
        if levels.iter().any(may_run) && !self.scripts.contains(who) {
            let told = format!("image {}: the host policy accepts no script and no unsigned package from {who}", image.name);
            return no("policy-script", told);
        }
        // Checks run as root of an instance of their own, without a service's limits.
        if !self.checks && levels.iter().any(|level| !level.checks.is_empty()) {
            return no("policy-check", format!("image {}: the host policy allows no check commands", image.name));
        }
        Ok(())
    }

    /// What a recipe names is read, and spoken to, by root of this host: neither is for others to choose.
    fn permits_registry(&self, who: &str, image: &ImageSpec, source: &ContainerSource) -> Result<(), Fault> {
        let no = |why: String, rule: String| {
            Err(Fault::yours("policy-registry", format!("image {}: {why}", image.name))
                .hint(format!("root can write `{rule}` into the host policy")))
        };
        let Ok(ImageSource::Registry(of)) = source.reference.parse() else {
            let why = format!("the host policy takes no image from a path of this host for {who}");
            return no(why, "registry \"registry.example.org\" {}".to_string());
        };
        let path = format!("{}/{}", of.registry, of.repository);
        let covers = |rule: &str| path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some((_, rule)) = self.registries.iter().filter(|(rule, _)| covers(rule)).max_by_key(|(rule, _)| rule.len()) else {
            return no(format!("the host policy lets {who} pull nothing from {path}"), format!("registry \"{path}\" {{}}"));
        };
        for (key, named, allowed) in [("auth", &source.auth, &rule.auth), ("ca", &source.ca, &rule.ca)] {
            if let Some(file) = named.as_ref().filter(|_| named != allowed) {
                let why = format!("its registry has {key} = \"{file}\", and the host policy lets {who} name no such file for {path}");
                return no(why, format!("registry \"{path}\" {{ {key} = \"{file}\" }}"));
            }
        }
        if source.plain_http && !rule.plain_http {
            let why = format!("the host policy does not let {who} speak to {} without TLS", of.registry);
            return no(why, format!("registry \"{path}\" {{ plain_http = true }}"));
        }
        Ok(())
    }

    /// What a uid of this machine may do, and under which name.
    pub fn peer(&self, uid: u32) -> Option<(&str, &Grant)> {
        self.peers.iter().find(|(_, peer)| peer.uid == uid).map(|(name, peer)| (name.as_str(), &peer.grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_to_deploy_names_its_services() {
        let grant = |role, services: &[&str]| Grant {
            role,
            services: services.iter().map(|s| ServiceName::new(*s).unwrap()).collect(),
            tiers: BTreeSet::new(),
        };
        assert!(grant(Role::Deploy, &[]).check().is_err() && grant(Role::Admin, &["web"]).check().is_err());
        assert!(grant(Role::Deploy, &["web"]).check().is_ok() && grant(Role::Read, &[]).check().is_ok());
        assert!(grant(Role::Read, &["web"]).is_scoped() && !grant(Role::Read, &[]).is_scoped() && !Grant::admin().is_scoped());
    }

    #[test]
    fn recipes_of_others_pull_from_where_root_says_and_read_no_file_of_the_host() {
        let rule = |auth: Option<&str>, ca: Option<&str>, plain_http| RegistryRule {
            auth: auth.map(str::to_string),
            ca: ca.map(str::to_string),
            plain_http,
        };
        let policy = HostPolicy {
            recipes: BTreeSet::from(["token:ci".to_string()]),
            registries: BTreeMap::from([
                ("r.example/shop".to_string(), rule(Some("/etc/a"), None, false)),
                ("r.example/shop/open".to_string(), rule(None, None, false)),
                ("own.example:5000".to_string(), rule(None, Some("/etc/ca"), true)),
            ]),
            ..HostPolicy::default()
        };
        let code = |reference: &str, auth: Option<&str>, ca: Option<&str>, plain: bool| {
            let image: ImageSpec = serde_json::from_value(serde_json::json!({
                "name": "app", "oci": { "reference": reference, "auth": auth, "ca": ca, "plain_http": plain },
            }))
            .unwrap();
            policy.permits_recipe("token:ci", &image).map_or_else(|f| f.code, |()| "permitted".to_string())
        };
        for (reference, auth, ca, plain) in [
            ("r.example/shop/app:1", None, None, false),
            ("r.example/shop:1", Some("/etc/a"), None, false),
            ("own.example:5000/a/b", None, Some("/etc/ca"), true),
            ("r.example/shop/open/a", None, None, false),
        ] {
            assert_eq!(code(reference, auth, ca, plain), "permitted", "{reference}");
        }
        for (reference, auth, ca, plain) in [
            ("r.example/shopping/app", None, None, false),
            ("r.example/other", None, None, false),
            ("own.example/a", None, None, false),
            ("169.254.169.254/a", None, None, false),
            ("r.example/shop/app", Some("/etc/shadow"), None, false),
            ("r.example/shop/app", None, Some("/etc/a"), false),
            ("r.example/shop/open/a", Some("/etc/a"), None, false),
            ("r.example/shop/app", None, None, true),
            ("oci:/etc", None, None, false),
            ("oci-archive:/root/app.tar", None, None, false),
        ] {
            assert_eq!(code(reference, auth, ca, plain), "policy-registry", "{reference}");
        }
    }

    #[test]
    fn users_are_numbers_within_the_ranges() {
        let policy = HostPolicy::default();
        let web = ServiceName::new("web").unwrap();
        for bad in ["0", "0:0", "1000:0", "0:1000", "999", "root", "", "1000:", "65535", "4294967296"] {
            assert!(policy.permits_user(&web, bad).is_err(), "{bad:?}");
        }
        for good in ["1000", "65534:65534"] {
            assert!(policy.permits_user(&web, good).is_ok(), "{good:?}");
        }
    }
}
