//! Daemons of one setting that opens them: FTP, SNMP, MQTT, RabbitMQ, Cassandra, InfluxDB, kubelet, Jupyter, `doas`, Caddy.

use super::exposure::Exposure;
use super::reach::{Reach, host_of};
use super::text::{is_yes, lines, unquoted, words, yaml};
use super::{Judge, Tree};
use crate::finding::Severity;
use crate::ternary::Tri;

/// Whose configuration it is, by its path.
pub(super) fn of(path: &str) -> Option<Judge> {
    let name = path.rsplit('/').next().unwrap_or(path);
    Some(match name {
        "vsftpd.conf" => |path, text, _| vsftpd(path, text),
        "snmpd.conf" => |path, text, _| snmp(path, text),
        "rabbitmq.conf" => |path, text, _| rabbit(path, text),
        "cassandra.yaml" => |path, text, _| cassandra(path, text),
        "influxdb.conf" => |path, text, _| influx(path, text),
        "doas.conf" => |path, text, _| doas(path, text),
        "Caddyfile" => |path, text, _| caddy(path, text),
        "jupyter_notebook_config.py" | "jupyter_server_config.py" | "jupyter_lab_config.py" => |path, text, _| jupyter(path, text),
        "kubelet-config.yaml" | "kubelet-config.json" => kubelet,
        _ if path.ends_with("/kubelet/config.yaml") => kubelet,
        _ if name.ends_with(".conf") && path.contains("/mosquitto/") => |path, text, _| mosquitto(path, text),
        _ => return None,
    })
}

fn one(rule: &'static str, path: &str, line: usize, severity: Severity, why: &str, fix: &str) -> Vec<Exposure> {
    vec![Exposure::new(rule, path, line, severity, why, format!("{fix} in {path}"))]
}

/// The last `key = value` of a name, with its line.
fn setting<'t>(text: &'t str, key: &str) -> Option<(usize, &'t str)> {
    let pairs = lines(text).filter_map(|(n, line)| line.split_once('=').map(|(k, v)| (n, k.trim(), unquoted(v))));
    pairs.filter(|(_, k, _)| *k == key).map(|(n, _, v)| (n, v)).last()
}

/// <https://security.appspot.com/vsftpd/vsftpd_conf.html>: without the setting, anybody is let in.
fn vsftpd(path: &str, text: &str) -> Vec<Exposure> {
    match setting(text, "anonymous_enable") {
        Some((line, value)) if is_yes(value) => one(
            "ftp-anonymous",
            path,
            line,
            Severity::High,
            "everybody who reaches the host can log in to FTP without a password",
            "set anonymous_enable=NO",
        ),
        _ => Vec::new(),
    }
}

/// <http://www.net-snmp.org/docs/man/snmpd.conf.html>: without an address it listens on all.
fn snmp(path: &str, text: &str) -> Vec<Exposure> {
    let addresses = lines(text).filter_map(|(_, line)| {
        let (key, addresses) = line.split_once(char::is_whitespace)?;
        key.eq_ignore_ascii_case("agentaddress").then(|| addresses.trim().to_string())
    });
    let addresses = addresses.last().unwrap_or_else(|| "*".into());
    let reach = Reach::of(addresses.split(',').map(snmp_host));
    for (line, text) in lines(text) {
        let words = words(text);
        let Some((key, rest)) = words.split_first() else { continue };
        let is_community = matches!(key.as_str(), "rocommunity" | "rwcommunity" | "rocommunity6" | "rwcommunity6");
        let source = rest.get(1).map_or("default", String::as_str);
        if is_community && rest.first().is_some_and(|name| matches!(name.as_str(), "public" | "private")) && source == "default" {
            let severity = if key.starts_with("rw") { Severity::Critical } else { Severity::High };
            let why = format!("{} can read its state by SNMP, with a name that all know", reach.phrase());
            let fix = format!("name the machines that may ask, or use SNMPv3, in {path}");
            let exposure = Exposure::new("snmp-public", path, line, reach.soften(severity), why, fix);
            return exposure.given(reach.is_wide(), "the address that it listens on").into_iter().collect();
        }
    }
    Vec::new()
}

/// The host of `udp:host:port`, `udp6:[host]:port`, `host:port`, `host` or a port alone.
fn snmp_host(address: &str) -> &str {
    let address = address.trim();
    let rest = ["udp:", "udp6:", "tcp:", "tcp6:", "udpv6:", "tcpv6:"].iter().find_map(|name| address.strip_prefix(name)).unwrap_or(address);
    if rest.bytes().all(|b| b.is_ascii_digit()) { "*" } else { host_of(rest) }
}

/// <https://mosquitto.org/man/mosquitto-conf-5.html>
fn mosquitto(path: &str, text: &str) -> Vec<Exposure> {
    let mut open = None;
    let mut reach = Reach::Loopback;
    for (line, text) in lines(text) {
        match words(text).as_slice() {
            [key, value] if key == "allow_anonymous" => open = is_yes(value).then_some(line),
            [key, _] if key == "listener" || key == "port" => reach = Reach::Anyone,
            [key, _, address] if key == "listener" => reach = Reach::of([address.as_str()]),
            [key, address] if key == "bind_address" => reach = Reach::of([address.as_str()]),
            _ => {}
        }
    }
    let Some(line) = open else { return Vec::new() };
    let why = format!("{} can read and write every topic of MQTT without a password", reach.phrase());
    let exposure =
        Exposure::new("mqtt-anonymous", path, line, reach.soften(Severity::High), why, format!("set allow_anonymous false in {path}"));
    exposure.given(reach.is_wide(), "the address that it listens on").into_iter().collect()
}

