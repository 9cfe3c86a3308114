//! Secrets in a recipe: found before anything is built, whoever bakes. A recipe is kept, signed and shown, and its files are in the image. No
//! message holds a secret.

use guard::root::{Checksum, File, Purpose, Survey, Tree, blocks_image, judge};
use guard::secrets::{Detector, Leak, is_credential};
use guard::{Fact, Missing, Verdict};
use model::{Fault, ImageName, ImageProbe, ImageSpec};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// More than these are counted.
const SHOWN: usize = 5;

/// One secret of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeSecret {
    pub image: ImageName,
    pub part: Part,
    /// In the text of the part.
    pub line: usize,
    /// "GitHub personal access token: ghp_… (40 characters)".
    pub what: String,
    /// How it is revoked.
    pub fix: String,
    /// Of the secret, where its form has an issuer: the same wherever it is written.
    pub fingerprint: Option<String>,
}

/// Where in a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Script,
    /// By the path in the image.
    File(String),
    Argument(String),
    Check(String),
    /// An entry of `allow_unsigned`.
    Address,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Part::Script => f.write_str("the script"),
            Part::File(path) => write!(f, "the file {path}"),
            Part::Argument(name) => write!(f, "the argument {name}"),
            Part::Check(name) => write!(f, "the check {name}"),
            Part::Address => f.write_str("allow_unsigned"),
        }
    }
}

fn detector() -> Result<&'static Detector, Fault> {
    static DETECTOR: OnceLock<Detector> = OnceLock::new();
    if let Some(detector) = DETECTOR.get() {
        return Ok(detector);
    }
    let loaded = Detector::built_in().map_err(|e| Fault::ours("bad-rules", format!("the rules for secrets are refused: {e}")))?;
    Ok(DETECTOR.get_or_init(|| loaded))
}

/// Of the recipe and of all that it is based on.
pub fn recipe_secrets(spec: &ImageSpec) -> Result<Vec<RecipeSecret>, Fault> {
    let detector = detector()?;
    Ok(spec.levels().into_iter().flat_map(|level| of_level(level, detector)).collect())
}

fn of_level(spec: &ImageSpec, detector: &Detector) -> Vec<RecipeSecret> {
    let custom = &spec.custom;
    let mut found = Vec::new();
    let mut add = |part: &Part, line, what: String, fix: &str, fingerprint: Option<String>| {
        let (image, part, fix) = (spec.name.clone(), part.clone(), fix.to_string());
        found.push(RecipeSecret { image, part, line, what, fix, fingerprint });
    };
    let mut texts: Vec<(Part, String)> = custom.script.iter().map(|text| (Part::Script, text.clone())).collect();
    texts.extend(custom.args.iter().map(|(name, value)| (Part::Argument(name.clone()), format!("{name}={value}"))));
    texts.extend(custom.allow_unsigned.iter().map(|address| (Part::Address, address.clone())));
    texts.extend(spec.checks.iter().filter_map(|check| match &check.what {
        ImageProbe::Run { command } | ImageProbe::Port { command, .. } => Some((Part::Check(check.name.clone()), command.join(" "))),
        ImageProbe::File { .. } | ImageProbe::Absent { .. } => None,
    }));
    for (part, text) in &texts {
        let leaks = detector.scan(text.as_bytes());
        let is_named = leaks.is_empty()
            && match part {
                Part::Argument(name) => is_credential(name, text.split_once('=').map_or("", |(_, value)| value)),
                Part::Address => is_credential("", text),
                _ => false,
            };
        if is_named {
            add(part, 1, "a credential".into(), "revoke it where it is accepted", None);
        }
        leaks.into_iter().for_each(|leak| add(part, leak.line, what(&leak), &leak.fix, Some(leak.fingerprint)));
    }
    for (path, file) in &custom.files {
        let part = Part::File(path.clone());
        let leaks = detector.scan(file.content.as_bytes());
        if leaks.is_empty()
            && let Some((line, why)) = credential(&custom.files, path)
        {
            add(&part, line, why, "revoke it where it is accepted", None);
        }
        leaks.into_iter().for_each(|leak| add(&part, leak.line, what(&leak), &leak.fix, Some(leak.fingerprint)));
    }
    found
}

fn what(leak: &Leak) -> String {
    format!("{}: {}", leak.title, leak.shown)
}

/// Files of a recipe as the tree that they will be.
struct Files<'a>(&'a BTreeMap<String, model::ImageFile>);

impl Tree for Files<'_> {
    fn read(&self, path: &str) -> Fact<Option<Vec<u8>>> {
        Fact::Known(self.0.get(path).map(|file| file.content.clone().into_bytes()))
    }

    fn list(&self, path: &str) -> Fact<Option<Vec<String>>> {
        let inside = self.0.keys().filter_map(|p| p.strip_prefix(path)?.strip_prefix('/'));
        let names: Vec<String> = inside.filter(|rest| !rest.contains('/')).map(str::to_string).collect();
        Fact::Known((!names.is_empty()).then_some(names))
    }

    fn checksum(&self, path: &str, _: Checksum) -> Fact<String> {
        // No package has a file of a recipe.
        Fact::Unknown(Missing(path.to_string()))
    }
}

