//! Every kind of setting: contained and undone to the byte, whatever fails, and whoever changes it meanwhile.

use crate::fake::{Fake, Fault, STAR, State};
use aws_scan::Single;
use contain::{Aws, By, Containment, Event, Journal, Outcome, Place, Planned, Undo, begin_undo, carry_on};
use guard::contain::{Setting, plan, plan_account};
use std::collections::BTreeSet;

/// `type`, `id`, and the kind of setting that is changed.
const ALL: &[(&str, &str, &str)] = &[
    ("s3_bucket", "star", "bucket_block"),
    ("s3_bucket", "acl", "bucket_block"),
    ("s3_bucket", "halves", "bucket_policy"),
    ("account", "123456789012", "account_block"),
    ("ami", "ami-1", "launch_permission"),
    ("ebs_snapshot", "snap-1", "create_volume_permission"),
    ("rds_snapshot", "rds-1", "restore_permission"),
    ("rds_cluster_snapshot", "crds-1", "restore_permission"),
    ("rds_instance", "db-1", "publicly_accessible"),
    ("security_group", "sg-1", "ingress"),
];

fn now() -> i64 {
    1_790_000_000
}

const BY: By<'static> = By { name: "ann", now_s: &now };

/// Fails as the process would be killed: whatever error comes, nothing more is done.
fn planned(fake: &Fake, kind: &str, id: &str) -> Result<Planned, String> {
    let client = fake.client();
    let single = Single::new(&client, None).map_err(|e| e.to_string())?;
    let read = |kind: &str, id: &str| single.resource(kind, id).map_err(|e| e.to_string())?.ok_or("not there".to_string());
    let is_account = kind == "account";
    let (resource, context) = if is_account { read("s3_bucket", "star")? } else { read(kind, id)? };
    let seen = single.seen(&resource);
    let plan = if is_account {
        let second = read("s3_bucket", "acl")?.0;
        plan_account(&[resource, second], &context, &seen, &BTreeSet::new()).map_err(|e| e.to_string())?
    } else {
        plan(&resource, &context, &seen).map_err(|e| e.to_string())?
    };
    let bucket = |id: &str| ("s3_bucket".to_string(), id.to_string());
    let covers = if is_account { vec![bucket("star"), bucket("acl")] } else { vec![(kind.to_string(), id.to_string())] };
    let at = Place::Aws { account: single.account().to_string(), region: single.region().to_string(), endpoint: None };
    let (contain_command, undo_command) = (plan.contain().unwrap().command, plan.undo().unwrap().command);
    Ok(Planned { at, plan, covers, contain_command, undo_command, incident: None })
}

fn with<T>(fake: &Fake, act: impl FnOnce(&Aws) -> Result<T, model::Fault>) -> Result<T, model::Fault> {
    let client = fake.client();
    let single = Single::new(&client, None)?;
    act(&Aws { client: &client, single, is_patient: false })
}

fn contain(fake: &Fake, journal: &Journal, planned: Planned) -> Result<(Containment, Outcome), model::Fault> {
    with(fake, |aws| contain::contain(journal, aws, planned, &BY))
}

fn resume(fake: &Fake, journal: &Journal, id: &str) -> Result<(Containment, Outcome), model::Fault> {
    let mut containment = journal.all()?.into_iter().find(|c| c.id == id).unwrap();
    let outcome = with(fake, |aws| carry_on(journal, aws, &mut containment, &BY))?;
    Ok((containment, outcome))
}

fn undo(fake: &Fake, journal: &Journal, containment: &mut Containment) -> Result<Outcome, model::Fault> {
    let opens = [("s3_bucket".to_string(), "star".to_string())];
    let undo = Undo { owner: "bob", reason: "it is meant to be", opens: &opens };
    with(fake, |aws| match begin_undo(journal, aws, containment, &undo, &BY)? {
        Some(outcome) => Ok(outcome),
        None => carry_on(journal, aws, containment, &BY),
    })
}

