//! Web servers: which directories they serve, whether they list them, and what lies there that should not be served.

use super::File;
use super::exposure::Exposure;
use super::text::{lines, unquoted};
use crate::finding::Severity;

/// Directories that web servers serve by default.
const DEFAULT_ROOTS: &[&str] = &["/var/www", "/srv/www", "/srv/http", "/usr/share/nginx/html", "/usr/local/apache2/htdocs"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Nginx,
    Apache,
    Lighttpd,
}

fn server_of(path: &str) -> Option<Server> {
    let is_configuration = path.ends_with(".conf") || path.contains("/sites-") || path.contains("/conf.d/") || path.contains("-enabled/");
    if !is_configuration && !path.ends_with("/.htaccess") {
        return None;
    }
    let has = |part: &str| path.contains(part);
    if has("/nginx/") {
        Some(Server::Nginx)
    } else if has("/apache2/") || has("/httpd/") || path.ends_with("/.htaccess") {
        Some(Server::Apache)
    } else if has("/lighttpd/") {
        Some(Server::Lighttpd)
    } else {
        None
    }
}

pub(super) fn is_configuration(path: &str) -> bool {
    server_of(path).is_some()
}

/// Directories that this configuration serves.
pub(super) fn roots(path: &str, text: &str) -> Vec<String> {
    let Some(server) = server_of(path) else { return Vec::new() };
    let found = lines(text).filter_map(|(_, line)| {
        let value = match server {
            Server::Nginx => line.strip_prefix("root ").and_then(|rest| rest.split(';').next()),
            Server::Apache => line.strip_prefix("DocumentRoot "),
            Server::Lighttpd => line.strip_prefix("server.document-root").and_then(|rest| rest.split_once('=')).map(|(_, value)| value),
        }?;
        let root = unquoted(value).trim_end_matches('/');
        // The root of the system is no web root, but a mistake that would make all of it one.
        (root.starts_with('/') && root.len() > 1).then(|| root.to_string())
    });
    found.collect()
}

/// Whether it lists directories, or serves the whole system.
pub(super) fn judge(path: &str, text: &str) -> Vec<Exposure> {
    let Some(server) = server_of(path) else { return Vec::new() };
    let mut found = Vec::new();
    for (number, line) in lines(text) {
        let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
        let lists = match server {
            Server::Nginx => line.split(['{', ';']).any(|part| part.split_whitespace().collect::<Vec<_>>() == ["autoindex", "on"]),
            Server::Apache => words[0].eq_ignore_ascii_case("options") && apache_lists(&words[1..]),
            Server::Lighttpd => {
                let names = ["dir-listing.activate", "server.dir-listing"];
                names.iter().any(|name| line.starts_with(name)) && line.contains("enable")
            }
        };
        if lists {
            let why = format!("visitors are shown every file of a directory without an index page: `{line}`");
            let fix = format!("turn the listing off in {path}, line {number}");
            found.push(Exposure::new("web-directory-listing", path, number, Severity::Medium, why, fix));
        }
        let serves_all = match server {
            Server::Nginx => matches!(words.as_slice(), ["root", "/"]),
            Server::Apache => matches!(words.as_slice(), ["DocumentRoot", "/" | "\"/\""]),
            Server::Lighttpd => false,
        };
        if serves_all {
            let why = format!("every file of the system that the web server can read is served: `{line}`");
            found.push(Exposure::new("web-serves-system", path, number, Severity::Critical, why, "name the directory of the site"));
        }
    }
    found
}

fn apache_lists(options: &[&str]) -> bool {
    options.iter().any(|o| o.eq_ignore_ascii_case("indexes") || o.eq_ignore_ascii_case("+indexes") || o.eq_ignore_ascii_case("all"))
}

/// The web root that holds a path.
pub(super) fn root_of<'a>(roots: &'a [String], path: &str) -> Option<&'a str> {
    let inside = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    roots.iter().map(String::as_str).chain(DEFAULT_ROOTS.iter().copied()).find(|root| inside(root))
}

