//! The name somebody may have meant.

/// The nearest of `names` if it is near enough: at most a third of the letters differ.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).clamp(1, 4);
    names
        .into_iter()
        .filter(|n| n.len().abs_diff(wanted.len()) <= limit)
        // Of two as near, the one with the same letters: letters are swapped more often than mistaken.
        .map(|n| (distance(wanted, n), letters(n) != letters(wanted), n))
        .filter(|(d, ..)| *d <= limit)
        .min()
        .map(|(.., n)| n)
}

fn letters(text: &str) -> Vec<u8> {
    let mut letters = text.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

/// Insertions, deletions, changes and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_that_was_meant() {
        let names = ["crun", "curl", "python3-minimal", "systemd", "ca-certificates"];
        assert_eq!(nearest("crul", names), Some("curl"));
        assert_eq!(nearest("pyhton3-minimal", names), Some("python3-minimal"));
        assert_eq!(nearest("ca-certifcates", names), Some("ca-certificates"));
        assert_eq!(nearest("zzzzzz", names), None);
        assert_eq!(nearest("", names), None);
    }
}
