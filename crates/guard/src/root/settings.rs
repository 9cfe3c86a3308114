//! Credentials in settings that people write: `.env` files, units, crontabs, compose files, configuration. A name says what its value is, so
//! only values of settings are looked at, in places where no package or library puts its own.

use super::File;
use super::credentials::typed_password;
use super::survey::Survey;
use super::text::original;
use crate::secrets::is_credential;
use regex::bytes::{Regex, RegexBuilder};
use std::sync::LazyLock;

/// A larger file holds data.
const SIZE_MAX: usize = 256 << 10;
const PAIRS_MAX: usize = 50_000;

const ENDINGS: &[&str] = &[
    ".env",
    ".ini",
    ".cfg",
    ".conf",
    ".cnf",
    ".config",
    ".toml",
    ".yml",
    ".yaml",
    ".json",
    ".properties",
    ".xml",
    ".service",
    ".tfvars",
    ".hcl",
    ".credentials",
];
const NAMES: &[&str] = &[
    "settings.py",
    "local_settings.py",
    "config.py",
    "config.php",
    "wp-config.php",
    "configuration.php",
    "settings.php",
    "config.rb",
    "config.js",
    "config.ts",
    "environment",
    "Dockerfile",
    "docker-compose.override",
    ".envrc",
    ".credentials",
];
/// Values there are of whoever wrote the library, its documentation or its tests.
const OTHERS: &[&str] = &[
    "/site-packages/",
    "/dist-packages/",
    "/node_modules/",
    "/gems/",
    "/vendor/",
    "/.cargo/registry/",
    "/go/pkg/",
    "/doc/",
    "/docs/",
    "/test/",
    "/tests/",
    "/testdata/",
    "/spec/",
    "/fixtures/",
    "/examples/",
    "/i18n/",
    "/locale/",
    "/locales/",
    "/lang/",
    "/schemas/",
    "/.git/",
    "/usr/share/",
    "/usr/lib/",
    "/usr/include/",
    "/usr/src/",
    "/usr/local/lib/",
    "/usr/local/share/",
    "/usr/local/go/",
    "/usr/local/include/",
    "/var/lib/dpkg/",
];
const TEMPLATES: &[&str] = &["example", "sample", "template", ".tpl", ".tmpl", ".dist", ".j2", ".erb", ".schema", "schema."];

/// `name = value`, `"name": "value"`, `<name>value</name>`, `define('name', 'value')`.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"([A-Za-z][0-9A-Za-z_.-]{1,60})["']?\]?[ \t]*(?:=>|:=|=|:|,|>)[ \t]*["']?"#;
    #[expect(clippy::expect_used, reason = "a constant that a test compiles")]
    RegexBuilder::new(pattern).unicode(false).build().expect("a constant pattern")
});

/// The line of the first credential in settings, and what it is.
pub(super) fn credential(survey: &Survey, file: &File, size: usize, text: &str) -> Option<(usize, &'static str)> {
    let path = original(file.path);
    let name = path.rsplit('/').next().unwrap_or(&path);
    let lower = path.to_ascii_lowercase();
    if size > SIZE_MAX
        || OTHERS.iter().any(|part| lower.contains(part))
        || TEMPLATES.iter().any(|part| name.to_ascii_lowercase().contains(part))
    {
        return None;
    }
    let is_cron = lower.starts_with("/etc/cron") || lower.starts_with("/var/spool/cron/");
    let is_script =
        is_cron || name.ends_with(".sh") || matches!(name, ".profile" | ".bashrc" | ".bash_profile" | ".zshrc" | ".zshenv" | "rc.local");
    let is_settings = ENDINGS.iter().any(|end| name.ends_with(end))
        || NAMES.contains(&name)
        || name.starts_with(".env.")
        || lower.starts_with("/etc/default/")
        || lower.starts_with("/etc/sysconfig/");
    if !(is_script || is_settings) || survey.packages.own(file.path) == Some(true) || is_sealed(text) {
        return None;
    }
    if is_script {
        return typed_password(text).map(|line| (line, "a service: a password in a command"));
    }
    first_pair(text).map(|line| (line, "a service: a password or token in settings"))
}

