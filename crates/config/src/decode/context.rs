//! What the decoder of every block needs.

use crate::syntax::token::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(crate) struct Context<'a> {
    pub text: &'a str,
    pub tokens: &'a [Token],
    /// Every image named in the file, also one whose recipe is wrong.
    pub images: BTreeMap<String, Range<usize>>,
    /// Those of them that are container images.
    pub containers: BTreeSet<String>,
    /// Every secret, likewise.
    pub secrets: BTreeMap<String, Range<usize>>,
    /// Every service, likewise.
    pub services: BTreeMap<String, Range<usize>>,
}
