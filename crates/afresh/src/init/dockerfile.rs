//! A Dockerfile, as far as it says what the last stage is: what it runs, as whom, where it listens, what it keeps, and packages of apt.
//! Nothing of it is executed.

use super::guess::{Guess, words};
use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub struct Dockerfile {
    /// What the last stage begins from, without `AS name`.
    pub from: String,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    /// The first of EXPOSE.
    pub port: Option<u16>,
    pub user: Option<String>,
    /// HEALTHCHECK's command.
    pub health: Option<Vec<String>>,
    pub volumes: BTreeSet<String>,
    /// `PORT` in its ENV.
    pub own_port: Option<u16>,
    env: BTreeMap<String, String>,
    packages: BTreeSet<String>,
    unread: Vec<String>,
}

/// Programs, and what of Debian brings them.
const PROGRAMS: &[(&str, &str)] = &[
    ("apache2", "apache2"),
    ("celery", "celery"),
    ("flask", "python3-flask"),
    ("gunicorn", "gunicorn"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("perl", "perl"),
    ("php", "php-cli"),
    ("python3", "python3"),
    ("ruby", "ruby"),
    ("uvicorn", "uvicorn"),
];
const UNREAD_MAX: usize = 8;

pub fn read(tree: &Tree) -> Option<Dockerfile> {
    let text = tree.text("Dockerfile").or_else(|| tree.text("Containerfile"))?.replace("\\\n", " ").replace("\\\r\n", " ");
    let mut file = Dockerfile::default();
    let mut stages: BTreeMap<String, Dockerfile> = BTreeMap::new();
    let mut stage = String::new();
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            "FROM" => {
                let (from, name) = stage_of(rest);
                stages.insert(std::mem::replace(&mut stage, name), file.clone());
                // What an earlier stage did stays there, unless this one begins from it.
                file = match stages.get(&from) {
                    Some(earlier) if !from.is_empty() => earlier.clone(),
                    _ => Dockerfile { from: model::text::shown(&from, 80), env: std::mem::take(&mut file.env), ..Dockerfile::default() },
                };
            }
            "CMD" => file.command = Some(command(rest)),
            "ENTRYPOINT" => file.entrypoint = Some(command(rest)),
            "EXPOSE" => {
                let first = rest.split_whitespace().next().and_then(|port| port.split('/').next());
                file.port = first.and_then(|port| port.parse().ok()).filter(|port| *port > 0).or(file.port);
            }
            "ENV" => {
                let (all, own_port) = env(rest);
                file.env.extend(all);
                file.own_port = own_port.or(file.own_port);
            }
            "USER" => file.user = Some(model::text::shown(rest, 64)).filter(|user| !user.contains('$')),
            "VOLUME" => file.volumes.extend(volumes(rest)),
            "HEALTHCHECK" => file.health = health(rest),
            "RUN" => file.run(rest),
            _ => {}
        }
    }
    Some(file)
}

/// Image and name of `--platform=x IMAGE AS NAME`.
fn stage_of(text: &str) -> (String, String) {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let name = match words[..] {
        [_, word, name, ..] if word.eq_ignore_ascii_case("as") => name,
        _ => "",
    };
    (words.first().map(ToString::to_string).unwrap_or_default(), name.to_string())
}

/// `["/a", "/b"]` or `/a /b`; those that a server can have.
fn volumes(text: &str) -> Vec<String> {
    let all = serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| text.split_whitespace().map(ToString::to_string).collect());
    let trimmed = all.into_iter().map(|path| if path.len() > 1 { path.trim_end_matches('/').to_string() } else { path });
    trimmed
        .filter(|path| model::volume::at(path).is_ok() && model::text::forbidden(path).is_none())
        .take(model::volume::VOLUMES_MAX)
        .collect()
}

