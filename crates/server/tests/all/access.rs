//! A token of role deploy for one service tries everything else. Each try is refused with a code, each refusal stands in the audit under
//! the token's own name, and nothing has changed. What the token may do it can do: a guard that refuses everything is no guard.

use crate::common::*;
use api::Client;
use api::control::*;
use model::access::{Grant, Role};
use model::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Attack {
    house: House,
    address: std::net::SocketAddr,
    token: String,
}

fn grant(role: Role, services: &[&str], tiers: &[&str]) -> Grant {
    Grant { role, services: services.iter().map(|s| name(s)).collect(), tiers: tiers.iter().map(|t| TierName::new(*t).unwrap()).collect() }
}

/// Nothing keeps recipes here, so each is a new one: taken from these, without scripts.
const RECIPES: &str = "recipes = [\"token:ci\", \"token:front\"]\n";

impl Attack {
    async fn begin() -> Attack {
        let mut house = House::new().await;
        house.stop().await;
        std::fs::write(house.dir.path().join("policy.hcl"), RECIPES).unwrap();
        {
            let mut state = house.fake.state();
            state.objects.extend([digest('b'), digest('c'), digest('d')]);
            state.artifacts.extend([digest('b'), digest('c')]);
            state.bases.insert(digest('d'));
            state.objects.insert(digest('e'));
            state.containers.insert(digest('e'), container_of_root());
        }
        house.server = Some(start(server::Config { listen: Some("127.0.0.1:0".parse().unwrap()), ..house.config() }).await.unwrap());
        let address = house.server.as_ref().unwrap().address().unwrap();
        let mut worker = spec("worker", "back", "work", 1, None);
        worker.env.insert("MOTTO".into(), "hunter2".into());
        worker.artifact = Some("./worker".into());
        let mut both = request(vec![worker, spec("web", "front", "one", 1, Some("127.0.0.1:8080"))], None);
        both.artifacts.insert(name("worker"), digest('b'));
        let opened: api::control::Opened = house.client().post("/v1/deploy", &both).await.unwrap();
        house.until_rollout(opened.rollout.as_ref().unwrap()).await;
        let token = house.token("ci", grant(Role::Deploy, &["web"], &[])).await;
        Attack { house, address, token }
    }

    fn client(&self) -> Client {
        Client::tcp(self.address.to_string()).token(Some(self.token.clone()))
    }

    async fn try_it(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.by(&self.token, method, path, body).await
    }

    async fn by(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_string())))
    }

    async fn audit(&self) -> Vec<AuditLine> {
        self.house.client().get("/v1/audit?limit=10000").await.unwrap()
    }
}

fn edited(edit: impl Fn(&mut DeployRequest, &mut ServiceSpec)) -> Value {
    let mut request = web("one");
    let mut web = request.file.services.remove(&name("web")).unwrap();
    web.count = 1;
    edit(&mut request, &mut web);
    request.file.services.insert(web.name.clone(), web);
    serde_json::to_value(&request).unwrap()
}

fn of_web(edit: impl Fn(&mut ServiceSpec)) -> Value {
    edited(|_, web| edit(web))
}

fn container_of_root() -> Container {
    Container {
        reference: "registry.example.org/app:1".into(),
        manifest: digest('e'),
        top: digest('e'),
        layers: Vec::new(),
        defaults: ContainerDefaults { user: Some("root".into()), ids: Some((0, 0)), ..ContainerDefaults::default() },
        distribution: None,
        created: None,
    }
}

/// On the image of another name, with what that says of its user.
fn on_foreign_image() -> Value {
    edited(|request, web| {
        let (image, reference) = (ImageName::new("own").unwrap(), "registry.example.org/own:1".to_string());
        let oci = Some(ContainerSource { reference, auth: None, ca: None, plain_http: false });
        request.file.images = [(image.clone(), ImageSpec { oci, debian: String::new(), ..recipe("own") })].into();
        request.images = [(image.clone(), digest('e'))].into();
        (web.image, web.from_image) = (image, [LeftToImage::User].into());
    })
}

