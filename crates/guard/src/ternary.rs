//! Three-valued logic, and facts that may be missing. Unknown is never safe: it stays unknown unless the other facts decide.

use serde::Serialize;
use std::collections::BTreeSet;

/// Kleene's logic. `No` needs proof, `Yes` needs proof, everything else is `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tri {
    No,
    Unknown,
    Yes,
}

impl Tri {
    pub fn and(self, other: Tri) -> Tri {
        self.min(other)
    }

    pub fn or(self, other: Tri) -> Tri {
        self.max(other)
    }

    pub fn negate(self) -> Tri {
        match self {
            Tri::No => Tri::Yes,
            Tri::Unknown => Tri::Unknown,
            Tri::Yes => Tri::No,
        }
    }

    pub fn any(items: impl IntoIterator<Item = Tri>) -> Tri {
        items.into_iter().fold(Tri::No, Tri::or)
    }

    pub fn all(items: impl IntoIterator<Item = Tri>) -> Tri {
        items.into_iter().fold(Tri::Yes, Tri::and)
    }

    /// `Yes` or `No` on proof, `Unknown` for want of it.
    pub fn of(value: Option<bool>) -> Tri {
        match value {
            Some(true) => Tri::Yes,
            Some(false) => Tri::No,
            None => Tri::Unknown,
        }
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Tri {
        if value { Tri::Yes } else { Tri::No }
    }
}

/// Something that was asked of an API: the answer, or the permission that would give it.
///
/// An answer of "there is none" is an answer (`Known(None)`, `Known(vec![])`). Only a refused, failed or omitted call is `Unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    Unknown(Missing),
}

/// What could not be read, as the IAM action that reads it: `s3:GetBucketPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing(pub String);

impl<T> Fact<T> {
    pub fn denied(action: &str) -> Fact<T> {
        Fact::Unknown(Missing(action.to_string()))
    }

    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown(_) => None,
        }
    }

    /// Tests the fact; an unread one answers `Unknown`.
    pub fn test(&self, predicate: impl FnOnce(&T) -> bool) -> Tri {
        self.known().map_or(Tri::Unknown, |value| predicate(value).into())
    }

    /// Adds what is missing to a list, so that an `Unknown` verdict can name the permission that would answer it.
    pub fn note_missing(&self, into: &mut BTreeSet<Missing>) {
        if let Fact::Unknown(missing) = self {
            into.insert(missing.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_decided_only_by_the_other_side() {
        assert_eq!(Tri::Unknown.and(Tri::No), Tri::No);
        assert_eq!(Tri::Unknown.and(Tri::Yes), Tri::Unknown);
        assert_eq!(Tri::Unknown.or(Tri::Yes), Tri::Yes);
        assert_eq!(Tri::Unknown.or(Tri::No), Tri::Unknown);
        assert_eq!(Tri::Unknown.negate(), Tri::Unknown);
    }

    #[test]
    fn an_unread_fact_answers_neither_way() {
        assert_eq!(Fact::<bool>::denied("x:Get").test(|v| *v), Tri::Unknown);
        assert_eq!(Fact::<bool>::denied("x:Get").test(|v| !*v), Tri::Unknown);
    }
}
