//! Near names: what somebody may have meant.

/// A name longer than this is nobody's typing error.
const NAME_CHARS_MAX: usize = 64;

/// The name among `names` nearest to `text`, if it is near enough to be meant: at most a third of its letters differ.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    let lower = text.to_lowercase().replace(['_', ' '], "-");
    names
        .into_iter()
        .filter_map(|name| {
            let steps = distance(&lower, &name.to_lowercase().replace('_', "-"));
            let allowed = (name.chars().count().max(lower.chars().count()) / 3).max(1);
            (steps <= allowed).then_some((steps, name))
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, name)| name)
}

/// Letters put in, left out, changed, or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_known_from_the_literature() {
        for (a, b, steps) in [("kitten", "sitting", 3), ("ca", "ac", 1), ("", "abc", 3), ("same", "same", 0), ("flaw", "lawn", 2)] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
        }
    }

    #[test]
    fn near_is_near_and_far_is_nothing() {
        let keys = ["health", "healthy_for", "port", "count"];
        assert_eq!(nearest("helth", keys), Some("health"));
        assert_eq!(nearest("prot", keys), Some("port"));
        assert_eq!(nearest("healthy-for", keys), Some("healthy_for"));
        assert_eq!(nearest("COUNT", keys), Some("count"));
        assert_eq!(nearest("replicas", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
