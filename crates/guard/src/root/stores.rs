//! MongoDB, Elasticsearch, etcd, memcached, MinIO, Docker, MySQL: who reaches them, and whether they ask who it is.

use super::exposure::Exposure;
use super::reach::{Reach, host_of};
use super::text::{assignments, is_yes, lines, sections, words, yaml};
use crate::finding::Severity;
use crate::ternary::Tri;
use std::collections::BTreeMap;

type Yaml = BTreeMap<String, (usize, Vec<String>)>;

fn first<'a>(yaml: &'a Yaml, keys: &[&str]) -> Option<(usize, &'a Vec<String>)> {
    keys.iter().find_map(|key| yaml.get(*key)).map(|(line, items)| (*line, items))
}

fn says(yaml: &Yaml, key: &str) -> Option<bool> {
    first(yaml, &[key]).and_then(|(_, items)| items.first()).map(|text| is_yes(text))
}

/// `open`: whether it lets in without asking.
struct Service<'a> {
    rule: &'static str,
    path: &'a str,
    line: usize,
    reach: Reach,
    open: Tri,
    missing: &'a str,
    what: &'a str,
    fix: String,
}

impl Service<'_> {
    fn judge(self) -> Vec<Exposure> {
        let why = format!("{} can {}", self.reach.phrase(), self.what);
        let missing = if self.reach == Reach::Unknown { "the address that it listens on" } else { self.missing };
        let severity = self.reach.soften(Severity::Critical);
        let exposure = Exposure::new(self.rule, self.path, self.line, severity, why, self.fix);
        exposure.given(self.reach.is_wide().and(self.open), missing).into_iter().collect()
    }
}

/// <https://www.mongodb.com/docs/manual/reference/configuration-options/>
pub(super) fn mongo(path: &str, text: &str) -> Vec<Exposure> {
    let rule = "mongodb-without-authentication";
    let service = |line, reach, open| {
        let fix = format!("set `security.authorization: enabled` and `net.bindIp: 127.0.0.1` in {path}");
        let missing = "security.authorization";
        Service { rule, path, line, reach, open, missing, what: "read and write every database of MongoDB without a password", fix }.judge()
    };
    // Before 2.6 the file was `key = value`.
    let old = assignments(text);
    if old.contains_key("bind_ip") || old.contains_key("dbpath") {
        let reach = old.get("bind_ip").map_or(Reach::Anyone, |(_, list)| Reach::of(list.split(',')));
        let asks = ["auth", "keyFile"].iter().any(|key| old.get(*key).is_some_and(|(_, v)| *key == "keyFile" || is_yes(v)));
        return service(old.get("bind_ip").map_or(0, |(line, _)| *line), reach, Tri::from(!asks));
    }
    let Some(yaml) = yaml(text) else { return vec![Exposure::unknown(rule, path, "all of its YAML")] };
    let bound = first(&yaml, &["net.bindIp"]);
    let reach = match bound {
        _ if says(&yaml, "net.bindIpAll") == Some(true) => Reach::Anyone,
        Some((_, items)) => Reach::of(items.iter().flat_map(|item| item.split(','))),
        // The default is localhost since 3.6.
        None => Reach::Loopback,
    };
    let asks = says(&yaml, "security.authorization") == Some(true)
        || yaml.contains_key("security.keyFile")
        || first(&yaml, &["security.clusterAuthMode"]).is_some_and(|(_, v)| v.iter().any(|v| v.eq_ignore_ascii_case("x509")));
    let transition = says(&yaml, "security.transitionToAuth") == Some(true);
    service(bound.map_or(0, |(line, _)| line), reach, Tri::from(!asks || transition))
}

/// <https://www.elastic.co/guide/en/elasticsearch/reference/current/security-settings.html>
pub(super) fn elastic(path: &str, text: &str) -> Vec<Exposure> {
    let rule = "elasticsearch-without-authentication";
    let Some(yaml) = yaml(text) else { return vec![Exposure::unknown(rule, path, "all of its YAML")] };
    let bound = first(&yaml, &["http.bind_host", "http.host", "network.bind_host", "network.host"]);
    let special = |item: &str| match item.trim_matches('_') {
        "local" => "127.0.0.1".to_string(),
        "site" => "10.0.0.0".to_string(),
        "global" => "0.0.0.0".to_string(),
        other => other.to_string(),
    };
    let hosts: Vec<String> = bound.map(|(_, items)| items.iter().map(|item| special(item)).collect()).unwrap_or_default();
    let open = match (says(&yaml, "xpack.security.enabled"), says(&yaml, "plugins.security.disabled")) {
        (Some(on), _) => Tri::from(!on),
        (None, Some(off)) => Tri::from(off),
        (None, None) => Tri::Unknown,
    };
    Service {
        rule,
        path,
        line: bound.map_or(0, |(line, _)| line),
        reach: Reach::of(hosts.iter().map(String::as_str)),
        open,
        missing: "xpack.security.enabled: it is off by default before 8.0",
        what: "read and write every index of Elasticsearch without a password",
        fix: format!("set `xpack.security.enabled: true` or `network.host: _local_` in {path}"),
    }
    .judge()
}

