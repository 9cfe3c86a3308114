//! Services that offer something inside (`route { internal = true }`): what plans say of them, and what is refused.

use crate::common::*;
use api::control::{Opened, PlanAnswer};
use model::{RouteAddress, ServiceSpec};

fn worker(listen: RouteAddress) -> ServiceSpec {
    let mut worker = spec("worker", "back", "one", 2, Some("127.0.0.1:8081"));
    worker.route.as_mut().unwrap().listen = listen;
    worker
}

fn web() -> ServiceSpec {
    let mut web = spec("web", "front", "one", 3, Some("127.0.0.1:8080"));
    web.network.allow = ["service.worker", "service.nobody"].map(|text| text.parse().unwrap()).to_vec();
    web
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_is_offered_inside_and_what_is_named_in_vain() {
    let house = House::new().await;
    let inside = RouteAddress::Internal(7_000);
    let plan = async |house: &House, all: Vec<ServiceSpec>| {
        let name = if all.len() == 1 { Some(all[0].name.to_string()) } else { None };
        let answer: PlanAnswer = house.client().post("/v1/plan", &request(all, name.as_deref())).await.unwrap();
        answer.notes.into_iter().map(|note| format!("{}: {}", note.service, note.text)).collect::<Vec<_>>()
    };
    let in_vain = |name: &str| format!("web: it allows service.{name}, which has no internal route here: nothing is opened until it has");
    let offered = "worker: servers of services that allow service.worker reach it as worker.internal:7000".to_string();
    assert_eq!(plan(&house, vec![web()]).await, [in_vain("worker"), in_vain("nobody")]);
    assert_eq!(plan(&house, vec![web(), worker(inside)]).await, [offered.clone(), in_vain("nobody")]);
    house.through(&request(vec![worker(inside)], Some("worker"))).await;
    assert_eq!(plan(&house, vec![web()]).await, [in_vain("nobody")], "it is deployed");
    assert_eq!(plan(&house, vec![worker(inside)]).await, [""; 0], "nothing is new");
    // Whose port it is, is settled as with every address.
    let mut other = worker(inside);
    other.name = name("other");
    for listen in [inside, "0.0.0.0:7000".parse().unwrap()] {
        other.route.as_mut().unwrap().listen = listen;
        let fault = house.client().post::<_, Opened>("/v1/deploy", &request(vec![other.clone()], Some("other"))).await.unwrap_err();
        assert_eq!(fault.code, "listen-taken", "{fault:?}");
    }
}