fn was_contained(containment: &Containment) -> bool {
    containment.entries().iter().any(|e| e.event == Event::Contained)
}

fn kind_of(setting: &Setting) -> String {
    serde_json::to_value(setting).unwrap()["setting"].as_str().unwrap().to_string()
}

#[test]
fn contained_and_undone_to_the_byte() {
    for (kind, id, setting) in ALL {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let before = fake.state();
        let planned = planned(&fake, kind, id).unwrap();
        assert_eq!(kind_of(&planned.plan.setting), *setting, "{kind} {id}");
        let (mut containment, outcome) = contain(&fake, &journal, planned).unwrap();
        assert_eq!((outcome, was_contained(&containment)), (Outcome::Contained, true), "{kind} {id}");
        let after = fake.state();
        assert_ne!(after, before, "{kind} {id}");
        let changed = before.values.iter().filter(|(k, v)| after.values[*k] != **v).count() + usize::from(before.rules != after.rules);
        assert_eq!(changed, 1, "{kind} {id}: one setting is changed, and no other");
        assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone, "{kind} {id}");
        let mut now = fake.state();
        now.rules.sort();
        let mut original = before.clone();
        original.rules.sort();
        assert_eq!(now, original, "{kind} {id}");
        assert_eq!(journal.all().unwrap(), [containment]);
    }
}

/// What the healthy run calls, one call at a time denied or lost: it is never recorded as contained unless nobody gets in by then.
#[test]
fn a_call_that_fails_is_never_taken_for_a_containment() {
    for (kind, id, _) in ALL {
        let calls = {
            let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
            let planned = planned(&fake, kind, id).unwrap();
            fake.fail(None, false);
            contain(&fake, &Journal::open(dir.path()).unwrap(), planned).unwrap();
            fake.calls()
        };
        for (number, called) in calls.iter().enumerate() {
            for fault in [Fault::Denied, Fault::Dropped, Fault::DroppedAfter] {
                let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
                let journal = Journal::open(dir.path()).unwrap();
                let (original, planned) = (fake.state(), planned(&fake, kind, id).unwrap());
                fake.fail(Some((number, fault)), false);
                let _ = contain(&fake, &journal, planned);
                fake.fail(None, false);
                for containment in journal.all().unwrap() {
                    let is_shut = fake.state() != original;
                    assert!(!was_contained(&containment) || is_shut, "{kind} {id}: call {number} ({called}) {fault:?}");
                    if number > 0 && !was_contained(&containment) {
                        assert_eq!(
                            resume(&fake, &journal, &containment.id).unwrap().1,
                            Outcome::Contained,
                            "{kind} {id} {number} {fault:?}"
                        );
                    }
                }
            }
        }
        // The facts of the verdict, unread for good: the change may be made, and is not recorded as a containment.
        for name in calls.iter().skip(1).collect::<BTreeSet<_>>() {
            let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
            let journal = Journal::open(dir.path()).unwrap();
            let (original, planned) = (fake.state(), planned(&fake, kind, id).unwrap());
            fake.shared.lock().unwrap().denied = Some(name.clone());
            let done = contain(&fake, &journal, planned);
            let is_contained = journal.all().unwrap().iter().any(was_contained);
            assert!(!is_contained || (fake.state() != original && matches!(done, Ok((_, Outcome::Contained)))), "{kind} {id} {name}");
        }
    }
}

