//! What a release differs in from the one before it, for who is to agree to it. Pure.

use config::ChangedSetting;
use model::{Digest, Release, ServiceSpec, TierName};
use std::collections::BTreeSet;

/// Longer values say only that they differ.
const VALUE_CHARS_MAX: usize = 60;
/// Of settings; a file that is written again differs in everything.
const SETTINGS_MAX: usize = 20;

/// One line each: image, code, and each setting by its path. Versions of secrets are the control plane's to report.
pub fn difference(from: &Release, to: &Release) -> Vec<String> {
    let mut lines = Vec::new();
    if (&from.image_name, &from.image) != (&to.image_name, &to.image) {
        lines.push(format!("image: {} {} -> {} {}", from.image_name, from.image.short(), to.image_name, to.image.short()));
    }
    if from.artifact != to.artifact {
        let short = |code: &Option<Digest>| code.as_ref().map_or_else(|| "none".to_string(), |digest| digest.short().to_string());
        lines.push(format!("code: {} -> {}", short(&from.artifact), short(&to.artifact)));
    }
    let (image_from, image_to) = (from.container.as_ref(), to.container.as_ref());
    let mut settings: Vec<String> = changed(from, to).iter().map(line).collect();
    let workdir = |one: Option<&model::FromContainer>| one.and_then(|one| one.workdir.clone());
    if workdir(image_from) != workdir(image_to) {
        settings.push(line(&ChangedSetting {
            key: "the image's working directory".to_string(),
            from: workdir(image_from).map(|dir| format!("{dir:?}")),
            to: workdir(image_to).map(|dir| format!("{dir:?}")),
        }));
    }
    let env = |one: Option<&model::FromContainer>| one.map(|one| one.env.clone()).unwrap_or_default();
    let (env_from, env_to) = (env(image_from), env(image_to));
    let names: BTreeSet<&String> = env_from.keys().chain(env_to.keys()).filter(|name| env_from.get(*name) != env_to.get(*name)).collect();
    if !names.is_empty() {
        let names = names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        settings.push(format!("the image's own variables differ: {}", model::text::shown(&names, VALUE_CHARS_MAX * 2)));
    }
    let more = settings.len().saturating_sub(SETTINGS_MAX);
    lines.extend(settings.into_iter().take(SETTINGS_MAX));
    if more > 0 {
        lines.push(format!("and {more} more settings"));
    }
    lines
}

/// By the keys of the service file, with what each has in the end, from the file or from the image. Versions of secrets are no setting.
fn changed(from: &Release, to: &Release) -> Vec<ChangedSetting> {
    let blank = blank(to);
    let mut all = config::changed_settings(&from.settings(&blank), &to.settings(&blank));
    all.retain(|one| one.key != "image");
    all
}

/// What no release has: the same on both sides.
fn blank(release: &Release) -> ServiceSpec {
    ServiceSpec {
        name: release.service.clone(),
        tier: TierName::new("any").expect("it is a good name"),
        image: release.image_name.clone(),
        recipe: None,
        artifact: None,
        run: Vec::new(),
        env: Default::default(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: None,
        count: 0,
        health: Default::default(),
        drain: Default::default(),
        limits: Default::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Default::default(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Default::default(),
        from_image: Default::default(),
    }
}

fn line(one: &ChangedSetting) -> String {
    let shown = |value: &Option<String>| {
        let text = value.clone().unwrap_or_else(|| "none".to_string());
        (text.chars().count() <= VALUE_CHARS_MAX).then_some(text)
    };
    match (shown(&one.from), shown(&one.to)) {
        (Some(from), Some(to)) => format!("{}: {from} -> {to}", one.key),
        _ => format!("{}: changed", one.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let text = "image \"base\" { debian = \"bookworm\"  packages = [\"python3\"] }\nservice \"web\" {\n  tier = \"web\"\n  count = 1\n  image = image.base\n  run = [\"x\"]\n}\n";
        let file = config::parse(text, "afresh.hcl").unwrap();
        let spec = file.services.values().next().unwrap();
        Release { number: 4, ..Release::of(spec, Digest::of(b"image"), Some(Digest::of(b"code"))) }
    }

    #[test]
    fn each_difference_is_one_line_and_what_is_equal_is_none() {
        let from = release();
        assert_eq!(difference(&from, &Release { number: 5, ..from.clone() }), Vec::<String>::new());
        let mut to = Release { number: 5, ..from.clone() };
        to.artifact = Some(Digest::of(b"other code"));
        to.env.insert("GREETING".into(), "hello".into());
        to.health.timeout_ms += 1;
        let lines = difference(&from, &to);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("code: ") && lines[0].ends_with(Digest::of(b"other code").short()));
        assert_eq!(lines[1], "env.GREETING: none -> \"hello\"");
        assert_eq!(lines[2], "health.timeout: \"1s\" -> \"1001ms\"");
        to.env.insert("LONG".into(), "x".repeat(100));
        assert!(difference(&from, &to).contains(&"env.LONG: changed".to_string()));
        // Settings that only an image has are named as the image's.
        let said = |name: &str| model::FromContainer {
            env: [(name.to_string(), "1".to_string())].into(),
            workdir: Some("/srv".to_string()),
            left: [model::LeftToImage::Run].into(),
        };
        let mut to = Release { number: 5, container: Some(said("B")), ..from.clone() };
        to.run = vec!["y".to_string()];
        let from = Release { container: Some(model::FromContainer { workdir: None, left: Default::default(), ..said("A") }), ..from };
        assert_eq!(
            difference(&from, &to),
            ["run: [\"x\"] -> [\"y\"]", "the image's working directory: none -> \"/srv\"", "the image's own variables differ: A, B"]
        );
    }
}
