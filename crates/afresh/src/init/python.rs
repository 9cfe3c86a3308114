//! Python: Django, Flask, FastAPI, any WSGI application, or a plain program.

use super::guess::{Guess, Health, port_behind};
use super::tree::Tree;

const PY: &[&str] = &["py"];

/// What PyPI and Debian call the same library. Debian's version is the one that an image has.
const PACKAGES: &[(&str, &str)] = &[
    ("aiohttp", "python3-aiohttp"),
    ("alembic", "alembic"),
    ("boto3", "python3-boto3"),
    ("celery", "celery"),
    ("click", "python3-click"),
    ("cryptography", "python3-cryptography"),
    ("django", "python3-django"),
    ("django-redis", "python3-django-redis"),
    ("djangorestframework", "python3-djangorestframework"),
    ("fastapi", "python3-fastapi"),
    ("flask", "python3-flask"),
    ("flask-login", "python3-flask-login"),
    ("flask-migrate", "python3-flask-migrate"),
    ("flask-sqlalchemy", "python3-flask-sqlalchemy"),
    ("flask-wtf", "python3-flaskext.wtf"),
    ("gunicorn", "gunicorn"),
    ("httpx", "python3-httpx"),
    ("jinja2", "python3-jinja2"),
    ("lxml", "python3-lxml"),
    ("mysqlclient", "python3-mysqldb"),
    ("numpy", "python3-numpy"),
    ("pandas", "python3-pandas"),
    ("pillow", "python3-pil"),
    ("psycopg", "python3-psycopg"),
    ("psycopg2", "python3-psycopg2"),
    ("psycopg2-binary", "python3-psycopg2"),
    ("pydantic", "python3-pydantic"),
    ("pyjwt", "python3-jwt"),
    ("pymongo", "python3-pymongo"),
    ("pymysql", "python3-pymysql"),
    ("python-dateutil", "python3-dateutil"),
    ("python-dotenv", "python3-dotenv"),
    ("pyyaml", "python3-yaml"),
    ("redis", "python3-redis"),
    ("requests", "python3-requests"),
    ("sqlalchemy", "python3-sqlalchemy"),
    ("tornado", "python3-tornado"),
    ("uvicorn", "uvicorn"),
    ("werkzeug", "python3-werkzeug"),
    ("whitenoise", "python3-whitenoise"),
];

pub fn look(tree: &Tree) -> Option<Guess> {
    let entry = tree.first(&["wsgi.py", "app.py", "main.py", "server.py", "web.py", "application.py", "run.py", "__main__.py"]);
    let has_list = tree.first(&["requirements.txt", "pyproject.toml", "setup.py", "setup.cfg"]).is_some();
    let is_one = entry.is_some() || tree.has("manage.py") || (has_list && tree.with(PY).next().is_some());
    if !is_one {
        return None;
    }
    let mut guess = django(tree).or_else(|| framework(tree)).unwrap_or_else(|| plain(tree, entry));
    guess.needs(&["python3"]);
    dependencies(tree, &mut guess);
    Some(guess)
}

fn django(tree: &Tree) -> Option<Guess> {
    tree.text("manage.py")?;
    let mut guess = Guess::new("a Django application", tree);
    guess.needs(&["python3-django", "gunicorn"]);
    let wsgi = tree.with(PY).map(|(path, _)| path).find(|path| path.ends_with("/wsgi.py") && path.matches('/').count() == 1);
    let module = wsgi.map_or("project".to_string(), |path| path.trim_end_matches("/wsgi.py").to_string());
    let why =
        wsgi.map_or("no wsgi.py was found: put its package in place of `project`".to_string(), |path| format!("manage.py and {path}"));
    gunicorn(&mut guess, 8000, &format!("{module}.wsgi:application"), why);
    guess.health = Health::Tcp;
    guess.health_why = "Django answers a health check only if ALLOWED_HOSTS has \"*\" or the server's address; then say `path`".to_string();
    if tree.with(PY).any(|(_, text)| text.contains("STATIC_ROOT")) {
        guess.notes.push("before a deploy: python3 manage.py collectstatic --noinput".to_string());
    }
    Some(guess)
}

fn gunicorn(guess: &mut Guess, port: u16, application: &str, why: String) {
    guess.runs(&["gunicorn", "--bind", &format!("0.0.0.0:{port}"), "--workers", "2", application], why);
    guess.listens(port, "as given to the program in `run`");
}

