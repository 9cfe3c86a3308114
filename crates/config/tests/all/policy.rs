//! The host policy: what is read from it, and every error with its place.

use model::access::{Grant, Listen, Role};

const WHOLE: &str = r#"
listen      = ["*:8000-8999", "127.0.0.1:80", "[::1]:443"]
users       = ["1000-1999", "33"]
recipes     = ["token:ci"]
scripts     = ["peer:eve"]
health_exec = true
checks      = true
run         = ["token:ops"]
egress      = ["10.0.0.0/8:1-65535", "169.254.169.254:80"]
host_ports  = ["6379", "8000-8010", "514/udp"]
socket      = "/run/afresh/api.sock"
most { memory = "4GiB"  cpu = 4  pids = 1000  count = 20 }
registry "registry.example.org/shop" { auth = "/etc/afresh/registry.json"  ca = "/etc/afresh/ca.pem"  plain_http = true }
registry "localhost:5000" {}
volume "/srv/uploads" { services = ["web", "api"]  mounted = true }
volume "/srv/shared/*" { services = ["web"]  read_only = true }
peer "ci" { uid = 1001  role = "deploy"  services = ["web"]  tiers = ["back"] }
peer "eve" { uid = 1002  role = "read" }
"#;

#[test]
fn every_key_is_read() {
    let policy = config::parse_policy(WHOLE, "policy.hcl").unwrap();
    assert_eq!(policy.listen[0], Listen { ip: None, from: 8000, to: 8999 });
    assert_eq!(policy.listen[2], Listen { ip: Some("::1".parse().unwrap()), from: 443, to: 443 });
    assert_eq!(policy.users, [(1000, 1999), (33, 33)]);
    assert!(policy.recipes.contains("token:ci") && policy.scripts.contains("peer:eve"));
    let registries: Vec<_> =
        policy.registries.iter().map(|(at, rule)| (at.as_str(), rule.auth.as_deref(), rule.ca.as_deref(), rule.plain_http)).collect();
    let shop = ("registry.example.org/shop", Some("/etc/afresh/registry.json"), Some("/etc/afresh/ca.pem"), true);
    assert_eq!(registries, [("localhost:5000", None, None, false), shop]);
    assert!(policy.run.contains("token:ops"));
    assert!(policy.health_exec && policy.checks);
    let volumes: Vec<_> =
        policy.volumes.iter().map(|(at, rule)| (at.as_str(), rule.services.len(), rule.read_only, rule.mounted)).collect();
    assert_eq!(volumes, [("/srv/shared/*", 1, true, false), ("/srv/uploads", 2, false, true)]);
    assert_eq!((policy.most.memory_bytes, policy.most.cpu_milli, policy.most.pids, policy.most.count), (4 << 30, 4_000, 1_000, 20));
    assert_eq!(policy.network.egress.list().len(), 2);
    assert_eq!(policy.network.host_ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["6379", "8000-8010", "514/udp"]);
    assert_eq!(policy.socket.as_deref(), Some("/run/afresh/api.sock"));
    let (name, grant) = policy.peer(1001).unwrap();
    assert_eq!((name, grant.role), ("ci", Role::Deploy));
    assert_eq!(policy.peer(1002).unwrap().1, &Grant { role: Role::Read, services: Default::default(), tiers: Default::default() });
    assert!(policy.peer(0).is_none() && policy.peer(1003).is_none());
}

#[test]
fn what_is_written_is_read_as_the_same_policy() {
    let whole = config::parse_policy(WHOLE, "policy.hcl").unwrap();
    for policy in [model::access::HostPolicy::default(), whole] {
        let text = config::write_policy(&policy);
        assert_eq!(config::parse_policy(&text, "policy.hcl").unwrap(), policy, "{text}");
        assert_eq!(config::format(&text).unwrap(), text);
    }
    insta::assert_snapshot!("policy_defaults", config::write_policy(&model::access::HostPolicy::default()));
}

#[test]
fn every_error_has_its_place() {
    for (text, code, line) in [
        ("listen = [\"8080\"]", "bad-address", 1),
        ("\nlisten = [\"*:0\"]", "bad-address", 2),
        ("listen = [\"*:90-80\"]", "bad-address", 1),
        ("listen = [\"localhost:80\"]", "bad-address", 1),
        ("users = [\"root\"]", "bad-user", 1),
        ("users = [\"9-1\"]", "bad-user", 1),
        ("recipes = [\"ci\"]", "bad-identity", 1),
        ("run = true", "wrong-type", 1),
        ("run = [\"ops\"]", "bad-identity", 1),
        ("volume \"srv\" { services = [\"web\"] }", "bad-path", 1),
        ("volume \"/srv/../etc\" { services = [\"web\"] }", "bad-path", 1),
        ("volume \"/etc/*\" { services = [\"web\"] }", "system-directory", 1),
        ("volume \"/srv\" { services = [\"web\"] }", "system-directory", 1),
        ("\nvolume \"/srv/a\" {}", "missing-key", 2),
        ("volume \"/srv/a\" { services = [\"Web\"] }", "bad-name", 1),
        ("volume \"/srv/a\" { services = [\"a\"] mounted = 1 }", "wrong-type", 1),
        ("volume \"/srv/a\" { services = [\"a\"] }\nvolume \"/srv/a\" { services = [\"b\"] }", "duplicate-name", 2),
        ("registry \"shop\" {}", "bad-reference", 1),
        ("registry \"r.example/shop:1\" {}", "bad-reference", 1),
        ("registry \"r.example\" { auth = \"a.json\" }", "bad-path", 1),
        ("volumes = [\"/srv/a\"]", "unknown-key", 1),
        ("checks = \"yes\"", "wrong-type", 1),
        ("egress = \"all\"", "bad-destination", 1),
        ("egress = [\"10.0.0.1\"]", "bad-destination", 1),
        ("host_ports = [\"6379\",\n\"host:6379\"]", "bad-port", 2),
        ("most { memory = \"1\" }", "bad-size", 1),
        ("most { count = 1000 }", "out-of-range", 1),
        ("ports = [80]", "unknown-key", 1),
        ("socket = \"/s\"\npeer \"p\" { uid = 0 role = \"read\" }", "out-of-range", 2),
        ("socket = \"/s\"\npeer \"p\" { uid = 1 role = \"root\" }", "bad-role", 2),
        ("socket = \"/s\"\npeer \"p\" { uid = 1 role = \"deploy\" }", "bad-grant", 2),
        ("peer \"p\" { uid = 1 role = \"read\" }", "needs-socket", 1),
        ("socket = \"/s\"\npeer \"p\" { uid = 1 }", "missing-key", 2),
        ("health_exec = true # \u{202e}", "hidden-character", 1),
        ("most {", "unclosed", 1),
    ] {
        let all = config::parse_policy(text, "policy.hcl").unwrap_err();
        assert_eq!((all[0].code.as_str(), all[0].line), (code, line), "{text}: {}", config::render(&all, text, "policy.hcl", false));
    }
}
