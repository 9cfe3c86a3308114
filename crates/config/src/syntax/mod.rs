//! Text to tokens, tokens to blocks and keys, one key's tokens to a value. Knows nothing of what keys mean.

pub(crate) mod heredoc;
pub(crate) mod lex;
pub(crate) mod quoted;
pub(crate) mod token;
pub(crate) mod tree;
pub(crate) mod value;