/// Values that only the holder of a key can read.
fn is_sealed(text: &str) -> bool {
    text.starts_with("$ANSIBLE_VAULT") || text.contains("kind: SealedSecret") || text.contains("ENC[AES256_GCM")
}

fn first_pair(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    for _ in 0..PAIRS_MAX {
        let found = PAIR.captures_at(bytes, at)?;
        let (whole, name) = (found.get(0)?, found.get(1)?);
        // A value may hold another pair, as that of `Environment=` does.
        at = whole.end().max(at + 1);
        let line_start = bytes[..name.start()].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let before = text[line_start..name.start()].trim_start();
        let is_comment =
            before.starts_with(['#', ';']) || before.starts_with("//") || before.starts_with('*') || before.starts_with("<!--");
        let rest = &text[whole.end()..];
        let end = rest.find(['"', '\'', '<', '\n', '\r', ' ', '\t', ',', ';', ')']).unwrap_or(rest.len());
        let (name, value) = (&text[name.start()..name.end()], &rest[..end]);
        let is_word_more =
            rest[end..].starts_with([' ', '\t']) && rest[end..].trim_start_matches([' ', '\t']).starts_with(char::is_alphanumeric);
        if !is_comment && !is_word_more && is_strong(value) && is_credential(name, value) {
            return Some(text[..whole.start()].matches('\n').count() + 1);
        }
    }
    None
}

/// A word of a language is what a label or a schema has there.
fn is_strong(value: &str) -> bool {
    let password = value.split_once("://").and_then(|(_, rest)| rest.split_once('@')).and_then(|(user, _)| user.split_once(':'));
    let value = password.map_or(value, |(_, password)| password);
    let is_code = value.contains(['(', '{', '[', '$', '<', '`']) || value.contains("process.env") || value.contains("...");
    let has_more = value.bytes().any(|b| b.is_ascii_digit() || b"!@#%^&*+=?".contains(&b));
    (6..=400).contains(&value.len()) && has_more && !is_code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_settings() {
        for (text, line) in [
            ("PORT=80\nDB_PASSWORD=tr0ub4dor\n", 2),
            ("[Service]\nEnvironment=\"A=b\" \"DB_PASSWORD=tr0ub4dor\"\n", 2),
            ("services:\n  db:\n    environment:\n      - POSTGRES_PASSWORD=tr0ub4dor\n", 4),
            ("    MYSQL_ROOT_PASSWORD: 'tr0ub4dor'\n", 1),
            ("{\"api\": {\"apiKey\": \"9f8e7d6c5b4a\"}}", 1),
            ("<server>\n<password>tr0ub4dor</password>\n", 2),
            ("define('DB_PASSWORD', 'tr0ub4dor');\n", 1),
            ("$db['password'] = 'tr0ub4dor';\n", 1),
            ("url: postgres://shop:tr0ub4dor@db:5432/shop\n", 1),
            ("spring.datasource.password=tr0ub4dor\n", 1),
        ] {
            assert_eq!(first_pair(text), Some(line), "{text}");
        }
        for text in [
            "# DB_PASSWORD=tr0ub4dor\n",
            "DB_PASSWORD=${DB_PASSWORD}\n",
            "password: Password\n",
            "password: required\n",
            "DB_PASSWORD_FILE=/run/secrets/db1\n",
            "passwd:         files systemd\n",
            "PASS_MAX_DAYS   99999\n",
            "\"integrity\": \"sha512-8f2e\"\n",
            "token: { type: string, minLength: 12 }\n",
            "password: $2b$10$abcdefghijklmnopqrstuv\n",
            "url: postgres://shop@db:5432/shop\n",
            "token_url: https://sso.x/token1\n",
        ] {
            assert_eq!(first_pair(text), None, "{text}");
        }
    }
}