/// With this object as its code.
fn code_of(letter: char) -> Value {
    edited(|request, web| {
        web.artifact = Some("./x".into());
        request.artifacts.insert(name("web"), digest(letter));
    })
}

fn by_hand(service: &str, step: Value) -> Value {
    json!({ "hand": { "service": service, "step": step } })
}

fn secret_of(service: &str, tier: &str) -> Value {
    json!({ "service": service, "tier": tier, "name": "db", "variable": true, "age": "" })
}

type Try = (&'static str, &'static str, &'static str, Value, &'static str);

/// What it is, the call, and the code of the refusal.
fn tries() -> Vec<Try> {
    let worker = || serde_json::to_value(request(vec![spec("worker", "back", "mine now", 1, None)], Some("worker"))).unwrap();
    let all =
        || serde_json::to_value(request(vec![spec("worker", "back", "mine", 1, None), spec("web", "front", "x", 1, None)], None)).unwrap();
    let script = |request: &mut DeployRequest| {
        request.file.images.values_mut().for_each(|i| i.custom.script = Some("cat /etc/shadow".into()));
    };
    let unsigned = |request: &mut DeployRequest| {
        request.file.images.values_mut().for_each(|i| i.custom.allow_unsigned = vec!["http://mirror.example/debian".into()]);
    };
    let image_check = |request: &mut DeployRequest| {
        let what = ImageProbe::Run { command: vec!["id".into()] };
        let check = ImageCheck { name: "c".into(), what, within_ms: 1_000 };
        request.file.images.values_mut().for_each(|i| i.checks.push(check.clone()));
    };
    vec![
        ("deploy of another service", "POST", "/v1/deploy", worker(), "forbidden"),
        ("plan of another service", "POST", "/v1/plan", worker(), "forbidden"),
        ("deploy of every service", "POST", "/v1/deploy", all(), "forbidden"),
        (
            "another service in its own tier",
            "POST",
            "/v1/deploy",
            json!(request(vec![spec("worker", "front", "x", 1, None)], Some("worker"))),
            "forbidden",
        ),
        ("a new service", "POST", "/v1/deploy", json!(request(vec![spec("miner", "front", "x", 1, None)], Some("miner"))), "forbidden"),
        ("rollback of another", "POST", "/v1/rollback", json!({ "service": "worker" }), "forbidden"),
        ("pause of another", "POST", "/v1/rotations/worker.1/command", json!({ "command": "pause" }), "forbidden"),
        ("stop of another", "POST", "/v1/rotations/worker.1/command", json!({ "command": "stop" }), "forbidden"),
        ("a rotation's name with escapes", "POST", "/v1/rotations/%77orker.1/command", json!({ "command": "stop" }), "forbidden"),
        ("a path out of the API", "GET", "/v1/services/..%2f..%2fetc%2fpasswd", json!(null), "forbidden"),
        ("step of another's rotation", "POST", "/v1/steps/run", json!({ "of": { "rotation": "worker.1", "step": 0 } }), "forbidden"),
        (
            "step by hand on another",
            "POST",
            "/v1/steps/run",
            by_hand("worker", json!({ "kind": "retire", "group": "worker-r1-1" })),
            "forbidden",
        ),
        (
            "another's group by its own service",
            "POST",
            "/v1/steps/run",
            by_hand("web", json!({ "kind": "retire", "group": "worker-r1-1" })),
            "forbidden",
        ),
        (
            "another's route",
            "POST",
            "/v1/steps/run",
            by_hand("web", json!({ "kind": "shift", "route": "worker", "weights": { "web-r1-1": 100 } })),
            "forbidden",
        ),
        (
            "traffic to another's group",
            "POST",
            "/v1/steps/run",
            by_hand("web", json!({ "kind": "shift", "route": "web", "weights": { "worker-r1-1": 100 } })),
            "forbidden",
        ),
        (
            "more servers by hand",
            "POST",
            "/v1/steps/run",
            by_hand("web", json!({ "kind": "scale", "group": "web-r1-1", "count": 100 })),
            "policy-count",
        ),
        (
            "a check command by hand",
            "POST",
            "/v1/steps/run",
            by_hand("web", json!({ "kind": "check", "group": "web-r1-1-c1", "of": "web-r1-1", "command": ["id"], "within_ms": 1000 })),
            "policy-check",
        ),
        (
            "look at a step of another",
            "POST",
            "/v1/steps/check",
            by_hand("worker", json!({ "kind": "retire", "group": "worker-r1-1" })),
            "forbidden",
        ),
        ("status of another", "GET", "/v1/services/worker", json!(null), "forbidden"),
        ("rotations of another", "GET", "/v1/rotations?service=worker", json!(null), "forbidden"),
        ("rotation of another", "GET", "/v1/rotations/worker.1", json!(null), "forbidden"),
        ("journal of another", "GET", "/v1/rotations/worker.1/events", json!(null), "forbidden"),
        ("rollout with another in it", "GET", "/v1/rollouts/rollout.1", json!(null), "forbidden"),
        ("releases of another", "GET", "/v1/releases?service=worker", json!(null), "forbidden"),
        ("instances of another", "GET", "/v1/instances?service=worker", json!(null), "forbidden"),
        ("images of all", "GET", "/v1/images", json!(null), "forbidden"),
        ("revoke an image", "POST", "/v1/images/revoke", json!({ "digest": "aaaaaaaa", "why": "x", "replace": true }), "forbidden"),
        ("rebuild an image", "POST", "/v1/images/base/rebuild", json!({}), "forbidden"),
        ("a secret of another", "POST", "/v1/secrets", secret_of("worker", "back"), "forbidden"),
        ("a secret of another in its own tier", "POST", "/v1/secrets", secret_of("worker", "front"), "forbidden"),
        ("a guess at a secret of another", "POST", "/v1/secrets/version", secret_of("worker", "back"), "forbidden"),
        ("gc", "POST", "/v1/gc", json!(null), "forbidden"),
        ("list what could be adopted", "GET", "/v1/adoptions", json!(null), "forbidden"),
        ("adopt what runs", "POST", "/v1/adopt", json!({ "services": ["web"] }), "forbidden"),
        ("make a token", "POST", "/v1/tokens", json!({ "name": "root2", "role": "admin" }), "forbidden"),
        ("list tokens", "GET", "/v1/tokens", json!(null), "forbidden"),
        ("revoke a token", "POST", "/v1/tokens/revoke", json!({ "name": "ci" }), "forbidden"),
        ("read the audit", "GET", "/v1/audit", json!(null), "forbidden"),
        ("a script to bake", "POST", "/v1/deploy", edited(|request, _| script(request)), "policy-script"),
        ("a package that nobody signed", "POST", "/v1/deploy", edited(|request, _| unsigned(request)), "policy-script"),
        ("a command to try an image with", "POST", "/v1/deploy", edited(|request, _| image_check(request)), "policy-check"),
        ("root of the host", "POST", "/v1/deploy", of_web(|s| s.user = "0:0".into()), "policy-user"),
        ("root's group", "POST", "/v1/deploy", of_web(|s| s.user = "1000:0".into()), "policy-user"),
        ("user root", "POST", "/v1/deploy", of_web(|s| s.user = "root".into()), "bad-service-file"),
        ("port 22", "POST", "/v1/deploy", of_web(|s| s.route.as_mut().unwrap().listen = "0.0.0.0:22".parse().unwrap()), "policy-port"),
        ("all memory", "POST", "/v1/deploy", of_web(|s| s.limits.memory_bytes = 1 << 40), "policy-limits"),
        ("all processors", "POST", "/v1/deploy", of_web(|s| s.limits.cpu_milli = 64_000), "policy-limits"),
        ("all processes", "POST", "/v1/deploy", of_web(|s| s.limits.pids = 1_000_000), "policy-limits"),
        ("a hundred servers", "POST", "/v1/deploy", of_web(|s| s.count = 100), "policy-count"),
        ("health by exec", "POST", "/v1/deploy", of_web(|s| s.health.probe = Probe::Exec { command: vec!["id".into()] }), "policy-exec"),
        (
            "a check command",
            "POST",
            "/v1/deploy",
            of_web(|s| s.checks.push(Check { name: "c".into(), run: vec!["id".into()], within_ms: 1_000 })),
            "policy-check",
        ),
        ("another's code", "POST", "/v1/deploy", code_of('b'), "forbidden"),
        ("the user of another image", "POST", "/v1/deploy", on_foreign_image(), "forbidden"),
        ("an image as its code", "POST", "/v1/deploy", code_of('a'), "forbidden"),
        ("a kept base as its code", "POST", "/v1/deploy", code_of('d'), "forbidden"),
        ("/etc as its code", "POST", "/v1/deploy", of_web(|s| s.artifact = Some("/etc".into())), "bad-service-file"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_to_deploy_one_service_gets_nothing_else() {
    let attack = Attack::begin().await;
    // The oracle of what changed: what the administrator sees.
    let world = || async {
        let client = attack.house.client();
        let services: Value = client.get("/v1/services").await.unwrap();
        let rotations: Value = client.get("/v1/rotations").await.unwrap();
        let tokens: Value = client.get("/v1/tokens").await.unwrap();
        (services, rotations, tokens, attack.house.fake.state().objects.clone())
    };
    let before = world().await;
    let (mut got_in, mut wanted) = (Vec::new(), BTreeMap::<(String, String), usize>::new());
    for (what, method, path, body, code) in tries() {
        let (status, answer) = attack.try_it(method, path, &body).await;
        if !matches!(status, 403 | 422) || answer["code"] != code {
            got_in.push(format!("{what}: {status} {}", answer.to_string().chars().take(160).collect::<String>()));
        }
        let path = path.split('?').next().unwrap();
        *wanted.entry((format!("{method} {path}"), code.to_string())).or_default() += 1;
    }
    assert!(got_in.is_empty(), "{} of {} got in:\n{}", got_in.len(), tries().len(), got_in.join("\n"));
    assert!(tries().len() >= 20);
    assert_eq!(world().await, before, "something changed");
    let mut found = BTreeMap::<(String, String), usize>::new();
    for line in attack.audit().await.into_iter().filter(AuditLine::is_refusal) {
        assert_eq!((line.who.as_str(), line.from.as_str()), ("token:ci", "tcp 127.0.0.1"));
        *found.entry((line.what, line.code)).or_default() += 1;
    }
    assert_eq!(found, wanted, "each refusal is in the audit once");
}

/// What lists give, and streams: nothing of other services, and no value of their environment.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_has_nothing_of_others() {
    let attack = Attack::begin().await;
    let reader = attack.house.token("eyes", grant(Role::Read, &[], &[])).await;
    for rule in server::routes::rules().filter(|rule| rule.method == "GET") {
        let path = rule
            .path
            .replace("{service}", "web")
            .replace("{rotation}", "web.1")
            .replace("{rollout}", "rollout.1")
            .replace("{instance}", "web-r1-1-1")
            .replace("{image}", "base")
            .replace("{name}", "base");
        let (status, answer) = attack.try_it("GET", &path, &json!(null)).await;
        let text = answer.to_string();
        assert!(!text.contains("hunter2") && (status != 200 || !text.contains("worker")), "{path}: {text}");
        let (_, answer) = attack.by(&reader, "GET", &path, &json!(null)).await;
        assert!(!answer.to_string().contains("hunter2"), "who may only read sees a value of an environment: {path}");
    }
    let (status, answer) = attack.by(&reader, "GET", "/v1/services/worker", &json!(null)).await;
    assert!(status == 200 && answer.to_string().contains("MOTTO"), "names stay: {answer}");
    let own: Vec<ServiceStatus> = attack.client().get("/v1/services").await.unwrap();
    assert_eq!(own.len(), 1);
    let root: Value = attack.house.client().get("/v1/services/worker").await.unwrap();
    assert!(root.to_string().contains("hunter2"), "the administrator sees it: the test is not blind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_is_for_it_can_do_and_the_journal_has_its_name() {
    let attack = Attack::begin().await;
    let mut request = web("two");
    request.file.services.get_mut(&name("web")).unwrap().count = 2;
    // Code that was packed and that nobody uses yet.
    request.file.services.get_mut(&name("web")).unwrap().artifact = Some("./x".into());
    request.artifacts.insert(name("web"), digest('c'));
    // A caller says who he is in vain.
    let mut body = serde_json::to_value(&request).unwrap();
    body["by"] = json!("root@here\n12:00:00 forged");
    let (status, answer) = attack.try_it("POST", "/v1/deploy", &body).await;
    assert_eq!(status, 200, "{answer}");
    let id: RotationId = serde_json::from_value(answer["rotations"][0].clone()).unwrap();
    attack.house.end(&id).await;
    let (_, lines) = attack.try_it("GET", &format!("/v1/rotations/{id}/events"), &json!(null)).await;
    let why = lines[0]["event"]["why"].as_str().unwrap();
    assert!(why.contains("requested by token:ci") && !why.contains("forged"), "{why}");
    let opened: api::control::Opened = attack
        .client()
        .reason(Some("release 1.4 is slow".into()))
        .post("/v1/rollback", &RollbackRequest { service: name("web"), to: None })
        .await
        .unwrap();
    let ended = attack.house.end(&opened.rotations[0]).await;
    assert_eq!(ended.verdict, Some(Verdict::Promoted));
    let done: Vec<AuditLine> = attack.audit().await.into_iter().filter(|l| l.who == "token:ci").collect();
    assert_eq!(
        done.iter().map(|l| (l.what.as_str(), l.on.as_str(), l.outcome.as_str())).collect::<Vec<_>>(),
        [("POST /v1/deploy", "base,web", "done"), ("POST /v1/rollback", "web", "done"),]
    );
    assert_eq!(done[1].reason, "release 1.4 is slow");
    for bad in ["a\nb", "\u{202e}x", &"x".repeat(201)] {
        let refused = attack.client().reason(Some(bad.into())).post::<_, Value>("/v1/gc", &()).await.unwrap_err();
        assert_eq!(refused.code, "bad-reason");
    }
}

/// The tokens' file is read for each request, so that a revoked token is refused at once. Whatever is in its place, a token is refused
/// then and not let in, at once and without memory, and the administrator is served.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_the_tokens_file_no_token_gets_in() {
    let attack = Attack::begin().await;
    let path = attack.house.dir.path().join("control/tokens.json");
    let good = std::fs::read(&path).unwrap();
    let huge = || {
        std::fs::write(&path, b"x").unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    };
    let pipe = || assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&path).status().unwrap().success());
    let damages: [(&str, &str, &dyn Fn()); 6] = [
        ("nothing", "unauthorized", &|| ()),
        ("a directory", "bad-token-file", &|| std::fs::create_dir(&path).unwrap()),
        ("half of it", "tokens-damaged", &|| std::fs::write(&path, &good[..good.len() / 2]).unwrap()),
        ("a terabyte", "bad-token-file", &huge),
        ("a pipe", "bad-token-file", &pipe),
        ("open to others", "open-token-file", &|| std::fs::write(&path, &good).unwrap()),
    ];
    for (what, code, damage) in damages {
        let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
        damage();
        let mode = if what == "open to others" { 0o644 } else { 0o700 };
        let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        let refused = attack.client().get::<Value>("/v1/services").await.unwrap_err();
        assert_eq!(refused.code, code, "{what} in its place: {refused:?}");
        let root: Vec<ServiceStatus> = attack.house.client().get("/v1/services").await.unwrap();
        assert_eq!(root.len(), 2, "{what} in its place");
    }
    std::fs::write(&path, &good).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(attack.client().get::<Value>("/v1/services").await.is_ok(), "the file is there again");
}