/// The module and variable of `name = Flask(...)`.
fn framework(tree: &Tree) -> Option<Guess> {
    let found = |class: &str| {
        tree.with(PY).find_map(|(path, text)| {
            let line = text.lines().find(|line| line.contains(&format!("{class}(")) && line.contains('='))?;
            let variable = line.split('=').next()?.trim().split(':').next()?.trim().to_string();
            let is_name = !variable.is_empty() && variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let is_outer = !line.starts_with([' ', '\t']);
            is_name.then(|| (path.to_string(), if is_outer { variable } else { factory(text) }))
        })
    };
    let (what, (path, variable), is_asgi) = [("a Flask application", "Flask", false), ("a FastAPI application", "FastAPI", true)]
        .into_iter()
        .find_map(|(what, class, is_asgi)| Some((what, found(class)?, is_asgi)))
        .or_else(|| {
            let text = tree.text("wsgi.py")?;
            let variable = ["application", "app"].into_iter().find(|name| text.lines().any(|line| line.trim_start().starts_with(name)))?;
            Some(("a WSGI application", ("wsgi.py".to_string(), variable.to_string()), false))
        })?;
    let module = path.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
    let is_module = !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
    let mut guess = Guess::new(what, tree);
    let application = format!("{}:{variable}", if is_module { &module } else { "app" });
    if is_asgi {
        guess.needs(&["python3-fastapi", "uvicorn"]);
        guess.runs(&["uvicorn", "--host", "0.0.0.0", "--port", "8000", &application], format!("{path} makes it"));
        guess.listens(8000, "as given to the program in `run`");
    } else {
        guess.needs(&["gunicorn"]);
        if what.contains("Flask") {
            guess.needs(&["python3-flask"]);
        }
        gunicorn(&mut guess, 8000, &application, format!("{path} makes it; Flask's own server is for development"));
    }
    Some(guess)
}

fn factory(text: &str) -> String {
    let name = ["create_app", "make_app", "build_app"].into_iter().find(|name| text.contains(&format!("def {name}(")));
    format!("{}()", name.unwrap_or("create_app"))
}

fn plain(tree: &Tree, entry: Option<&str>) -> Guess {
    let mut guess = Guess::new("a Python program", tree);
    let entry = entry.map(ToString::to_string).or_else(|| tree.with(PY).next().map(|(path, _)| path.to_string()));
    let entry = entry.unwrap_or_else(|| "app.py".to_string());
    guess.runs(&["python3", &entry], format!("{entry} is there"));
    let marks = ["port=", "PORT =", "PORT=", "('', ", "(\"\", ", "('0.0.0.0', ", "(\"0.0.0.0\", ", "\"PORT\", ", "'PORT', "];
    if let Some((port, file)) = port_behind(tree, PY, &marks) {
        guess.listens(port, format!("{file} has this number"));
    }
    guess
}

/// Names in requirements.txt, or in pyproject.toml's dependencies.
fn dependencies(tree: &Tree, guess: &mut Guess) {
    let mut names: Vec<String> = Vec::new();
    let name_of = |text: &str| {
        let text = text.trim().trim_matches(['"', '\'', ',']);
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(text.len());
        text[..end].to_ascii_lowercase().replace('_', "-")
    };
    if let Some(text) = tree.text("requirements.txt") {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '-']));
        names.extend(lines.map(name_of));
    } else if let Some(text) = tree.text("pyproject.toml") {
        let list = text.split("dependencies").nth(1).and_then(|rest| rest.split('[').nth(1)).and_then(|rest| rest.split(']').next());
        names.extend(list.unwrap_or_default().lines().flat_map(|line| line.split(',')).map(name_of));
    }
    names.retain(|name| (1..=60).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_alphanumeric()));
    names.sort();
    names.dedup();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        match PACKAGES.iter().find(|(pypi, _)| *pypi == name) {
            Some((_, debian)) => known.push(*debian),
            None => unknown.push(name),
        }
    }
    guess.needs(&known);
    if !known.is_empty() {
        guess.notes.push("the libraries are Debian's packages, in Debian's versions: check that they suit requirements.txt".to_string());
    }
    if !unknown.is_empty() {
        unknown.truncate(10);
        guess.env.insert("PYTHONPATH".to_string(), "/app/vendor".to_string());
        guess.notes.push(format!("not known as packages of Debian: {}", unknown.join(", ")));
        guess.notes.push("bring these along, before a deploy: pip install --target vendor -r requirements.txt".to_string());
    }
}
