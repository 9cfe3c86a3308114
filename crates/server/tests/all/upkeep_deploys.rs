//! Deploys and the images that are kept by themselves: which recipe is in force, what is rolled out, and what an image is bad by.

use crate::common::*;
use crate::keeper::*;
use api::control::{Opened, *};
use lifecycle::Handed;
use model::*;
use std::time::Duration;
use store::Repository;

/// With packages, which the first recipe has none of, and other programs.
fn of_other_recipe(image: char, programs: &str) -> DeployRequest {
    let mut request = with_programs(request_of(Vec::new()), programs);
    request.file.images.get_mut(&base()).unwrap().packages = vec!["redis".into()];
    request.images.insert(base(), digest(image));
    request
}

fn with_programs(mut request: DeployRequest, programs: &str) -> DeployRequest {
    request.file.services.values_mut().for_each(|spec| spec.run = vec![format!("{programs}-{}", spec.name)]);
    request
}

impl Keeper {
    /// As `afresh deploy` does it: what is baked and has no checks is current before anything is deployed.
    async fn baked(&self, image: char) {
        self.house.fake.state().objects.insert(digest(image));
        self.bakery.set(|s| s.current = Some(digest(image)));
    }

    /// Deployed with another recipe, it is known what it was made of.
    fn made_of_nothing_else(&self, image: char) {
        self.bakery.set(|s| drop(s.made_of.insert(digest(image), recipe("base"))));
    }

    fn unfit(&self, image: char, programs: &[&str]) {
        let pairs = programs.iter().map(|p| (digest(image), (*p).to_string()));
        self.house.fake.state().unfit.extend(pairs);
    }

    /// Deploys, and waits until nothing is open.
    async fn deployed(&self, request: &DeployRequest) -> RolloutSeen {
        let rollout = self.house.deploy(request).await.unwrap().rollout.unwrap();
        self.house.until_rollout(&rollout).await;
        self.house.client().get(&format!("/v1/rollouts/{rollout}")).await.unwrap()
    }

    /// The mirrors were looked at so often that everything that follows from what there is has followed.
    async fn looks(&self) {
        let looks = self.bakery.state.lock().unwrap().looks;
        self.until("three more looks", async || self.bakery.state.lock().unwrap().looks > looks + 3).await;
    }

    /// Rotations towards an image, by who asked for them.
    async fn rotations_to(&self, image: char) -> Vec<String> {
        let all: Vec<RotationStatus> = self.house.client().get("/v1/rotations").await.unwrap();
        all.into_iter().filter(|r| r.to.release.image == digest(image)).map(|r| r.id.to_string()).collect()
    }
}

/// A file changed the packages of an image and the code. The code failed; but the recipe was in force, so the new image was rolled out with
/// the old code, which failed too. That image was bad then, and the mended deploy was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_deploy_of_a_recipe_rolls_out_nothing_and_its_correction_is_promoted() {
    let mut keeper = Keeper::new(Vec::new()).await;
    let before = keeper.life().recipe;
    keeper.unfit('1', &["work", "serve", "broken-worker"]);
    for round in 0..3 {
        keeper.baked('1').await;
        let request = of_other_recipe('1', "broken");
        if round == 0 {
            assert_eq!(keeper.deployed(&request).await.end, Some(RolloutEnd::Halted));
        } else {
            // A kill wherever it falls loses and adds nothing.
            let rollout = keeper.house.deploy(&request).await.unwrap().rollout.unwrap();
            for n in 0..4 {
                tokio::time::sleep(Duration::from_millis((n * 37 + round * 23) % 90)).await;
                keeper.restart().await;
            }
            keeper.house.until_rollout(&rollout).await;
        }
        keeper.looks().await;
        assert_eq!((keeper.on().await.as_str(), keeper.life().recipe.as_ref()), ("aa", before.as_ref()));
        let bad: Vec<String> = keeper.history().await.images.into_iter().filter(|i| i.state == "bad").map(|i| i.state).collect();
        assert!(bad.is_empty(), "{:#?}", keeper.history().await);
        assert_eq!(keeper.rotations_to('1').await.len(), round as usize + 1, "only the deploys themselves");
    }
    // What is in force is patched as if nothing had been deployed.
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.stands("b").await;
    keeper.baked('1').await;
    assert_eq!(keeper.deployed(&of_other_recipe('1', "mended")).await.end, Some(RolloutEnd::Promoted));
    keeper.looks().await;
    assert_eq!(keeper.on().await, "11");
    assert_eq!(keeper.life().recipe.unwrap().packages, ["redis"]);
    keeper.bakery.set(|s| s.newest_other = '2');
    keeper.stands("2").await;
}

