//! What comes over the wire is anybody's: every answer is a fault that says what is wrong, and the server goes on.

use crate::common::*;
use model::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Sends bytes as they are; gives status and body.
async fn raw(house: &House, bytes: &[u8]) -> (u16, String) {
    let stream = UnixStream::connect(Layout::new(house.dir.path()).api_socket()).await.unwrap();
    talk(stream, bytes).await
}

async fn talk(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, bytes: &[u8]) -> (u16, String) {
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_string()))
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

fn fault(body: &str) -> Fault {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let house = House::new().await;
    let good = serde_json::to_vec(&web("one")).unwrap();
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let huge = [b"{\"file\":\"".to_vec(), vec![b'x'; 5 << 20], b"\"}".to_vec()].concat();
    let wrong: [(&str, &[u8]); 12] = [
        ("empty", b""),
        ("truncated", &good[..good.len() / 2]),
        ("one byte short", &good[..good.len() - 1]),
        ("no json", b"hello"),
        ("no utf-8", &[0xff, 0xfe, 0x00]),
        ("null", b"null"),
        ("an array", b"[]"),
        ("a wrong type", b"{\"file\": 7}"),
        ("deep", &deep),
        ("huge", &huge),
        ("a number too large", b"{\"release\": 99999999999999999999999999}"),
        ("more behind", &[&good[..], b"{}"].concat()),
    ];
    for path in ["/v1/deploy", "/v1/plan", "/v1/rollback", "/v1/steps/run", "/v1/steps/check", "/v1/rotations/web.1/command"] {
        for (what, body) in &wrong {
            let (status, answer) = raw(&house, &post(path, body)).await;
            let is_too_large = *what == "huge";
            assert_eq!(status, if is_too_large { 413 } else { 400 }, "{path} {what}: {answer}");
            let fault = fault(&answer);
            if is_too_large {
                let (code, told) = ("too-large", format!("{} bytes", huge.len()));
                assert!(fault.code == code && fault.message.contains(&told) && fault.hint.is_some(), "{fault:?}");
                continue;
            }
            assert_eq!(fault.blame, Blame::Yours, "{path} {what}");
            assert!(fault.code == "bad-body" || fault.message.contains("line "), "{path} {what}: no place: {fault:?}");
        }
    }
    // Every prefix of a good request is refused, none half taken.
    for length in (0..good.len()).step_by(61) {
        assert_eq!(raw(&house, &post("/v1/deploy", &good[..length])).await.0, 400);
    }
    let unknown = String::from_utf8(good).unwrap().replacen('{', "{\"from_the_future\": [1, {}],", 1);
    assert_eq!(raw(&house, &post("/v1/deploy", unknown.as_bytes())).await.0, 200, "unknown fields are tolerated");
}

type Edit = fn(&mut ServiceSpec);