/// The command of `--interval=30s CMD ...`; none of `NONE`.
fn health(text: &str) -> Option<Vec<String>> {
    let at = text.split_whitespace().position(|word| !word.starts_with("--"))?;
    let rest = text.splitn(at + 1, char::is_whitespace).last()?.trim();
    let said = rest.strip_prefix("CMD").or_else(|| rest.strip_prefix("cmd"))?;
    Some(
        serde_json::from_str::<Vec<String>>(said.trim())
            .unwrap_or_else(|_| ["/bin/sh", "-c", said.trim()].map(|word| model::text::shown(word, 2_000)).to_vec()),
    )
}

/// `["a", "b"]`, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    let shown = |word: &String| model::text::shown(word, 2_000);
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words.iter().map(shown).collect(),
        Err(_) => words(text).unwrap_or_else(|| vec!["sh".to_string(), "-c".to_string(), model::text::shown(text, 2_000)]),
    }
}

/// `A=b C="d e"`, or the old `A b`; and `PORT` on its own, which Afresh sets.
fn env(text: &str) -> (BTreeMap<String, String>, Option<u16>) {
    let mut all = BTreeMap::new();
    let mut rest = text.trim();
    if !rest.split_whitespace().next().unwrap_or_default().contains('=') {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        all.insert(name.to_string(), value.trim().to_string());
        rest = "";
    }
    while let Some((name, value)) = rest.split_once('=') {
        let (value, left) = match value.strip_prefix('"').and_then(|value| value.split_once('"')) {
            Some((value, left)) => (value, left),
            None => value.split_once(char::is_whitespace).unwrap_or((value, "")),
        };
        all.insert(name.trim().to_string(), model::text::shown(value, 500));
        rest = left.trim();
    }
    let own_port = all.get("PORT").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let is_name = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_plain = starts && name.len() <= 60 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_plain && name != "PATH" && !model::is_set_by_afresh(name)
    };
    // A variable in a variable is Docker's to put in.
    all.retain(|name, value| is_name(name) && !value.contains('$'));
    (all, own_port)
}

impl Dockerfile {
    fn run(&mut self, line: &str) {
        for part in line.split("&&").map(str::trim) {
            let mut words = part.split_whitespace();
            let is_apt =
                words.next().is_some_and(|word| word == "apt-get" || word == "apt") && part.split_whitespace().any(|w| w == "install");
            let is_name =
                |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && !word.contains(['/', '$', '*']);
            if is_apt {
                let named = part.split_whitespace().skip_while(|word| *word != "install").skip(1).filter(is_name);
                let plain =
                    named.map(|word| word.split('=').next().unwrap_or(word)).filter(|word| model::validation::package(word).is_ok());
                self.packages.extend(plain.map(ToString::to_string));
            } else if !part.is_empty() && !part.starts_with("apt") && !part.starts_with("rm ") && self.unread.len() < UNREAD_MAX {
                self.unread.push(model::text::shown(part, 120));
            }
        }
    }

    /// What it says goes before what was guessed from the code.
    pub fn onto(self, guess: Option<Guess>) -> Option<Guess> {
        let run: Vec<String> = match (self.entrypoint, self.command) {
            (Some(entry), Some(command)) => entry.into_iter().chain(command).collect(),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Vec::new(),
        };
        let run: Vec<String> = run.into_iter().map(|word| if word == "python" { "python3".to_string() } else { word }).collect();
        let mut guess = guess?;
        if run.first().is_some_and(|program| !program.is_empty()) {
            let program = run[0].clone();
            guess.packages.extend(PROGRAMS.iter().filter(|(name, _)| *name == program).map(|(_, package)| (*package).to_string()));
            guess.runs(&run.iter().map(String::as_str).collect::<Vec<_>>(), "CMD and ENTRYPOINT of the Dockerfile");
        }
        if let Some(port) = self.port {
            guess.listens(port, "EXPOSE of the Dockerfile");
        }
        guess.packages.extend(self.packages);
        guess.env.extend(self.env);
        guess.notes.push(format!("the Dockerfile begins from {}; here it is Debian, with its packages", self.from));
        guess.notes.extend(self.unread.iter().map(|line| format!("the Dockerfile also runs: {line}")));
        Some(guess)
    }
}