/// A deploy was promoted on an image that a rollout with other code had made bad, and was then undone for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_deploy_on_a_bad_image_is_not_undone_and_the_image_is_bad_no_more() {
    let mut keeper = Keeper::new(Vec::new()).await;
    keeper.unfit('b', &["work", "serve"]);
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.is('b', "bad").await;
    keeper.stands("a").await;
    let mut request = with_programs(request_of(Vec::new()), "mended");
    request.images.insert(base(), digest('b'));
    let plan: PlanAnswer = keeper.house.client().post("/v1/plan", &request).await.unwrap();
    let notes: Vec<&str> = plan.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.iter().any(|text| text.contains("which is bad: rollout.2: worker was rolled back")), "{notes:?}");
    // A kill between the promotion and what follows from it.
    let rollout = keeper.house.deploy(&request).await.unwrap().rollout.unwrap();
    keeper.house.until_rollout(&rollout).await;
    keeper.restart().await;
    keeper.is('b', "current").await;
    keeper.looks().await;
    assert_eq!(keeper.on().await, "bb");
    let story = keeper.state_of('b').await.unwrap().story;
    assert!(story.iter().any(|(_, text)| text.contains("bad no more: a deploy of w")), "{story:?}");
    keeper.bakery.set(|s| s.newest = 'c');
    keeper.stands("c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_of_one_service_with_another_recipe_moves_no_other_service() {
    let keeper = Keeper::new(Vec::new()).await;
    keeper.baked('1').await;
    let request = DeployRequest { service: Some(name("web")), ..of_other_recipe('1', "new") };
    assert_eq!(keeper.house.through(&request).await.verdict, Some(Verdict::Promoted));
    keeper.looks().await;
    assert_eq!(keeper.on().await, "a1");
    let says = "worker was deployed with another recipe";
    keeper.until(says, async || keeper.history().await.waits.is_some_and(|w| w.why.contains(says))).await;
    // Its rollback brings back the recipe of the image that it returns to.
    let rollback = RollbackRequest { service: name("web"), to: None };
    let opened: Opened = keeper.house.client().post("/v1/rollback", &rollback).await.unwrap();
    keeper.house.end(&opened.rotations[0]).await;
    keeper.until("the first recipe", async || keeper.life().recipe.unwrap().packages.is_empty()).await;
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.stands("b").await;
}

/// (the checks that it is baked with now, how it ends)
#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_found_bad_is_tested_again_on_request_or_when_its_checks_differ() {
    let keeper = Keeper::new(Vec::new()).await;
    let repository = Repository::open(&Layout::new(keeper.house.dir.path())).unwrap();
    keeper.house.fake.state().objects.insert(digest('1'));
    let hand_over = |checks| repository.hand_over(&base(), &Handed { digest: digest('1'), patched: Time(0), checks }).unwrap();
    hand_over(vec![check("never", "false")]);
    keeper.is('1', "bad").await;
    let again = async |digest: Option<String>| -> Result<RebuildAnswer, Fault> {
        keeper.house.client().post("/v1/images/base/rebuild", &RebuildRequest { again: true, digest }).await
    };
    // Its recipe is not in force: it is tested alone, and nothing of it is rolled out.
    let answer = again(Some(digest('1').short().to_string())).await.unwrap();
    assert_eq!(answer, RebuildAnswer { again: Some(digest('1')), checks: false });
    let tests = async || keeper.state_of('1').await.unwrap().story.iter().filter(|(_, t)| t.starts_with("bad: check never")).count();
    keeper.until("a second test", async || tests().await == 2).await;
    keeper.until("it is settled", async || keeper.history().await.settled).await;
    hand_over(vec![check("never", "false")]);
    keeper.until("it is taken in", async || repository.handed(&base()).unwrap().is_none()).await;
    assert_eq!((keeper.state_of('1').await.unwrap().state.as_str(), tests().await), ("bad", 2), "nothing differs");
    hand_over(vec![check("runs", "true")]);
    keeper
        .until("made current", async || keeper.state_of('1').await.unwrap().story.iter().any(|(_, t)| t.starts_with("made current")))
        .await;
    keeper.looks().await;
    assert_eq!((keeper.on().await.as_str(), keeper.rotations_to('1').await.len()), ("aa", 0));
    for (digest, code) in [(None, "not-bad"), (Some("aaaaaa"), "not-bad"), (Some("ffffff"), "not-found"), (Some("a"), "bad-digest")] {
        assert_eq!(again(digest.map(str::to_string)).await.unwrap_err().code, code, "{digest:?}");
    }
}

/// A caller for one service brings the recipe in force, or the last that an administrator gave: an earlier one would take from others what
/// came since.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_give_no_recipe_brings_the_one_in_force_or_the_last_given() {
    let mut keeper = Keeper::new(Vec::new()).await;
    keeper.made_of_nothing_else('a');
    let client = keeper.deployer_of_web().await;
    let deploy = async |request: DeployRequest| {
        let mut request = DeployRequest { service: Some(name("web")), ..request };
        request.file.services.retain(|service, _| service.as_str() == "web");
        client.post::<_, Opened>("/v1/deploy", &request).await
    };
    let first = with_programs(request_of(Vec::new()), "one");
    assert_eq!(deploy(of_other_recipe('a', "two")).await.unwrap_err().code, "policy-recipe");
    keeper.house.end(&deploy(first.clone()).await.unwrap().rotations[0]).await;
    keeper.unfit('a', &["broken-worker"]);
    let given = of_other_recipe('a', "broken");
    assert_eq!(keeper.deployed(&given).await.end, Some(RolloutEnd::Halted));
    keeper.house.end(&deploy(of_other_recipe('a', "two")).await.unwrap().rotations[0]).await;
    keeper.until("the second recipe", async || keeper.life().recipe.unwrap().packages == ["redis"]).await;
    assert_eq!(deploy(first).await.unwrap_err().code, "policy-recipe");
}

