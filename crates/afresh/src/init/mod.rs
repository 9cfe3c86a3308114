//! `afresh init`: from a directory with somebody's code to a service file that runs it. Everything here is a guess, and each guess that is
//! written has a comment that says what it was guessed from. It reads few, small files, runs nothing, and follows no link.
//!
//! | file | what |
//! | --- | --- |
//! | `tree` | the files that are looked at, bounded |
//! | `guess` | what a guess is, and what all kinds of code have in common |
//! | `python`, `node`, `php`, `compiled`, `dockerfile` | what each kind says of itself |
//! | `container` | the service file of a directory with a Dockerfile |
//! | `write` | the service file and the list of files that are no code |

mod compiled;
mod container;
mod dockerfile;
mod guess;
mod node;
mod php;
mod python;
mod tree;
mod write;

pub use tree::Tree;
pub use write::{IGNORED, Written};

use guess::Guess;

/// None: nothing that is known here. Where there is a Dockerfile, its image is what runs, unless somebody wants `debian` with the same code.
pub fn written(tree: &Tree, debian: bool) -> Option<Written> {
    if let Some(file) = dockerfile::read(tree).filter(|_| !debian) {
        return Some(container::written(tree, &file, code(tree)));
    }
    let guess = look(tree)?;
    let text = write::service_file(&guess);
    Some(Written { text, what: guess.what, service: guess.name, notes: guess.notes, artifact: Some(guess.artifact) })
}

/// What the directory seems to hold, as a machine of Debian packages. None: nothing that is known here.
fn look(tree: &Tree) -> Option<Guess> {
    let mut guess = code(tree);
    if let Some(file) = dockerfile::read(tree) {
        guess = file.onto(guess);
    }
    let mut guess = guess?;
    guess.common(tree);
    Some(guess)
}

