//! Go and Rust: a program that is built first, and deployed as one file.

use super::guess::{Guess, port_behind};
use super::tree::Tree;

fn program(what: &str, tree: &Tree, name: &str, build: &str) -> Guess {
    let mut guess = Guess::new(what, tree);
    let is_plain = !name.is_empty() && name.len() <= 60 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let name = if is_plain && !name.starts_with('.') { name } else { "app" };
    guess.artifact = "build".to_string();
    guess.runs(&[&format!("/app/{name}")], "the program that the command below builds");
    guess.notes.push(format!("before a deploy: {}", build.replace("NAME", name)));
    guess
}

pub fn go(tree: &Tree) -> Option<Guess> {
    let text = tree.text("go.mod")?;
    let module = text.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or_default().trim();
    let command = tree.with(&["go"]).find_map(|(path, _)| path.strip_prefix("cmd/")?.strip_suffix("/main.go").map(ToString::to_string));
    let (name, place) = match command {
        Some(command) if !tree.has("main.go") => (command.clone(), format!("./cmd/{command}")),
        _ => (module.rsplit('/').next().unwrap_or_default().to_string(), ".".to_string()),
    };
    let is_place = place.chars().all(|c| c.is_ascii_alphanumeric() || "./-_".contains(c));
    let place = if is_place { place } else { ".".to_string() };
    let mut guess = program("a Go program", tree, &name, &format!("CGO_ENABLED=0 go build -o build/NAME {place}"));
    if let Some((port, file)) = port_behind(tree, &["go"], &["ListenAndServe(\":", "Addr: \":", "Addr:    \":", "Run(\":", "Start(\":"]) {
        guess.listens(port, format!("{file} has this number"));
    }
    Some(guess)
}

pub fn rust(tree: &Tree) -> Option<Guess> {
    let text = tree.text("Cargo.toml")?;
    let package = text.split("[package]").nth(1).unwrap_or_default();
    let name = package.lines().find_map(|line| line.trim().strip_prefix("name")?.trim().strip_prefix('=')).unwrap_or_default();
    let name = name.trim().trim_matches('"');
    let mut guess = program("a Rust program", tree, name, "cargo build --release && install -D target/release/NAME build/NAME");
    guess.notes.push(
        "built on a newer system than the image's, it asks for a newer libc: the target x86_64-unknown-linux-musl needs none".to_string(),
    );
    if let Some((port, file)) = port_behind(tree, &["rs"], &["0.0.0.0:", "[::]:", "0, 0, 0, 0], ", "127.0.0.1:"]) {
        guess.listens(port, format!("{file} has this number; it must listen on 0.0.0.0"));
    }
    Some(guess)
}
