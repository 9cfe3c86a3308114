//! Exit codes: the one place where they are decided and described.

use api::control::RotationStatus;
use model::{Blame, Fault, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    Succeeded = 0,
    Ours = 1,
    Yours = 2,
    NotYet = 3,
    Refused = 4,
    RolledBack = 5,
    Partial = 6,
    World = 7,
    Alarm = 8,
}

/// Ends the help of `afresh` itself. The README has the same table.
pub const HELP: &str = "\
Exit codes:
  0  succeeded; a deploy: promoted, and what it removes is removed
  1  our fault: a bug in Afresh
  2  bad input: a flag, a file, a name
  3  not yet (step check; a deploy that was left running)
  4  refused: it would break a promise, or somebody else is at it
  5  rolled back: the old release stands
  6  partial: stopped on the way
  7  the world: no disk, no mirror, no runtime, nobody at the socket
  8  an alarm (status --check): an image is too old, or runs though it is bad or revoked

`afresh explain CODE` says more of an error's code.
Example:
  afresh up &
  afresh deploy --yes";

/// Yours, but not because the words were wrong: the wish goes against a rule or against what is going on now.
const REFUSALS: &[&str] = &[
    "already-served",
    "already-up",
    "busy",
    "closed",
    "floor",
    "forbidden",
    "group-gone",
    "image-bad",
    "image-not-tested",
    "image-revoked",
    "nothing-before",
    "release-changed",
    "stale-stamp",
];

pub fn of_fault(fault: &Fault) -> Exit {
    match fault.blame {
        Blame::Yours if REFUSALS.contains(&fault.code.as_str()) || fault.code.starts_with("policy-") => Exit::Refused,
        Blame::Yours => Exit::Yours,
        Blame::World => Exit::World,
        Blame::Ours => Exit::Ours,
    }
}

pub fn of_verdict(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Promoted => Exit::Succeeded,
        Verdict::RolledBack => Exit::RolledBack,
        Verdict::Stopped => Exit::Partial,
    }
}

/// What the exit code counts: a removal that came to its end did what was asked for.
pub fn verdict_of(rotation: &RotationStatus) -> Option<Verdict> {
    match rotation.verdict {
        Some(Verdict::RolledBack) if rotation.removes => Some(Verdict::Promoted),
        verdict => verdict,
    }
}

/// Of several rotations of one rollout. Some promoted and some not is partial: neither the old whole nor the new.
pub fn of_verdicts(verdicts: &[Verdict]) -> Exit {
    let first = verdicts.first().copied();
    match first {
        None => Exit::Succeeded,
        Some(verdict) if verdicts.iter().all(|v| *v == verdict) => of_verdict(verdict),
        Some(_) => Exit::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_partial() {
        use Verdict::{Promoted, RolledBack, Stopped};
        assert_eq!(of_verdicts(&[]), Exit::Succeeded);
        assert_eq!(of_verdicts(&[Promoted, Promoted]), Exit::Succeeded);
        assert_eq!(of_verdicts(&[RolledBack]), Exit::RolledBack);
        assert_eq!(of_verdicts(&[Promoted, RolledBack]), Exit::Partial);
        assert_eq!(of_verdicts(&[Stopped]), Exit::Partial);
    }

    #[test]
    fn blame_gives_the_code() {
        assert_eq!(of_fault(&Fault::yours("no-file", "x")), Exit::Yours);
        assert_eq!(of_fault(&Fault::yours("busy", "x")), Exit::Refused);
        assert_eq!(of_fault(&Fault::world("unreachable", "x")), Exit::World);
        assert_eq!(of_fault(&Fault::ours("bug", "x")), Exit::Ours);
    }
}
