//! The service file of a guess, in the one form, with a comment for each guess.

use super::guess::{Guess, Health};
use std::fmt::Write as _;

/// What is no code, one name a line; written beside the service file.
pub const IGNORED: &str = "\
# What is not deployed: one name, or path from here, a line. `*` stands for any characters.
.git
.hg
.svn
# What nobody else may know: give it as a `secret`. A certificate that the program needs lies in a directory of its own, as *.crt or certs/*.pem.
.env
.env.*
.envrc
.npmrc
.netrc
.pypirc
.pgpass
.git-credentials
auth.json
id_rsa
id_dsa
id_ecdsa
id_ed25519
*.key
/*.pem
*key.pem
*.tfstate
*.tfstate.*
# What is no code.
.venv
venv
env
__pycache__
*.pyc
.pytest_cache
.mypy_cache
.idea
.vscode
.DS_Store
afresh.hcl
.afresh
Dockerfile
";

/// A service file, and what it was guessed from.
pub struct Written {
    pub text: String,
    /// `a Flask application`
    pub what: String,
    pub service: String,
    pub notes: Vec<String>,
    /// The directory with the code. None: it is in the container image.
    pub artifact: Option<String>,
}

pub fn service_file(guess: &Guess) -> String {
    let mut out = String::new();
    let name = &guess.name;
    line(&mut out, &format!("# Written by `afresh init`: {}. Each comment says what was guessed; change what is wrong.", guess.what));
    line(
        &mut out,
        "# `afresh validate` checks this file, `afresh plan` shows what a deploy would do, `afresh dev` tries it on this machine.",
    );
    for note in &guess.notes {
        line(&mut out, &format!("# - {}", model::text::shown(note, 300)));
    }
    line(&mut out, "");
    line(&mut out, "# A machine image: Debian and these packages, patched every day by itself.");
    line(&mut out, "image \"base\" {");
    line(&mut out, "  debian   = \"bookworm\"");
    let packages: Vec<String> = guess.packages.iter().map(|package| quoted(package)).collect();
    line(&mut out, &format!("  packages = [{}]", packages.join(", ")));
    line(&mut out, "  rebuild  = \"daily\"");
    line(&mut out, "  max_age  = \"7d\" # an older image raises an alarm");
    for (path, content) in &guess.files {
        line(&mut out, &format!("\n  file {} {{", quoted(path)));
        line(&mut out, &format!("    content = {}", quoted(content)));
        line(&mut out, "  }");
    }
    line(&mut out, "}\n");
    secret_hint(&mut out, guess);
    line(&mut out, &format!("service {} {{", quoted(name)));
    line(&mut out, "  tier     = \"web\"");
    line(&mut out, "  image    = image.base");
    line(&mut out, &format!("  artifact = {} # the code, without what .afreshignore names; read-only at /app", quoted(&guess.artifact)));
    let words: Vec<String> = guess.run.iter().map(|word| quoted(word)).collect();
    line(&mut out, &format!("  # {}", comment(&guess.run_why)));
    line(&mut out, &format!("  run = [{}]", words.join(", ")));
    line(&mut out, &format!("  port  = {} # {}", guess.port, comment(&guess.port_why)));
    line(&mut out, "  count = 2 # servers: one serves while the other is replaced");
    if !guess.env.is_empty() {
        line(&mut out, "\n  env {");
        for (name, value) in &guess.env {
            line(&mut out, &format!("    {name} = {}", quoted(value)));
        }
        line(&mut out, "  }");
    }
    line(&mut out, &format!("\n  # {}", comment(&guess.health_why)));
    match &guess.health {
        Health::Path(path) => line(&mut out, &format!("  health {{ path = {} }}", quoted(path))),
        Health::Tcp => line(&mut out, "  health { tcp = true }"),
    }
    if let Some((signal, why)) = guess.drain {
        line(&mut out, &format!("\n  # {why}"));
        line(&mut out, &format!("  drain {{ signal = {} }}", quoted(signal)));
    }
    ends(&mut out, guess);
    // Lengths of names decide where comments and values stand.
    config::format(&out).unwrap_or(out)
}

/// What is the same for every service: limits, route and rollout.
pub(super) fn ends(out: &mut String, guess: &Guess) {
    line(out, &format!("\n  limits {{ memory = {} }} # a server that needs more is killed and replaced", quoted(guess.memory)));
    line(out, "\n  # For this machine alone; \":80\" is for everybody.");
    line(out, "  route { listen = \"127.0.0.1:8080\" }");
    line(out, "\n  # One new server first, then the others; back to the old release when more than this share of answers are errors.");
    line(out, "  rollout {");
    line(out, "    waves  = [\"1\", \"100%\"]");
    line(out, "    soak   = \"5s\"");
    line(out, "    errors = \"1%\"");
    line(out, "    within = \"2m\"");
    line(out, "  }");
    line(out, "}");
}

/// What the code reads from its environment, and how it gets there.
pub(super) fn secret_hint(out: &mut String, guess: &Guess) {
    if guess.wants.is_empty() {
        return;
    }
    line(out, &format!("# The code reads these variables: {}.", guess.wants.join(", ")));
    line(
        out,
        &format!(
            "# Plain ones go into `env {{ {} = \"...\" }}` of the service. A password or key never stands in this file:",
            guess.wants[0]
        ),
    );
    let secret = guess.wants.iter().find(|name| ["KEY", "SECRET", "PASS", "TOKEN", "URL"].iter().any(|word| name.contains(word)));
    let name = secret.unwrap_or(&guess.wants[0]).clone();
    let block = name.to_ascii_lowercase().replace('_', "-");
    line(
        out,
        &format!(
            "#   secret \"{block}\" {{ file = \"/etc/{}/{block}\" }}   and in the service   env {{ {name} = secret.{block} }}",
            guess.name
        ),
    );
    line(out, "");
}

pub(super) fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// A comment's text on one line.
pub(super) fn comment(text: &str) -> String {
    model::text::shown(text, 300)
}

/// Text as the file's language has it; nothing in it is a reference or an expression.
pub(super) fn quoted(text: &str) -> String {
    let shown = |c: char| if matches!(c, '\n' | '\t') || model::text::is_shown(c) { c } else { '?' };
    config::quoted(&text.chars().map(shown).collect::<String>())
}
