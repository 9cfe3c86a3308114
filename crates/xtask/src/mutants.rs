//! Mutation tests: makes one plausible mistake at a time in a copy of the sources and reports which of them no test notices.
//! It never touches the working tree.
//!
//! A list is `crates/*/mutants.list`. Its lines:
//!
//! ```text
//! # a comment
//! @ unit: cargo test -p balance        a layer of tests; several in a row are run in order, until one fails
//! file | old | new | note              `old` occurs exactly once in the file; `\n` is a line feed, `\|` a bar
//! file | old | new | survives: why     a mistake that no test can or need notice; it is not run
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A mutant may loop. No layer of tests takes this long.
const LIMIT_SECONDS: u32 = 900;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub command: String,
}

#[derive(Clone, Debug)]
pub struct Mutant {
    /// `crates/balance/mutants.list:12`
    pub place: String,
    pub file: String,
    pub old: String,
    pub new: String,
    pub note: String,
    pub layers: Vec<Layer>,
}

impl Mutant {
    /// Why it is not run.
    pub fn accepted(&self) -> Option<&str> {
        self.note.strip_prefix("survives:").map(str::trim)
    }

    /// The file's text with the mistake in it.
    pub fn applied(&self, root: &Path) -> Result<String, String> {
        let text = fs::read_to_string(root.join(&self.file)).map_err(|e| format!("{}: {}: {e}", self.place, self.file))?;
        match text.matches(&self.old).count() {
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            n => Err(format!("{}: the old text occurs {n} times in {}, it must occur once", self.place, self.file)),
        }
    }
}

/// Every list of the workspace, or the faults of those that do not parse.
pub fn lists(root: &Path) -> Result<Vec<Mutant>, Vec<String>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root.join("crates"))
        .map_err(|e| vec![e.to_string()])?
        .flatten()
        .map(|entry| entry.path().join("mutants.list"))
        .filter(|path| path.exists())
        .collect();
    paths.sort();
    let (mut mutants, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => parse(&name, &text, &mut mutants, &mut faults),
            Err(e) => faults.push(format!("{name}: {e}")),
        }
    }
    if faults.is_empty() { Ok(mutants) } else { Err(faults) }
}

pub fn parse(name: &str, text: &str, mutants: &mut Vec<Mutant>, faults: &mut Vec<String>) {
    let mut layers: Vec<Layer> = Vec::new();
    let mut between = false;
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{name}:{number}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(layer) = line.strip_prefix('@') {
            if between {
                layers.clear();
                between = false;
            }
            match layer.split_once(':') {
                Some((name, command)) => layers.push(Layer { name: name.trim().into(), command: command.trim().into() }),
                None => faults.push(format!("{place}: a layer is `@ name: command`")),
            }
            continue;
        }
        between = true;
        let fields: Vec<String> = line.split(" | ").map(|f| f.replace("\\n", "\n").replace("\\|", "|")).collect();
        match &fields[..] {
            [file, old, new, note] if !layers.is_empty() => mutants.push(Mutant {
                place,
                file: file.trim().into(),
                old: old.clone(),
                new: new.clone(),
                note: note.trim().into(),
                layers: layers.clone(),
            }),
            [_, _, _, _] => faults.push(format!("{place}: no layer of tests before it")),
            other => faults.push(format!("{place}: {} fields, `file | old | new | note` has 4", other.len())),
        }
    }
}

/// Runs those whose list, file or note contains `filter`. True: every one that was run was killed.
pub fn run(root: &Path, filter: &str) -> io::Result<bool> {
    let mutants = lists(root).map_err(|faults| io::Error::other(faults.join("\n")))?;
    let chosen: Vec<_> =
        mutants.iter().filter(|m| m.place.contains(filter) || m.file.contains(filter) || m.note.contains(filter)).collect();
    let tree = root.join("target/mutants/tree");
    mirror(root, &tree)?;
    let (mut survivors, mut accepted, mut broken) = (Vec::new(), 0, Vec::new());
    let mut proven: Vec<Layer> = Vec::new();
    for mutant in &chosen {
        if mutant.accepted().is_some() {
            accepted += 1;
            continue;
        }
        // A layer that fails without any mistake would kill everything.
        for layer in &mutant.layers {
            if !proven.contains(layer) {
                if !passes(&tree, &layer.command)? {
                    return Err(io::Error::other(format!("{}: fails without any mutant", layer.command)));
                }
                proven.push(layer.clone());
            }
        }
        let began = Instant::now();
        let outcome = try_one(&tree, mutant)?;
        let said = match &outcome {
            Outcome::Killed(layer) => format!("killed by {layer}"),
            Outcome::Survived => "SURVIVED".to_string(),
            Outcome::DoesNotBuild => "DOES NOT BUILD".to_string(),
            Outcome::Stale(why) => format!("STALE: {why}"),
        };
        println!("{said:<20} {:>4} s  {} {}: {}", began.elapsed().as_secs(), mutant.place, mutant.file, mutant.note);
        match outcome {
            Outcome::Killed(_) => {}
            Outcome::Survived => survivors.push(mutant.place.clone()),
            Outcome::DoesNotBuild | Outcome::Stale(_) => broken.push(mutant.place.clone()),
        }
    }
    let killed = chosen.len() - accepted - survivors.len() - broken.len();
    println!("{} mutants: {killed} killed, {} survived, {} not runnable, {accepted} accepted", chosen.len(), survivors.len(), broken.len());
    Ok(survivors.is_empty() && broken.is_empty())
}

enum Outcome {
    Killed(String),
    Survived,
    DoesNotBuild,
    Stale(String),
}

fn try_one(tree: &Path, mutant: &Mutant) -> io::Result<Outcome> {
    let path = tree.join(&mutant.file);
    let text = match mutant.applied(tree) {
        Ok(text) => text,
        Err(why) => return Ok(Outcome::Stale(why)),
    };
    let before = fs::read_to_string(&path)?;
    fs::write(&path, text)?;
    let outcome = judge(tree, mutant);
    fs::write(&path, before)?;
    outcome
}

fn judge(tree: &Path, mutant: &Mutant) -> io::Result<Outcome> {
    for layer in &mutant.layers {
        if !passes(tree, &layer.command)? {
            let log = fs::read(tree.with_file_name("last.log"))?;
            let built = !String::from_utf8_lossy(&log).contains("error: could not compile");
            return Ok(if built { Outcome::Killed(layer.name.clone()) } else { Outcome::DoesNotBuild });
        }
    }
    Ok(Outcome::Survived)
}

/// Runs a shell line in the copy, within the limit; `timeout` ends the whole process group.
fn passes(tree: &Path, command: &str) -> io::Result<bool> {
    let log = fs::File::create(tree.with_file_name("last.log"))?;
    let status = Command::new("timeout")
        .args(["-k", "5", &LIMIT_SECONDS.to_string(), "sh", "-c", command])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        .env("CARGO_NET_OFFLINE", "true")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    Ok(status.success())
}

/// Makes the copy equal to the sources. What is equal already is left alone, so that cargo builds only what changed.
fn mirror(root: &Path, tree: &Path) -> io::Result<()> {
    let out = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output()?;
    let mut wanted = std::collections::BTreeSet::new();
    for name in String::from_utf8_lossy(&out.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        wanted.insert(to.clone());
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&from, &to)?;
        fs::File::options().write(true).open(&to)?.set_modified(std::time::SystemTime::now())?;
    }
    remove_others(&tree.join("crates"), &wanted)
}

fn remove_others(folder: &Path, wanted: &std::collections::BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
