//! What two desired states of a service differ in, by the keys and values of the service file. Pure.

use crate::write::written;
use model::{ServiceFile, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};

/// One setting that differs. None: it is not in that file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct ChangedSetting {
    /// `count`, `rollout.within`, `env.MODE`, `volume.uploads.at`.
    pub key: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// By key. The services' names and the images' contents do not count.
pub fn changed_settings(from: &ServiceSpec, to: &ServiceSpec) -> Vec<ChangedSetting> {
    let (from, to) = (settings(from), settings(to));
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differing = keys.into_iter().filter(|key| from.get(*key) != to.get(*key));
    differing.map(|key| ChangedSetting { key: key.clone(), from: from.get(key).cloned(), to: to.get(key).cloned() }).collect()
}

/// Each key of the service's block, with the names of the blocks around it, and its value as text.
fn settings(spec: &ServiceSpec) -> BTreeMap<String, String> {
    let file = ServiceFile { services: [(spec.name.clone(), spec.clone())].into(), ..ServiceFile::default() };
    let mut all = BTreeMap::new();
    let mut around: Vec<String> = Vec::new();
    for line in written(&file).text().lines().map(str::trim) {
        if line == "}" {
            around.pop();
        } else if let Some(head) = line.strip_suffix('{').filter(|_| !line.contains(" = ") || line.ends_with("= {")) {
            // `volume "uploads"` and `env =`
            let words: Vec<&str> = head.split_whitespace().filter(|word| *word != "=").map(|word| word.trim_matches('"')).collect();
            around.push(words.join("."));
        } else if let Some((key, value)) = line.split_once(" = ") {
            // The outermost is the service itself.
            let mut path: Vec<&str> = around.iter().skip(1).map(String::as_str).collect();
            path.push(key.trim_matches('"'));
            all.insert(path.join("."), plain(value));
        }
    }
    all
}

/// `"60000ms"` as `"1m"`, `"268435456B"` as `"256MiB"`, `"1.0000%"` as `"1%"`.
fn plain(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let number = |unit: &str| inner?.strip_suffix(unit)?.parse::<u64>().ok();
    let unit = |number: u64, units: &[(&str, u64)], least: &str| {
        let whole = units.iter().find(|(_, size)| number > 0 && number.is_multiple_of(*size));
        whole.map_or_else(|| format!("\"{number}{least}\""), |(unit, size)| format!("\"{}{unit}\"", number / size))
    };
    if let Some(ms) = number("ms") {
        return unit(ms, &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)], "ms");
    }
    if let Some(bytes) = number("B") {
        return unit(bytes, &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)], "B");
    }
    if let Some(milli) = number("m").filter(|milli| milli.is_multiple_of(1_000)) {
        return (milli / 1_000).to_string();
    }
    match inner.and_then(|text| text.strip_suffix('%')) {
        Some(share) if share.contains('.') => format!("\"{}%\"", share.trim_end_matches('0').trim_end_matches('.')),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> ServiceSpec {
        let file = format!(
            "image \"base\" {{\n debian = \"bookworm\"\n packages = []\n }}\nsecret \"db\" {{ file = \"db\" }}\nservice \"web\" {{\n tier = \"web\"\n image = image.base\n run = [\"x\"]\n{text}\n}}\n"
        );
        crate::parse(&file, "afresh.hcl").unwrap().services.into_values().next().unwrap()
    }

    #[test]
    fn a_difference_speaks_the_words_of_the_file() {
        let from = service("count = 3\nport = 8080\nrollout { within = \"1m\" }\nenv { MODE = \"a = {\" OLD = 1 }");
        let to = service(
            "count = 4\nport = 8080\nrollout { within = \"90s\"  errors = \"2.5%\" }\nlimits { memory = \"1GiB\" cpu = 2 }\nenv { MODE = \"b\"  DB = secret.db }\nvolume \"up\" { source = \"/srv/up\"  at = \"/up\" }",
        );
        let told: Vec<String> = changed_settings(&from, &to)
            .into_iter()
            .map(|one| format!("{}: {} -> {}", one.key, one.from.as_deref().unwrap_or("none"), one.to.as_deref().unwrap_or("none")))
            .collect();
        assert_eq!(
            told,
            [
                "count: 3 -> 4",
                "env.DB: none -> secret.db",
                "env.MODE: \"a = {\" -> \"b\"",
                "env.OLD: \"1\" -> none",
                "limits.cpu: 1 -> 2",
                "limits.memory: \"256MiB\" -> \"1GiB\"",
                "rollout.errors: \"1%\" -> \"2.5%\"",
                "rollout.within: \"1m\" -> \"90s\"",
                "volume.up.at: none -> \"/up\"",
                "volume.up.read_only: none -> false",
                "volume.up.source: none -> \"/srv/up\"",
            ]
        );
        assert_eq!(changed_settings(&to, &to), []);
        let (plain, sick) = (service("count = 1"), service("count = 1\nhealth { exec = [\"a\", \"b {\"] }"));
        assert_eq!(changed_settings(&plain, &sick)[0].key, "health.exec");
    }
}
