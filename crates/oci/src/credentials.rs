//! Who we are to a registry: from a file as Docker, podman and skopeo keep it (`config.json`, `auth.json`), or from a helper that it names.

use crate::trouble::shown;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use disk::files;
use model::Fault;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use store::program;

const FILE_BYTES: u64 = 1 << 20;
const HELPER_SECONDS: u32 = 30;
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// It is given for short-lived tokens.
    IdentityToken(String),
}

/// Never in a message or a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

fn bad_file(path: &Path, why: impl fmt::Display) -> Fault {
    Fault::yours("bad-registry-auth", format!("{}: {why}", path.display()))
        .hint("make it with `skopeo login --authfile FILE REGISTRY`, or copy ~/.docker/config.json")
}

/// What the file has for this repository; None: nothing, so that it is asked for without.
pub fn load(path: &Path, registry: &str, repository: &str) -> Result<Option<Credentials>, Fault> {
    let bytes = files::read_limited(path, FILE_BYTES)?;
    // The error of serde would quote the file.
    let config: Config =
        serde_json::from_slice(&bytes).map_err(|e| bad_file(path, format!("line {} is not as Docker writes it", e.line())))?;
    let keys = keys(registry, repository);
    if let Some((server, helper)) = keys.iter().find_map(|key| Some((key, config.cred_helpers.get(key)?))) {
        return ask(path, helper, server);
    }
    for key in &keys {
        if let Some(auth) = config.auths.get(key)
            && let Some(found) = of(auth).map_err(|why| bad_file(path, format!("what it has for {key} {why}")))?
        {
            return Ok(Some(found));
        }
    }
    match &config.creds_store {
        Some(helper) => ask(path, helper, if registry == "docker.io" { DOCKER_HUB } else { registry }),
        None => Ok(None),
    }
}

/// Whether every user of this machine may read what is in it.
pub fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|seen| seen.permissions().mode() & 0o004 != 0)
}

/// Podman's files may name a part of a registry: the longest counts.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let whole = format!("{registry}/{repository}");
    let mut keys: Vec<String> = whole.match_indices('/').map(|(at, _)| whole[..at].to_string()).collect();
    keys.push(whole);
    keys.reverse();
    keys.extend([format!("https://{registry}"), format!("https://{registry}/v1/"), format!("https://{registry}/v2/")]);
    if registry == "docker.io" {
        keys.extend([DOCKER_HUB.to_string(), "index.docker.io".to_string(), "registry-1.docker.io".to_string()]);
    }
    keys
}

fn of(auth: &Auth) -> Result<Option<Credentials>, &'static str> {
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Credentials::IdentityToken(auth.identitytoken.clone())));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Credentials::Password { user: auth.username.clone(), password: auth.password.clone() }));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let text = BASE64.decode(auth.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok()).ok_or("is not base64")?;
    let (user, password) = text.split_once(':').ok_or("has no colon between user and password")?;
    Ok(Some(Credentials::Password { user: user.to_string(), password: password.trim_end_matches('\0').to_string() }))
}

/// `docker-credential-NAME get`: the registry on its input, JSON on its output.
fn ask(path: &Path, helper: &str, server: &str) -> Result<Option<Credentials>, Fault> {
    let is_name = !helper.is_empty() && helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_name {
        return Err(bad_file(path, format!("the helper {:?} is no name of a program", shown(helper))));
    }
    let name = format!("docker-credential-{helper}");
    program::need(&[&name])
        .map_err(|f| f.hint(format!("{} names it as a helper: install it, or write the password there", path.display())))?;
    let mut command = program::command_within(HELPER_SECONDS, &name);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program::spawn(&mut command, &name)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading says why with its end.
        let _ = input.write_all(server.as_bytes());
    }
    let done = child.wait_with_output().map_err(files::at("cannot wait for", Path::new(&name)))?;
    let said = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        // As every helper says it: whoever asks then asks without.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let text = format!(
            "{name} has no password for {server}: {}",
            shown(&program::last_lines(&format!("{}{}", said, String::from_utf8_lossy(&done.stderr))))
        );
        return Err(Fault::world("registry-auth", text).hint("run it by hand: `echo REGISTRY | docker-credential-NAME get`"));
    }
    let answer: Answer = serde_json::from_str(&said).map_err(|_| Fault::world("registry-auth", format!("{name} answered no JSON")))?;
    Ok(Some(if answer.username == "<token>" {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Password { user: answer.username, password: answer.secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_counts_and_nothing_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let text = r#"{"auths":{"r.example":{"auth":"dTpw"},"r.example/shop":{"auth":"djpxOnI="},"https://old.example/v1/":{"username":"w","password":"x"},
            "t.example":{"identitytoken":"T"},"empty.example":{}}}"#;
        std::fs::write(&path, text).unwrap();
        let password = |user: &str, password: &str| Some(Credentials::Password { user: user.into(), password: password.into() });
        for (registry, repository, is) in [
            ("r.example", "other/app", password("u", "p")),
            ("r.example", "shop/app", password("v", "q:r")),
            ("r.example", "shopping/app", password("u", "p")),
            ("old.example", "a", password("w", "x")),
            ("t.example", "a", Some(Credentials::IdentityToken("T".into()))),
            ("empty.example", "a", None),
            ("none.example", "a", None),
        ] {
            assert!(load(&path, registry, repository).unwrap() == is, "{registry}/{repository}");
        }
        std::fs::write(&path, r#"{"auths":{"r.example":{"auth":"secret!"}}}"#).unwrap();
        let fault = load(&path, "r.example", "a").unwrap_err();
        assert!(fault.code == "bad-registry-auth" && !format!("{fault:?}").contains("secret"), "{fault:?}");
        std::fs::write(&path, r#"{"auths":{"r.example":{"auth":["secret"]}}}"#).unwrap();
        assert!(!format!("{:?}", load(&path, "r.example", "a").unwrap_err()).contains("secret"));
        std::fs::write(&path, r#"{"credsStore":"../evil"}"#).unwrap();
        assert_eq!(load(&path, "r.example", "a").unwrap_err().code, "bad-registry-auth");
    }
}
