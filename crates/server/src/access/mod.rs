//! Who calls, what they may do, and the record of it. What no rule allows is refused.
//!
//! ```text
//! connection ─▶ identify (token, uid) ─▶ Caller: role, services ─▶ rule of the route ─▶ handler: whose service? host policy? ─▶ audit
//! ```

mod audit;
mod caller;
mod host_policy;
mod identify;
mod permit;
mod tokens;

pub use caller::Caller;
pub use host_policy::read as read_policy;
pub use identify::Access;
pub use permit::{deploy, images, kept, recipes, releases, step};
pub use tokens::read_token;
