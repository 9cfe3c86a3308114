//! Renames: a service keeps its id, and with it every server; only its name changes. What names it by an older name never comes to mean
//! another service, and nobody sees or deploys a service because it was renamed.

use crate::common::*;
use api::Client;
use api::control::{Opened, *};
use api::secrets::SecretRow;
use model::access::{Grant, Role};
use model::*;
use serde_json::Value;
use std::path::Path;

fn moved(from: &str, to: &str) -> Moved {
    Moved { from: name(from), to: name(to) }
}

/// The web service under another name, with these moves.
fn called(service: &str, program: &str, moves: &[(&str, &str)]) -> DeployRequest {
    let mut request = request(vec![spec(service, "front", program, 3, Some("127.0.0.1:8080"))], None);
    request.file.moved = moves.iter().map(|(from, to)| moved(from, to)).collect();
    request
}

fn shop(program: &str) -> DeployRequest {
    called("shop", program, &[("web", "shop")])
}

async fn plan(house: &House, request: &DeployRequest) -> Result<PlanAnswer, Fault> {
    house.client().post("/v1/plan", request).await
}

async fn by_token(house: &House, name: &str, role: Role, services: &[&str]) -> Client {
    let grant = Grant { role, services: services.iter().map(|s| crate::common::name(s)).collect(), tiers: Default::default() };
    house.client().token(Some(house.token(name, grant).await))
}

/// Every service, as lists have them.
async fn listed(client: &Client) -> Vec<(String, Option<String>)> {
    let all: Vec<ServiceStatus> = client.get("/v1/services").await.unwrap();
    all.into_iter().map(|s| (s.service.to_string(), s.id.map(String::from))).collect()
}

async fn is_shop(house: &House) {
    assert_eq!(listed(&house.client()).await, [("shop".to_string(), Some("web".to_string()))]);
}

