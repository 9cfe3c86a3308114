//! The gate of the control plane over its API: what is denied is not begun, who lifts it may, what is lifted is an alarm, and a broken file
//! denies every deploy and no rollback.

use crate::common::*;
use crate::keeper::*;
use api::control::*;
use api::fleet::{ALARMS, Alarm};
use api::guard::*;
use api::runs::{RunRequest, RunSeen};
use model::access::{Grant, Role};
use model::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const DAY_S: i64 = 86_400;

fn with_env(name_of: &str, value: &str) -> DeployRequest {
    let mut request = web("one");
    request.file.services.get_mut(&name("web")).unwrap().env.insert(name_of.into(), value.into());
    request
}

fn leak() -> DeployRequest {
    with_env("DB_PASSWORD", "tr0ub4dor")
}

async fn plan(house: &House, request: &DeployRequest) -> Gate {
    house.client().post::<_, PlanAnswer>("/v1/plan", request).await.unwrap().gate
}

async fn denied(house: &House, request: &DeployRequest) -> Fault {
    let before: Vec<ReleaseRow> = house.client().get("/v1/releases").await.unwrap();
    let fault = house.deploy(request).await.unwrap_err();
    let after: Vec<ReleaseRow> = house.client().get("/v1/releases").await.unwrap();
    assert_eq!(before, after, "something was begun");
    fault
}

