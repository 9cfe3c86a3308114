//! A setting by its name and value: whether it is a credential that no issuer's format tells. For files of settings that people write, where
//! the name says what the value is.

use super::placeholder::is_placeholder;

/// Ends of names, in capitals and without `_`.
const NAMES: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "SECRETKEY",
    "TOKEN",
    "APIKEY",
    "PRIVATEKEY",
    "ACCESSKEY",
    "ENCRYPTIONKEY",
    "SIGNINGKEY",
];
const VALUE_MIN: usize = 6;

/// `DB_PASSWORD` with a value that is no path, no reference and no placeholder; or an URL with a password.
pub fn is_credential(name: &str, value: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let is_named = NAMES.iter().any(|end| name.ends_with(end));
    (is_named && is_value(value) && !value.contains("://")) || password_of(value).is_some_and(is_value)
}

/// Of `scheme://user:password@host`.
fn password_of(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@')?.0.split_once(':').map(|(_, password)| password)
}

fn is_value(text: &str) -> bool {
    let text = text.trim();
    let is_word =
        ["password", "secret", "token", "changeme", "none", "null", "true", "false"].contains(&text.to_ascii_lowercase().as_str());
    let is_reference = text.starts_with(['/', '.', '$', '<', '{', '%', '*']) || text.starts_with("file:");
    let is_one_sign = text.bytes().all(|b| Some(b) == text.bytes().next());
    let is_example = text.len() >= 16 && is_placeholder(text.as_bytes());
    text.len() >= VALUE_MIN && !(is_word || is_reference || is_one_sign || is_example)
}

#[cfg(test)]
mod tests {
    use super::is_credential;

    #[test]
    fn by_name_and_value() {
        for (name, value) in [
            ("DB_PASSWORD", "tr0ub4dor"),
            ("api_key", "9f8e7d6c5b"),
            ("SESSION_SECRET", "a long sentence"),
            ("DATABASE_URL", "postgres://shop:tr0ub4dor@db/shop"),
            ("REDIS", "redis://:tr0ub4dor@cache:6379/0"),
        ] {
            assert!(is_credential(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("DB_PASSWORD", "/run/secrets/db"),
            ("DB_PASSWORD", "${DB_PASSWORD}"),
            ("DB_PASSWORD", "changeme"),
            ("DB_PASSWORD", "xxxxxxxx"),
            ("TOKEN_URL", "https://sso.example.org/token"),
            ("DATABASE_URL", "postgres://shop@db:5432/shop"),
            ("DATABASE_URL", "postgres://shop:$PASSWORD@db/shop"),
            ("KEYBOARD", "qwertyuiop"),
            ("MAX_TOKENS", "1000000"),
        ] {
            assert!(!is_credential(name, value), "{name}={value}");
        }
    }
}
