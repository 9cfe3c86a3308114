//! kill -9 of the control plane at odd moments, as a process: the world lives here, behind a socket, and sees what comes of it.

use crate::common::*;
use api::Client;
use api::control::RotationStatus;
use model::*;
use rotation::{GroupInventory, ImageStore, Provider, RouteInventory, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use server::{Images, Kept};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one is made per call")]
enum Call {
    Group(Stamp, GroupSpec),
    Route(Stamp, RouteSpec),
    SeeGroup(GroupName),
    SeeRoute(RouteName),
    Has(Digest),
    Groups,
    Routes,
}

fn answer(fake: &Fake, call: Call) -> Result<serde_json::Value, Fault> {
    let json = |v: serde_json::Result<serde_json::Value>| Ok(v.unwrap());
    match call {
        Call::Group(stamp, spec) => Provider::declare(fake, stamp, &spec).and_then(|v| json(serde_json::to_value(v))),
        Call::Route(stamp, spec) => Router::declare(fake, stamp, &spec).and_then(|v| json(serde_json::to_value(v))),
        Call::SeeGroup(group) => Provider::observe(fake, &group).and_then(|v| json(serde_json::to_value(v))),
        Call::SeeRoute(route) => Router::observe(fake, &route).and_then(|v| json(serde_json::to_value(v))),
        Call::Groups => fake.groups().and_then(|v| json(serde_json::to_value(v))),
        Call::Routes => fake.routes().and_then(|v| json(serde_json::to_value(v))),
        Call::Has(object) => fake.has(&object).and_then(|v| json(serde_json::to_value(v))),
    }
}

/// The world's side: a line in, a line out. A caller that was killed half way is no concern of ours.
fn serve_world(fake: Arc<Fake>, socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (fake, stream) = (fake.clone(), stream.unwrap());
            std::thread::spawn(move || {
                let mut line = String::new();
                if BufReader::new(&stream).read_line(&mut line).is_err() {
                    return;
                }
                let Ok(call) = serde_json::from_str(&line) else { return };
                let text = serde_json::to_string(&answer(&fake, call)).unwrap();
                let _ = (&stream).write_all(text.as_bytes());
            });
        }
    });
}

/// The control plane's side.
struct Far(PathBuf);

impl Far {
    fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Fault> {
        let broken = |e: std::io::Error| Fault::world("unreachable", e.to_string());
        let mut stream = UnixStream::connect(&self.0).map_err(broken)?;
        let mut text = serde_json::to_string(call).unwrap();
        text.push('\n');
        stream.write_all(text.as_bytes()).map_err(broken)?;
        let answer: Result<serde_json::Value, Fault> =
            serde_json::from_reader(stream).map_err(|e| Fault::world("unreachable", e.to_string()))?;
        Ok(serde_json::from_value(answer?).unwrap())
    }
}

impl Provider for Far {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        self.call(&Call::Group(stamp, spec.clone()))
    }
    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.call(&Call::SeeGroup(group.clone()))
    }
}

impl Router for Far {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        self.call(&Call::Route(stamp, spec.clone()))
    }
    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.call(&Call::SeeRoute(route.clone()))
    }
}

impl GroupInventory for Far {
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
        self.call(&Call::Groups)
    }
}

impl RouteInventory for Far {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
        self.call(&Call::Routes)
    }
}

impl ImageStore for Far {
    fn has(&self, object: &Digest) -> Result<bool, Fault> {
        self.call(&Call::Has(object.clone()))
    }
}

impl Images for Far {
    fn kept(&self) -> Result<Vec<Kept>, Fault> {
        Ok(Vec::new())
    }
    fn sweep(&self, _: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>, Fault> {
        Ok(Vec::new())
    }
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_killed() {
    let Ok(dir) = std::env::var("SERVER_KILL_DIR") else { return };
    let layout = Layout::new(&dir);
    let far = Arc::new(Far(Path::new(&dir).join("world.sock")));
    let holder = server::lease_holder(&layout).unwrap();
    let config = server::Config {
        layout,
        listen: None,
        token_file: None,
        policy: "/nonexistent".into(),
        holder,
        provider: far.clone(),
        router: far.clone(),
        images: far,
        backups: None,
        upkeep: None,
    };
    server::run(config).await.unwrap();
}

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::child_that_is_killed", "--nocapture"]).env("SERVER_KILL_DIR", dir);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn answers(client: &Client) {
    let begun = Instant::now();
    while client.get::<api::paths::Health>("/v1/health").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_nothing_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    fake.state().objects.insert(digest('a'));
    serve_world(fake.clone(), &dir.path().join("world.sock"));
    let client = Client::unix(Layout::new(dir.path()).api_socket());
    let most = crate::common::kills();
    let (mut child, mut kills, mut deploys, mut slowest) = (spawn(dir.path()), 0, 0, Duration::ZERO);
    answers(&client).await;
    while kills < most {
        deploys += 1;
        let opened: api::control::Opened = client.post("/v1/deploy", &web(&format!("v{deploys}"))).await.unwrap();
        let path = format!("/v1/rotations/{}", opened.rotations[0]);
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "{path} never closed");
            let before: RotationStatus = client.get(&path).await.unwrap();
            if let Some(verdict) = before.verdict {
                assert_eq!(verdict, Verdict::Promoted, "{before:#?}");
                break;
            }
            // Odd moments, from at once to a few steps on.
            tokio::time::sleep(Duration::from_millis((kills * 29) % 47)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let back = Instant::now();
            child = spawn(dir.path());
            answers(&client).await;
            loop {
                let now: RotationStatus = client.get(&path).await.unwrap();
                if now.events > before.events || now.verdict.is_some() {
                    break;
                }
                assert!(back.elapsed() < Duration::from_secs(30), "{now:#?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest = slowest.max(back.elapsed());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{kills} kills over {deploys} rotations; slowest resumption {slowest:?}, process start included");
    assert_eq!(fake.state().launched, 3 * deploys, "something was launched twice");
    assert_eq!(fake.running().values().sum::<u32>(), 3, "{:?}", fake.running());
    assert!(slowest < Duration::from_secs(10), "{slowest:?}; the aim is 2 s on a quiet machine");
}
