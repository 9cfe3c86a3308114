//! Node.js: the start script of package.json, or the usual names.

use super::guess::{Guess, port_behind, words};
use super::tree::Tree;
use serde_json::Value;

const JS: &[&str] = &["js", "mjs", "cjs", "ts"];
const MARKS: &[&str] = &["listen(", "PORT ||", "PORT ??", "port:", "port ="];

pub fn look(tree: &Tree) -> Option<Guess> {
    let text = tree.text("package.json");
    let usual = tree.first(&["server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs", "src/index.js", "src/server.js"]);
    if text.is_none() && usual.is_none() {
        return None;
    }
    let package: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut guess = Guess::new("a Node.js program", tree);
    guess.needs(&["nodejs"]);
    guess.env.insert("NODE_ENV".to_string(), "production".to_string());
    let main = package["main"].as_str().filter(|main| tree.has(main.trim_start_matches("./")));
    match (package["scripts"]["start"].as_str(), main.or(usual)) {
        (Some(start), _) => start_script(tree, &mut guess, start),
        (None, Some(main)) => guess.runs(&["node", main], format!("{main} is there")),
        (None, None) => {
            guess.runs(&["node", "server.js"], "package.json has no start script: put the right file in place of server.js");
        }
    }
    if let Some((port, file)) = port_behind(tree, JS, MARKS) {
        guess.listens(port, format!("{file} has this number; Afresh gives it as PORT too"));
    } else {
        guess.listens(3000, "no port was found in the code; Afresh gives it as PORT");
    }
    if package["dependencies"].as_object().is_some_and(|all| !all.is_empty()) {
        let there = if tree.has_dir("node_modules") { "" } else { " (there is no node_modules now)" };
        guess.notes.push(format!("its libraries are deployed with it, before a deploy: npm ci --omit=dev{there}"));
    }
    if package["scripts"]["build"].is_string() {
        guess.notes.push("it has a build script, before a deploy: npm run build".to_string());
    }
    Some(guess)
}

fn start_script(tree: &Tree, guess: &mut Guess, start: &str) {
    let why = "scripts.start of package.json";
    let start = model::text::shown(start, 1_000);
    match words(&start) {
        Some(mut words) => {
            // npm finds programs there; without npm they are named by their path.
            let bin = format!("node_modules/.bin/{}", words[0]);
            if words[0] != "node" && !words[0].contains('/') && (tree.has_dir("node_modules") || words[0] != "npm") {
                words[0] = bin;
            }
            guess.runs(&words.iter().map(String::as_str).collect::<Vec<_>>(), why);
        }
        None => {
            guess.runs(&["sh", "-c", &format!("PATH=\"$PATH:/app/node_modules/.bin\"; {start}")], format!("{why}, which needs a shell"))
        }
    }
}
