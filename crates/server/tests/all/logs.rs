//! Logs come from the keeper, living servers' and those of servers that are gone, and go to who may read their service alone.

use crate::common::*;
use api::logs::{self, LOGS, LogFile, LogLine, LogPart, LogQuery};
use axum::extract::{Path, RawQuery};
use axum::routing::get;
use axum::{Json, Router};
use model::*;
use serde_json::Value;

/// In the keeper's place: it has logs of two services, and says what it was asked.
async fn keep_logs(layout: &Layout) {
    let listener = tokio::net::UnixListener::bind(layout.host_socket()).unwrap();
    let file = |instance: &str, lives| {
        let instance: InstanceId = instance.parse().unwrap();
        LogFile { group: instance.group().unwrap(), instance, lives, bytes: 7, written: Time(1) }
    };
    let all = vec![file("web-r1-1-1", false), file("worker-r1-1-1", true), file("web-r1-1-2", true)];
    let part = |Path(instance): Path<InstanceId>, RawQuery(query): RawQuery| async {
        let line = LogLine { at: None, stream: None, text: query.unwrap_or_default() };
        Json(LogPart { instance, lines: vec![line], next: "1:2:3".into(), more: false, lost: false, dropped: 0, lives: false })
    };
    let router = Router::new().route(LOGS, get(|| async { Json(all) })).route(&format!("{LOGS}/{{instance}}"), get(part));
    tokio::spawn(async move { axum::serve(listener, router).await });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_to_those_who_may_read_its_service() {
    let house = House::new().await;
    let both = request(vec![spec("worker", "back", "work", 1, None), spec("web", "front", "one", 1, None)], None);
    let opened: api::control::Opened = house.client().post("/v1/deploy", &both).await.unwrap();
    house.until_rollout(opened.rollout.as_ref().unwrap()).await;
    keep_logs(&Layout::new(house.dir.path())).await;
    let web = name("web");
    let of_web: Vec<LogFile> = house.client().get(&logs::list(&web)).await.unwrap();
    let ids: Vec<&str> = of_web.iter().map(|log| log.instance.as_str()).collect();
    assert_eq!(ids, ["web-r1-1-1", "web-r1-1-2"], "of this service alone, gone ones too");
    let query = LogQuery { tail: Some(3), since: Some(Time(9)), grep: Some("a b".into()), from: Some("1:2:3".into()) };
    let gone = of_web[0].instance.clone();
    let part: LogPart = house.client().get(&logs::one(&web, &gone, &query)).await.unwrap();
    assert_eq!((part.lines[0].text.as_str(), part.lives), ("tail=3&since=9&grep=a%20b&from=1:2:3", false));
    // Under the name of a service that the caller may read, another's server is not found.
    let other = "worker-r1-1-1".parse().unwrap();
    let path = logs::one(&web, &other, &LogQuery::default());
    assert_eq!(house.client().get::<Value>(&path).await.unwrap_err().code, "not-found");
    assert_eq!(house.client().get::<Value>(&logs::list(&name("none"))).await.unwrap_err().code, "not-found");
    // A place that is none reaches no keeper: it could add parameters to the call, or make it invalid.
    for from in ["%20", "1:2:3%26tail=7", "1%23", "1%0d%0aHost:x", "x", "1:2:3/../..", "%00", "1:-2:3"] {
        let path = format!("{}?from={from}", logs::one(&web, &gone, &LogQuery::default()));
        assert_eq!(house.client().get::<Value>(&path).await.unwrap_err().code, "bad-parameter", "{from}");
    }
    assert_eq!(
        house.client().get::<Value>(&format!("{}?tail=x", logs::one(&web, &gone, &LogQuery::default()))).await.unwrap_err().code,
        "bad-parameter"
    );
}