/// Every call there is, by who has no role for it. A new call that forgets its rule fails here, and a call outside the table is refused.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_has_a_rule_and_keeps_to_it() {
    let attack = Attack::begin().await;
    let reader = attack.house.token("eyes", grant(Role::Read, &["web"], &[])).await;
    let mut seen = BTreeSet::new();
    for rule in server::routes::rules() {
        assert!(seen.insert((rule.method, rule.path)), "{} {} stands there twice", rule.method, rule.path);
        assert_eq!(rule.method == "GET", matches!(rule.method, "GET") && !rule.changes, "{}: a read changes nothing", rule.path);
        let path = rule
            .path
            .replace("{service}", "worker")
            .replace("{rotation}", "worker.1")
            .replace("{rollout}", "rollout.1")
            .replace("{instance}", "worker-r1-1-1")
            .replace("{image}", "base");
        let (none, _) = attack.by("", rule.method, &path, &json!({})).await;
        assert_eq!(none, 401, "{} {path} without a token", rule.method);
        let (low, answer) = attack.by(&reader, rule.method, &path, &json!({})).await;
        if rule.role > Role::Read || rule.of == server::routes::Of::All || rule.of == server::routes::Of::Path {
            assert_eq!(low, 403, "{} {path} by a reader of web: {answer}", rule.method);
        }
        // The form of each body is checked by its own test; here it is enough that the role alone lets nobody of another role in.
        if rule.role == Role::Admin {
            assert_eq!(attack.try_it(rule.method, &path, &json!({})).await.0, 403, "{} {path} by a deployer", rule.method);
        }
    }
    assert!(seen.len() >= 28, "only {} calls: is the table whole?", seen.len());
    // The sources themselves: a path that is added beside the table would have no rule.
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http");
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let routes = text.matches(".route(").count() - text.matches(".route(route.rule.path").count();
        assert_eq!(routes, 0, "{}: a path beside the table", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_kept_as_digests_for_the_owner_alone_and_end_when_revoked() {
    let attack = Attack::begin().await;
    let path = Layout::new(attack.house.dir.path()).root().join("control/tokens.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"ci\"") && !text.contains(attack.token.trim_start_matches("afresh_")), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(attack.try_it("GET", "/v1/services", &json!(null)).await.0, 200);
    let twice = TokenRequest { name: "ci".into(), grant: Grant::admin() };
    assert_eq!(attack.house.client().post::<_, Value>("/v1/tokens", &twice).await.unwrap_err().code, "name-taken");
    for (name, bad) in
        [("a\nb", grant(Role::Read, &[], &[])), ("x", grant(Role::Deploy, &[], &[])), ("y", grant(Role::Admin, &["web"], &[]))]
    {
        let request = TokenRequest { name: name.into(), grant: bad };
        assert!(attack.house.client().post::<_, Value>("/v1/tokens", &request).await.is_err(), "{name:?}");
    }
    // A file that others can read: no token is believed any more, the administrator goes on.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(attack.try_it("GET", "/v1/services", &json!(null)).await.1["code"], "open-token-file");
    assert!(attack.house.client().get::<Value>("/v1/services").await.is_ok());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let _: Value = attack.house.client().post("/v1/tokens/revoke", &TokenRevoke { name: "ci".into() }).await.unwrap();
    assert_eq!(attack.try_it("GET", "/v1/services", &json!(null)).await.0, 401);
}

/// A stream outlives the question who may read it; so the question is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let attack = Attack::begin().await;
    let token = attack.house.token("eyes", grant(Role::Read, &["web"], &[])).await;
    let mut stream = TcpStream::connect(attack.address).await.unwrap();
    let ask = format!("GET /v1/events?follow=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let _: Value = attack.house.client().post("/v1/tokens/revoke", &TokenRevoke { name: "eyes".into() }).await.unwrap();
    // The last chunk of a body whose length is not known before.
    let mut rest = Vec::new();
    let ended = async {
        while !rest.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut rest).await.unwrap() > 0, "it broke off");
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("a token that was revoked still reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_policy_counts_at_once_and_only_if_root_alone_can_write_it() {
    let attack = Attack::begin().await;
    let path = attack.house.dir.path().join("policy.hcl");
    let write = |text: &str, mode: u32| {
        std::fs::write(&path, format!("{RECIPES}{text}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let exec = of_web(|s| s.health.probe = Probe::Exec { command: vec!["id".into()] });
    let code = |answer: (u16, Value)| (answer.0, answer.1["code"].as_str().unwrap_or_default().to_string());
    assert_eq!(code(attack.try_it("POST", "/v1/plan", &exec).await), (403, "policy-exec".into()));
    write("health_exec = true\n", 0o644);
    assert_eq!(code(attack.try_it("POST", "/v1/plan", &exec).await), (200, String::new()));
    for mode in [0o664, 0o646, 0o666] {
        write("health_exec = true\n", mode);
        assert_eq!(code(attack.try_it("POST", "/v1/plan", &exec).await), (403, "policy-not-safe".into()), "{mode:o}");
    }
    write("health_exec = perhaps\n", 0o644);
    assert_eq!(code(attack.try_it("POST", "/v1/plan", &exec).await), (403, "policy-invalid".into()));
    let administrator: Result<PlanAnswer, Fault> = attack.house.client().post("/v1/plan", &exec).await;
    assert!(administrator.is_ok(), "{administrator:?}");
    let told: Fault = attack.house.client().get::<Value>("/v1/policy").await.unwrap_err();
    assert!(told.message.contains("policy.hcl:2:15"), "{told:?}");
}

/// A tier is not a way in: who may deploy a tier cannot move another tier's service into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tier_holds_the_services_that_are_in_it() {
    let attack = Attack::begin().await;
    let token = attack.house.token("front", grant(Role::Deploy, &[], &["front"])).await;
    let plan = |spec: ServiceSpec| {
        let service = spec.name.to_string();
        json!(request(vec![spec], Some(&service)))
    };
    for (what, spec, status) in [
        ("its own", spec("web", "front", "two", 1, Some("127.0.0.1:8080")), 200),
        ("a new one in its tier", spec("shop", "front", "x", 1, None), 200),
        ("another tier's, moved into it", spec("worker", "front", "x", 1, None), 403),
        ("its own, moved out of it", spec("web", "back", "two", 1, None), 403),
        ("a new one in another tier", spec("miner", "back", "x", 1, None), 403),
    ] {
        let (got, answer) = attack.by(&token, "POST", "/v1/plan", &plan(spec)).await;
        assert_eq!(got, status, "{what}: {answer}");
    }
}

/// A listener that is taken is no way to learn whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_no_service_that_the_caller_may_not_see() {
    let attack = Attack::begin().await;
    let secret = request(vec![spec("payroll", "back", "x", 1, Some("127.0.0.1:8090"))], Some("payroll"));
    let opened: api::control::Opened = attack.house.client().post("/v1/deploy", &secret).await.unwrap();
    attack.house.until(&opened.rotations[0], |r| r.verdict.is_some()).await;
    let mine = edited(|_, web| web.route = Some(Route::on("127.0.0.1:8090".parse().unwrap())));
    for path in ["/v1/plan", "/v1/deploy"] {
        let (status, answer) = attack.try_it("POST", path, &mine).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("listen-taken")), "{path}: {answer}");
        assert!(!answer.to_string().contains("payroll"), "{path}: {answer}");
    }
    let fault = attack.house.client().post::<_, Value>("/v1/plan", &mine).await.unwrap_err();
    assert!(fault.message.contains("payroll already listens"), "the administrator reads whose it is: {fault:?}");
}