/// The recipe of an image decides what every service on it runs. An identity in `recipes` that was for `web` alone could replace that of an
/// image which `worker` uses too.
#[tokio::test(flavor = "multi_thread")]
async fn a_recipe_is_not_for_who_may_not_see_every_service_on_its_image() {
    let mut keeper = Keeper::new(Vec::new()).await;
    std::fs::write(keeper.house.dir.path().join("policy.hcl"), "recipes = [\"token:ci\", \"token:both\"]\n").unwrap();
    keeper.made_of_nothing_else('a');
    let client = keeper.deployer_of_web().await;
    let before = keeper.life().deployed;
    let of_web = |mut request: DeployRequest| {
        request.file.services.retain(|service, _| service.as_str() == "web");
        DeployRequest { service: Some(name("web")), ..request }
    };
    let hostile = of_web(of_other_recipe('a', "two"));
    let fault = client.post::<_, Opened>("/v1/deploy", &hostile).await.unwrap_err();
    assert_eq!(fault.code, "policy-recipe");
    assert!(!fault.message.contains("worker"), "{}", fault.message);
    assert_eq!(keeper.life().deployed, before);
    // Whoever sees them all gives it, and so does who brings an image that nobody else uses.
    let mut own = of_web(request_of(Vec::new()));
    let image = ImageName::new("own").unwrap();
    own.file.images = [(image.clone(), ImageSpec { packages: vec!["redis".into()], ..recipe("own") })].into();
    own.images = [(image.clone(), digest('9'))].into();
    own.unbaked = [digest('9')].into();
    own.file.services.get_mut(&name("web")).unwrap().image = image;
    client.post::<_, PlanAnswer>("/v1/plan", &own).await.unwrap();
    let services = [name("web"), name("worker")].into();
    let grant = model::access::Grant { role: model::access::Role::Deploy, services, tiers: Default::default() };
    let token = keeper.house.token("both", grant).await;
    let both = api::Client::tcp(keeper.house.server.as_ref().unwrap().address().unwrap().to_string()).token(Some(token));
    both.post::<_, Opened>("/v1/deploy", &hostile).await.unwrap();
    assert_ne!(keeper.life().deployed, before);
}

/// One service that leaves its user to an image that names none made the image bad for every other service.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_run_on_an_image_is_left_out_and_the_others_get_it() {
    let keeper = Keeper::new(Vec::new()).await;
    let says = |user: &str, ids, workdir: &str| Container {
        reference: "registry.example.org/app:1".into(),
        manifest: digest('e'),
        top: digest('e'),
        layers: Vec::new(),
        defaults: ContainerDefaults { user: Some(user.into()), ids, workdir: Some(workdir.into()), ..ContainerDefaults::default() },
        distribution: None,
        created: None,
    };
    keeper.house.fake.state().containers = [
        (digest('a'), says("app", Some((7, 7)), "/")),
        (digest('b'), says("nobody-knows", None, "/")),
        (digest('c'), says("app", Some((7, 7)), "/proc")),
    ]
    .into();
    let mut request = request_of(Vec::new());
    let reference = "registry.example.org/app:1".to_string();
    let image = request.file.images.get_mut(&base()).unwrap();
    (image.debian, image.oci) = (String::new(), Some(ContainerSource { reference, auth: None, ca: None, plain_http: false }));
    request.file.services.get_mut(&name("worker")).unwrap().from_image = [LeftToImage::User].into();
    assert_eq!(keeper.deployed(&request).await.end, Some(RolloutEnd::Promoted));
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.until("web alone gets it", async || keeper.on().await == "ab").await;
    keeper.is('b', "current").await;
    let alarm =
        "worker stays on base aaaaaaaaaaaa: it cannot run on the current image bbbbbbbbbbbb: worker: the image's user \"nobody-knows\"";
    keeper.until(alarm, async || keeper.history().await.alarms.iter().any(|a| a.starts_with(alarm))).await;
    let [said] = &keeper.history().await.alarms[..] else { panic!() };
    assert!(said.ends_with("(image-user); name one in numbers: user = \"1000:1000\", and deploy worker"), "{said}");
    // With a user of its own it runs there.
    request.images.insert(base(), digest('b'));
    request.file.services.get_mut(&name("worker")).unwrap().from_image.clear();
    assert_eq!(keeper.deployed(&request).await.end, Some(RolloutEnd::Promoted));
    keeper.until("no alarm", async || keeper.on().await == "bb" && keeper.history().await.alarms.is_empty()).await;
    // Of use to nobody.
    keeper.bakery.set(|s| s.newest = 'c');
    keeper.is('c', "bad").await;
    keeper.stands("b").await;
    let story = keeper.state_of('c').await.unwrap().story;
    assert!(story.last().unwrap().1.starts_with("bad: no service can run on it: worker: the image's working directory"), "{story:?}");
}
