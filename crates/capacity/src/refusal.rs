//! Why a question is not answered.

use std::fmt;

/// A question outside the domain of what could answer it: what was asked (`place`), why not, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The input that is at fault, as its path in a request: `service.scv`
    pub place: String,
    pub reason: String,
    pub hint: String,
}

impl Refusal {
    pub fn new(place: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { place: place.into(), reason: reason.into(), hint: hint.into() }
    }

    /// The system has no steady state: says the utilisation and the smallest number of servers that has one.
    pub(crate) fn overloaded(place: &str, c: u32, offered: f64) -> Refusal {
        let enough = offered.floor() + 1.0;
        Refusal::new(
            place,
            format!("overloaded: the offered load is {offered:.6} servers and there are {c}, so waits grow without end"),
            format!("use at least {enough} servers, or less load than {c} servers carry"),
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (hint: {})", self.place, self.reason, self.hint)
    }
}

impl std::error::Error for Refusal {}
