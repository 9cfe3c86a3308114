//! A Dockerfile, as far as it says what the last stage runs: CMD, ENTRYPOINT, EXPOSE, ENV and packages of apt. Nothing of it is executed.

use super::guess::{Guess, words};
use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Dockerfile {
    from: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    port: Option<u16>,
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
    let text = tree.text("Dockerfile")?.replace("\\\n", " ").replace("\\\r\n", " ");
    let mut file = Dockerfile::default();
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            // What an earlier stage did stays there.
            "FROM" => file = Dockerfile { from: model::text::shown(rest, 80), env: std::mem::take(&mut file.env), ..Dockerfile::default() },
            "CMD" => file.command = Some(command(rest)),
            "ENTRYPOINT" => file.entrypoint = Some(command(rest)),
            "EXPOSE" => {
                let first = rest.split_whitespace().next().and_then(|port| port.split('/').next());
                file.port = first.and_then(|port| port.parse().ok()).filter(|port| *port > 0).or(file.port);
            }
            "ENV" => file.env.extend(env(rest)),
            "RUN" => file.run(rest),
            _ => {}
        }
    }
    Some(file)
}

/// `["a", "b"]`, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    let shown = |word: &String| model::text::shown(word, 2_000);
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words.iter().map(shown).collect(),
        Err(_) => words(text).unwrap_or_else(|| vec!["sh".to_string(), "-c".to_string(), model::text::shown(text, 2_000)]),
    }
}

/// `A=b C="d e"`, or the old `A b`.
fn env(text: &str) -> BTreeMap<String, String> {
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
    let is_name = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts && name.len() <= 60 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name != "PATH" && name != "PORT"
    };
    // A variable in a variable is Docker's to put in.
    all.retain(|name, value| is_name(name) && !value.contains('$'));
    all
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