/// Killed before or after any call, on the way in and on the way out: the setting is contained or original, and the next run finishes.
#[test]
fn a_killed_run_leaves_one_value_or_the_other() {
    for (kind, id, _) in ALL {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let original = sorted(fake.state());
        let journal = Journal::open(dir.path()).unwrap();
        let (_, outcome) = contain(&fake, &journal, planned(&fake, kind, id).unwrap()).unwrap();
        assert_eq!(outcome, Outcome::Contained);
        let contained = sorted(fake.state());
        for number in 1..16 {
            for fault in [Fault::Dropped, Fault::DroppedAfter] {
                let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
                let plan = planned(&fake, kind, id).unwrap();
                let id_of = {
                    let journal = Journal::open(dir.path()).unwrap();
                    fake.fail(Some((number, fault)), true);
                    let _ = contain(&fake, &journal, plan);
                    journal.all().unwrap()[0].id.clone()
                };
                let what = format!("{kind} {id}: killed at call {number}, {fault:?}");
                assert!([&original, &contained].contains(&&sorted(fake.state())), "{what}");
                fake.fail(None, false);
                let journal = Journal::open(dir.path()).unwrap();
                let (mut containment, outcome) = resume(&fake, &journal, &id_of).unwrap();
                assert_eq!((outcome, sorted(fake.state())), (Outcome::Contained, contained.clone()), "{what}");
                fake.fail(Some((number, fault)), true);
                let _ = undo(&fake, &journal, &mut containment);
                assert!([&original, &contained].contains(&&sorted(fake.state())), "undo, {what}");
                fake.fail(None, false);
                let mut containment = journal.all().unwrap().remove(0);
                if containment.standing.name() != "undone" {
                    assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone, "{what}");
                }
                assert_eq!(sorted(fake.state()), original, "undo, {what}");
            }
        }
    }
}

fn sorted(mut state: State) -> State {
    state.rules.sort();
    state
}

#[test]
fn what_somebody_else_changed_is_never_overwritten() {
    let theirs = |fake: &Fake, id: &str| {
        let mut shared = fake.shared.lock().unwrap();
        let values = &mut shared.state.values;
        match id {
            "star" | "acl" => values.insert(if id == "star" { "block star" } else { "block acl" }, Some(crate::fake::block([true; 4]))),
            "halves" => values.insert("policy halves", Some(STAR.replace("star", "halves"))),
            _ => values.insert("account", Some(crate::fake::block([true; 4]))),
        };
    };
    for (kind, id, _) in &ALL[..4] {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let (mut containment, _) = contain(&fake, &journal, planned(&fake, kind, id).unwrap()).unwrap();
        theirs(&fake, id);
        let after = fake.state();
        assert!(matches!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Conflict(_)), "{kind} {id}");
        assert_eq!(fake.state(), after, "{kind} {id}");
        assert_eq!(journal.all().unwrap()[0].standing.name(), "contained", "what is there may become what was contained again");
        // Between the plan and the change.
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let planned = planned(&fake, kind, id).unwrap();
        theirs(&fake, id);
        let after = fake.state();
        let (containment, outcome) = contain(&fake, &journal, planned).unwrap();
        assert!(matches!(outcome, Outcome::Conflict(_)) && containment.standing.name() == "superseded", "{kind} {id}");
        assert_eq!(fake.state(), after, "{kind} {id}");
    }
    let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    let (mut containment, _) = contain(&fake, &journal, planned(&fake, "security_group", "sg-1").unwrap()).unwrap();
    fake.shared.lock().unwrap().state.rules.push("22 22 0.0.0.0/0 everybody".into());
    // What they opened again is open: it is undone already, and nothing is written.
    let after = fake.state();
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone);
    assert_eq!(fake.state(), after);
}

