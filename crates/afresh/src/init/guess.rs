//! A guess: what a service file needs, and what each part was guessed from.

use super::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

/// Of names that the code reads from its environment.
const NAMES_MAX: usize = 12;
const CODE: &[&str] = &["py", "js", "mjs", "cjs", "ts", "php", "go", "rs"];
/// Given by Afresh or by the image.
const GIVEN: &[&str] = &["PORT", "PATH", "HOME", "LANG", "PWD", "USER", "TMPDIR", "HOSTNAME", "DJANGO_SETTINGS_MODULE", "NODE_ENV"];
const HEALTH_PATHS: &[&str] = &["/healthz", "/health", "/readyz", "/livez", "/ping", "/up"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Path(String),
    Tcp,
}

#[derive(Clone, Debug)]
pub struct Guess {
    /// `a Flask application`
    pub what: String,
    /// The service's name.
    pub name: String,
    pub packages: BTreeSet<String>,
    /// Of the image, by path.
    pub files: BTreeMap<String, String>,
    pub artifact: String,
    pub run: Vec<String>,
    pub run_why: String,
    pub port: u16,
    pub port_why: String,
    pub health: Health,
    pub health_why: String,
    pub drain: Option<(&'static str, &'static str)>,
    pub env: BTreeMap<String, String>,
    pub memory: &'static str,
    /// What is to be done before a deploy, and what could not be guessed; one sentence each.
    pub notes: Vec<String>,
    /// Variables that the code reads.
    pub wants: Vec<String>,
}

impl Guess {
    pub fn new(what: &str, tree: &Tree) -> Self {
        Self {
            what: what.to_string(),
            name: service_name(&tree.name()),
            packages: BTreeSet::from(["ca-certificates".to_string()]),
            files: BTreeMap::new(),
            artifact: ".".to_string(),
            run: Vec::new(),
            run_why: String::new(),
            port: 8080,
            port_why: "no port was found in the code".to_string(),
            health: Health::Tcp,
            health_why: "no health page was found in the code; `path = \"/healthz\"` says more".to_string(),
            drain: None,
            env: BTreeMap::new(),
            memory: "256MiB",
            notes: Vec::new(),
            wants: Vec::new(),
        }
    }

    pub fn needs(&mut self, packages: &[&str]) {
        self.packages.extend(packages.iter().map(ToString::to_string));
    }

    pub fn runs(&mut self, words: &[&str], why: impl Into<String>) {
        self.run = words.iter().map(ToString::to_string).collect();
        self.run_why = why.into();
    }

    pub fn listens(&mut self, port: u16, why: impl Into<String>) {
        (self.port, self.port_why) = (port, why.into());
    }

    /// What all kinds of code have in common.
    pub fn common(&mut self, tree: &Tree) {
        if self.health == Health::Tcp
            && let Some((path, file)) = health_path(tree)
        {
            (self.health, self.health_why) = (Health::Path(path.to_string()), format!("{file} has this path"));
        }
        self.wants = wanted(tree).into_iter().filter(|name| !self.env.contains_key(name)).take(NAMES_MAX).collect();
    }
}

fn health_path(tree: &Tree) -> Option<(&'static str, &str)> {
    HEALTH_PATHS.iter().find_map(|path| {
        let quoted = [format!("\"{path}\""), format!("'{path}'")];
        tree.with(CODE).find(|(_, text)| quoted.iter().any(|q| text.contains(q))).map(|(file, _)| (*path, file))
    })
}

/// Names of variables that the code reads: `os.environ["X"]`, `os.getenv("X")`, `process.env.X`, `getenv('X')`, `env::var("X")`.
fn wanted(tree: &Tree) -> BTreeSet<String> {
    let marks = ["environ[", "environ.get(", "getenv(", "Getenv(", "process.env.", "process.env[", "env::var(", "env("];
    let mut names = BTreeSet::new();
    for (_, text) in tree.with(CODE) {
        for (at, mark) in marks.iter().flat_map(|mark| text.match_indices(mark)) {
            let rest = text[at + mark.len()..].trim_start_matches(['"', '\'']);
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            let is_name = (2..=40).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_uppercase());
            if is_name && !GIVEN.contains(&name) && !name.starts_with("AFRESH_") {
                names.insert(name.to_string());
            }
        }
    }
    names
}

/// The first number behind one of these marks, and the file that has it.
pub fn port_behind<'a>(tree: &'a Tree, endings: &'a [&'a str], marks: &[&str]) -> Option<(u16, &'a str)> {
    tree.with(endings).find_map(|(file, text)| {
        let ports = marks.iter().flat_map(|mark| text.match_indices(mark)).filter_map(|(at, mark)| {
            let rest = text[at + mark.len()..].trim_start_matches([' ', '=', ':', '"', '\'', '(']);
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<u16>().ok().filter(|port| *port > 0)
        });
        ports.min().map(|port| (port, file))
    })
}

/// A directory's name as that of a service.
fn service_name(name: &str) -> String {
    let mut text = String::new();
    for c in name.to_ascii_lowercase().chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '-' };
        if c != '-' || !text.ends_with('-') {
            text.push(c);
        }
    }
    let text: String = text.trim_matches('-').trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').chars().take(30).collect();
    let text = text.trim_end_matches('-').to_string();
    if text.is_empty() || text.starts_with("image-") || model::ServiceName::new(text.clone()).is_err() { "app".to_string() } else { text }
}

/// Words of a command line without a shell. None: it needs one.
pub fn words(line: &str) -> Option<Vec<String>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:=,@+".contains(c);
    let words: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
    (line.chars().all(plain) && !words.is_empty() && !words[0].contains('=')).then_some(words)
}