/// Whose the objects of a request are is read once, not for each of its services.
#[tokio::test(flavor = "multi_thread")]
async fn permits_of_many_services_cost_one_read() {
    let attack = Attack::begin().await;
    let token = attack.house.token("front", grant(Role::Deploy, &[], &["front"])).await;
    let plan_of = |count: u32| {
        let specs = (0..count).map(|n| ServiceSpec { artifact: Some("./x".into()), ..spec(&format!("s{n}"), "front", "x", 1, None) });
        let mut request = request(specs.collect(), None);
        request.artifacts = request.file.services.keys().map(|service| (service.clone(), digest('c'))).collect();
        json!(request)
    };
    for count in [1, 20] {
        attack.house.fake.state().kept_lists = 0;
        let (status, answer) = attack.by(&token, "POST", "/v1/plan", &plan_of(count)).await;
        assert_eq!((status, attack.house.fake.state().kept_lists), (200, 1), "{count}: {answer}");
    }
    let mut stolen = plan_of(20);
    stolen["artifacts"]["s7"] = json!(digest('b'));
    let (status, answer) = attack.by(&token, "POST", "/v1/plan", &stolen).await;
    assert_eq!((status, answer["code"].as_str()), (403, Some("forbidden")), "{answer}");
}

/// 256 idle connections used to keep everybody out, the administrator too.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    let attack = Attack::begin().await;
    let mut idle = Vec::new();
    for i in 0..600 {
        let mut stream = TcpStream::connect(attack.address).await.unwrap();
        if i % 2 == 0 {
            let _ = stream.write_all(b"POST /v1/deploy HTTP/1.1\r\nhost").await;
        }
        idle.push(stream);
    }
    let within = std::time::Duration::from_secs(10);
    let answered = tokio::time::timeout(within, attack.client().get::<Value>("/v1/services")).await;
    assert!(matches!(answered, Ok(Ok(_))), "600 idle connections keep a token out: {answered:?}");
    let answered = tokio::time::timeout(within, attack.house.client().get::<Value>("/v1/services")).await;
    assert!(matches!(answered, Ok(Ok(_))), "600 idle connections keep the administrator out: {answered:?}");
    drop(idle);
}

