//! What keeper and balancer report, as the control plane passes it on.

use crate::common::*;
use api::control::DeployRequest;
use api::fleet::Alarm;
use model::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// A keeper that reports these alarms and answers nothing else.
fn keeper(house: &House, alarms: &[Alarm]) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(Layout::new(house.dir.path()).host_socket()).unwrap();
    let body = serde_json::to_string(alarms).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
            let _ = stream.write_all((head.clone() + &body).as_bytes()).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_what_is_over_says_that_it_is() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let died = Alarm::new("died", Some(name("web")), "web-r1-1-1 died after 9 s: exit 1, 30 s ago");
    let short = Alarm::new("unhealthy", Some(name("web")), "2 of 3 servers of web-r1-1 are healthy, for 30 s");
    let keeper = keeper(&house, &[died.clone(), short.clone()]);
    let texts = async || {
        let alarms: Vec<Alarm> = house.client().get("/v1/alarms").await.unwrap();
        let of = |code: &str| alarms.iter().find(|alarm| alarm.code == code).unwrap().text.clone();
        (of("died"), of("unhealthy"))
    };
    let (whole, now) = texts().await;
    assert!(whole.starts_with(&died.text) && whole.contains("; all 3 of its servers are healthy again, for "), "{whole}");
    assert_eq!(now, short.text, "what is so now is left as it is");
    {
        let mut state = house.fake.state();
        state.slow = true;
        state.groups.get_mut(&GroupName::new("web-r1-1").unwrap()).unwrap().2[1].healthy_ms = None;
    }
    assert_eq!(texts().await.0, died.text, "two of three are not all");
    keeper.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_service_has_no_alarms() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let died = Alarm::new("died", Some(name("web")), "web-r1-1-1 died after 9 s: exit 1, 30 s ago");
    let keeper = keeper(&house, &[died]);
    let died = async || {
        let alarms: Vec<Alarm> = house.client().get("/v1/alarms").await.unwrap();
        alarms.into_iter().filter(|alarm| alarm.code == "died").count()
    };
    assert_eq!(died().await, 1);
    let nothing = DeployRequest { remove: vec![name("web")], ..request(Vec::new(), None) };
    let id = house.deploy(&nothing).await.unwrap().removing.remove(0);
    house.end(&id).await;
    assert_eq!(died().await, 0);
    keeper.abort();
}