fn rabbit(path: &str, text: &str) -> Vec<Exposure> {
    let opened = setting(text, "loopback_users")
        .filter(|(_, v)| *v == "none")
        .or(setting(text, "loopback_users.guest").filter(|(_, v)| *v == "false"));
    let has_password = setting(text, "default_pass").is_some_and(|(_, pass)| pass != "guest");
    match opened {
        Some((line, _)) if !has_password => {
            let why = "everybody who reaches the host can log in to RabbitMQ as guest, with the password guest";
            one("rabbitmq-default-password", path, line, Severity::Critical, why, "leave loopback_users as it is")
        }
        _ => Vec::new(),
    }
}

fn cassandra(path: &str, text: &str) -> Vec<Exposure> {
    let rule = "cassandra-without-authentication";
    let find =
        |key: &str| lines(text).find_map(|(n, line)| Some((n, unquoted(line.strip_prefix(key)?.strip_prefix(':')?.split(" #").next()?))));
    let Some((line, address)) = find("rpc_address") else { return Vec::new() };
    let open = find("authenticator").is_none_or(|(_, name)| name.contains("AllowAll"));
    let reach = Reach::of([address]);
    let why = format!("{} can read and write every table of Cassandra without a password", reach.phrase());
    let exposure = Exposure::new(
        rule,
        path,
        line,
        reach.soften(Severity::Critical),
        why,
        format!("set authenticator: PasswordAuthenticator in {path}"),
    );
    exposure.given(reach.is_wide().and(open.into()), "the address that it listens on").into_iter().collect()
}

/// Version 1: without the setting nobody is asked; its sample says so in a comment.
fn influx(path: &str, text: &str) -> Vec<Exposure> {
    match setting(text, "auth-enabled") {
        Some((line, "false")) => {
            let address = setting(text, "bind-address").map_or("", |(_, address)| address);
            if Reach::of([host_of(address)]).is_wide() == Tri::No {
                return Vec::new();
            }
            one(
                "influxdb-without-password",
                path,
                line,
                Severity::High,
                "everybody who reaches the host can read and write InfluxDB without a password",
                "set auth-enabled = true",
            )
        }
        _ => Vec::new(),
    }
}

fn kubelet(path: &str, text: &str, _: &dyn Tree) -> Vec<Exposure> {
    let rule = "kubelet-anonymous";
    let why = "everybody who reaches the node can run commands in its containers";
    let fix = "set authentication.anonymous.enabled: false";
    let found = yaml(text)
        .map(|yaml| yaml.get("authentication.anonymous.enabled").map(|(line, items)| (*line, items.first().is_some_and(|v| is_yes(v)))));
    match found {
        Some(Some((line, true))) => one(rule, path, line, Severity::Critical, why, fix),
        Some(_) => Vec::new(),
        None => vec![Exposure::unknown(rule, path, "all of its YAML")],
    }
}

fn jupyter(path: &str, text: &str) -> Vec<Exposure> {
    let find = |end: &str| {
        let pairs = lines(text).filter_map(|(n, line)| line.split_once('=').map(|(k, v)| (n, k.trim(), v.trim())));
        pairs.filter(|(_, key, _)| key.starts_with("c.") && key.ends_with(end)).map(|(n, _, v)| (n, unquoted(v))).last()
    };
    let Some((line, "")) = find(".token") else { return Vec::new() };
    let has_password = find(".password").is_some_and(|(_, value)| !value.is_empty());
    let reach = Reach::of([find(".ip").map_or("localhost", |(_, ip)| ip)]);
    if has_password || reach.is_wide() == Tri::No {
        return Vec::new();
    }
    one(
        "jupyter-without-password",
        path,
        line,
        Severity::Critical,
        "everybody who reaches the host can run programs in Jupyter",
        "set a password, or ip = '127.0.0.1',",
    )
}

fn doas(path: &str, text: &str) -> Vec<Exposure> {
    for (line, text) in lines(text) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_open = words.first() == Some(&"permit") && words.contains(&"nopass") && !words.contains(&"cmd");
        let is_root = words.iter().skip(1).find(|word| !matches!(**word, "nopass" | "keepenv" | "persist" | "setenv")) == Some(&"root");
        if is_open && !is_root {
            return one(
                "doas-without-password",
                path,
                line,
                Severity::High,
                "an account becomes root without a password",
                "name the command: cmd NAME,",
            );
        }
    }
    Vec::new()
}

fn caddy(path: &str, text: &str) -> Vec<Exposure> {
    for (line, text) in lines(text) {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.first() == Some(&"file_server") && words.contains(&"browse") {
            let why = "visitors are shown every file of a directory without an index page";
            return one("web-directory-listing", path, line, Severity::Medium, why, "leave browse out");
        }
    }
    Vec::new()
}
