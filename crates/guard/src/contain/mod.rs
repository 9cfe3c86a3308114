//! Containment: the smallest reversible change that stops an exposure, its exact undo, and whether the world is still as planned.
//!
//! A plan changes one setting with one call of an API, so that there is no state between before and after. It is planned on facts and
//! verified by [`crate::public`], the function that found the exposure. A grant, policy or snapshot is evidence: none is deleted.
//!
//! ```text
//! planned --write after--> contained --owner and reason--> undoing --write before--> undone
//! ```

mod call;
mod cut_off;
mod journal;
mod plan;
mod setting;

pub use call::Call;
pub use journal::{Phase, Step, next};
pub use plan::{NoPlan, Plan, Seen, plan, plan_account};
pub use setting::{FileIdentity, RuleIdentity, Setting, State, ingress_state};
