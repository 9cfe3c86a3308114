//! afresh.hcl to model, with the place of every error; and its formatter.
//!
//! ```text
//! text ─▶ syntax::lex ─▶ syntax::tree ─▶ decode ─▶ model::ServiceFile
//!            tokens        blocks, keys     │  each value: hcl-edit, then syntax::value
//!                             └─▶ format    └─▶ every error of the file, each a Diagnostic
//! JSON, API ─▶ serde ─▶ check: write (as HCL) ─▶ decode: the same rules, told at the JSON's places
//! ```
//!
//! Blocks and keys are found by our own scanner and only values are given to hcl-edit, for three reasons: one error in a value
//! must not hide the errors behind it; several keys on one line are allowed (`health { path = "/h"  every = "1s" }`), which
//! hcl-edit refuses; and nesting is bounded before anything recurses.
//!
//! Nothing here evaluates an expression, prints, or reads anything but the one file [`load`] is given.

#![deny(missing_docs)]

mod check;
mod decode;
mod diagnostic;
mod format;
mod json;
mod load;
mod parse;
mod places;
mod policy;
mod schema;
mod settings;
mod sink;
mod syntax;
mod units;
mod write;
mod write_policy;

pub use check::checked;
pub use diagnostic::{Diagnostic, Related, render};
pub use format::format;
pub use load::{LoadError, load};
pub use parse::parse;
pub use places::FILE_BYTES_MAX;
pub use policy::{POLICY_SHAPES, parse_policy};
pub use schema::{Key, Kind, SHAPES, Shape};
pub use settings::{ChangedSetting, changed_settings};
pub use write::{quoted, write};
pub use write_policy::write_policy;

/// More errors than this are counted, not shown.
pub const ERRORS_MAX: usize = sink::ERRORS_MAX;