/// A password file by its place in the image, where nothing has an issuer's form.
fn credential(files: &BTreeMap<String, model::ImageFile>, path: &str) -> Option<(usize, String)> {
    let tree = Files(files);
    let written = files.get(path)?;
    let survey = Survey::of(&tree, Purpose::Image);
    let content = Fact::Known(written.content.as_bytes());
    let file = File { path, mode: written.mode, owner: 0, is_directory: false, is_mounted: false, content };
    let found = judge(&survey, &file, || Fact::Known(Vec::new()), &tree);
    let of_secret = |e: &&guard::root::Exposure| e.verdict == Verdict::Public && e.rule != "world-writable" && blocks_image(&e.finding());
    found.iter().find(of_secret).map(|e| (e.line.max(1), e.why.clone()))
}

/// The refusal, if there is any. `place`: of a secret in the user's own file, "afresh.hcl:12".
pub fn refusal(secrets: &[RecipeSecret], place: &dyn Fn(&RecipeSecret) -> Option<String>) -> Option<Fault> {
    let first = secrets.first()?;
    let sentence = |secret: &RecipeSecret| {
        let RecipeSecret { image, part, line, what, .. } = secret;
        let inside = if *line > 1 || !matches!(part, Part::Argument(_) | Part::Address) { format!(", line {line}") } else { String::new() };
        match place(secret) {
            Some(place) => format!("{place}: the recipe of image {image} holds a secret in {part}{inside}: {what}"),
            None => format!("the recipe of image {image} holds a secret in {part}{inside}: {what}"),
        }
    };
    let mut text = secrets.iter().take(SHOWN).map(sentence).collect::<Vec<_>>().join("; ");
    if secrets.len() > SHOWN {
        text.push_str(&format!("; and {} more", secrets.len() - SHOWN));
    }
    let remove = place(first).map_or_else(|| "remove that line".to_string(), |place| format!("remove the line {place}"));
    let hint = format!(
        "revoke the secret, as it was in a file that is kept ({}); {remove}; give it to the service instead, by a block \
         secret \"NAME\" {{ file = \"/etc/NAME\" }} and env {{ TOKEN = secret.NAME }}",
        first.fix
    );
    Some(Fault::yours("secret-in-recipe", text).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(custom: serde_json::Value) -> ImageSpec {
        let text = serde_json::json!({ "name": "web", "debian": "bookworm", "packages": [], "custom": custom });
        serde_json::from_value(text).unwrap()
    }

    fn key() -> String {
        let body = "MII7lC4HwWWwlE73yTC3K8KiGBiFllsU6fauasxR1uyXzKY7GkkCb9wrZozozjAF";
        ["-----BEGIN ", "PRIVATE", " KEY-----\n", body, "\n", body, "\n-----END ", "PRIVATE", " KEY-----\n"].concat()
    }

    #[test]
    fn a_secret_anywhere_in_a_recipe_is_found_with_its_line_and_not_shown() {
        let token = ["gl", "pat-", "Zx8mQ2wErT5yUi9oPa3s"].concat();
        for (custom, part, line) in [
            (serde_json::json!({ "script": format!("set -e\n\ncurl -H 'X: {token}' x") }), Part::Script, 3),
            (serde_json::json!({ "script": "true", "args": { "TOKEN": token } }), Part::Argument("TOKEN".into()), 1),
            (serde_json::json!({ "script": "true", "args": { "DB_PASSWORD": "tr0ub4dor" } }), Part::Argument("DB_PASSWORD".into()), 1),
            (
                serde_json::json!({ "files": { "/etc/app.pem": { "content": format!("# key\n{}", key()) } } }),
                Part::File("/etc/app.pem".into()),
                2,
            ),
            (
                serde_json::json!({ "files": { "/root/.netrc": { "content": "machine x\n  login ann password tr0ub4dor\n" } } }),
                Part::File("/root/.netrc".into()),
                2,
            ),
            (serde_json::json!({ "allow_unsigned": ["http://ann:tr0ub4dor@mirror/debian"] }), Part::Address, 1),
        ] {
            let spec = spec(custom.clone());
            let found = recipe_secrets(&spec).unwrap();
            assert_eq!(found.len(), 1, "{custom}: {found:?}");
            assert_eq!((&found[0].part, found[0].line), (&part, line), "{custom}");
            let fault = refusal(&found, &|_| Some("afresh.hcl:12".into())).unwrap();
            assert_eq!(fault.code, "secret-in-recipe");
            let shown = format!("{} {}", fault.message, fault.hint.unwrap());
            assert!(shown.contains("afresh.hcl:12") && shown.contains("revoke") && shown.contains("secret \"NAME\""), "{shown}");
            for secret in [&token[6..], "tr0ub4dor", "MII7lC4"] {
                assert!(!shown.contains(secret), "{shown}");
            }
            // As it is in a base of another recipe.
            let text = serde_json::json!({ "name": "top", "debian": "bookworm", "packages": [], "base": &spec });
            assert_eq!(recipe_secrets(&serde_json::from_value(text).unwrap()).unwrap(), found);
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_let_through() {
        for custom in [
            serde_json::json!({ "script": "test -n \"$TOKEN\"\nexport PASSWORD_FILE=/run/secrets/db\n", "args": { "TOKEN_FILE": "/run/t", "JOBS": "4" } }),
            serde_json::json!({ "files": { "/etc/app.pem": { "content": "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n" } } }),
            serde_json::json!({ "files": { "/root/.netrc": { "content": "machine x login ann password ${PASSWORD}\n" } } }),
            serde_json::json!({ "files": { "/etc/redis/redis.conf": { "content": "bind 0.0.0.0\nprotected-mode no\n" } } }),
            serde_json::json!({ "allow_unsigned": ["http://mirror/debian"] }),
        ] {
            assert_eq!(recipe_secrets(&spec(custom.clone())).unwrap(), [], "{custom}");
        }
    }
}
