//! Exit codes: the one place where they are decided and described.

use api::control::RotationStatus;
use model::{Blame, Fault, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Succeeded,
    Internal,
    User,
    NotYet,
    Refused,
    RolledBack,
    Partial,
    Environment,
    Alarm,
    /// That of a program which `run` ran, or of `run` itself: see its help.
    Program(u8),
}

impl Exit {
    /// `plan --exit-code`, as Terraform's `-detailed-exitcode`: 0 nothing to change, 1 an error, 2 changes.
    pub const PLAN_FAILED: Exit = Exit::Internal;
    pub const PLAN_CHANGES: Exit = Exit::User;
    /// `guard`, as scanners in pipelines: 0 clean, 1 denied, 2 unknown, 3 an error.
    pub const GUARD_DENIED: Exit = Exit::Internal;
    pub const GUARD_UNKNOWN: Exit = Exit::User;
    pub const GUARD_FAILED: Exit = Exit::NotYet;

    pub fn code(self) -> u8 {
        match self {
            Exit::Succeeded => 0,
            Exit::Internal => 1,
            Exit::User => 2,
            Exit::NotYet => 3,
            Exit::Refused => 4,
            Exit::RolledBack => 5,
            Exit::Partial => 6,
            Exit::Environment => 7,
            Exit::Alarm => 8,
            Exit::Program(code) => code,
        }
    }
}

/// Ends the help of `afresh` itself. The README has the same table.
pub const HELP: &str = "\
Exit codes:
  0  succeeded; a deploy: promoted, and what it removes is removed
  1  internal error: a bug in Afresh
  2  user error: a flag, a file, a name, or a change without --yes where no terminal is
  3  not yet (step check; a deploy that was left running)
  4  refused: a rule forbids it, you said no, or another operation is in progress
  5  rolled back: the old release is active
  6  partial: stopped halfway, or some services promoted and some not
  7  environment error: disk full, mirror or runtime unavailable, daemon not running
  8  an alarm (status --check): an image is too old, or runs though it is bad or revoked
`plan --exit-code` differs: 0 nothing to change, 1 any error, 2 changes. `run` exits as its command does.
`guard` differs: 0 clean, 1 exposed or denied, 2 unknown, 3 an error.

`afresh explain CODE` says more about an error's code.
Example:
  afresh up &
  afresh deploy --yes";

/// User errors other than usage errors: the request violates a rule or conflicts with another operation.
const REFUSALS: &[&str] = &[
    "already-served",
    "already-up",
    "busy",
    "closed",
    "floor",
    "forbidden",
    "group-gone",
    "guard-denied",
    "image-bad",
    "image-not-tested",
    "image-revoked",
    "never-active",
    "nothing-before",
    "release-changed",
    "stale-stamp",
    "too-many-runs",
];

pub fn of_fault(fault: &Fault) -> Exit {
    match fault.blame {
        Blame::Yours if REFUSALS.contains(&fault.code.as_str()) || fault.code.starts_with("policy-") => Exit::Refused,
        Blame::Yours => Exit::User,
        Blame::World => Exit::Environment,
        Blame::Ours => Exit::Internal,
    }
}

/// Of a report of `guard`: 0 clean, 1 denied, 2 unknown.
pub fn of_guard(code: u8) -> Exit {
    match code {
        0 => Exit::Succeeded,
        1 => Exit::GUARD_DENIED,
        _ => Exit::GUARD_UNKNOWN,
    }
}

pub fn of_verdict(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Promoted => Exit::Succeeded,
        Verdict::RolledBack => Exit::RolledBack,
        Verdict::Stopped => Exit::Partial,
    }
}

/// As the exit code counts it: a completed removal is a success.
pub fn verdict_of(rotation: &RotationStatus) -> Option<Verdict> {
    match rotation.verdict {
        Some(Verdict::RolledBack) if rotation.removes => Some(Verdict::Promoted),
        verdict => verdict,
    }
}

/// Of several rotations of one rollout. Some promoted and some not is partial.
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
        assert_eq!(of_fault(&Fault::yours("no-file", "x")), Exit::User);
        assert_eq!(of_fault(&Fault::yours("busy", "x")), Exit::Refused);
        assert_eq!(of_fault(&Fault::world("unreachable", "x")), Exit::Environment);
        assert_eq!(of_fault(&Fault::ours("bug", "x")), Exit::Internal);
    }
}
