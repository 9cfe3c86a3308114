//! The likely intended name for one that does not exist: "did you mean". Pure.

use strsim::osa_distance;

/// A name longer than this is not a typing error.
const NAME_CHARS_MAX: usize = 64;
const STEPS_MAX: usize = 4;

/// The name nearest to `text`, if at most a third of its characters differ, and no more than four. Upper and lower case, and `_` and
/// `-`, are the same. Of equals, one with the same characters: they are swapped more often than mistaken; then the first.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = plain(text);
    let chars = text.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) {
        return None;
    }
    let near = names.into_iter().filter_map(|name| {
        let of_name = name.chars().count();
        let allowed = (of_name.max(chars) / 3).clamp(1, STEPS_MAX);
        // The difference in length is a lower bound of the distance; lists of packages are long.
        if of_name.abs_diff(chars) > allowed {
            return None;
        }
        let plain = plain(name);
        let steps = osa_distance(&text, &plain);
        (steps <= allowed).then(|| (steps, sorted(&plain) != sorted(&text), name))
    });
    near.min_by_key(|(steps, other_chars, _)| (*steps, *other_chars)).map(|(.., name)| name)
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', ' '], "-")
}

fn sorted(name: &str) -> Vec<char> {
    let mut chars: Vec<char> = name.chars().collect();
    chars.sort_unstable();
    chars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_mistyped_is_found() {
        let keys = ["health", "healthy_for", "port", "count"];
        assert_eq!(nearest("helth", keys), Some("health"));
        assert_eq!(nearest("prot", keys), Some("port"));
        assert_eq!(nearest("healthy-for", keys), Some("healthy_for"));
        assert_eq!(nearest("COUNT", keys), Some("count"));
        assert_eq!(nearest("replicas", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"port".repeat(17), ["port".repeat(17).as_str()]), None, "too long to be typed");
    }

    #[test]
    fn a_package_that_was_mistyped_is_found() {
        let names = ["crun", "curl", "python3-minimal", "systemd", "ca-certificates"];
        assert_eq!(nearest("crul", names), Some("curl"), "as near as crun, with the same letters");
        assert_eq!(nearest("pyhton3-minimal", names), Some("python3-minimal"));
        assert_eq!(nearest("ca-certifcates", names), Some("ca-certificates"));
        assert_eq!(nearest("zzzzzz", names), None);
        assert_eq!(nearest("a-name-of-twenty-characters", ["b-same-as-twentx-charbcters"]), None, "five are too many");
    }

    #[test]
    fn of_equals_the_first() {
        assert_eq!(nearest("bat", ["cat", "hat"]), Some("cat"));
        assert_eq!(nearest("bat", ["hat", "cat"]), Some("hat"));
    }
}