const ARCHIVES: &[&str] = &[".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar"];
/// Parts of the names of archives that hold a site or its data. An archive to download has the name of a product.
const OF_COPIES: &[&str] = &["backup", "bak", "dump", "database", "htdocs", "wwwroot", "public_html", "export", "secret", "private"];
const COPIES: &[&str] = &["www", "web", "site", "db", "old", "html", "data"];

/// What lies under a web root and is no part of a site.
pub(super) fn misplaced(file: &File, root: &str) -> Option<Exposure> {
    let (path, name) = (file.path, file.name().to_ascii_lowercase());
    let found = |rule, severity, what: String| {
        let why = format!("{what} lies under the web root {root}, from which it can be downloaded");
        Some(Exposure::new(rule, path, 0, severity, why, format!("move it out of {root}, and replace every secret in it")))
    };
    if file.is_directory {
        return match name.as_str() {
            ".git" | ".svn" | ".hg" => found("web-repository", Severity::High, format!("the repository {name} with all its history")),
            _ => None,
        };
    }
    if is_environment_file(&name) {
        return found("web-env-file", Severity::Critical, "a file of secrets".into());
    }
    if matches!(name.as_str(), ".htpasswd" | "wp-config.php.bak" | "wp-config.php~" | "wp-config.php.old" | "config.php.bak") {
        return found("web-credentials", Severity::High, "a file of credentials".into());
    }
    if is_dump(&name, &file.content) {
        return found("web-dump", Severity::Critical, "a copy of a database".into());
    }
    let stem = ARCHIVES.iter().find_map(|end| name.strip_suffix(end));
    let is_copy = |stem: &str| {
        OF_COPIES.iter().any(|part| stem.contains(part))
            || stem.split(['-', '_', '.']).all(|part| COPIES.contains(&part) || part.bytes().all(|b| b.is_ascii_digit()))
    };
    match stem {
        Some(stem) if is_copy(stem) => found("web-archive", Severity::High, "an archive of the site or its data".into()),
        _ => None,
    }
}

/// `.env` and its variants, without the templates that belong into a repository.
pub(super) fn is_environment_file(name: &str) -> bool {
    let Some(variant) = name.strip_prefix(".env") else { return false };
    let is_template = ["example", "sample", "template", "dist", "defaults", "schema"].iter().any(|word| variant.contains(word));
    (variant.is_empty() || variant.starts_with('.')) && !is_template
}

const DUMP_STARTS: &[&[u8]] =
    &[b"-- MySQL dump", b"-- MariaDB dump", b"-- PostgreSQL database dump", b"/*!999999\\-", b"-- phpMyAdmin SQL Dump"];

/// By what is in it; by its name alone if that cannot be read.
pub(super) fn is_dump(name: &str, content: &crate::ternary::Fact<&[u8]>) -> bool {
    let is_named = [".sql", ".sql.gz", ".sql.zip", ".sql.bz2", ".sql.xz", ".dump", ".bson", ".sqlite", ".sqlite3", ".rdb"]
        .iter()
        .any(|end| name.ends_with(end));
    let Some(content) = content.known() else { return is_named };
    let head = &content[..content.len().min(512)];
    let starts = |text: &[u8]| head.windows(text.len()).any(|w| w == text);
    if DUMP_STARTS.iter().any(|text| starts(text)) {
        return true;
    }
    let magic = [&b"PGDMP"[..], b"SQLite format 3\0", b"REDIS0"].iter().any(|magic| content.starts_with(magic));
    let packed =
        name.contains(".sql.") && [&b"\x1f\x8b"[..], b"PK\x03\x04", b"BZh", b"\xfd7zXZ"].iter().any(|magic| content.starts_with(magic));
    let rows = name.ends_with(".sql")
        && ["INSERT INTO", "insert into", "COPY "].iter().any(|word| content.windows(word.len()).any(|w| w == word.as_bytes()));
    magic || packed || rows
}
