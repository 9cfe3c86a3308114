//! Plans again what was shown: now that the lock is held and what was interrupted is finished, no other run changes anything.
//!
//! A plan that differs from the one that was shown is not the one that somebody agreed to.

use super::changes::{Change, Source, show_plan};
use super::exposed;
use super::host_target;
use super::session::{Session, Tally};
use super::target::{Connected, Target};
use crate::show;
use contain::Planned;
use guard::contain::NoPlan;
use model::Fault;
use std::collections::BTreeSet;

type Fresh = Result<Result<Planned, NoPlan>, Fault>;

/// With the plans of now. Another change than was shown is left out; `is_now`: nobody was asked, so it is made.
pub(super) fn all(session: &Session, shown: Vec<Change>, is_now: bool, tally: &mut Tally) -> Vec<Change> {
    let fresh = fresh(session, &shown);
    let note = |text: String| show::note(show::safe_line(&text));
    let mut kept = Vec::new();
    for (change, fresh) in shown.into_iter().zip(fresh) {
        let (kind, id) = (&change.facts.kind, &change.facts.id);
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(fault) => {
                tally.failed += 1;
                note(format!("{kind} {id} is not contained: {fault}"));
                continue;
            }
        };
        let is_same = is_shown(&change.planned, &fresh);
        if !is_same && !is_now {
            tally.failed += 1;
            note(format!("{kind} {id} would be changed otherwise than was shown, and was left as it is: run it again"));
            continue;
        }
        match &fresh {
            Err(no_plan) if change.planned.is_ok() => note(no_plan.to_string()),
            Ok(planned) if !is_same && !session.is_json() => show_plan(planned),
            _ => {}
        }
        kept.push(change.planned_again(fresh));
    }
    kept
}

/// One resource of AWS, as it is now.
pub(super) fn one(session: &Session, target: &Target) -> Fresh {
    let connected = session.connected().ok_or_else(unconnected)?;
    Ok(connected.planned(&connected.examine(target)?))
}

/// In the order of the changes; what is of AWS is read at the same time.
fn fresh(session: &Session, shown: &[Change]) -> Vec<Fresh> {
    let targets: Vec<Target> =
        shown.iter().filter_map(|change| if let Source::Aws(target) = &change.source { Some(target.clone()) } else { None }).collect();
    let examined = session.connected().map_or_else(Vec::new, |connected| connected.examine_all(&targets));
    let mut examined = examined.into_iter();
    let of = |change: &Change| match &change.source {
        Source::Aws(_) => {
            let (Some(connected), Some(found)) = (session.connected(), examined.next()) else { return Err(unconnected()) };
            Ok(connected.planned(&found?))
        }
        Source::Account(targets) => of_account(session.connected().ok_or_else(unconnected)?, targets),
        Source::File { root } => host_target::file_again(root, &change.facts.id, &change.planned),
        Source::Port => host_target::port(&change.facts.id),
    };
    shown.iter().map(of).collect()
}

fn of_account(connected: &Connected, targets: &[Target]) -> Fresh {
    let mut examined = Vec::new();
    for found in connected.examine_all(targets) {
        match found {
            // Deleted meanwhile: nothing of it is left to close.
            Err(fault) if fault.code == "no-such-resource" => {}
            found => examined.push(found?),
        }
    }
    Ok(exposed::by_account(connected, &examined, &BTreeSet::new()))
}

fn unconnected() -> Fault {
    Fault::ours("bad-journal", "the run is connected to no account")
}

/// Whether nobody loses access, and nothing is changed, that was not shown.
fn is_shown(shown: &Result<Planned, NoPlan>, fresh: &Result<Planned, NoPlan>) -> bool {
    let (shown, fresh) = match (shown, fresh) {
        (_, Err(_)) => return true,
        (Err(_), Ok(_)) => return false,
        (Ok(shown), Ok(fresh)) => (shown, fresh),
    };
    let is_within = |fresh: &[String], shown: &[String]| fresh.iter().all(|of| shown.contains(of));
    fresh.plan.setting == shown.plan.setting
        && fresh.plan.before.is(&shown.plan.before)
        && fresh.plan.after.is(&shown.plan.after)
        && is_within(&fresh.plan.cut_off, &shown.plan.cut_off)
        && fresh.covers.iter().all(|of| shown.covers.contains(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contain::Place;
    use guard::contain::{Plan, Setting, State};

    fn planned(bucket: &str, before: State, cut_off: &[&str], covers: &[&str]) -> Result<Planned, NoPlan> {
        let setting = Setting::BucketPolicy { bucket: bucket.into() };
        let cut_off = cut_off.iter().map(|who| who.to_string()).collect();
        let after = State::Policy(Some("{}".into()));
        let plan = Plan { kind: "s3_bucket".into(), id: bucket.into(), setting, before, after, cut_off };
        let at = Place::Aws { account: "1".into(), region: "r".into(), endpoint: None };
        let covers = covers.iter().map(|id| ("s3_bucket".to_string(), id.to_string())).collect();
        Ok(Planned { at, plan, covers, contain_command: "c".into(), undo_command: "u".into(), incident: None })
    }

    #[test]
    fn only_what_was_shown_is_made() {
        let none = || State::Policy(None);
        let shown = planned("a", none(), &["x", "y"], &["a", "b"]);
        let gone = || Err(NoPlan::NotPublic("a".into()));
        assert!(is_shown(&shown, &shown) && is_shown(&shown, &gone()), "nothing is made");
        assert!(is_shown(&shown, &planned("a", none(), &["x"], &["b"])), "fewer lose access");
        assert!(!is_shown(&shown, &planned("a", none(), &["x", "z"], &["a"])), "somebody else loses access");
        assert!(!is_shown(&shown, &planned("a", none(), &["x"], &["a", "c"])));
        assert!(!is_shown(&shown, &planned("b", none(), &["x"], &["a"])));
        assert!(
            !is_shown(&shown, &planned("a", State::Policy(Some("[]".into())), &["x"], &["a"])),
            "the undo would give another value back"
        );
        assert!(!is_shown(&gone(), &shown));
    }
}
