//! Any bytes as what a client sends to the balancer's data plane: what reaches the server behind it is always one well-formed request
//! after the other, with one framing each, none of them with a header that only the balancer may set.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{
    Drain, Fence, GroupName, Health, InstanceId, Layout, Probe, Route, RouteName, RouteSpec, ServiceName, Stamp, Target, TargetFile,
};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

/// More than an answer on loopback takes, and little enough for many inputs.
const PATIENCE: Duration = Duration::from_millis(4);
const IP: &str = "127.0.0.1";

/// A server that understands HTTP/1.1 by its strictest reading and ends the process when it is given anything else.
fn answer(stream: TcpStream) {
    let mut from = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    let mut to = stream;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let before = head.len();
            match from.read_until(b'\n', &mut head) {
                Ok(n) if n > 0 => {}
                // The balancer may leave between requests, and within one whose client left.
                _ => return,
            }
            assert!(head.len() - before < 1 << 17, "an endless line");
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        assert!(first.len() == 3 && first[2] == "HTTP/1.1" && !first[0].is_empty(), "a broken request line: {text:?}");
        let mut headers: Vec<(String, &str)> = Vec::new();
        for line in lines.filter(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a header without a colon: {text:?}"));
            assert!(!name.is_empty() && !name.ends_with([' ', '\t']) && !line.contains('\n'), "a broken header: {text:?}");
            headers.push((name.to_ascii_lowercase(), value.trim()));
        }
        let all = |name: &str| headers.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect::<Vec<_>>();
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "two framings: {text:?}");
        assert_eq!(all("host").len(), 1, "not one Host: {text:?}");
        let host = all("host")[0];
        assert!(host.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\<>^`{|}/?#@".contains(&b)), "no name of a host: {text:?}");
        let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=http");
        for (name, ours) in [("forwarded", forwarded.as_str()), ("x-real-ip", IP), ("x-forwarded-host", host), ("x-forwarded-for", IP)] {
            assert_eq!(all(name), [ours], "a client's {name} came through: {text:?}");
        }
        let body = if let Some(length) = lengths.first() {
            let length: u64 = length.parse().unwrap_or_else(|_| panic!("a broken length: {text:?}"));
            std::io::copy(&mut (&mut from).take(length), &mut std::io::sink()).is_ok_and(|n| n == length)
        } else if codings.is_empty() {
            true
        } else {
            assert!(codings[0].eq_ignore_ascii_case("chunked"), "an odd coding: {text:?}");
            chunks(&mut from)
        };
        if !body || to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// False: the other side left within the body.
fn chunks(from: &mut BufReader<TcpStream>) -> bool {
    loop {
        let mut line = String::new();
        if !from.read_line(&mut line).is_ok_and(|n| n > 0) {
            return false;
        }
        let size = line
            .strip_suffix("\r\n")
            .and_then(|l| u64::from_str_radix(l, 16).ok())
            .unwrap_or_else(|| panic!("a broken chunk size: {line:?}"));
        if size > 0 && !std::io::copy(&mut from.take(size), &mut std::io::sink()).is_ok_and(|n| n == size) {
            return false;
        }
        let mut end = String::new();
        if !from.read_line(&mut end).is_ok_and(|n| n > 0) {
            return false;
        }
        // Trailers are not passed on.
        assert_eq!(end, "\r\n", "a chunk does not end where it should");
        if size == 0 {
            return true;
        }
    }
}

struct Plane {
    _dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    listen: SocketAddr,
}

static PLANE: LazyLock<Plane> = LazyLock::new(|| {
    // A panic of any thread is a finding.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let behind = server.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let layout = Layout::new(dir.path());
    let group = GroupName::new("web-r1-1").expect("a name");
    let targets = TargetFile {
        group: group.clone(),
        service: ServiceName::new("web").expect("a name"),
        release: 1,
        health: Health { probe: Probe::Tcp, every_ms: 1_000, timeout_ms: 2_000, healthy_for_ms: 0, unhealthy_after: 3 },
        drain: Drain::default(),
        route: None,
        targets: vec![Target { id: InstanceId::new("web-r1-1-1").expect("a name"), addr: behind, draining: false }],
    };
    let settings = Route { listen, connect_timeout_ms: 5_000, answer_timeout_ms: 5_000 };
    let spec =
        RouteSpec { route: RouteName::new("web").expect("a name"), settings, weights: BTreeMap::from([(group.clone(), 100)]), gone: false };
    let said = api::proxy::DeclareRoute { stamp: Stamp { fence: Fence(1), seq: 1 }, spec };
    for (path, bytes) in
        [(layout.target(&group), serde_json::to_vec(&targets)), (layout.routes().join("web.json"), serde_json::to_vec(&said))]
    {
        std::fs::create_dir_all(path.parent().expect("it has a place")).expect("there is room");
        std::fs::write(path, bytes.expect("plain data")).expect("there is room");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.spawn(proxy::data_until(layout, std::future::pending()));
    let plane = Plane { _dir: dir, _runtime: runtime, listen };
    while !exchange(&plane, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Duration::from_secs(1)).starts_with(b"HTTP/1.1 200")
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    plane
});

/// What is answered; the client says that it has no more to send when nothing came for this long, as it then leaves what it began.
fn exchange(plane: &Plane, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    let Ok(mut stream) = TcpStream::connect(plane.listen) else { return answer };
    stream.set_read_timeout(Some(patience)).expect("a socket");
    let _ = stream.write_all(bytes);
    let mut has_left = false;
    loop {
        match stream.read(&mut some) {
            Ok(0) => return answer,
            Ok(n) => answer.extend_from_slice(&some[..n]),
            Err(_) if has_left => return answer,
            Err(_) => {
                has_left = true;
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_secs(8))).expect("a socket");
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let answer = exchange(&PLANE, bytes, PATIENCE);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "a broken answer: {:?}", String::from_utf8_lossy(&answer));
});
