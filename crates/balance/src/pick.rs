//! Which target of which group gets a request.
//!
//! Inside a group: the best rank, then the fewest requests in flight, then round robin. Between groups: the next one by weight, or,
//! if no target there can serve, the next one that is routed, so that no request is rejected while any target could serve it.

/// Smaller is better. What must not be chosen at all has no rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Probes pass.
    Good,
    /// Probes pass, but it refused a connection a moment ago.
    Suspected,
    /// It passed once, and fails its probes now. Chosen only when no routed group has anything better: probes that fail everywhere (on
    /// an overloaded host) must not turn slow responses into none.
    Failing,
}

/// The best of `count` targets, beginning the round at `turn`. `look` gives rank and in-flight count, or None for one that must
/// not be chosen (draining, closed, never passed, already tried by this request).
pub fn best(count: usize, turn: usize, worst: Rank, mut look: impl FnMut(usize) -> Option<(Rank, u64)>) -> Option<usize> {
    let mut found: Option<((Rank, u64), usize)> = None;
    for step in 0..count {
        let index = (turn % count + step) % count;
        let Some(value) = look(index) else { continue };
        // Strictly better only: of equals, the first in turn wins.
        if value.0 <= worst && found.is_none_or(|(least, _)| value < least) {
            found = Some((value, index));
        }
    }
    found.map(|(_, index)| index)
}

/// Tries the groups in the order of their turns until one has a target. `pick` returns a target of that group of at least that rank.
pub fn choose<T>(order: &[u16], turn: usize, mut pick: impl FnMut(u16, Rank) -> Option<T>) -> Option<(u16, T)> {
    for worst in [Rank::Suspected, Rank::Failing] {
        // Weights sum to 100, so there are never more than 100 routed groups; `Share` refuses more.
        let mut asked: u128 = 0;
        for step in 0..order.len() {
            let group = order[(turn % order.len() + step) % order.len()];
            let bit = 1_u128 << group;
            if asked & bit != 0 {
                continue;
            }
            asked |= bit;
            if let Some(target) = pick(group, worst) {
                return Some((group, target));
            }
        }
    }
    None
}
