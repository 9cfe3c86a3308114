//! Secrets through the API: another value is another release, a rollback brings the old one back, and nobody reads a value or uses one that
//! belongs to another service.

use crate::common::*;
use api::Client;
use api::control::Opened;
use api::control::*;
use api::secrets::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::access::{Grant, Role};
use model::*;
use secret::Value;
use std::collections::BTreeSet;

const CANARY: &str = "hunter2-canary";

fn secret_name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// As the client does it.
async fn value_for(client: &Client, service: &str, value: &[u8]) -> Result<SecretValue, Fault> {
    let recipient: Recipient = client.get(&format!("{RECIPIENT}/{service}")).await?;
    let value = Value::new(&secret_name("db"), value.to_vec()).unwrap();
    let age = BASE64.encode(secret::encrypt_for(&recipient.recipient, &value).unwrap());
    let tier = TierName::new(if service == "worker" { "back" } else { "front" }).unwrap();
    Ok(SecretValue { service: name(service), tier, name: secret_name("db"), variable: true, age })
}

async fn put(client: &Client, service: &str, value: &str) -> Result<SecretVersion, Fault> {
    let given = value_for(client, service, value.as_bytes()).await?;
    client.post::<_, SecretStored>(SECRETS, &given).await.map(|stored| stored.version)
}

fn with_db(mut request: DeployRequest, service: &str, version: Option<&SecretVersion>) -> DeployRequest {
    let source = SecretSource::File { path: "/etc/db".into() };
    request.file.secrets.insert(secret_name("db"), SecretSpec { name: secret_name("db"), source });
    let spec = request.file.services.get_mut(&name(service)).unwrap();
    spec.secrets.env.insert("URL".into(), secret_name("db"));
    if let Some(version) = version {
        request.secrets.entry(name(service)).or_default().insert(secret_name("db"), version.clone());
    }
    request
}