/// Deleted by somebody at any time: that is on record, nothing is left open, and no change is made.
#[test]
fn what_was_deleted_is_settled_and_only_by_the_answer_of_its_api() {
    for (kind, id, _) in ALL.iter().filter(|(kind, ..)| *kind != "account") {
        // Contained, deleted, undone.
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let planned = planned(&fake, kind, id).unwrap();
        let (mut containment, _) = contain(&fake, &journal, planned.clone()).unwrap();
        fake.shared.lock().unwrap().gone.insert(*id);
        let before = fake.state();
        assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Gone, "{kind}");
        assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Gone, "{kind}: once more");
        // Planned, and being undone.
        let (other, outcome) = contain(&fake, &journal, planned.clone()).unwrap();
        assert_eq!((outcome, other.standing.name(), other.entries().len()), (Outcome::Gone, "gone", 2), "{kind}");
        assert_eq!(fake.state(), before);
        assert!(journal.all().unwrap().iter().all(|c| c.standing.name() == "gone" && !c.standing.is_open()), "{kind}");
        // What cannot be read is not gone.
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let (mut containment, _) = contain(&fake, &journal, planned).unwrap();
        {
            let mut shared = fake.shared.lock().unwrap();
            shared.owner = "210987654321";
            shared.denied = Some("DescribeImages".into());
        }
        if kind.starts_with("s3_") {
            assert_eq!(undo(&fake, &journal, &mut containment).unwrap_err().code, "aws-denied", "{kind}");
            assert_eq!(containment.standing.name(), "contained");
        }
    }
}

/// An empty listing is no proof: it is what an answer that is late, or of another region, looks like.
#[test]
fn an_empty_listing_and_a_denied_call_prove_nothing() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    let (mut containment, _) = contain(&fake, &journal, planned(&fake, "security_group", "sg-1").unwrap()).unwrap();
    fake.shared.lock().unwrap().gone.insert("sg-1");
    let client = fake.client();
    let single = Single::new(&client, None).unwrap();
    assert!(single.is_gone("security_group", "sg-1").unwrap());
    assert!(!single.is_gone("security_group", "sg-2").unwrap_or(false), "the fake answers a list of others");
    assert!(!single.is_gone("s3_bucket", "star").unwrap());
    // Each by its own code.
    for (kind, id) in [("s3_bucket", "acl"), ("s3_object", "star/key"), ("ami", "ami-1"), ("rds_cluster_snapshot", "crds-1")] {
        assert!(!single.is_gone(kind, id).unwrap(), "{kind}");
        fake.shared.lock().unwrap().gone.insert(id);
        assert!(single.is_gone(kind, id).unwrap(), "{kind}");
    }
    assert!(single.is_gone("s3_object", "acl/of-a-bucket-that-is-gone").unwrap());
    assert!(single.is_gone("s3_access_point", "one").unwrap());
    assert!(!single.is_gone("s3_access_point", "many").unwrap(), "it is one of several regions, which that call does not know");
    for (name, kind, id) in [("/star", "s3_bucket", "star"), ("DescribeSnapshots", "ebs_snapshot", "snap-1")] {
        for (status, code) in [(404, "NoSuchUpload"), (404, ""), (400, "InvalidVolume.NotFound"), (403, "NoSuchBucket")] {
            fake.shared.lock().unwrap().odd = Some((name, status, code));
            assert!(!single.is_gone(kind, id).unwrap_or(false), "{kind} {status} {code}");
        }
    }
    fake.shared.lock().unwrap().odd = None;
    fake.shared.lock().unwrap().denied = Some("DescribeSecurityGroups".into());
    assert!(single.is_gone("security_group", "sg-1").is_err());
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap_err().code, "aws-denied");
    assert_eq!(journal.all().unwrap()[0].standing.name(), "contained");
}

/// The account's switch covers two buckets, of which one was deleted before the other could be verified.
#[test]
fn what_is_covered_and_was_deleted_holds_up_nothing() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    let planned = planned(&fake, "account", "123456789012").unwrap();
    fake.shared.lock().unwrap().gone.insert("star");
    let (mut containment, outcome) = contain(&fake, &journal, planned).unwrap();
    assert_eq!(outcome, Outcome::Contained);
    let gone = Event::CoveredGone { kind: "s3_bucket".into(), id: "star".into() };
    assert_eq!(containment.entries().iter().filter(|e| e.event == gone).count(), 1);
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone);
}

