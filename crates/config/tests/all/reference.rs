//! REFERENCE.md has every key that the decoder knows and no other, and its defaults are the real ones.

use std::collections::BTreeMap;

/// Rows by section: key, unit, default.
fn rows() -> BTreeMap<&'static str, Vec<[&'static str; 3]>> {
    let mut sections: BTreeMap<&str, Vec<[&str; 3]>> = BTreeMap::new();
    for part in include_str!("../../REFERENCE.md").split("\n## ").skip(1) {
        let (title, body) = part.split_once('\n').unwrap();
        let rows = body.lines().filter(|line| line.starts_with("| `")).map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{title}: {line}");
            [cells[0].trim_matches('`'), cells[1], cells[2]]
        });
        assert!(sections.insert(title, rows.collect()).is_none(), "{title} twice");
    }
    sections
}

#[test]
fn every_key_is_explained_and_in_the_same_order() {
    let rows = rows();
    assert_eq!(rows.len(), config::SHAPES.len() + config::POLICY_SHAPES.len());
    for shape in config::SHAPES.iter().chain(config::POLICY_SHAPES) {
        let known: Vec<&str> = shape.keys.iter().map(|key| key.name).collect();
        let told: Vec<&str> =
            rows.get(shape.block).unwrap_or_else(|| panic!("no section on {}", shape.block)).iter().map(|r| r[0]).collect();
        assert_eq!(told, known, "{}", shape.block);
    }
}

fn with_registry(key: &str) -> model::ServiceFile {
    let text = format!("image \"i\" {{ oci = \"r.example/a\"\nregistry {{ {key} }} }}");
    config::parse(&text, "x").unwrap_or_else(|all| panic!("{}", config::render(&all, &text, "x", false)))
}

#[test]
fn defaults_are_as_told() {
    let with = |block: &str, key: &str| {
        let inner = match block {
            "service" => key.to_string(),
            "volume" => format!("volume \"v\" {{ source = \"/srv/v\" at = \"/v\"\n{key} }}"),
            "rollout of a service" => format!("rollout {{ {key} }}"),
            "job" => format!("job \"j\" {{ schedule = \"daily\" run = [\"x\"]\n{key} }}"),
            "image" | "check of an image" | "user of an image" | "file of an image" => String::new(),
            "registry of an image" => return with_registry(key),
            _ => format!("{block} {{ {key} }}"),
        };
        let listen = if block == "route" && !key.contains("listen") { inner.replace('{', "{ listen = \":1\" ") } else { inner };
        let of_image = match block {
            "image" => key.to_string(),
            "check of an image" => format!("check \"c\" {{ run = [\"x\"]\n{key} }}"),
            "user of an image" => format!("user \"u\" {{ uid = 100\n{key} }}"),
            "file of an image" => format!("file \"/f\" {{ content = \"\"\n{key} }}"),
            _ => String::new(),
        };
        let text = format!(
            "image \"i\" {{ debian = \"sid\" packages = []\n{of_image} }}\nservice \"s\" {{ tier = \"t\" image = image.i run = [\"x\"] count = 9 port = 1\n{listen} }}"
        );
        config::parse(&text, "x").unwrap_or_else(|all| panic!("{}", config::render(&all, &text, "x", false)))
    };
    let mut seen = 0;
    for (block, rows) in rows().into_iter().filter(|(block, _)| !block.contains("host policy")) {
        for [key, _, default] in rows {
            let Some(value) = default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) else {
                assert!(["*none*", "*required*"].contains(&default), "{block}.{key}: {default}");
                continue;
            };
            assert_eq!(with(block, &format!("{key} = {value}")), with(block, ""), "{block}.{key}");
            seen += 1;
        }
    }
    assert_eq!(seen, 38);
}

#[test]
fn defaults_of_the_host_policy_are_as_told() {
    let read = |text: &str| config::parse_policy(text, "x").unwrap_or_else(|all| panic!("{}", config::render(&all, text, "x", false)));
    let mut seen = 0;
    for (block, rows) in rows().into_iter().filter(|(block, _)| block.contains("host policy")) {
        for [key, _, default] in rows {
            let Some(value) = default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) else { continue };
            let within = |inner: &str| match block {
                "the host policy" => inner.to_string(),
                "volume of the host policy" => format!("volume \"/srv/v\" {{ services = [\"web\"]\n{inner} }}"),
                "registry of the host policy" => format!("registry \"r.example\" {{ {inner} }}"),
                "most of the host policy" => format!("most {{ {inner} }}"),
                _ => format!("socket = \"/s\"\npeer \"p\" {{ uid = 1 role = \"read\"\n{inner} }}"),
            };
            assert_eq!(read(&within(&format!("{key} = {value}"))), read(&within("")), "{block}.{key}");
            seen += 1;
        }
    }
    assert_eq!(seen, 19);
    assert_eq!(read(""), model::access::HostPolicy::default());
}

#[test]
fn what_is_required_is_missed() {
    for (block, rows) in rows().into_iter().filter(|(block, _)| !block.contains("host policy")) {
        let required: Vec<&str> = rows.iter().filter(|r| r[2] == "*required*").map(|r| r[0]).collect();
        let text = match block {
            "the file"
            | "health"
            | "drain"
            | "limits"
            | "network"
            | "check of an image"
            | "rollout of a service"
            | "secret"
            | "registry of an image" => {
                assert!(required.is_empty(), "{block}");
                continue;
            }
            "image" => "image \"a\" {}".to_string(),
            "user of an image" => "image \"a\" { user \"u\" {} }".to_string(),
            "file of an image" => "image \"a\" { file \"/f\" {} }".to_string(),
            "service" => "service \"a\" {}".to_string(),
            "volume" => "service \"a\" { volume \"a\" {} }".to_string(),
            "check" | "job" => format!("service \"a\" {{ {block} \"a\" {{}} }}"),
            "moved" => "moved {}".to_string(),
            "rollout of the file" => "rollout {}".to_string(),
            other => format!("service \"a\" {{ {other} {{}} }}"),
        };
        let all = config::parse(&text, "x").unwrap_err();
        let missed: Vec<&str> = all.iter().filter(|e| e.code == "missing-key").map(|e| e.message.split('`').nth(1).unwrap()).collect();
        assert!(required.iter().all(|key| missed.contains(key)), "{block}: {missed:?}");
        if block == "service" || block == "image" {
            assert_eq!(missed, required, "{block}");
        }
    }
}
