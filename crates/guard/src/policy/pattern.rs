//! Wildcards of IAM: `*` for any text, `?` for one character, `${*}` `${?}` `${$}` for themselves, `${key}` for a policy variable.

/// One value of a policy, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(char),
    One,
    Any,
    Variable,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(inner) = rest.strip_prefix("${")
                && let Some(end) = inner.find('}')
            {
                parts.push(match &inner[..end] {
                    name @ ("*" | "?" | "$") => Part::Literal(name.chars().next().unwrap_or('$')),
                    _ => Part::Variable,
                });
                rest = &inner[end + 1..];
                continue;
            }
            parts.push(match first {
                '*' => Part::Any,
                '?' => Part::One,
                other => Part::Literal(other),
            });
            rest = &rest[first.len_utf8()..];
        }
        Pattern { text: text.to_string(), parts }
    }

    /// AWS's "fixed value": no wildcard and no policy variable.
    pub fn is_fixed(&self) -> bool {
        self.text.find(['*', '?']).is_none() && !self.text.contains("${")
    }

    pub fn has_variable(&self) -> bool {
        self.parts.contains(&Part::Variable)
    }

    pub fn has_wildcard(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::One | Part::Any))
    }

    /// Matches with wildcards. A variable may stand for any text.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        glob(&self.parts, &text, |a, b| a == b)
    }

    pub fn matches_ignoring_case(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        glob(&self.parts, &text, |a, b| a.eq_ignore_ascii_case(&b))
    }

    /// Whether it matches some text that begins so.
    pub fn can_begin_with(&self, start: &str) -> bool {
        // Parts before which the walk through `start` may be, all at once.
        let mut here = vec![false; self.parts.len() + 1];
        here[0] = true;
        for c in start.chars() {
            let mut next = vec![false; here.len()];
            for (n, part) in self.parts.iter().enumerate() {
                match part {
                    _ if !here[n] => {}
                    // It takes the character and stays, or takes nothing and leaves it to the next part.
                    Part::Any | Part::Variable => (next[n], here[n + 1]) = (true, true),
                    Part::Literal(l) if *l != c => {}
                    Part::One | Part::Literal(_) => next[n + 1] = true,
                }
            }
            here = next;
        }
        here.contains(&true)
    }

    /// What comparing it with a text may cost, in small comparisons' worth of work.
    pub(super) fn cost(&self, text: &str) -> usize {
        1 + self.parts.len() * text.len() / 4096
    }

    /// Some text that the pattern matches: `*` and variables become `filler`, `?` its first character.
    pub fn instance(&self, filler: &str) -> String {
        let one = filler.chars().next().unwrap_or('x');
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(c) => out.push(*c),
                Part::One => out.push(one),
                Part::Any | Part::Variable => out.push_str(filler),
            }
        }
        out
    }
}

/// Greedy with one point of return: linear for patterns without `*`, never exponential.
fn glob(pattern: &[Part], text: &[char], same: impl Fn(char, char) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Part::Any | Part::Variable) => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(Part::One) => (p, t) = (p + 1, t + 1),
            Some(Part::Literal(c)) if same(*c, text[t]) => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|part| matches!(part, Part::Any | Part::Variable))
}

/// ARNs match segment by segment: a wildcard does not reach over one of the first five colons.
pub fn arn_matches(pattern: &str, arn: &str) -> bool {
    let (patterns, segments): (Vec<&str>, Vec<&str>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    if patterns.len() != 6 || segments.len() != 6 {
        return pattern == "*" || Pattern::new(pattern).matches(arn);
    }
    patterns.iter().zip(segments).all(|(p, s)| Pattern::new(p).matches(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("vpc-*", "vpc-1", true),
            ("vpc-*", "xvpc-1", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("${*}x", "*x", true),
            ("${*}x", "ax", false),
            ("home/${aws:username}/*", "home/eve/f", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_wildcard_of_an_arn_stays_in_its_segment() {
        assert!(arn_matches("arn:aws:iam::*:role/*", "arn:aws:iam::1:role/a:b"));
        assert!(!arn_matches("arn:aws:iam:*:role/x:y", "arn:aws:iam::1:role/x:y"));
    }

    #[test]
    fn a_pattern_can_begin_as_one_of_its_texts_does() {
        for (pattern, start, expected) in [
            ("a/*", "a/", true),
            ("a/*", "a", true),
            ("a*", "ab/c/", true),
            ("*", "anything", true),
            ("*/site/*", "a/site", true),
            ("a-2/*", "a/", false),
            ("a", "a/", false),
            ("a?/*", "ab/", true),
            ("a?/*", "a", true),
            ("a?b", "a/c", false),
            ("${x}/b", "y/", true),
            ("**b", "ab", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).can_begin_with(start), expected, "{pattern} {start}");
        }
    }

    #[test]
    fn every_instance_matches() {
        for text in ["*", "a?b*", "o-${aws:x}/*", "${*}a"] {
            let pattern = Pattern::new(text);
            assert!(pattern.matches(&pattern.instance("zq")), "{text}");
        }
    }
}
