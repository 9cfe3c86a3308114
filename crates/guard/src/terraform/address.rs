//! Addresses of resources: `module.a["x"].aws_s3_bucket.b[0]`, in words that keep their index.

/// The words between dots. A dot in a key in quotes is none.
pub fn words(address: &str) -> Vec<&str> {
    let (mut words, mut from) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in address.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => {
                words.push(&address[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&address[from..]);
    words
}

/// A word without its index.
pub fn bare(word: &str) -> &str {
    word.split('[').next().unwrap_or(word)
}

/// An address without any index, as the configuration knows it.
pub fn without_indices(address: &str) -> String {
    words(address).into_iter().map(bare).collect::<Vec<_>>().join(".")
}

/// The module with a dot after it, or nothing; and the index of the resource, or nothing.
pub fn module_and_index(address: &str) -> (&str, &str) {
    let words = words(address);
    let last = words.last().copied().unwrap_or_default();
    let own: usize = words.iter().rev().take(2).map(|word| word.len()).sum::<usize>() + 1;
    (&address[..address.len().saturating_sub(own)], &last[bare(last).len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_hold_anything() {
        let address = r#"module.a["x.y"].module.b[1].aws_s3_bucket.c["d].\".e"]"#;
        assert_eq!(words(address), ["module", r#"a["x.y"]"#, "module", "b[1]", "aws_s3_bucket", r#"c["d].\".e"]"#]);
        assert_eq!(without_indices(address), "module.a.module.b.aws_s3_bucket.c");
        assert_eq!(module_and_index(address), (r#"module.a["x.y"].module.b[1]."#, r#"["d].\".e"]"#));
        assert_eq!(module_and_index("aws_s3_bucket.b"), ("", ""));
    }
}
