//! Phrases that cost a stranger time, and what stands for them: the word list of the style guide, as far as a machine can see it.

/// What may not be written in comments, messages and documents, and what to write.
pub const BANNED: &[(&str, &str)] = &[
    ("told of", "reported, logged, shown"),
    ("no word of", "not reported"),
    ("harmed", "corrupt, damaged"),
    ("is well", "is healthy"),
    ("unwell", "unhealthy"),
    ("is doubted", "is suspected"),
    ("for so long", "for this time"),
    ("so many times", "this number of times"),
    ("for ever", "forever, permanently"),
    ("at its time", "when due"),
    ("customers go", "traffic is routed"),
    ("turn customers", "shift traffic"),
    ("turns customers", "shifts traffic"),
    ("goes back to", "rolls back to, returns to"),
    ("went back to", "rolled back to, returned to"),
    ("going back", "rolling back"),
    ("the way back", "the rollback"),
    ("throw away", "retire, remove"),
    ("throws away", "retires, removes"),
    ("thrown away", "retired, removed"),
    ("wish", "desired state"),
    ("wishes", "desired state"),
    ("what stands", "what is active"),
    ("what stood", "what was active"),
    ("census", "final inventory"),
    ("glance", "observation"),
    ("the world's fault", "environment error"),
    ("our fault", "internal error"),
    ("made whole", "complete"),
    ("heals", "recovers, repairs"),
    ("somebody is at it", "another operation is in progress"),
    ("begins anew", "restarts, is reset"),
    ("anew", "again"),
    ("last words", "last lines of output"),
    ("the whole mind", "the single next action"),
    ("leads nowhere", "has no backends"),
];

/// Every banned phrase of a text, as `line: phrase -> what to write`, in any case, as whole words. A line with `serde(alias` is exempt:
/// names that an older version wrote must still be read.
pub fn banned(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.contains("serde(alias") {
            continue;
        }
        let line = line.to_lowercase();
        for (phrase, instead) in BANNED {
            if has_words(&line, phrase) {
                found.push(format!("{}: \"{phrase}\" -> {instead}", n + 1));
            }
        }
    }
    found
}

/// Whether the phrase is there, and no part of a longer word or of a name in code.
fn has_words(line: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(phrase).any(|(at, _)| !is_word(line[..at].chars().next_back()) && !is_word(line[at + phrase.len()..].chars().next()))
}