fn put(house: &House, file: &str, text: &str) {
    let path = house.dir.path().join("guard").join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Alarms are of what was judged last.
async fn alarm(house: &House, code: &str, part: &str) -> Alarm {
    let begun = Instant::now();
    loop {
        let all: Vec<Alarm> = house.client().get(ALARMS).await.unwrap();
        if let Some(alarm) = all.iter().find(|alarm| alarm.code == code && alarm.text.contains(part)) {
            return alarm.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no alarm {code} of {part}: {all:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn waive(o: &Objection) -> WaiveRequest {
    WaiveRequest {
        rule: o.rule.clone(),
        resource: o.resource.clone(),
        evidence: o.fingerprint.clone(),
        owner: "ann@example.org".into(),
        reason: "until the \"new\" image".into(),
        ticket: "OPS-17".into(),
        days: 14,
    }
}

/// A waiver of so many days ago, which lasted for so many.
fn waiver_text(o: &Objection, granted_days_ago: i64, lasts_days: i64) -> String {
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let day = |s: i64| guard::show_day(s);
    let granted = now_s - granted_days_ago * DAY_S;
    format!(
        "[[waiver]]\nrule = \"{}\"\nresource = \"{}\"\nevidence = \"{}\"\nowner = \"ann\"\nreason = \"r\"\nticket = \"t\"\ngranted = \"{}\"\nexpires = \"{}\"\n",
        o.rule,
        o.resource,
        o.fingerprint,
        day(granted),
        day(granted + lasts_days * DAY_S)
    )
}

/// The story: refused, waived, deployed, expired: refused again, and what runs is an alarm and keeps running.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_refused_waived_and_refused_again_when_the_waiver_ends() {
    let house = House::new().await;
    let gate = plan(&house, &leak()).await;
    assert!(gate.denied, "{gate:?}");
    let found = gate.objections.iter().find(|o| o.rule == "no-secret-in-env").unwrap().clone();
    assert_eq!((found.disposition.as_str(), found.resource.as_str()), ("denied", "web"));
    assert!(found.why.contains("DB_PASSWORD") && !serde_json::to_string(&gate).unwrap().contains("tr0ub4dor"));
    let fault = denied(&house, &leak()).await;
    assert_eq!(fault.code, "guard-denied");
    assert!(fault.message.contains("no-secret-in-env") && fault.hint.unwrap().contains("afresh guard waive --control-plane"));
    let audit: Vec<AuditLine> = house.client().get("/v1/audit?limit=10").await.unwrap();
    assert!(audit.iter().any(|l| l.code == "guard-denied" && l.outcome == "refused"), "{audit:?}");

    let row: WaiverRow = house.client().post(WAIVERS, &waive(&found)).await.unwrap();
    assert_eq!(row.days_left, 13, "it began when the day did");
    let rows: Vec<WaiverRow> = house.client().get(WAIVERS).await.unwrap();
    assert_eq!(rows.len(), 1);
    let audit: Vec<AuditLine> = house.client().get("/v1/audit?limit=1").await.unwrap();
    assert!(audit[0].detail.contains("no-secret-in-env") && audit[0].on.contains("web"), "{audit:?}");
    let waived = plan(&house, &leak()).await;
    assert!(!waived.denied && waived.objections.iter().any(|o| o.disposition == "waived"));
    assert_eq!(house.through(&leak()).await.verdict, Some(Verdict::Promoted));
    let seen: GuardSeen = house.client().get(GUARD).await.unwrap();
    assert!(!seen.gate.denied, "{seen:?}");
    // Other evidence is another exposure.
    let mut more = leak();
    more.file.services.get_mut(&name("web")).unwrap().env.insert("API_TOKEN".into(), "9f8e7d6c5b".into());
    assert!(denied(&house, &more).await.hint.unwrap().contains("the evidence changed"));

    put(&house, "waivers.toml", &waiver_text(&found, 20, 14));
    let again = denied(&house, &leak()).await;
    assert!(again.hint.as_ref().unwrap().contains("the waiver of ann expired on"), "{again:?}");
    let alarm = alarm(&house, "guard-denied", "expired on").await;
    assert_eq!(alarm.service, Some(name("web")));
    assert!(alarm.text.contains("since") && alarm.text.contains("web@r1") && alarm.text.contains("expired on"), "{alarm:?}");
    assert_eq!(house.status("web").await.healthy, 3, "what runs is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_deploy_lifts_nothing() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let found = plan(&house, &leak()).await.objections.iter().find(|o| o.disposition == "denied").unwrap().clone();
    // Nothing keeps recipes here, so each is a new one.
    std::fs::write(house.dir.path().join("policy.hcl"), "recipes = [\"token:ci\"]\n").unwrap();
    let grant = Grant { role: Role::Deploy, services: [name("web")].into(), tiers: Default::default() };
    let token = house.token("ci", grant).await;
    let ci = house.client().token(Some(token));
    let code = |result: Result<serde_json::Value, Fault>| result.map_or_else(|fault| fault.code, |_| "permitted".into());
    let broken = DeployRequest { break_glass: Some("now".into()), ..leak() };
    assert_eq!(code(ci.post("/v1/deploy", &broken).await), "forbidden");
    assert_eq!(code(ci.post("/v1/plan", &broken).await), "forbidden");
    assert_eq!(code(ci.post(WAIVERS, &waive(&found)).await), "forbidden");
    assert_eq!(code(ci.post("/v1/deploy", &leak()).await), "guard-denied");
    // Hard, or too long, is for nobody.
    for (request, part) in [
        (WaiveRequest { rule: "no-secret-in-image".into(), ..waive(&found) }, "hard rule"),
        (WaiveRequest { days: 15, ..waive(&found) }, "14 days"),
        (WaiveRequest { rule: "nothing".into(), ..waive(&found) }, "no rule"),
        (WaiveRequest { evidence: "abc".into(), ..waive(&found) }, "fingerprint"),
        (WaiveRequest { resource: "*".into(), ..waive(&found) }, "exact resource"),
        (WaiveRequest { owner: " ".into(), ..waive(&found) }, "owner is empty"),
        (WaiveRequest { reason: "a\n[[waiver]]".into(), ..waive(&found) }, ""),
    ] {
        let fault = house.client().post::<_, WaiverRow>(WAIVERS, &request).await.unwrap_err();
        assert!(fault.code == "bad-waiver" && fault.message.contains(part), "{fault:?}");
    }
    assert_eq!(house.client().get::<Vec<WaiverRow>>(WAIVERS).await.unwrap(), []);
    // What stops a finished image is waived by its path, and is critical. What is only noted in it needs no waiver.
    let of_image = |rule: &str, days| WaiveRequest { rule: rule.into(), resource: "/opt/it's/sample.pem".into(), days, ..waive(&found) };
    assert_eq!(code(ci.post(WAIVERS, &of_image("secret", 14)).await), "forbidden");
    for (request, part) in [(of_image("secret", 15), "14 days"), (of_image("setuid-without-package", 14), "no rule")] {
        let fault = house.client().post::<_, WaiverRow>(WAIVERS, &request).await.unwrap_err();
        assert!(fault.code == "bad-waiver" && fault.message.contains(part), "{fault:?}");
    }
    let row: WaiverRow = house.client().post(WAIVERS, &of_image("secret", 14)).await.unwrap();
    assert_eq!(
        (row.rule.as_str(), row.resource.as_str(), row.evidence.as_str()),
        ("secret", "/opt/it's/sample.pem", found.fingerprint.as_str())
    );
    assert_eq!(house.client().get::<Vec<WaiverRow>>(WAIVERS).await.unwrap(), [row]);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_glass_is_recorded_loud_and_never_lifts_a_hard_rule() {
    let house = House::new().await;
    let broken = |request: DeployRequest| DeployRequest { break_glass: Some("outage 7".into()), ..request };
    assert_eq!(denied(&house, &DeployRequest { break_glass: Some(" ".into()), ..leak() }).await.code, "bad-reason");
    // Nothing to lift: no emergency.
    let mut quiet = broken(web("one"));
    quiet.service = Some(name("web"));
    house.through(&quiet).await;
    assert_eq!(house.client().get::<GuardSeen>(GUARD).await.unwrap().break_glass, []);

    let ended = house.through(&broken(leak())).await;
    assert_eq!(ended.verdict, Some(Verdict::Promoted));
    let events: Vec<EventLine> = house.client().get(&format!("/v1/rotations/{}/events?from=0", ended.id)).await.unwrap();
    let Event::Opened(opened) = &events[0].event else { panic!("{events:?}") };
    assert!(opened.why.contains("break-glass until") && opened.why.contains("no-secret-in-env: outage 7"), "{}", opened.why);
    let alarm = alarm(&house, "break-glass", "outage 7").await;
    assert!(alarm.service == Some(name("web")) && alarm.text.contains("outage 7"), "{alarm:?}");
    let seen: GuardSeen = house.client().get(GUARD).await.unwrap();
    assert_eq!((seen.break_glass.len(), seen.gate.denied), (1, false));
    assert_eq!(denied(&house, &leak()).await.code, "guard-denied", "it lifts one deploy, not the next");
    // Once it has expired, what runs is denied.
    let path = house.dir.path().join("guard/break-glass.json");
    let mut all: Vec<BreakGlassSeen> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    all[0].expires = Time(all[0].opened.0 + 1);
    put(&house, "break-glass.json", &serde_json::to_string(&all).unwrap());
    let seen: GuardSeen = house.client().get(GUARD).await.unwrap();
    assert_eq!((seen.break_glass.len(), seen.gate.denied), (0, true));

    let mut recipe = broken(web("two"));
    let token = ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat();
    let image = recipe.file.images.get_mut(&ImageName::new("base").unwrap()).unwrap();
    image.custom.script = Some(format!("curl -H 'Authorization: token {token}' https://example.org"));
    let fault = denied(&house, &recipe).await;
    assert!(fault.code == "guard-denied" && fault.message.contains("script (GitHub token)"), "{fault:?}");
    assert!(!format!("{fault:?}").contains(&token[10..20]), "the secret is shown");
}

/// Rules, waivers and the record: each broken in turn denies with words, and leaves what runs and a rollback alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_denies_every_deploy_and_no_rollback() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.through(&web("two")).await;
    for ((file, text, mode), back_to) in [
        ("rules.toml", "[[rule]]\nid = \"r\"\n", 0o600),
        ("rules.toml", guard::rules::BUILT_IN, 0o666),
        ("waivers.toml", "[[waiver]]\nrule = \"not-root\"\n", 0o600),
        ("waivers.toml", "\u{0}", 0o600),
    ]
    .into_iter()
    .zip([1, 2, 1, 2])
    {
        put(&house, file, text);
        let path = house.dir.path().join("guard").join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let fault = denied(&house, &web("three")).await;
        assert!(fault.code == "guard-unusable" && fault.message.contains(file) && fault.hint.is_some(), "{fault:?}");
        let gate = plan(&house, &web("three")).await;
        assert!(gate.denied && gate.fault.is_some(), "{gate:?}");
        alarm(&house, "guard-unusable", file).await;
        assert_eq!(house.status("web").await.healthy, 3);
        let request = RollbackRequest { service: name("web"), to: Some(back_to) };
        let opened: api::control::Opened = house.client().post("/v1/rollback", &request).await.unwrap();
        assert_eq!(house.end(&opened.rotations[0]).await.verdict, Some(Verdict::Promoted), "{file}");
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(house.through(&web("three")).await.verdict, Some(Verdict::Promoted), "corrected, it deploys again");
}

fn rule(attribute: &str) -> String {
    format!(
        "[[rule]]\nid = \"needs-{attribute}\"\ntitle = \"t\"\nseverity = \"high\"\nenforcement = \"deny\"\nresources = [\"service\", \"image\"]\n\
         why = \"w\"\nfix = \"f\"\nrequire = [{{ attribute = \"{attribute}\", none_of = [\"bad\"] }}]\nfail = [{{ \"{attribute}\" = \"bad\" }}]\n\
         pass = [{{ \"{attribute}\" = \"good\" }}]\n"
    )
}

/// Each fact that a rule can read is asked for of a resource that lacks it: none passes.
#[tokio::test(flavor = "multi_thread")]
async fn no_missing_fact_passes_through_the_api() {
    let house = House::new().await;
    let of_services =
        ["egress", "env_secrets", "command_secrets", "listen", "has_image", "user", "tier", "signature", "image_age_s", "image_max_age_s"];
    for (kind, attributes) in [("service", &of_services[..]), ("image", &["secrets"])] {
        for attribute in attributes {
            let only = |kind: &str, text: String| text.replace("[\"service\", \"image\"]", &format!("[\"{kind}\"]"));
            put(&house, "rules.toml", &only(kind, rule(attribute)));
            let gate = plan(&house, &web("one")).await;
            assert!(!gate.denied, "{kind} {attribute}: {gate:?}");
            put(&house, "rules.toml", &only(kind, rule(&format!("{attribute}_gone"))));
            let fault = denied(&house, &web("one")).await;
            assert!(fault.code == "guard-denied" && fault.message.contains("is not known"), "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_tried_on_past_deploys() {
    let house = House::new().await;
    for program in ["one", "two", "three"] {
        house.through(&web(program)).await;
    }
    let mut root = web("four");
    root.file.services.get_mut(&name("web")).unwrap().user = "0:0".into();
    house.through(&root).await;
    let _: api::control::Opened = house.client().post("/v1/rollback", &RollbackRequest { service: name("web"), to: None }).await.unwrap();
    let ask = |rules: &str| ReplayRequest { rules: rules.into(), days: 30 };
    let answer: ReplayAnswer = house.client().post(REPLAY, &ask(guard::rules::BUILT_IN)).await.unwrap();
    let not_root = answer.rules.iter().find(|row| row.rule == "not-root").unwrap();
    assert_eq!(not_root.sentence, "not-root would have denied 1 of 4 deploys in the last 30 days", "a rollback is not gated");
    assert_eq!((answer.deploys, answer.left_out), (4, false));
    // Nothing keeps recipes here: what they held is not known, and said so.
    let image = answer.rules.iter().find(|row| row.rule == "no-secret-in-image").unwrap();
    assert_eq!((image.denied, image.cannot_tell), (4, 4));
    let fault = house.client().post::<_, ReplayAnswer>(REPLAY, &ask("[[rule]]")).await.unwrap_err();
    assert_eq!(fault.code, "bad-rules");
}

/// A caller names the recipe and the image. What is judged is what the image was made of, and it is filed under no recipe but its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_recipe_beside_another_image_lifts_nothing() {
    let keeper = Keeper::new(Vec::new()).await;
    let forged = |image: char| {
        let mut request = request_of(Vec::new());
        request.images.insert(base(), digest(image));
        request
    };
    let mut dirty = request_of(Vec::new()).file.images[&base()].clone();
    dirty.packages = vec!["redis".into()];
    dirty.custom.script = Some(format!("curl -H 'Authorization: token {}'", ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat()));
    keeper.bakery.set(|s| drop(s.made_of.insert(digest('1'), dirty.clone())));
    keeper.house.fake.state().objects.extend([digest('1'), digest('2'), digest('3')]);
    let fault = denied(&keeper.house, &forged('1')).await;
    assert!(fault.code == "guard-denied" && fault.message.contains("script (GitHub token)"), "{fault:?}");
    let fault = denied(&keeper.house, &forged('2')).await;
    assert!(fault.message.contains("secrets is not known"), "{fault:?}");
    // Clean, and of another recipe than the caller says: it may run, and nobody follows.
    dirty.custom.script = None;
    keeper.bakery.set(|s| drop(s.made_of.insert(digest('3'), dirty)));
    keeper.house.deploy(&forged('3')).await.unwrap();
    assert!(keeper.life().deployed.iter().all(|one| !one.images.contains(&digest('3'))), "{:?}", keeper.life().deployed);
}

/// A run starts what no deploy brought: variables of its own, or a release that does not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_brings_no_secret_past_the_gate() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let house = &house;
    let run = async |request: RunRequest| house.client().post::<_, RunSeen>("/v1/services/web/runs", &request).await;
    let command = || RunRequest { command: vec!["app".into()], release: None, within_ms: None, env: Default::default() };
    let env = |name: &str| [(name.to_string(), "tr0ub4dor".to_string())].into();
    let fault = run(RunRequest { env: env("DB_PASSWORD"), ..command() }).await.unwrap_err();
    assert!(fault.code == "guard-denied" && fault.message.contains("DB_PASSWORD") && !fault.message.contains("tr0ub4dor"), "{fault:?}");
    run(RunRequest { env: env("MODE"), ..command() }).await.unwrap();
    run(command()).await.unwrap();
}

/// What never served comes by a deploy, which the gate sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leads_to_what_has_served_alone() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let mut sick = web("sick");
    sick.file.services.get_mut(&name("web")).unwrap().rollout.within_ms = 1_000;
    let failed = house.through(&sick).await;
    assert_eq!(failed.verdict, Some(Verdict::RolledBack));
    let to = |number| RollbackRequest { service: name("web"), to: Some(number) };
    let fault = house.client().post::<_, api::control::Opened>("/v1/rollback", &to(failed.to.release.number)).await.unwrap_err();
    assert!(fault.code == "never-active" && fault.hint.unwrap().contains("--release 2"), "{}", fault.message);
    house.through(&web("two")).await;
    let back: api::control::Opened = house.client().post("/v1/rollback", &to(1)).await.unwrap();
    assert_eq!(house.end(&back.rotations[0]).await.verdict, Some(Verdict::Promoted));
}
