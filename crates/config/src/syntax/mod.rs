//! Text to tokens, tokens to blocks and keys, one key's tokens to a value. Knows nothing of what keys mean.

pub(crate) mod heredoc;
pub(crate) mod lex;
pub(crate) mod quoted;
pub(crate) mod tree;
pub(crate) mod value;

/// Brackets of every kind within each other. The file needs five; more is a mistake or an attack.
pub(crate) const NESTING_MAX: usize = 16;
