//! Commands inside servers: the audit has each before the keeper hears of it, only who began one has it, and nothing begins unrecorded.

use crate::common::*;
use api::control::AuditLine;
use api::exec::{self, EXEC, ExecBegun, ExecExit, ExecInput, ExecOrder, ExecOutput, ExecRequest, ExecSeen, ExecTaken};
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use model::access::{Grant, Role};
use model::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// In the keeper's place: what it was ordered, and what the audit was then.
#[derive(Clone, Default)]
struct Keeper {
    orders: Arc<Mutex<Vec<(ExecOrder, String)>>>,
    /// What it runs does not end.
    endless: bool,
    /// It answers the call that begins one this late, when it has ended and its end is recorded.
    late: Duration,
    recorded: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Keeper {
    fn orders(&self) -> Vec<(ExecOrder, String)> {
        self.orders.lock().unwrap().clone()
    }

    async fn serve(&self, layout: &Layout) {
        let listener = tokio::net::UnixListener::bind(layout.host_socket()).unwrap();
        let changes = layout.root().join("audit/changes.log");
        let (one, other) = (self.clone(), self.clone());
        let begin = move |Json(order): Json<ExecOrder>| async move {
            one.orders.lock().unwrap().push((order, std::fs::read_to_string(changes).unwrap_or_default()));
            tokio::time::sleep(one.late).await;
            Json(ExecBegun { session: "s7".parse().unwrap() })
        };
        let list = move || async move {
            let seen = |(order, _): (ExecOrder, String)| ExecSeen {
                session: "s7".parse().unwrap(),
                instance: order.request.instance,
                by: order.by,
                command: order.request.command,
                began: Time(1),
                exit: (!other.endless).then_some(ExecExit { code: 3, ended: None, not_started: None, took_ms: 4_000 }),
            };
            let all = if other.recorded.load(SeqCst) { Vec::new() } else { other.orders() };
            Json(all.into_iter().map(seen).collect::<Vec<_>>())
        };
        let (recorded, stopped) = (self.recorded.clone(), self.stopped.clone());
        let said = |flag: Arc<AtomicBool>| {
            move || async move {
                flag.store(true, SeqCst);
                Json(json!({}))
            }
        };
        let output = |Path(_): Path<String>| async { Json(ExecOutput { pieces: Vec::new(), next: 9, exit: None }) };
        let router = Router::new()
            .route(EXEC, post(begin).get(list))
            .route(&format!("{EXEC}/{{session}}/output"), get(output))
            .route(&format!("{EXEC}/{{session}}/input"), post(|| async { Json(ExecTaken { taken: 0 }) }))
            .route(&format!("{EXEC}/{{session}}/stop"), post(said(stopped)))
            .route(&format!("{EXEC}/{{session}}/recorded"), post(said(recorded)));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
}

fn request(instance: &str) -> ExecRequest {
    ExecRequest { instance: instance.parse().unwrap(), command: vec!["cat".into(), "/run/secrets/db".into()], terminal: None }
}

async fn audit(house: &House) -> Vec<AuditLine> {
    let all: Vec<AuditLine> = house.client().get("/v1/audit?limit=100").await.unwrap();
    all.into_iter().filter(|line| line.what.contains("exec")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_has_it_before_the_keeper_and_its_end_afterwards() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let keeper = Keeper::default();
    keeper.serve(&Layout::new(house.dir.path())).await;
    let service = name("web");
    let other = house.client().post::<_, Value>(&exec::of(&service), &request("worker-r1-1-1")).await.unwrap_err();
    assert_eq!((other.code.as_str(), keeper.orders().len()), ("not-found", 0), "of another service");
    let begun: ExecBegun = house.client().post(&exec::of(&service), &request("web-r1-1-1")).await.unwrap();
    let (order, audit_then) = keeper.orders().remove(0);
    assert_eq!((order.by.as_str(), &order.request), ("root", &request("web-r1-1-1")));
    assert!(
        audit_then.contains("exec web-r1-1-1") && audit_then.contains("\"begins\"") && audit_then.contains("cat /run/secrets/db"),
        "{audit_then}"
    );
    // Its output is for who began it, whoever else may deploy the service.
    let own: ExecOutput = house.client().get(&exec::output(&service, &begun.session, 0)).await.unwrap();
    assert_eq!(own.next, 9);
    let grant = Grant { role: Role::Deploy, services: [service.clone()].into(), tiers: Default::default() };
    let token = house.token("ci", grant).await;
    let ci = house.client().token(Some(token));
    for path in [exec::output(&service, &begun.session, 0), exec::output(&service, &"s8".parse().unwrap(), 0)] {
        assert_eq!(ci.get::<Value>(&path).await.unwrap_err().code, "not-found");
    }
    let typed = ci.post::<_, Value>(&exec::input(&service, &begun.session), &ExecInput::default()).await;
    assert_eq!(typed.unwrap_err().code, "not-found");
    assert_eq!(ci.post::<_, Value>(&exec::of(&service), &request("web-r1-1-1")).await.unwrap_err().code, "policy-run");
    let mut lines = audit(&house).await;
    for _ in 0..200 {
        if lines.iter().any(|line| line.outcome == "ended") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        lines = audit(&house).await;
    }
    let ended = lines.iter().find(|line| line.outcome == "ended").unwrap();
    assert_eq!((ended.who.as_str(), ended.message.as_str(), ended.detail.as_str()), ("root", "exit 3 after 4 s", "cat /run/secrets/db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_that_the_audit_cannot_have_or_that_root_forbids() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let layout = Layout::new(house.dir.path());
    let keeper = Keeper::default();
    keeper.serve(&layout).await;
    let begin =
        async || house.client().post::<_, Value>(&exec::of(&name("web")), &request("web-r1-1-1")).await.err().map(|fault| fault.code);
    // As on a full disk: the line cannot be appended.
    let changes = layout.root().join("audit/changes.log");
    std::fs::rename(&changes, layout.root().join("audit/kept")).unwrap();
    std::fs::create_dir(&changes).unwrap();
    assert_eq!(begin().await.as_deref(), Some("audit-unwritable"));
    std::fs::remove_dir(&changes).unwrap();
    let policy = house.dir.path().join("policy.hcl");
    for (text, code) in [("exec = false\n", "policy-no-exec"), ("exec = 7\n", "policy-invalid")] {
        std::fs::write(&policy, text).unwrap();
        assert_eq!(begin().await.as_deref(), Some(code), "the administrator too");
    }
    assert_eq!(keeper.orders().len(), 0);
    std::fs::write(&policy, "exec = true\n").unwrap();
    assert_eq!(begin().await, None);
}

/// What was permitted at its beginning is asked for again at each call.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_withdrawn_binds_an_open_session() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let keeper = Keeper::default();
    keeper.serve(&Layout::new(house.dir.path())).await;
    let policy = |text: &str| std::fs::write(house.dir.path().join("policy.hcl"), text).unwrap();
    policy("run = [\"token:ci\"]\n");
    let (service, grant) = (name("web"), Grant { role: Role::Deploy, services: [name("web")].into(), tiers: Default::default() });
    let ci = house.client().token(Some(house.token("ci", grant).await));
    let begun: ExecBegun = ci.post(&exec::of(&service), &request("web-r1-1-1")).await.unwrap();
    let output = async || ci.get::<ExecOutput>(&exec::output(&service, &begun.session, 0)).await.err().map(|fault| fault.code);
    let input = async || {
        let typed = ExecInput::default();
        ci.post::<_, Value>(&exec::input(&service, &begun.session), &typed).await.err().map(|fault| fault.code)
    };
    assert_eq!((output().await, input().await), (None, None));
    for (text, code) in [("run = []\n", "policy-run"), ("exec = false\n", "policy-no-exec"), ("exec = 7\n", "policy-invalid")] {
        policy(text);
        assert_eq!((output().await.as_deref(), input().await.as_deref()), (Some(code), Some(code)), "{text}");
    }
    // It may still be ended.
    ci.post::<_, Value>(&exec::stop(&service, &begun.session), &json!({})).await.unwrap();
}

/// Found by a reader: one whose end was recorded before its beginning was answered had a second end, "not known".
#[tokio::test(flavor = "multi_thread")]
async fn an_end_before_the_answer_is_recorded_once() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let keeper = Keeper { late: Duration::from_secs(2), ..Keeper::default() };
    keeper.serve(&Layout::new(house.dir.path())).await;
    let _: ExecBegun = house.client().post(&exec::of(&name("web")), &request("web-r1-1-1")).await.unwrap();
    assert!(keeper.recorded.load(SeqCst), "it had ended before the answer");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ends: Vec<String> = audit(&house).await.into_iter().filter(|line| line.outcome == "ended").map(|line| line.message).collect();
    assert_eq!(ends, ["exit 3 after 4 s"]);
}

/// Found by a reader: an administrator could not end what held all places of a host.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_lists_and_stops_those_of_others() {
    let house = House::new().await;
    house.through(&web("one")).await;
    std::fs::write(house.dir.path().join("policy.hcl"), "run = [\"token:ci\", \"token:else\"]\n").unwrap();
    let keeper = Keeper { endless: true, ..Keeper::default() };
    keeper.serve(&Layout::new(house.dir.path())).await;
    let service = name("web");
    let grant = || Grant { role: Role::Deploy, services: [service.clone()].into(), tiers: Default::default() };
    let ci = house.client().token(Some(house.token("ci", grant()).await));
    let other = house.client().token(Some(house.token("else", grant()).await));
    let begun: ExecBegun = ci.post(&exec::of(&service), &request("web-r1-1-1")).await.unwrap();
    assert!(!keeper.orders().remove(0).0.is_admin);
    let sees = async |client: &api::Client| client.get::<Vec<ExecSeen>>(EXEC).await.unwrap().len();
    assert_eq!((sees(&ci).await, sees(&other).await, sees(&house.client()).await), (1, 0, 1));
    let stop = exec::stop(&service, &begun.session);
    assert_eq!(other.post::<_, Value>(&stop, &json!({})).await.unwrap_err().code, "not-found");
    assert!(!keeper.stopped.load(SeqCst));
    // Its input and output stay its own.
    let output = house.client().get::<Value>(&exec::output(&service, &begun.session, 0)).await;
    assert_eq!(output.unwrap_err().code, "not-found");
    house.client().post::<_, Value>(&stop, &json!({})).await.unwrap();
    assert!(keeper.stopped.load(SeqCst));
    let all: Vec<AuditLine> = house.client().get("/v1/audit?limit=100").await.unwrap();
    assert!(all.iter().any(|line| line.who == "root" && line.what.contains("stop") && line.detail == "s7"), "{all:?}");
}