/// Its YAML file, or its environment file. <https://etcd.io/docs/latest/op-guide/configuration/>
pub(super) fn etcd(path: &str, text: &str) -> Vec<Exposure> {
    let rule = "etcd-without-authentication";
    let environment = assignments(text);
    let of_environment = |name: &str| environment.get(name).map(|(line, value)| (*line, value.clone()));
    let (urls, asks) = if environment.keys().any(|key| key.starts_with("ETCD_")) {
        let asks =
            of_environment("ETCD_CLIENT_CERT_AUTH").is_some_and(|(_, v)| is_yes(&v)) || environment.contains_key("ETCD_TRUSTED_CA_FILE");
        (of_environment("ETCD_LISTEN_CLIENT_URLS"), asks)
    } else {
        let Some(yaml) = yaml(text) else { return vec![Exposure::unknown(rule, path, "all of its YAML")] };
        let asks = says(&yaml, "client-transport-security.client-cert-auth") == Some(true)
            || yaml.contains_key("client-transport-security.trusted-ca-file");
        (first(&yaml, &["listen-client-urls"]).map(|(line, items)| (line, items.join(","))), asks)
    };
    etcd_listens(path, urls, asks)
}

fn etcd_listens(path: &str, urls: Option<(usize, String)>, asks: bool) -> Vec<Exposure> {
    let (line, urls) = urls.unwrap_or_default();
    let clear = urls.split(',').any(|url| url.trim().starts_with("http://") && Reach::of([host_of(url.trim())]).is_wide() != Tri::No);
    Service {
        rule: "etcd-without-authentication",
        path,
        line,
        reach: Reach::of(urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(host_of)),
        // Without TLS there are no certificates of clients.
        open: Tri::from(!asks || clear),
        missing: "client-cert-auth",
        what: "read and write every key of etcd, unless its own users are turned on",
        fix: "listen on https:// with client-cert-auth, or on 127.0.0.1".into(),
    }
    .judge()
}

/// Options in `memcached.conf`, or `OPTIONS` of an environment file.
pub(super) fn memcached(path: &str, text: &str) -> Vec<Exposure> {
    let options = assignments(text).get("OPTIONS").map(|(_, value)| value.clone());
    let is_environment = options.is_some() || text.contains("CACHESIZE");
    let all: Vec<(usize, String)> = if is_environment {
        words(&options.unwrap_or_default()).into_iter().map(|w| (0, w)).collect()
    } else {
        lines(text).flat_map(|(n, line)| words(line).into_iter().map(move |w| (n, w))).collect()
    };
    memcached_options(path, &all)
}

fn memcached_options(path: &str, options: &[(usize, String)]) -> Vec<Exposure> {
    let mut listens: Vec<(usize, String)> = Vec::new();
    let (mut asks, mut tcp, mut socket) = (false, true, false);
    let mut rest = options.iter();
    while let Some((line, word)) = rest.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag.to_string(), value.to_string()),
            // A dash and a letter; a value may follow without a space.
            _ if word.starts_with('-') && !word.starts_with("--") && word.len() > 2 => match word.split_at_checked(2) {
                Some((flag, value)) => (flag.to_string(), value.to_string()),
                None => (word.clone(), String::new()),
            },
            _ if matches!(word.as_str(), "-l" | "-p" | "-s" | "-Y" | "--listen" | "--port" | "--unix-socket" | "--auth-file") => {
                (word.clone(), rest.next().map(|(_, w)| w.clone()).unwrap_or_default())
            }
            _ => (word.clone(), String::new()),
        };
        match flag.as_str() {
            "-l" | "--listen" => listens.extend(value.split(',').map(|address| (*line, address.to_string()))),
            "-S" | "--enable-sasl" | "-Y" | "--auth-file" => asks = true,
            "-p" | "--port" => tcp = value != "0",
            "-s" | "--unix-socket" => socket = true,
            _ => {}
        }
    }
    if socket || !tcp {
        return Vec::new();
    }
    let reach = if listens.is_empty() { Reach::Anyone } else { Reach::of(listens.iter().map(|(_, address)| host_of(address))) };
    Service {
        rule: "memcached-without-authentication",
        path,
        line: listens.first().map_or(0, |(line, _)| *line),
        reach,
        open: Tri::from(!asks),
        missing: "-S",
        what: "read and write memcached",
        fix: format!("write `-l 127.0.0.1` in {path}"),
    }
    .judge()
}