/// The kernel says who is at the other end of the policy's socket.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: it connects as another user"]
async fn a_user_of_this_machine_has_the_role_that_the_policy_gives() {
    let mut house = House::new().await;
    house.stop().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = outside.path().join("api.sock");
    let policy = format!("socket = \"{}\"\npeer \"ci\" {{ uid = 12345  role = \"deploy\"  services = [\"web\"] }}\n", socket.display());
    std::fs::write(house.dir.path().join("policy.hcl"), policy).unwrap();
    house.start().await;
    let ask = |uid: u32, path: &str| {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
        let script = "import os,socket,sys\nos.setgid(int(sys.argv[2]));os.setuid(int(sys.argv[2]))\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.sendall(sys.argv[3].encode())\nb=b''\nwhile True:\n  d=s.recv(65536)\n  if not d: break\n  b+=d\nprint(b.decode())";
        let out = std::process::Command::new("python3")
            .args(["-c", script, socket.to_str().unwrap(), &uid.to_string(), &request])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(ask(12_345, "/v1/gc").contains("peer:ci has role deploy"), "{}", ask(12_345, "/v1/gc"));
    assert!(ask(12_345, "/v1/deploy").contains("bad-request"), "its own calls reach their handler");
    assert!(ask(12_346, "/v1/gc").contains("uid 12346 has no role here"));
    let lines: Vec<AuditLine> = house.client().get("/v1/audit").await.unwrap();
    assert!(lines.iter().any(|l| l.who == "peer:ci" && l.from == "unix uid 12345" && l.code == "forbidden"), "{lines:?}");
}
