//! What each error code means: more than fits beside the error itself. The texts are in `explain.txt`, one a line, sorted.

const TEXTS: &str = include_str!("explain.txt");

pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXTS.lines().filter_map(|line| line.split_once(": "))
}

pub fn of(code: &str) -> Option<&'static str> {
    all().find(|(c, _)| *c == code).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn each_line_is_a_code_and_its_text_once() {
        let codes: Vec<&str> = all().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), TEXTS.lines().count());
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len(), "a code is listed twice");
        for (code, text) in all() {
            assert!(code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')), "{code:?}");
            assert!(text.ends_with(['.', ')']) || text.contains(' '), "{code}: {text:?}");
        }
    }

    /// Codes of `Fault::yours` and `Fault::world` in a source text: the quoted text after the bracket.
    fn codes(text: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for maker in ["Fault::yours(", "Fault::world("] {
            for rest in text.split(maker).skip(1) {
                if let Some(quoted) = rest.trim_start().strip_prefix('"')
                    && let Some((code, _)) = quoted.split_once('"')
                {
                    found.insert(code.to_string());
                }
            }
        }
        found
    }

    fn sources(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(codes(text.split("#[cfg(test)]\nmod tests").next().unwrap()));
            }
        }
    }

    #[test]
    fn every_code_that_a_user_can_meet_is_explained() {
        let mut used = BTreeSet::new();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for entry in std::fs::read_dir(crates).unwrap() {
            let source = entry.unwrap().path().join("src");
            // What fails in the simulated world fails for nobody.
            if source.is_dir() && !source.ends_with("sim/src") {
                sources(&source, &mut used);
            }
        }
        assert!(used.len() > 50, "only {} codes were found: is the search broken?", used.len());
        let missing: Vec<&String> = used.iter().filter(|code| of(code).is_none()).collect();
        assert!(missing.is_empty(), "no line in explain.txt for {missing:?}");
    }
}
