//! What each error code means: more than fits beside the error itself.

const TEXTS: &[(&str, &str)] = &[];

pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXTS.iter().copied()
}

pub fn of(code: &str) -> Option<&'static str> {
    all().find(|(c, _)| *c == code).map(|(_, text)| text)
}