async fn pinned(house: &House) -> Option<SecretVersion> {
    let active = house.status("web").await.active.unwrap();
    active.release.secrets.versions.get(&secret_name("db")).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_value_is_another_release_and_a_rollback_brings_the_old_one_back() {
    let house = House::new().await;
    let client = house.client();
    let first = put(&client, "web", CANARY).await.unwrap();
    let request = with_db(web("one"), "web", Some(&first));
    assert_eq!(house.through(&request).await.verdict, Some(Verdict::Promoted));
    assert_eq!(put(&client, "web", CANARY).await.unwrap(), first, "the same value");
    let again = house.deploy(&request).await.unwrap();
    assert_eq!((again.rotations.len(), again.unchanged.as_slice()), (0, [name("web")].as_slice()));

    // A plan needs no stored value, and says what changes but never into what.
    let given = value_for(&client, "web", b"another").await.unwrap();
    let planned: SecretStored = client.post(VERSION, &given).await.unwrap();
    let plan = DeployRequest { secrets_not_stored: true, ..with_db(web("one"), "web", Some(&planned.version)) };
    let answer: PlanAnswer = client.post("/v1/plan", &plan).await.unwrap();
    assert_eq!(answer.rotations.len(), 1);
    assert!(answer.notes.iter().any(|note| note.text == "secret db: changed"), "{:?}", answer.notes);
    assert_eq!(house.deploy(&plan).await.unwrap_err().code, "bad-request", "a plan's versions cannot be deployed");
    let unstored = DeployRequest { secrets_not_stored: false, ..plan };
    assert_eq!(house.deploy(&unstored).await.unwrap_err().code, "secret-missing");

    let second = put(&client, "web", "another").await.unwrap();
    assert_eq!(second, planned.version);
    let rotation = house.through(&unstored).await;
    assert_eq!((rotation.verdict, rotation.to.release.number), (Some(Verdict::Promoted), 2));
    assert_eq!(pinned(&house).await, Some(second.clone()));

    let rows: Vec<SecretRow> = client.get(SECRETS).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.version.clone(), row.releases.clone(), row.active, row.stored)).collect();
    assert_eq!(told, [(second.clone(), vec![2], true, true), (first.clone(), vec![1], false, true)]);

    let back: Opened = client.post("/v1/rollback", &RollbackRequest { service: name("web"), to: None }).await.unwrap();
    assert_eq!(house.end(&back.rotations[0]).await.verdict, Some(Verdict::Promoted));
    assert_eq!(pinned(&house).await, Some(first));

    // Without its value there is nothing to roll back to, and it says so before anything is changed.
    std::fs::remove_file(house.dir.path().join("secrets/values/web").join(second.as_str())).unwrap();
    let fault = client.post::<_, Opened>("/v1/rollback", &RollbackRequest { service: name("web"), to: Some(2) }).await.unwrap_err();
    assert_eq!(fault.code, "secret-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_without_the_value_keeps_the_active_one_if_it_says_so() {
    let house = House::new().await;
    let none = with_db(web("one"), "web", None);
    assert_eq!(house.deploy(&none).await.unwrap_err().code, "secret-not-given");
    let keeping = |program| DeployRequest { keep_secrets: true, ..with_db(web(program), "web", None) };
    assert_eq!(house.deploy(&keeping("one")).await.unwrap_err().code, "secret-not-given", "there is none that is active");
    let version = put(&house.client(), "web", CANARY).await.unwrap();
    house.through(&with_db(web("one"), "web", Some(&version))).await;
    let answer: PlanAnswer = house.client().post("/v1/plan", &keeping("two")).await.unwrap();
    assert!(answer.notes.iter().any(|note| note.text.contains("keeps secret db of web@r1")), "{:?}", answer.notes);
    assert_eq!(house.through(&keeping("two")).await.verdict, Some(Verdict::Promoted));
    assert_eq!(pinned(&house).await, Some(version));
    // No longer used: the plan says so.
    let answer: PlanAnswer = house.client().post("/v1/plan", &web("two")).await.unwrap();
    assert!(answer.notes.iter().any(|note| note.text == "secret db: no longer used"), "{:?}", answer.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_refuses_before_anything_is_changed() {
    let house = House::new().await;
    let version = put(&house.client(), "web", CANARY).await.unwrap();
    house.through(&with_db(web("one"), "web", Some(&version))).await;
    let key = house.dir.path().join("secrets/machine.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, &kept[..kept.len() / 2]).unwrap();
    let fault = put(&house.client(), "web", "new").await.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.hint.is_some()), ("machine-key", true));
    let fault = house.deploy(&with_db(web("two"), "web", Some(&version))).await.unwrap_err();
    assert!(fault.code == "machine-key" && fault.message.contains("machine.key"), "{fault:?}");
    assert_eq!(house.status("web").await.active.unwrap().release.number, 1);
    std::fs::write(&key, &kept).unwrap();
    assert_eq!(house.through(&with_db(web("two"), "web", Some(&version))).await.verdict, Some(Verdict::Promoted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reaches_the_secrets_of_its_own_services_alone() {
    let mut house = House::new().await;
    house.stop().await;
    std::fs::write(house.dir.path().join("policy.hcl"), "recipes = [\"token:ci\"]\n").unwrap();
    house.server = Some(start(server::Config { listen: Some("127.0.0.1:0".parse().unwrap()), ..house.config() }).await.unwrap());
    let address = house.server.as_ref().unwrap().address().unwrap().to_string();
    let of_worker = put(&house.client(), "worker", CANARY).await.unwrap();
    let worker = request(vec![spec("worker", "back", "work", 1, None)], Some("worker"));
    house.through(&with_db(worker, "worker", Some(&of_worker))).await;
    house.through(&web("one")).await;
    let grant = |role, services: &[&str]| Grant { role, services: services.iter().map(|s| name(s)).collect(), tiers: BTreeSet::new() };
    let client = |token: String| Client::tcp(address.clone()).token(Some(token));
    let ci = client(house.token("ci", grant(Role::Deploy, &["web"])).await);
    let reader = client(house.token("eyes", grant(Role::Read, &[])).await);

    // Its own: in.
    let own = put(&ci, "web", CANARY).await.unwrap();
    assert_ne!(own, of_worker, "an equal value shows nothing of the other's version");
    // Another's: neither given, nor tried, nor pinned by a version that somebody told.
    assert_eq!(put(&ci, "worker", "mine").await.unwrap_err().code, "forbidden");
    let guess = value_for(&ci, "worker", CANARY.as_bytes()).await.unwrap();
    assert_eq!(ci.post::<_, SecretStored>(VERSION, &guess).await.unwrap_err().code, "forbidden", "no oracle for guesses");
    let stolen = with_db(web("two"), "web", Some(&of_worker));
    assert_eq!(ci.post::<_, Opened>("/v1/deploy", &stolen).await.unwrap_err().code, "secret-missing");
    // A file of the other's repository, which a colleague can read: encrypted for worker, given as web's.
    let file = SecretValue { service: name("web"), tier: TierName::new("front").unwrap(), ..guess };
    assert_eq!(ci.post::<_, SecretStored>(SECRETS, &file).await.unwrap_err().code, "secret-other-recipient");
    let rows: Vec<SecretRow> = ci.get(SECRETS).await.unwrap();
    assert!(rows.iter().all(|row| row.service == name("web")), "{rows:?}");

    // A reader sees names and versions, gives nothing, and can decode what it is answered.
    let rows: Vec<SecretRow> = reader.get(SECRETS).await.unwrap();
    assert_eq!(rows.len(), 1, "only worker's release pins one");
    assert_eq!(put(&reader, "web", "x").await.unwrap_err().code, "forbidden");
    let releases: Vec<ReleaseRow> = reader.get("/v1/releases?service=worker").await.unwrap();
    assert_eq!(releases[0].release.secrets.used.env["URL"], secret_name("db"));

    // No call answers a value, in any form.
    for rule in server::routes::rules().filter(|rule| rule.method == "GET" && !rule.path.contains("follow")) {
        let path = rule.path.replace("{service}", "worker").replace("{rotation}", "worker.1").replace("{name}", "worker");
        if path.contains('{') || path == "/v1/events" {
            continue;
        }
        let answer: serde_json::Value = house.client().get(&path).await.unwrap_or_default();
        for form in [CANARY.to_string(), BASE64.encode(CANARY)] {
            assert!(!answer.to_string().contains(&form), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_variable_is_refused_when_it_is_given() {
    let house = House::new().await;
    let client = house.client();
    for (value, code) in [(&b"a\0hunter2"[..], "secret-no-text"), (&b"\xffhunter2"[..], "secret-no-text")] {
        let given = value_for(&client, "web", value).await.unwrap();
        let fault = client.post::<_, SecretStored>(SECRETS, &given).await.unwrap_err();
        assert!(fault.code == code && !format!("{fault:?}").contains("hunter2"), "{fault:?}");
        let as_file = SecretValue { variable: false, ..given };
        let stored: SecretStored = client.post(SECRETS, &as_file).await.unwrap();
        // Whoever claims it as a file and uses it as a variable is refused before a server is made.
        let fault = house.deploy(&with_db(web("one"), "web", Some(&stored.version))).await.unwrap_err();
        assert_eq!(fault.code, code);
    }
    let given = value_for(&client, "web", b"x").await.unwrap();
    for age in ["", "!!!", &BASE64.encode("hunter2")] {
        let fault = client.post::<_, SecretStored>(SECRETS, &SecretValue { age: age.into(), ..given.clone() }).await.unwrap_err();
        assert!(["bad-request", "secret-bad-age"].contains(&fault.code.as_str()) && !format!("{fault:?}").contains("hunter2"), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_with_the_releases_that_pin_them() {
    let house = House::new().await;
    let mut versions = Vec::new();
    for value in ["one", "two", "three", "four", "five"] {
        let version = put(&house.client(), "web", value).await.unwrap();
        house.through(&with_db(web(value), "web", Some(&version))).await;
        versions.push(version);
    }
    let unused = put(&house.client(), "web", "never deployed").await.unwrap();
    let values = house.dir.path().join("secrets/values/web");
    let there = || versions.iter().chain([&unused]).map(|version| values.join(version.as_str()).exists()).collect::<Vec<_>>();
    let answer: GcAnswer = house.client().post("/v1/gc", &()).await.unwrap();
    assert_eq!((answer.secrets, there()), (0, vec![true; 6]), "all were given a moment ago");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for entry in std::fs::read_dir(&values).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(old).unwrap();
    }
    let answer: GcAnswer = house.client().post("/v1/gc", &()).await.unwrap();
    assert_eq!((answer.secrets, there()), (3, vec![false, false, true, true, true, false]), "as objects: the active one and two before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_restored_elsewhere_says_which_values_are_missing() {
    let mut house = House::new().await;
    let version = put(&house.client(), "web", CANARY).await.unwrap();
    house.through(&with_db(web("one"), "web", Some(&version))).await;
    house.stop().await;
    let layout = Layout::new(house.dir.path());
    assert_eq!(server::unreadable_secrets(&layout).unwrap(), [], "on the same machine all is there");
    std::fs::remove_dir_all(layout.secrets()).unwrap();
    assert_eq!(server::unreadable_secrets(&layout).unwrap(), [(name("web"), secret_name("db"))]);
}

/// Whoever may deploy one service gives values without end.
#[tokio::test(flavor = "multi_thread")]
async fn values_fill_no_disk() {
    let house = House::new().await;
    let version = put(&house.client(), "web", CANARY).await.unwrap();
    house.through(&with_db(web("one"), "web", Some(&version))).await;
    let values = house.dir.path().join("secrets/values/web");
    for n in 1..1_000 {
        std::fs::write(values.join(format!("{n:064x}")), "").unwrap();
    }
    let fault = put(&house.client(), "web", "one more").await.unwrap_err();
    assert!(fault.code == "secret-too-many" && fault.hint.is_some(), "{fault:?}");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for entry in std::fs::read_dir(&values).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(old).unwrap();
    }
    put(&house.client(), "web", "one more").await.unwrap();
    assert_eq!(std::fs::read_dir(&values).unwrap().count(), 2, "what no release pins is gone");
    // A file of age with thousands of recipients, each of which would be tried.
    let given = value_for(&house.client(), "web", b"x").await.unwrap();
    let large = SecretValue { age: BASE64.encode(vec![b'x'; 200_000]), ..given };
    assert_eq!(house.client().post::<_, SecretStored>(SECRETS, &large).await.unwrap_err().code, "secret-too-large");
}
