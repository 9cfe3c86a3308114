//! Resource policies of AWS: reading them, AWS's documented rule of "public", and whether a stranger gets in effectively.

pub mod actions;
pub mod document;
pub mod documented;
pub mod effective;
mod literal;
pub mod outsider;
pub mod pattern;
mod search;

pub use actions::Class;
pub use document::Policy;
pub use documented::Scope;
pub use effective::{Exposure, Request, Side, Stranger};