/// What no file can say, each seen to be taken by the API before it was held to the reader's rules.
const NOT_IN_A_FILE: &[(&str, Edit)] = &[
    ("user = root", |s| s.user = "root".into()),
    ("user = -1", |s| s.user = "4294967295".into()),
    ("signal BOOM", |s| s.drain.signal = "BOOM".into()),
    ("connect_timeout 0", |s| s.route.as_mut().unwrap().connect_timeout_ms = 0),
    ("address :0", |s| s.route.as_mut().unwrap().listen = "0.0.0.0:0".parse().unwrap()),
    ("cpu 2^64-1", |s| s.limits.cpu_milli = u64::MAX),
    ("memory 0", |s| s.limits.memory_bytes = 0),
    ("pids 2^64-1", |s| s.limits.pids = u64::MAX),
    ("health every 0", |s| s.health.every_ms = 0),
    ("unhealthy_after 0", |s| s.health.unhealthy_after = 0),
    ("health path", |s| s.health.probe = Probe::Http { path: "/a b\r\nx: y".into() }),
    ("exec of nothing", |s| s.health.probe = Probe::Exec { command: Vec::new() }),
    ("waves that shrink", |s| s.rollout.waves = vec![Wave::Percent(100), Wave::Count(1)]),
    ("no waves", |s| s.rollout.waves.clear()),
    ("errors 200%", |s| s.rollout.errors_ppm = 2_000_000),
    ("freeze never", |s| s.rollout.freeze = vec!["never".into()]),
    ("within 2^64-1", |s| s.rollout.within_ms = u64::MAX),
    ("drain 2^64-1", |s| s.drain.within_ms = u64::MAX),
    ("count 2^32-1", |s| s.count = u32::MAX),
    ("nothing to run", |s| s.run.clear()),
    ("NUL in run", |s| s.run.push("a\0b".into())),
    ("bidi in run", |s| s.run.push("a\u{202e}b".into())),
    ("escape in env", |s| drop(s.env.insert("A".into(), "\u{1b}[2J".into()))),
    ("name of a variable", |s| drop(s.env.insert("A=B\nC".into(), String::new()))),
    ("no port", |s| s.port = None),
    ("port 0", |s| s.port = Some(0)),
    ("artifact /etc", |s| s.artifact = Some("/etc".into())),
    ("an unknown image", |s| s.image = ImageName::new("other").unwrap()),
    ("another name", |s| s.name = name("other")),
    ("a check's name", |s| s.checks.push(Check { name: "../x".into(), run: vec!["x".into()], within_ms: 1_000 })),
    ("a check's time", |s| s.checks.push(Check { name: "x".into(), run: vec!["x".into()], within_ms: 0 })),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_no_file_can_say_no_request_may_ask_for() {
    let house = House::new().await;
    let mut taken = Vec::new();
    for (what, edit) in NOT_IN_A_FILE {
        let mut request = web("one");
        edit(request.file.services.get_mut(&name("web")).unwrap());
        for path in ["/v1/plan", "/v1/deploy"] {
            let (status, answer) = raw(&house, &post(path, &serde_json::to_vec(&request).unwrap())).await;
            if status != 422 || fault(&answer).code != "bad-service-file" {
                taken.push((*what, path, status, answer.chars().take(100).collect::<String>()));
            }
        }
    }
    assert!(taken.is_empty(), "{} of {} were taken: {taken:#?}", taken.len(), 2 * NOT_IN_A_FILE.len());
    let mut request = web("one");
    request.file.services.get_mut(&name("web")).unwrap().user = "root".into();
    let refused = house.deploy(&request).await.unwrap_err();
    assert!(refused.message.starts_with("services.web.user: `root` is no user"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("root is \"0:0\""));
}

/// The client says what is wrong before it sends 4 MiB; it used to say that nobody was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_not_called_unreachable() {
    let house = House::new().await;
    let mut request = web("one");
    request.images.extend((0..60_000).map(|i| (ImageName::new(format!("i{i}")).unwrap(), digest('a'))));
    let refused = house.deploy(&request).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.blame), ("too-large", Blame::Yours), "{refused:?}");
    assert!(refused.message.contains("/v1/deploy") && refused.hint.unwrap().contains("split the service file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_paths_and_methods() {
    let house = House::new().await;
    for (request, status, code) in [
        (get("/"), 404, "not-found"),
        (get("/v1/nothing"), 404, "not-found"),
        (get("/v1/services/web"), 404, "not-found"),
        (get("/v1/services/..%2f..%2fetc"), 400, "bad-name"),
        (get("/v1/services/%ff%fe"), 400, "bad-name"),
        (get(&format!("/v1/services/{}", "x".repeat(5_000))), 400, "bad-name"),
        (get("/v1/rotations/web"), 400, "bad-name"),
        (get("/v1/rotations/web.1"), 404, "not-found"),
        (get("/v1/rotations/web.1/events?from=0"), 404, "not-found"),
        (get("/v1/rotations/web.1/events?from=-1"), 400, "bad-parameter"),
        (get("/v1/rotations?service=We"), 400, "bad-parameter"),
        (get("/v1/rotations?limit=many"), 400, "bad-parameter"),
        (get("/v1/rollouts/rollout.9"), 404, "not-found"),
        (get("/v1/events?follow=perhaps"), 400, "bad-parameter"),
        (get("/v1/releases?service=nobody"), 404, "not-found"),
        (get("/v1/deploy"), 400, "wrong-method"),
        (post("/v1/services", b"{}"), 400, "wrong-method"),
    ] {
        let (got, body) = raw(&house, &request).await;
        let fault = fault(&body);
        assert_eq!((got, fault.code.as_str()), (status, code), "{body}");
        assert!(body.len() < 1_000, "{body}");
    }
    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", &[b'A'; 100_000]] {
        raw(&house, garbage).await;
    }
    // Those who say nothing hold nobody up.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(UnixStream::connect(Layout::new(house.dir.path()).api_socket()).await.unwrap());
    }
    assert_eq!(raw(&house, &get("/v1/health")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_may_speak_on_the_socket() {
    let house = House::new().await;
    let layout = Layout::new(house.dir.path());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&layout.api_socket()), 0o600);
    assert_eq!(mode(&layout.run()), 0o700);
    assert_eq!(mode(&layout.database()), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_only_with_a_token() {
    let mut house = House::new().await;
    house.stop().await;
    let (token, file) = ("k3V9x0Qm2Lr8Tz5Wb1YcHd7Jf4Ng6PsEuAiO", house.dir.path().join("token"));
    let keep = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    keep(token);
    let config = server::Config { listen: Some("127.0.0.1:0".parse().unwrap()), token_file: Some(file.clone()), ..house.config() };
    let server = start(config).await.unwrap();
    let address = server.address().unwrap();
    let ask = |header: String| async move {
        let stream = TcpStream::connect(address).await.unwrap();
        talk(stream, format!("GET /v1/services HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n").as_bytes()).await
    };
    for header in [
        String::new(),
        "authorization: Bearer \r\n".to_string(),
        format!("authorization: Bearer {}\r\n", &token[..19]),
        format!("authorization: Bearer {token}4\r\n"),
    ] {
        let (status, body) = ask(header.clone()).await;
        assert_eq!((status, fault(&body).code.as_str()), (401, "unauthorized"), "{header:?}");
    }
    assert_eq!(ask(format!("authorization: Basic {token}\r\n")).await.0, 401);
    assert_eq!(ask(format!("authorization: Bearer {token}\r\n")).await.0, 200);
    let client = api::Client::tcp(address.to_string()).token(Some(token.to_string()));
    let health: api::paths::Health = client.get("/v1/health").await.unwrap();
    assert_eq!(health.pid, std::process::id());
    // Exchanged, without a restart; then open to others.
    let newer = "Zr7pN4eUa9Dh2Ks6Gj0XQm3Vt8Lc1Wb5YfHo";
    keep(newer);
    assert_eq!(ask(format!("authorization: Bearer {token}\r\n")).await.0, 401);
    assert_eq!(ask(format!("authorization: Bearer {newer}\r\n")).await.0, 200);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(ask(format!("authorization: Bearer {newer}\r\n")).await.0, 401);
    let taken = server::Config { listen: Some(address), layout: Layout::new(house.dir.path().join("other")), ..house.config() };
    assert_eq!(start(taken).await.err().unwrap().code, "port-in-use");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_too_deep_for_a_socket() {
    let house = House::new().await;
    let deep = Layout::new(house.dir.path().join("d".repeat(100)));
    let fault = start(server::Config { layout: deep, ..house.config() }).await.err().unwrap();
    assert_eq!((fault.code.as_str(), fault.blame), ("path-too-long", Blame::Yours));
}