/// A bucket that was deleted, and whose name another account has now.
#[test]
fn a_bucket_of_somebody_else_is_not_changed() {
    for (kind, id, _) in &ALL[..3] {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let planned = planned(&fake, kind, id).unwrap();
        let call = planned.plan.contain().unwrap();
        let before = fake.state();
        fake.shared.lock().unwrap().owner = "210987654321";
        assert_eq!(with(&fake, |aws| contain::World::write(aws, &call)).unwrap_err().code, "aws-denied", "{id}");
        assert!(contain(&fake, &journal, planned).is_err(), "{id}");
        assert_eq!(fake.state(), before, "{id}");
    }
}

/// AWS then answers that there is nothing to revoke, or that the rule is a duplicate.
#[test]
fn a_call_that_somebody_else_made_right_before_is_no_failure() {
    for (kind, id, _) in ALL {
        for number in 1..8 {
            let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
            let journal = Journal::open(dir.path()).unwrap();
            let (original, planned) = (sorted(fake.state()), planned(&fake, kind, id).unwrap());
            fake.fail(Some((number, Fault::Second)), false);
            let (mut containment, outcome) = contain(&fake, &journal, planned).unwrap();
            assert_eq!(outcome, Outcome::Contained, "{kind} {id}: call {number}");
            fake.fail(Some((number, Fault::Second)), false);
            assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone, "{kind} {id}: call {number}");
            assert_eq!(sorted(fake.state()), original, "{kind} {id}: call {number}");
        }
    }
}

/// What is there decides, and not what a call answers.
#[test]
fn a_rule_that_is_there_already_is_compared() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    let plan = planned(&fake, "security_group", "sg-1").unwrap();
    let original = sorted(fake.state());
    let Setting::Ingress { identities, .. } = &plan.plan.setting else { panic!() };
    assert_eq!((identities[0].id.as_str(), &identities[0].tags[0]), ("sgr-22-9", &("team".to_string(), "web".to_string())));
    let (mut containment, _) = contain(&fake, &journal, plan.clone()).unwrap();
    // The same rule with another description: AWS would answer that it is a duplicate.
    fake.shared.lock().unwrap().state.rules.push("22 22 0.0.0.0/0 somebody".into());
    let theirs = fake.state();
    let outcome = undo(&fake, &journal, &mut containment).unwrap();
    assert_eq!(outcome, Outcome::Conflict(guard::contain::State::Rules { present: 0, of: 1, altered: 1 }));
    assert_eq!(fake.state(), theirs);
    let outcome = contain(&fake, &journal, plan.clone()).unwrap().1;
    assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
    // Somebody adds it between the read and the call.
    fake.shared.lock().unwrap().state.rules.retain(|r| !r.ends_with("somebody"));
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone);
    assert_eq!(sorted(fake.state()), original, "with its description and its tags");
    let call = plan.plan.undo().unwrap();
    assert_eq!(with(&fake, |aws| contain::World::write(aws, &call)).unwrap_err().code, "aws-failed", "it is a duplicate");
}

#[test]
fn an_undo_needs_an_owner_and_a_reason() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    let (mut containment, _) = contain(&fake, &journal, planned(&fake, "ami", "ami-1").unwrap()).unwrap();
    for (owner, reason) in [("", "why"), ("who", " ")] {
        let undo = Undo { owner, reason, opens: &[] };
        let fault = with(&fake, |aws| begin_undo(&journal, aws, &mut containment, &undo, &BY)).unwrap_err();
        assert_eq!(fault.code, "bad-containment");
    }
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap(), Outcome::Undone);
    let opens = containment.entries().iter().any(|e| matches!(&e.event, Event::Undoing { opens, .. } if opens.len() == 1));
    assert!(opens, "what it opens is on record");
    assert_eq!(undo(&fake, &journal, &mut containment).unwrap_err().code, "bad-containment", "it is undone");
}