fn code(tree: &Tree) -> Option<Guess> {
    let kinds: [fn(&Tree) -> Option<Guess>; 5] = [python::look, php::look, node::look, compiled::go, compiled::rust];
    kinds.iter().find_map(|look| look(tree))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn guessed(files: &[(&str, &str)]) -> String {
        guessed_as(files, true)
    }

    fn guessed_as(files: &[(&str, &str)], debian: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("My Shop");
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::read(&root).unwrap();
        let text = written(&tree, debian).unwrap().text;
        let file =
            config::parse(&text, "afresh.hcl").unwrap_or_else(|all| panic!("{}\n{text}", config::render(&all, &text, "afresh.hcl", false)));
        assert_eq!(config::format(&text).unwrap(), text, "it is in the one form");
        assert_eq!(file.services.keys().next().unwrap().as_str(), "my-shop");
        text
    }

    #[test]
    fn what_is_written_is_a_valid_file_in_the_one_form() {
        let flask = "import os\nfrom flask import Flask\nshop = Flask(__name__)\nKEY = os.environ['SECRET_KEY']\n@shop.route('/healthz')\ndef h(): return 'ok'\n";
        insta::assert_snapshot!("flask", guessed(&[("app.py", flask), ("requirements.txt", "Flask==3.0\nredis>=4\nleftpad-nobody\n")]));
        insta::assert_snapshot!(
            "django",
            guessed(&[
                ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')"),
                ("site1/wsgi.py", "application = 1"),
                ("requirements.txt", "django\n")
            ])
        );
        insta::assert_snapshot!("plain_python", guessed(&[("main.py", "import http.server\nHTTPServer(('', 9000), H).serve_forever()\n")]));
        let package = r#"{ "name": "x", "scripts": { "start": "node server.js --quiet" }, "dependencies": { "express": "4" } }"#;
        insta::assert_snapshot!(
            "node",
            guessed(&[("package.json", package), ("server.js", "app.listen(process.env.PORT || 3000); app.get('/', f)")])
        );
        let composer = r#"{ "require": { "php": ">=8", "ext-mysqli": "*", "ext-gd": "*" } }"#;
        insta::assert_snapshot!("php", guessed(&[("public/index.php", "<?php echo getenv('DB_HOST');"), ("composer.json", composer)]));
        insta::assert_snapshot!(
            "go",
            guessed(&[("go.mod", "module example.org/team/shop\n\ngo 1.22\n"), ("main.go", "http.ListenAndServe(\":9090\", nil)")])
        );
        insta::assert_snapshot!("rust", guessed(&[("Cargo.toml", "[package]\nname = \"shop-api\"\n"), ("src/main.rs", "fn main() {}")]));
        let docker = "FROM python:3.12-slim AS base\nWORKDIR /app\nRUN apt-get update && apt-get install -y --no-install-recommends \\\n    libpq5 curl && rm -rf /x\nENV MODE=prod LANG=\"C.UTF-8\"\nCOPY . .\nRUN pip install -r requirements.txt\nEXPOSE 8000/tcp\nUSER app\nCMD [\"gunicorn\", \"-b\", \"0.0.0.0:8000\", \"app:app\"]\n";
        insta::assert_snapshot!(
            "dockerfile",
            guessed(&[("Dockerfile", docker), ("app.py", "from flask import Flask\napp = Flask('x')\n"), ("requirements.txt", "flask\n")])
        );
    }

    /// Found by a reader: volumes, user, port and health check of a Dockerfile were lost, and what was written could not run.
    #[test]
    fn where_there_is_a_dockerfile_its_image_is_deployed() {
        let docker = "FROM node:22 AS build\nUSER root\nVOLUME /cache\nFROM node:22-slim AS base\nUSER node\nVOLUME [\"/data\", \"/etc\"]\nFROM base\nENV NODE_ENV=production PORT=3000\nEXPOSE 3000 9229\nHEALTHCHECK --interval=5s --timeout=2s CMD curl -fs http://localhost:3000/healthz || exit 1\nENTRYPOINT [\"node\"]\nCMD [\"server.js\"]\n";
        let code = ("server.js", "process.env.DATABASE_URL; app.listen(process.env.PORT || 3000)");
        let package = ("package.json", r#"{ "name": "x", "scripts": { "start": "node server.js" } }"#);
        insta::assert_snapshot!("container", guessed_as(&[("Dockerfile", docker), code, package], false));
        // Nothing that is known here is in it, and the file says little.
        insta::assert_snapshot!(
            "container_small",
            guessed_as(&[("Containerfile", "FROM docker.io/library/nginx:1.27\nCOPY site /usr/share/nginx/html\n")], false)
        );
        let probe = "FROM scratch\nHEALTHCHECK CMD [\"/probe\", \"--deep\"]\nHEALTHCHECK --retries=2 CMD [\"/probe\", \"x\"]\n";
        let text = guessed_as(&[("Dockerfile", probe)], false);
        assert!(text.contains("health { exec = [\"/probe\", \"x\"] }"), "{text}");
        let none = guessed_as(&[("Dockerfile", &format!("{probe}HEALTHCHECK NONE\n"))], false);
        assert!(none.contains("health { tcp = true }"), "{none}");
    }

    /// Names, commands and variables come from files that anybody may have written.
    #[test]
    fn hostile_files_become_no_more_than_text() {
        let hostile = "\"]\n}\nservice \"x\" { run = [\"sh\"] }\n${file(\"/etc/shadow\")}\u{202e}\u{1b}[2J";
        let json =
            serde_json::json!({ "scripts": { "start": hostile }, "main": hostile, "dependencies": { hostile: hostile } }).to_string();
        let docker = format!(
            "FROM {hostile}\nENV A={hostile} ${{B}}=c\nEXPOSE 99999 x -1\nCMD {hostile}\nCMD [\"a\", 1]\nRUN {hostile}\nUSER {hostile}\nVOLUME {hostile}\nVOLUME [\"/a\\\"}}\", \"/x\\u202e\"]\nHEALTHCHECK --x CMD {hostile}\n"
        );
        for files in [
            vec![("package.json", json.as_str())],
            vec![("package.json", "[]"), ("index.js", "")],
            vec![("package.json", "{"), ("server.js", "listen(70000)")],
            vec![("Dockerfile", docker.as_str()), ("app.py", hostile)],
            vec![("go.mod", "module \"]\nmodule x/..\n"), ("main.go", "")],
            vec![("Cargo.toml", "[package]\nname = 7\n"), ("src/main.rs", "")],
            vec![("app.py", "x = Flask(\"\nPORT=0\n"), ("requirements.txt", hostile)],
        ] {
            for debian in [true, false] {
                let text = guessed_as(&files, debian);
                assert_eq!(text.matches("\nservice ").count(), 1, "{text}");
                assert!(model::text::forbidden(&text).is_none(), "{text:?}");
            }
        }
    }

    #[test]
    fn an_empty_directory_is_not_guessed_at_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look(&Tree::read(dir.path()).unwrap()).is_none());
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("app.py")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("all")).unwrap();
        let tree = Tree::read(dir.path()).unwrap();
        assert!(look(&tree).is_none() && tree.text("all/etc/passwd").is_none());
        assert!(Tree::read(Path::new("/no/such/directory")).is_err());
    }
}
