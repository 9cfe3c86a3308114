//! The service file of a directory with a Dockerfile: its image runs, and what the image says of itself is left to it. Written out is what an
//! archive may lose (a health check), what must be one number (the port), and what Afresh does not take from an image (volumes).

use super::dockerfile::Dockerfile;
use super::guess::{Guess, Health};
use super::tree::Tree;
use super::write::{Written, comment, ends, line, quoted, secret_hint};

/// Base images that expose a port themselves: what their name ends in, before the tag.
const PORTS: &[(&str, u16)] = &[("nginx", 80), ("httpd", 80), ("caddy", 80), ("nginx-unprivileged", 8080), ("tomcat", 8080)];

pub fn written(tree: &Tree, file: &Dockerfile, code: Option<Guess>) -> Written {
    let mut guess = code.unwrap_or_else(|| Guess::new("a program", tree));
    guess.common(tree);
    guess.what = "a container image from the Dockerfile".to_string();
    guess.notes.clear();
    port(file, &mut guess);
    let text = service_file(file, &mut guess);
    Written { text, what: guess.what, service: guess.name, notes: guess.notes, artifact: None }
}

fn port(file: &Dockerfile, guess: &mut Guess) {
    let base = file.from.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
    let of_base = PORTS.iter().find(|(name, _)| *name == base).map(|(_, port)| *port);
    match (file.port, file.own_port, of_base) {
        (Some(port), ..) => guess.listens(port, "EXPOSE of the Dockerfile"),
        (None, Some(port), _) => guess.listens(port, "PORT in ENV of the Dockerfile"),
        (None, None, Some(port)) => guess.listens(port, format!("the base image {base} exposes it")),
        (None, None, None) => {}
    }
}

fn service_file(file: &Dockerfile, guess: &mut Guess) -> String {
    let mut out = String::new();
    let name = guess.name.clone();
    line(&mut out, "# Written by `afresh init` from the Dockerfile. Each comment says what was guessed; change what is wrong.");
    line(&mut out, "# `afresh validate` checks this file, `afresh plan` shows what a deploy would do, and what comes from the image.");
    line(&mut out, "#");
    line(&mut out, "# Build the image and put it where `oci` says:");
    line(&mut out, &format!("#   buildah build -t {name} . && buildah push {name} oci-archive:/srv/{name}.tar"));
    line(&mut out, &format!("#   docker buildx build --output type=oci,dest=/srv/{name}.tar .   (the same with Docker)"));
    line(&mut out, &format!("# Then, and after each build: `afresh bake {name} && afresh deploy`."));
    line(&mut out, "# `afresh init --debian` writes an image of Debian packages instead, which Afresh patches by itself.\n");
    line(&mut out, &format!("image {} {{", quoted(&name)));
    line(
        &mut out,
        "  # Where your CI pushes the image to a registry, name it: \"registry.example.org/shop/app:1.4\". With `rebuild = \"hourly\"` a tag",
    );
    line(&mut out, "  # that moves is rolled out by itself; `registry { auth = \"FILE\" }` names the file with its password.");
    line(&mut out, &format!("  oci     = \"oci-archive:/srv/{name}.tar\""));
    line(&mut out, "  max_age = \"30d\" # an image not known to be patched for longer raises an alarm");
    line(&mut out, "}\n");
    secret_hint(&mut out, guess);
    line(&mut out, &format!("service {} {{", quoted(&name)));
    line(&mut out, "  tier  = \"web\"");
    line(&mut out, &format!("  image = image.{name}"));
    line(&mut out, &format!("  # {}", comment(&runs(file))));
    line(&mut out, &format!("  # {}", comment(&user(file))));
    line(&mut out, &format!("  port  = {} # {}; each server gets it as the variable PORT", guess.port, comment(&guess.port_why)));
    if guess.port < 1024 {
        line(
            &mut out,
            "  # A server has no capability, also as root: its program cannot listen below 1024. Let it listen at 8080, here and in the image.",
        );
    }
    line(&mut out, "  count = 2 # servers: one serves while the other is replaced");
    health(&mut out, file, guess);
    volumes(&mut out, file, guess);
    if let Some((signal, why)) = guess.drain {
        line(&mut out, &format!("\n  # {why}"));
        line(&mut out, &format!("  drain {{ signal = {} }}", quoted(signal)));
    }
    ends(&mut out, guess);
    // Lengths of names decide where comments and values stand.
    config::format(&out).unwrap_or(out)
}

