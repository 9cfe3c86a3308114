//! Weights as an order of turns, as even as can be.
//!
//! The order is made once, when the weights change; a request only takes the next turn, which needs no lock.
//! It is Tijdeman's solution of the chairman assignment problem (R. Tijdeman, "The chairman assignment problem",
//! Discrete Mathematics 32, 1980): after every prefix of n turns each of k groups has had its share within
//! 1 - 1/(2k-2) turns. For two groups, the case of a rotation, that is half a turn, so any window at all is exact within one.
//! For three and more no order can promise that for every window; prefixes are within one, windows within two.

/// More groups than this are refused. Weights sum to 100.
pub const SHARES_MAX: usize = 100;
/// Longer orders are refused.
const TURNS_MAX: u64 = 10_000;

/// One period of turns. Empty: nobody is routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    order: Vec<u16>,
}

impl Share {
    /// `weights[i]` is that of group `i`; 0 gets no turn. None: too many groups or too large a sum.
    pub fn of(weights: &[u32]) -> Option<Share> {
        if weights.len() > SHARES_MAX {
            return None;
        }
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b));
        if divisor == 0 {
            return Some(Share::default());
        }
        let routed: Vec<(u16, i128)> =
            (0_u16..).zip(weights).filter(|(_, w)| **w > 0).map(|(i, w)| (i, i128::from(*w / divisor))).collect();
        let sum: i128 = routed.iter().map(|(_, w)| w).sum();
        if sum > i128::from(TURNS_MAX) {
            return None;
        }
        Some(Share { order: turns(&routed, sum) })
    }

    pub fn order(&self) -> &[u16] {
        &self.order
    }
}

/// The greedy rule: of those whose deficit is at least 1/(2k-2), the one whose deadline comes first.
fn turns(routed: &[(u16, i128)], sum: i128) -> Vec<u16> {
    let mut had = vec![0_i128; routed.len()];
    // 2k-2; with one group alone any positive number will do.
    let scale = (2 * routed.len() as i128 - 2).max(1);
    let mut order = Vec::new();
    for turn in 1..=sum {
        let mut first: Option<(i128, i128, usize)> = None;
        for (place, (_, weight)) in routed.iter().enumerate() {
            let deficit = weight * turn - sum * had[place]; // in units of 1/sum turns
            if deficit * scale < sum {
                continue;
            }
            let left = sum * (scale - 1) - scale * deficit; // until the deadline, times weight
            if first.is_none_or(|(least, of, _)| left * of < least * weight) {
                first = Some((left, *weight, place));
            }
        }
        let (_, _, place) = first.expect("deficits sum to one turn, so one of k is at least 1/k, which is at least 1/(2k-2)");
        had[place] += 1;
        order.push(routed[place].0);
    }
    order
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