/// All that runs: which groups, with how many servers, and what was ever launched.
fn world(house: &House) -> (Vec<(String, usize)>, u64) {
    let running = house.fake.running().into_iter().map(|(group, count)| (group, count as usize)).collect();
    (running, house.fake.state().launched)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_alone_opens_no_rotation_and_replaces_no_server() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    let before = world(&house);
    let answer = plan(&house, &shop("one")).await.unwrap();
    assert_eq!((answer.rotations.len(), answer.removals.len(), answer.notes.as_slice()), (0, 0, [].as_slice()));
    assert_eq!(answer.renamed, [Renamed { from: name("web"), to: name("shop") }]);
    assert_eq!(listed(&house.client()).await, [("web".to_string(), None)], "a plan renames nothing");
    let opened = house.deploy(&shop("one")).await.unwrap();
    assert_eq!((opened.rotations.len(), opened.rollout, opened.left.len()), (0, None, 0));
    assert_eq!((opened.unchanged, opened.renamed), (vec![name("shop")], vec![Renamed { from: name("web"), to: name("shop") }]));
    assert_eq!(world(&house), before, "no server was replaced");
    is_shop(&house).await;
    // The block may stay, be deleted, and the control plane may be another.
    for request in [shop("one"), called("shop", "one", &[])] {
        let answer = plan(&house, &request).await.unwrap();
        assert_eq!((answer.renamed.len(), answer.rotations.len(), answer.removals.len()), (0, 0, 0));
        house.stop().await;
        house.start().await;
        assert_eq!(house.deploy(&request).await.unwrap().renamed, []);
        is_shop(&house).await;
    }
    assert_eq!(world(&house), before);
    // Everything goes on under the new name: an upgrade, a rollback, a removal.
    let up = house.deploy(&called("shop", "two", &[])).await.unwrap();
    assert_eq!(house.end(&up.rotations[0]).await.verdict, Some(Verdict::Promoted));
    assert_eq!(house.fake.running(), [("web-r2-2".to_string(), 3)].into(), "groups are named after the id");
    let back: Opened = house.client().post("/v1/rollback", &RollbackRequest { service: name("shop"), to: None }).await.unwrap();
    assert_eq!(house.end(&back.rotations[0]).await.verdict, Some(Verdict::Promoted));
    let other = request(vec![spec("api", "back", "one", 1, None)], None);
    let gone = house.deploy(&DeployRequest { remove: vec![name("shop")], ..other }).await.unwrap();
    house.end(&gone.removing[0]).await;
    assert_eq!(house.fake.running().keys().filter(|group| group.starts_with("web")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_and_a_change_are_one_deploy_and_the_name_stays_when_the_change_is_rolled_back() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let mut request = shop("sick");
    request.file.services.get_mut(&name("shop")).unwrap().rollout.within_ms = 1_000;
    let answer = plan(&house, &request).await.unwrap();
    assert_eq!((answer.renamed.len(), answer.rotations.len()), (1, 1));
    let PlannedRotation { service, from, to, .. } = &answer.rotations[0];
    assert_eq!((service.as_str(), from.as_ref().unwrap().group.as_str(), to.group.as_str()), ("shop", "web-r1-1", "web-r2-2"));
    let opened = house.deploy(&request).await.unwrap();
    let ended = house.end(&opened.rotations[0]).await;
    assert_eq!((ended.verdict, ended.service.as_str(), ended.id.as_str()), (Some(Verdict::RolledBack), "shop", "web.2"));
    is_shop(&house).await;
    // While a rotation is open, the service is renamed no more than it is deployed.
    house.fake.state().slow = true;
    let opened = house.deploy(&called("shop", "two", &[])).await.unwrap();
    let fault = house.deploy(&called("store", "two", &[("shop", "store")])).await.unwrap_err();
    assert_eq!(fault.code, "busy");
    house.fake.state().slow = false;
    house.end(&opened.rotations[0]).await;
    is_shop(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_lead_to_the_last_name_and_nothing_is_joined() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let chain = [("shop", "store"), ("web", "shop")];
    // A machine that missed the first rename, and one that had it.
    assert_eq!(plan(&house, &called("store", "one", &chain)).await.unwrap().renamed, [Renamed { from: name("web"), to: name("store") }]);
    house.deploy(&shop("one")).await.unwrap();
    let opened = house.deploy(&called("store", "one", &chain)).await.unwrap();
    assert_eq!(opened.renamed, [Renamed { from: name("shop"), to: name("store") }]);
    assert_eq!(listed(&house.client()).await, [("store".to_string(), Some("web".to_string()))]);
    assert_eq!(house.deploy(&called("store", "one", &chain)).await.unwrap().renamed, []);
    // Whoever missed it all is not given a second fleet.
    for (service, moves) in
        [("shop", vec![("web", "shop")]), ("web", vec![]), ("other", vec![("web", "other")]), ("other", vec![("shop", "other")])]
    {
        let fault = house.deploy(&called(service, "one", &moves)).await.unwrap_err();
        assert_eq!(fault.code, "name-is-former", "{service}: {fault:?}");
        assert!(fault.hint.as_ref().unwrap().contains("store"), "{fault:?}");
    }
    // Its first name again.
    let opened = house.deploy(&called("web", "one", &[("store", "web")])).await.unwrap();
    assert_eq!(opened.renamed, [Renamed { from: name("store"), to: name("web") }]);
    assert_eq!(listed(&house.client()).await, [("web".to_string(), None)]);
    // Another service's name is not taken, and two services do not become one.
    let opened = house.deploy(&request(vec![spec("api", "back", "one", 1, None)], Some("api"))).await.unwrap();
    house.end(&opened.rotations[0]).await;
    let opened = house.deploy(&request(vec![spec("job", "back", "one", 1, None)], Some("job"))).await.unwrap();
    house.end(&opened.rotations[0]).await;
    let taken = [called("api", "one", &[("web", "api")]), called("new", "one", &[("web", "api"), ("api", "new")])];
    for request in taken {
        let fault = house.deploy(&request).await.unwrap_err();
        assert_eq!(fault.code, "moved-taken", "{fault:?}");
    }
    // Nothing that was never there: a new service, as on a new machine.
    let fresh = house.deploy(&request(vec![spec("fresh", "back", "one", 1, None)], Some("fresh"))).await.unwrap();
    assert_eq!(fresh.renamed, []);
    house.end(&fresh.rotations[0]).await;
}

/// A later move in a file that serves another machine too.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_machine_that_never_had_it_a_moved_service_is_a_new_one() {
    let house = House::new().await;
    let opened = house.deploy(&shop("one")).await.unwrap();
    house.until_rollout(opened.rollout.as_ref().unwrap()).await;
    assert_eq!(listed(&house.client()).await, [("shop".to_string(), None)]);
    assert_eq!(house.fake.running(), [("shop-r1-1".to_string(), 3)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_name_it_are_not_replaced_and_mean_the_same() {
    let house = House::new().await;
    let inside = |name: &str| {
        let mut worker = spec(name, "back", "one", 1, Some("127.0.0.1:8081"));
        worker.route.as_mut().unwrap().listen = RouteAddress::Internal(7_000);
        worker
    };
    let user = |name: &str| {
        let mut web = spec("web", "front", "one", 1, None);
        web.network.allow = vec![format!("service.{name}").parse().unwrap()];
        web
    };
    let opened = house.deploy(&request(vec![inside("worker"), user("worker")], None)).await.unwrap();
    house.until_rollout(opened.rollout.as_ref().unwrap()).await;
    let before = world(&house);
    let mut both = request(vec![inside("queue"), user("queue")], None);
    both.file.moved = vec![moved("worker", "queue")];
    let answer = plan(&house, &both).await.unwrap();
    assert_eq!((answer.rotations.len(), answer.settings.len(), answer.notes.len()), (0, 0, 0), "{answer:?}");
    house.deploy(&both).await.unwrap();
    assert_eq!(world(&house), before);
    // What users of it ask for by either name is the same service, and what the world is told is its id.
    for name in ["queue", "worker"] {
        let mut alone = request(vec![user(name)], Some("web"));
        alone.file.services.get_mut(&crate::common::name("web")).unwrap().run = vec![format!("by {name}")];
        house.through(&alone).await;
        let state = house.fake.state();
        let allowed: Vec<String> = state
            .groups
            .values()
            .filter_map(|(_, spec, ..)| match &spec.desired {
                DesiredGroup::Run { release, .. } if release.run[0] == format!("by {name}") => {
                    Some(release.network.allow.iter().map(ToString::to_string).collect())
                }
                _ => None,
            })
            .collect();
        assert_eq!(allowed, ["service.worker"], "{name}");
    }
    let releases: Vec<ReleaseRow> = house.client().get("/v1/releases?service=web").await.unwrap();
    assert!(releases.iter().all(|row| row.release.network.allow[0].to_string() == "service.queue"), "users see the name");
}

/// What a deploy's request has beside its file is named as in the file.
#[tokio::test(flavor = "multi_thread")]
async fn code_and_one_service_are_named_as_in_the_file() {
    let house = House::new().await;
    {
        let mut state = house.fake.state();
        state.objects.insert(digest('b'));
        state.artifacts.insert(digest('b'));
    }
    house.through(&web("one")).await;
    let mut request = called("shop", "one", &[("web", "shop")]);
    request.service = Some(name("shop"));
    request.artifacts.insert(name("shop"), digest('b'));
    let done = house.through(&request).await;
    assert_eq!((done.verdict, done.to.release.artifact), (Some(Verdict::Promoted), Some(digest('b'))));
    is_shop(&house).await;
    // Another service of the file is deployed: what is wrong with the first is no matter, and it is not renamed.
    let mut other = crate::common::request(vec![spec("web", "front", "one", 3, None), spec("api", "back", "one", 1, None)], Some("api"));
    assert_eq!(house.through(&other).await.verdict, Some(Verdict::Promoted));
    other.file.services.remove(&name("web"));
    other.file.services.insert(name("store"), spec("store", "front", "one", 3, None));
    other.file.moved = vec![moved("shop", "store")];
    assert_eq!(house.deploy(&other).await.unwrap().renamed, []);
    let names: Vec<NameRow> = house.client().get(NAMES).await.unwrap();
    let rows: Vec<_> = names.iter().map(|row| (row.name.as_str(), row.id.as_str(), row.former.len())).collect();
    assert_eq!(rows, [("api", "api", 0), ("shop", "web", 1)]);
}

/// Each call by the name, by the id and by a former name.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_takes_the_name_and_shows_it() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.deploy(&shop("one")).await.unwrap();
    house.deploy(&called("store", "one", &[("shop", "store")])).await.unwrap();
    let client = house.client();
    for path in
        ["services/{}", "services/{}/runs", "services/{}/jobs", "rotations?service={}", "releases?service={}", "instances?service={}"]
    {
        let path = |name: &str| format!("/v1/{}", path.replace("{}", name));
        let by_name: Value = client.get(&path("store")).await.unwrap_or_else(|fault| panic!("{}: {fault}", path("store")));
        let by_id: Value = client.get(&path("web")).await.unwrap();
        let (a, b) = (by_name.to_string(), by_id.to_string());
        assert_eq!(a.matches("\"service\":\"store\"").count(), b.matches("\"service\":\"store\"").count(), "{}", path("web"));
        assert!(!a.contains("\"service\":\"web\"") && !b.contains("\"service\":\"web\""), "{a}");
        let fault = client.get::<Value>(&path("shop")).await.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.message.as_str()), ("renamed", "shop was renamed to store"));
        assert!(client.get::<Value>(&path("nobody")).await.err().is_none_or(|fault| fault.code == "not-found"));
    }
    for path in ["/v1/services", "/v1/rotations", "/v1/releases", "/v1/instances", "/v1/rollouts", "/v1/runs"] {
        let text = client.get::<Value>(path).await.unwrap().to_string();
        assert!(!text.contains("\"service\":\"web\"") && !text.contains("\"name\":\"web\""), "{path}: {text}");
    }
    let _: Vec<SecretRow> = client.get("/v1/secrets").await.unwrap();
    // The journal's lines, as followers have them.
    let mut lines = client.lines("/v1/events").await.unwrap();
    let mut opened = 0;
    while let Some(line) = lines.next::<Value>().await.unwrap() {
        if line["event"]["event"] == "opened" {
            assert_eq!((&line["event"]["spec"]["name"], &line["event"]["to"]["release"]["service"]), (&"store".into(), &"store".into()));
            opened += 1;
        }
    }
    assert_eq!(opened, 1);
    let fault = client.post::<_, Opened>("/v1/rollback", &RollbackRequest { service: name("shop"), to: None }).await.unwrap_err();
    assert_eq!(fault.code, "renamed");
    let steps = serde_json::json!({ "hand": { "service": "store", "step": { "kind": "scale", "group": "web-r1-1", "count": 3 } } });
    let _ = client.post::<_, Value>("/v1/steps/check", &steps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_lets_nobody_in() {
    let house = House::new().await;
    let both = request(vec![spec("web", "front", "one", 1, Some("127.0.0.1:8080")), spec("api", "back", "one", 1, None)], None);
    let opened = house.deploy(&both).await.unwrap();
    house.until_rollout(opened.rollout.as_ref().unwrap()).await;
    std::fs::write(house.dir.path().join("policy.hcl"), "recipes = [\"token:web\", \"token:both\", \"token:shop\", \"token:api\"]\n")
        .unwrap();
    let [own, both, new, api] = [
        by_token(&house, "web", Role::Deploy, &["web"]).await,
        by_token(&house, "both", Role::Deploy, &["web", "shop"]).await,
        by_token(&house, "shop", Role::Deploy, &["shop"]).await,
        by_token(&house, "api", Role::Read, &["api"]).await,
    ];
    let deploy = async |client: &Client, request: &DeployRequest| client.post::<_, Opened>("/v1/deploy", request).await;
    let mut rename = shop("one");
    rename.service = Some(name("shop"));
    rename.file.services.get_mut(&name("shop")).unwrap().count = 1;
    // Not into a name that is not the caller's, where those who have it would be let in; nor of a service that is not the caller's.
    for client in [&own, &new] {
        let fault = deploy(client, &rename).await.unwrap_err();
        assert_eq!(fault.code, "forbidden", "{fault:?}");
    }
    let steal = called("shop", "one", &[("api", "shop")]);
    for client in [&own, &both, &new] {
        assert_eq!(deploy(client, &steal).await.unwrap_err().code, "forbidden");
    }
    assert_eq!(listed(&house.client()).await, [("api".to_string(), None), ("web".to_string(), None)]);
    assert_eq!(listed(&new).await, []);
    assert_eq!(deploy(&both, &rename).await.unwrap().renamed.len(), 1);
    // Who was for it by its id still is; who is for its name is, as whoever renamed it could say.
    for client in [&own, &both, &new] {
        assert_eq!(listed(client).await, [("shop".to_string(), Some("web".to_string()))]);
        assert_eq!(deploy(client, &rename).await.unwrap().unchanged, [name("shop")]);
    }
    // Others neither see it nor learn its names, by whichever they ask.
    assert_eq!(listed(&api).await, [("api".to_string(), None)]);
    for asked in ["shop", "web", "nobody"] {
        let fault = api.get::<Value>(&format!("/v1/services/{asked}")).await.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.message), ("forbidden", format!("token:api is not for service {asked}")));
        let fault = api.get::<Value>(&format!("/v1/releases?service={asked}")).await.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.message), ("forbidden", format!("token:api is not for service {asked}")));
    }
    let rows: Vec<NameRow> = api.get(NAMES).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["api"]);
    // Renamed on, it is out of reach of those who had its name of between, and no new service gets what was written for an older one.
    let mut on = called("store", "one", &[("shop", "store")]);
    on.file.services.get_mut(&name("store")).unwrap().count = 1;
    house.deploy(&on).await.unwrap();
    assert_eq!(listed(&new).await, []);
    assert_eq!(listed(&own).await, [("store".to_string(), Some("web".to_string()))]);
    for (client, taken) in [(&new, "shop"), (&own, "web")] {
        let mut request = called(taken, "evil", &[]);
        request.service = Some(name(taken));
        let fault = deploy(client, &request).await.unwrap_err();
        assert!(["forbidden", "name-is-former"].contains(&fault.code.as_str()), "{taken}: {fault:?}");
        let told = format!("{} {}", fault.message, fault.hint.unwrap_or_default());
        assert!(taken == "web" || !told.contains("store") && !told.contains("web"), "{told}");
    }
    let releases: Vec<ReleaseRow> = house.client().get("/v1/releases?service=store").await.unwrap();
    assert!(releases.iter().all(|row| row.release.run != ["evil"]));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Programs look the service up by its name: an older journal, or none, does not take it away, and no other service gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_outlives_the_journal() {
    let mut house = House::new().await;
    let (control, kept) = (house.dir.path().join("control"), house.dir.path().join("kept"));
    let on_disk = |house: &House| std::fs::read_to_string(Layout::new(house.dir.path()).service_names()).unwrap_or_default();
    house.through(&web("one")).await;
    house.stop().await;
    copy(&control, &kept);
    house.start().await;
    house.deploy(&shop("one")).await.unwrap();
    assert!(on_disk(&house).contains("\"shop\""));
    let before = world(&house);
    // From before the rename.
    house.stop().await;
    std::fs::remove_dir_all(&control).unwrap();
    copy(&kept, &control);
    house.start().await;
    is_shop(&house).await;
    assert_eq!(house.deploy(&called("shop", "one", &[])).await.unwrap().unchanged, [name("shop")]);
    // None at all: until it is adopted, what is called so is not deployed again beside it.
    house.stop().await;
    std::fs::remove_dir_all(&control).unwrap();
    house.start().await;
    assert!(on_disk(&house).contains("\"shop\""), "running programs go on");
    let fault = house.deploy(&called("shop", "one", &[])).await.unwrap_err();
    assert!(fault.message.contains("web"), "{fault:?}");
    let adopted: Vec<Adoption> = house.client().post("/v1/adopt", &AdoptRequest { services: vec![name("web")] }).await.unwrap();
    assert_eq!(adopted[0].active.as_ref().unwrap().group.as_str(), "web-r1-1");
    is_shop(&house).await;
    assert_eq!(world(&house), before);
}

/// The name is in the journal, and nobody lived to write it for the keeper.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_commit_loses_no_name() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    house.deploy(&shop("one")).await.unwrap();
    let file = Layout::new(house.dir.path()).service_names();
    let written = std::fs::read(&file).unwrap();
    house.stop().await;
    for damage in ["", "{"] {
        std::fs::remove_file(disk::state::spare(&file)).unwrap();
        match damage {
            "" => std::fs::remove_file(&file).unwrap(),
            damage => std::fs::write(&file, damage).unwrap(),
        }
        house.start().await;
        let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().skip(1).collect::<String>();
        assert_eq!(names(&std::fs::read(&file).unwrap()), names(&written), "{damage:?}");
        is_shop(&house).await;
        house.stop().await;
    }
}