/// <https://min.io/docs/minio/linux/reference/minio-server/settings/root-credentials.html>
pub(super) fn minio(path: &str, text: &str) -> Vec<Exposure> {
    let all = assignments(text);
    let value = |names: &[&str]| names.iter().find_map(|name| all.get(*name)).map(|(_, value)| value.as_str());
    let password = value(&["MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY"]);
    if value(&["MINIO_ROOT_PASSWORD_FILE", "MINIO_SECRET_KEY_FILE", "MINIO_CONFIG_ENV_FILE"]).is_some() {
        return Vec::new();
    }
    let options = words(value(&["MINIO_OPTS"]).unwrap_or_default());
    let address = options.iter().enumerate().find_map(|(n, word)| {
        word.strip_prefix("--address=").map(str::to_string).or_else(|| (word == "--address").then(|| options.get(n + 1).cloned()).flatten())
    });
    let address = address.or_else(|| value(&["MINIO_ADDRESS"]).map(str::to_string)).unwrap_or_else(|| ":9000".into());
    Service {
        rule: "minio-default-password",
        path,
        line: ["MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY"].iter().find_map(|name| all.get(*name)).map_or(0, |(line, _)| *line),
        reach: Reach::of([host_of(&address)]),
        open: Tri::from(password.is_none_or(|p| p.is_empty() || p == "minioadmin")),
        missing: "MINIO_ROOT_PASSWORD",
        what: "use MinIO with its default password minioadmin",
        fix: format!("set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD in {path}"),
    }
    .judge()
}

/// `daemon.json`. <https://docs.docker.com/engine/daemon/remote-access/>
pub(super) fn docker(path: &str, text: &str) -> Vec<Exposure> {
    let rule = "docker-without-authentication";
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return vec![Exposure::unknown(rule, path, "all of its JSON")];
    };
    let hosts: Vec<String> = value["hosts"].as_array().into_iter().flatten().filter_map(|h| h.as_str().map(str::to_string)).collect();
    let asks = value["tlsverify"].as_bool() == Some(true);
    let line = (1..).zip(text.lines()).find(|(_, line)| line.contains("tcp://")).map_or(0, |(n, _)| n);
    docker_listens(path, line, &hosts, asks)
}

fn docker_listens(path: &str, line: usize, hosts: &[String], asks: bool) -> Vec<Exposure> {
    let reach = Reach::of(hosts.iter().filter(|host| host.starts_with("tcp://")).map(|host| host_of(host)));
    Service {
        rule: "docker-without-authentication",
        path,
        line,
        reach,
        open: Tri::from(!asks),
        missing: "tlsverify",
        what: "start containers with all rights of root",
        fix: "remove the tcp:// host, or set tlsverify with a CA of your own".into(),
    }
    .judge()
}

/// Commands that units start: options there overrule the files.
pub(super) fn command(path: &str, line: usize, words: &[String]) -> Vec<Exposure> {
    let Some((program, options)) = words.split_first() else { return Vec::new() };
    let value_of = |names: &[&str]| -> Vec<String> {
        let value = |(n, word): (usize, &String)| {
            names.iter().find_map(|name| match word.strip_prefix(name)? {
                "" => options.get(n + 1).cloned(),
                rest => rest.strip_prefix('=').map(str::to_string),
            })
        };
        options.iter().enumerate().filter_map(value).collect()
    };
    match program.rsplit('/').next().unwrap_or(program) {
        "dockerd" => {
            let hosts = value_of(&["-H", "--host"]);
            let asks = options.iter().any(|w| matches!(w.as_str(), "--tlsverify" | "--tlsverify=true"));
            docker_listens(path, line, &hosts, asks)
        }
        "memcached" => memcached_options(path, &options.iter().map(|w| (line, w.clone())).collect::<Vec<_>>()),
        "etcd" => {
            let urls = value_of(&["--listen-client-urls", "-listen-client-urls"]);
            let asks = options.iter().any(|w| w.contains("-client-cert-auth") && !w.ends_with("=false"));
            etcd_listens(path, (!urls.is_empty()).then(|| (line, urls.join(","))), asks)
        }
        _ => Vec::new(),
    }
}

pub(super) fn mysql(path: &str, text: &str) -> Vec<Exposure> {
    let sections = sections(text);
    let server: Vec<_> = sections.iter().filter(|s| matches!(s.name.as_str(), "mysqld" | "mariadb" | "mariadbd" | "server")).collect();
    let value = |names: &[&str]| server.iter().find_map(|s| s.get(names));
    let names = ["skip-grant-tables", "skip_grant_tables"];
    let Some(skips) = value(&names) else { return Vec::new() };
    if matches!(skips, "0" | "OFF" | "off" | "false") {
        return Vec::new();
    }
    // MySQL 8 turns its network off by itself; MariaDB does not.
    let is_off = value(&["skip-networking", "skip_networking"]).is_some_and(|v| v.is_empty() || is_yes(v));
    let reach = value(&["bind-address", "bind_address"]).map_or(Reach::Anyone, |list| Reach::of(list.split(',')));
    Service {
        rule: "mysql-without-password",
        path,
        line: server.iter().find(|s| s.get(&names).is_some()).map_or(0, |s| s.line_of(&names)),
        reach: if is_off { Reach::Loopback } else { reach },
        open: Tri::Yes,
        missing: "",
        what: "use every database of MySQL without a password (skip-grant-tables)",
        fix: format!("remove skip-grant-tables from {path}"),
    }
    .judge()
}