fn runs(file: &Dockerfile) -> String {
    let words: Vec<&String> = file.entrypoint.iter().chain(&file.command).flatten().collect();
    if words.is_empty() {
        return "what runs is ENTRYPOINT and CMD of the base image: the Dockerfile has neither; `run = [\"program\"]` is another command"
            .to_string();
    }
    format!(
        "what runs is ENTRYPOINT and CMD of the image, {}; `run = [\"program\"]` is another command",
        model::text::shown(&format!("{words:?}"), 120)
    )
}

fn user(file: &Dockerfile) -> String {
    match &file.user {
        Some(user) => format!("it runs as USER of the image, {user}; the host policy says which numbers that may be"),
        None => {
            "the Dockerfile has no USER: unless the base image has one, it runs as nobody; `user = \"1000:1000\"` is another".to_string()
        }
    }
}

fn health(out: &mut String, file: &Dockerfile, guess: &Guess) {
    let path = file.health.as_ref().and_then(|command| path_in(command));
    match (&file.health, path, &guess.health) {
        (Some(_), Some(path), _) => {
            line(out, "\n  # HEALTHCHECK of the Dockerfile asks for this page");
            line(out, &format!("  health {{ path = {} }}", quoted(&path)));
        }
        (Some(command), None, _) => {
            let words: Vec<String> = command.iter().map(|word| quoted(&model::text::shown(word, 2_000))).collect();
            line(out, "\n  # HEALTHCHECK of the Dockerfile, which an OCI archive by buildah does not keep");
            line(out, &format!("  health {{ exec = [{}] }}", words.join(", ")));
        }
        (None, _, Health::Path(path)) => {
            line(out, &format!("\n  # the Dockerfile has no HEALTHCHECK; {}", comment(&guess.health_why)));
            line(out, &format!("  health {{ path = {} }}", quoted(path)));
        }
        (None, _, Health::Tcp) => {
            line(out, "\n  # the Dockerfile has no HEALTHCHECK: a server counts when its port is open; `path = \"/healthz\"` says more");
            line(out, "  health { tcp = true }");
        }
    }
}

/// The path that `curl -f http://localhost:8080/healthz` asks for.
fn path_in(command: &[String]) -> Option<String> {
    let text = command.join(" ");
    let asks = ["curl ", "wget "].iter().any(|program| text.contains(program));
    let rest =
        ["http://localhost", "http://127.0.0.1", "http://0.0.0.0"].iter().find_map(|start| text.split_once(start)).map(|(_, rest)| rest)?;
    let path = rest[rest.find('/')?..].split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '|' | '&' | ')')).next()?;
    let before = &rest[..rest.find('/')?];
    let is_port = before.is_empty() || before.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (asks && is_port && !path.contains('$') && path.len() < 200).then(|| path.to_string())
}

/// As a comment: a volume needs a directory of this machine that root permits. `docker run` keeps none of them either.
fn volumes(out: &mut String, file: &Dockerfile, guess: &mut Guess) {
    if file.volumes.is_empty() {
        return;
    }
    let service = guess.name.clone();
    line(
        out,
        "\n  # VOLUME of the Dockerfile: what a server writes there is gone when it is replaced, unless a directory of this machine is a volume.",
    );
    line(
        out,
        "  # Both servers share it; a program that must be alone with its data, as a database, needs `count = 1` and `exclusive = true`.",
    );
    for (n, at) in file.volumes.iter().enumerate() {
        let last: String = at.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let is_name = model::VolumeName::new(last.clone()).is_ok();
        let volume = if is_name && n == 0 { last } else { format!("data-{n}") };
        let source = format!("/srv/{service}/{volume}");
        line(out, &format!("  #   volume \"{volume}\" {{ source = \"{source}\"  at = {} }}", quoted(at)));
        line(out, &format!("  #   made by: mkdir -p {source} && chown 1000:1000 {source}"));
        line(out, &format!("  #   permitted in /etc/afresh/policy.hcl by: volume \"{source}\" {{ services = [\"{service}\"] }}"));
        guess.notes.push(format!(
            "nothing is kept of what servers write to {}: the file has a volume for it, as a comment",
            model::text::shown(at, 80)
        ));
    }
}
