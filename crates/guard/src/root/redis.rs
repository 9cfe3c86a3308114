//! Redis and Valkey: `redis.conf`, what it includes, and its ACL file.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/>

use super::Tree;
use super::exposure::Exposure;
use super::reach::Reach;
use super::text::{included, lines, read, words};
use crate::finding::Severity;
use crate::ternary::Tri;

const RULE: &str = "redis-without-password";
const DEPTH_MAX: usize = 8;

#[derive(Default)]
struct Config {
    bind: Option<(usize, Vec<String>)>,
    port: Option<String>,
    tls_port: Option<String>,
    protected: Option<bool>,
    /// Whether the default user needs a password. `None`: nothing said.
    password: Option<bool>,
    acl_file: Option<String>,
    unread: Vec<String>,
}

pub(super) fn judge(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let mut config = Config::default();
    config.add(path, text, tree, 0);
    if let Some(file) = config.acl_file.clone() {
        match read(tree, &file) {
            Ok(Some(text)) => lines(&text).for_each(|(_, line)| config.user(&words(line))),
            Ok(None) => {}
            Err(missing) => config.unread.push(missing),
        }
    }
    let is_off = |port: &Option<String>, default: &str| port.as_deref().unwrap_or(default) == "0";
    if is_off(&config.port, "6379") && is_off(&config.tls_port, "0") && config.unread.is_empty() {
        return Vec::new();
    }
    let (line, reach) = match &config.bind {
        // A leading minus allows the address to be missing.
        Some((line, addresses)) => (*line, Reach::of(addresses.iter().map(|a| a.trim_start_matches('-')))),
        None => (0, Reach::Anyone),
    };
    let without_password = config.password != Some(true);
    // Protected mode keeps strangers out; before Redis 7.0 only if no address is bound.
    let protected = match (config.protected.unwrap_or(true), config.bind.is_some()) {
        (false, _) => Tri::No,
        (true, false) => Tri::Yes,
        (true, true) => Tri::Unknown,
    };
    let holds = reach.is_wide().and(Tri::from(without_password)).and(protected.negate());
    // What an unread file adds may set a password or take it away.
    let holds = if config.unread.is_empty() { holds } else { Tri::Unknown };
    let missing = match config.unread.first() {
        Some(missing) => missing.clone(),
        None if protected == Tri::Unknown => {
            "the version of Redis: before 7.0, protected-mode does nothing once an address is bound".into()
        }
        None => "the address that it binds".into(),
    };
    let why = format!("{} can use Redis without a password", reach.phrase());
    let fix = format!("set `bind 127.0.0.1 -::1` in {path}, or `requirepass` with a secret");
    Exposure::new(RULE, path, line, reach.soften(Severity::Critical), why, fix).given(holds, &missing).into_iter().collect()
}

impl Config {
    fn add(&mut self, path: &str, text: &str, tree: &dyn Tree, depth: usize) {
        for (number, line) in lines(text) {
            let words = words(line);
            let value = words.get(1).cloned().unwrap_or_default();
            match words[0].to_ascii_lowercase().as_str() {
                "bind" => self.bind = Some((number, words[1..].to_vec())),
                "port" => self.port = Some(value),
                "tls-port" => self.tls_port = Some(value),
                "protected-mode" => self.protected = Some(!value.eq_ignore_ascii_case("no")),
                "requirepass" => self.password = Some(!value.is_empty()),
                "user" => self.user(&words),
                "aclfile" => self.acl_file = Some(value),
                "include" => self.include(path, &value, tree, depth),
                _ => {}
            }
        }
    }

    /// `user default on >secret ~* +@all`
    fn user(&mut self, words: &[String]) {
        if words.get(1).is_none_or(|name| name != "default") {
            return;
        }
        for word in &words[2..] {
            match word.as_str() {
                "nopass" => self.password = Some(false),
                "off" => self.password = Some(true),
                "resetpass" | "reset" => self.password = Some(true),
                _ if word.starts_with(['>', '#']) => self.password = Some(true),
                _ => {}
            }
        }
    }

    fn include(&mut self, path: &str, value: &str, tree: &dyn Tree, depth: usize) {
        let base = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let files = if depth < DEPTH_MAX { included(tree, value, base) } else { Err(value.to_string()) };
        match files {
            Ok(files) => {
                for file in files {
                    match read(tree, &file) {
                        Ok(Some(text)) => self.add(&file, &text, tree, depth + 1),
                        // Redis does not start without it; a scan of an image may see less than the host has.
                        Ok(None) => self.unread.push(file),
                        Err(missing) => self.unread.push(missing),
                    }
                }
            }
            Err(missing) => self.unread.push(missing),
        }
    }
}
