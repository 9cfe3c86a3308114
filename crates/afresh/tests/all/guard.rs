//! `afresh guard` as pipelines call it: exit codes, the form of each format, and a waiver from its first day on.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn guard(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    let data = dir.join("no-data");
    command.current_dir(dir).arg("guard").args(args).env("AFRESH_DATA_DIR", data).env("NO_COLOR", "1").output().unwrap()
}

fn text(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn objects(out: &Output) -> Vec<Value> {
    text(out).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SERVICE: &str = "image \"base\" { debian = \"bookworm\"  packages = [\"python3\"]  max_age = \"7d\" }\nservice \"web\" {\n  tier = \"web\"\n  \
                       count = 1\n  image = image.base\n  run = [\"x\"]\n  user = \"65534\"\n  network { egress = [\"db.example.org:5432\"] }\n}\n";

fn write(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn a_root_is_clean_exposed_or_unknown() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "root/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    let scan = |args: &[&str]| guard(dir.path(), &[&["scan", "root", "root"], args].concat());
    let clean = scan(&["--json"]);
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean));
    let last = objects(&clean).remove(0);
    assert_eq!((last["calls"].as_u64(), last["unknown"].as_u64(), last["seconds"].is_number()), (Some(0), Some(0), true));
    // Nothing says which packages an RPM system has: whether one owns the program is not known.
    write(dir.path(), "root/var/lib/rpm/rpmdb.sqlite", "");
    write(dir.path(), "root/opt/helper", "x");
    std::fs::set_permissions(dir.path().join("root/opt/helper"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let unknown = scan(&["--json"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    let found = objects(&unknown);
    assert_eq!((found[0]["verdict"].as_str(), found[1]["unknown"].as_u64()), (Some("unknown"), Some(1)));
    assert!(!found[0]["fix"].as_str().unwrap().is_empty());
    write(dir.path(), "root/root/.pgpass", "db:5432:shop:app:tr0ub4dor\n");
    let exposed = scan(&["--json"]);
    assert_eq!(exposed.status.code(), Some(1));
    let found = objects(&exposed);
    let line = found.iter().find(|f| f["id"] == "/root/.pgpass").unwrap();
    for (key, value) in [
        ("type", "file"),
        ("verdict", "public"),
        ("via", "credentials"),
        ("documented", "public"),
        ("effective", "public"),
        ("cross_account", "none"),
        ("severity", "critical"),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(line["why"].as_str().unwrap().contains("PostgreSQL") && line["fix"].as_str().unwrap().contains("remove"));
    let table = text(&scan(&[]));
    assert!(table.starts_with("critical  /root/.pgpass  credentials\n") && table.contains("1 exposed, 1 unknown: "), "{table}");
    // As a host's, its own file is its own.
    write(dir.path(), "host/root/.pgpass", "db:5432:shop:app:tr0ub4dor\n");
    std::fs::set_permissions(dir.path().join("host/root/.pgpass"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(guard(dir.path(), &["scan", "root", "host", "--as", "host"]).status.code(), Some(0));
    for args in [&["scan", "root", "nothing-there"][..], &["scan", "root", "root/etc/passwd"], &["scan", "root"], &["check", "none.json"]] {
        let out = guard(dir.path(), args);
        assert_eq!(out.status.code(), Some(3), "{args:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("rror"), "{args:?}");
    }
    assert_eq!(guard(dir.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn a_service_file_is_checked_by_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, args: &[&str]| {
        write(dir.path(), "afresh.hcl", text);
        guard(dir.path(), &[&["check"], args].concat())
    };
    let clean = check(SERVICE, &["--json"]);
    assert_eq!((clean.status.code(), objects(&clean).len()), (Some(0), 1), "{}", text(&clean));
    let rules = |service: &str| -> Vec<String> {
        let out = check(service, &["--json"]);
        objects(&out).iter().filter_map(|o| o["rule"].as_str().map(str::to_string)).collect()
    };
    let token = ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat();
    for (from, to, rule) in [
        ("egress = [\"db.example.org:5432\"]", "egress = \"any\"", "egress-is-named"),
        ("user = \"65534\"", "user = \"0\"", "not-root"),
        ("run = [\"x\"]", &format!("run = [\"x\"]\n  env {{ TOOL = \"{token}\" }}"), "no-secret-in-env"),
        ("run = [\"x\"]", "run = [\"x\"]\n  env { DATABASE_URL = \"postgres://shop:tr0ub4dor@db/shop\" }", "no-secret-in-env"),
        ("run = [\"x\"]", "run = [\"x\"]\n  port = 80\n  route { listen = \"0.0.0.0:80\" }", "listens-on-named-addresses"),
        ("run = [\"x\"]", "run = [\"x\"]\n  artifact = \"oci://r.example.org/shop/code:1.4\"", "artifact-is-signed"),
    ] {
        assert_eq!(rules(&SERVICE.replace(from, to)), [rule], "{to}");
    }
    // A recipe with a secret is refused, with the line to remove; nothing lifts that.
    let secret = format!("max_age = \"7d\"\n  file \"/etc/app.conf\" {{\n    content = \"token = {token}\"\n  }}\n");
    let out = check(&SERVICE.replace("max_age = \"7d\"", &secret), &[]);
    let told = text(&out);
    assert_eq!(out.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&out.stderr));
    assert!(told.contains("no-secret-in-image") && told.contains("afresh.hcl:3 (GitHub token)") && told.contains("no waiver"), "{told}");
    assert!(!told.contains(&token[10..20]), "the secret is shown");
    // What the image says is not known here.
    let container = SERVICE.replace("debian = \"bookworm\"  packages = [\"python3\"]", "oci = \"r.example.org/shop/app:1.4\"");
    let out = check(&container.replace("  user = \"65534\"\n", ""), &[]);
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out), String::from_utf8_lossy(&out.stderr));
    assert!(text(&out).contains("warning") && text(&out).contains("user is not known"), "{}", text(&out));
    // A rule that denies cannot tell: that is its own exit code.
    let built_in = text(&guard(dir.path(), &["rules", "--text"]));
    write(dir.path(), "strict.toml", &built_in.replace("enforcement = \"warn\"", "enforcement = \"deny\""));
    assert_eq!(check(&container.replace("  user = \"65534\"\n", ""), &["--rules", "strict.toml"]).status.code(), Some(2));
}

/// The story of a waiver: the denied check says how to ask for one, and with it the check passes.
#[test]
fn what_is_denied_can_be_waived_as_the_check_says() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "afresh.hcl", &SERVICE.replace("run = [\"x\"]", "run = [\"x\"]\n  env { DB_PASSWORD = \"tr0ub4dor\" }"));
    let denied = guard(dir.path(), &["check", "--json"]);
    assert_eq!(denied.status.code(), Some(1));
    let hint = objects(&denied)[0]["hint"].as_str().unwrap().to_string();
    let command = hint.split('`').nth(1).unwrap().strip_prefix("afresh guard ").unwrap().to_string();
    let named = ["--owner", "ann@example.org", "--ticket", "OPS-17", "--days", "14"];
    let mut args: Vec<&str> = command.split_whitespace().chain(named).collect();
    let refused = guard(dir.path(), &args);
    assert!(refused.status.code() == Some(3) && String::from_utf8_lossy(&refused.stderr).contains("needs a reason"));
    args.extend(["--reason", "port 80 until \"the\" new image"]);
    assert_eq!(guard(dir.path(), &args).status.code(), Some(0));
    let waived = guard(dir.path(), &["check", "--format", "sarif"]);
    assert_eq!(waived.status.code(), Some(0));
    let sarif: Value = serde_json::from_str(&text(&waived)).unwrap();
    let why = &sarif["runs"][0]["results"][0]["suppressions"][0]["justification"];
    assert_eq!(why, "waived by ann@example.org: port 80 until \"the\" new image");
    let list = text(&guard(dir.path(), &["waivers"]));
    assert!(list.contains("in 1") && list.contains("no-secret-in-env") && list.contains("OPS-17"), "{list}");
    // Changed evidence is another exposure.
    let other = SERVICE.replace("\"web\" {", "\"shop\" {").replace("run = [\"x\"]", "run = [\"x\"]\n  env { DB_PASSWORD = \"tr0ub4dor\" }");
    write(dir.path(), "afresh.hcl", &other);
    assert_eq!(guard(dir.path(), &["check"]).status.code(), Some(1));
    // One that is not whole waives nothing.
    write(dir.path(), "waivers.toml", "[[waiver]]\nrule = \"not-root\"\n");
    assert_eq!(guard(dir.path(), &["check"]).status.code(), Some(3));
}

#[test]
fn a_plan_of_terraform_is_checked_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let policy = r#"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::data/*\"}]}"#;
    let change = |kind: &str, after: &str| {
        format!(
            r#"{{"address":"{kind}.data","type":"{kind}","mode":"managed","change":{{"actions":["create"],"after":{after},"after_unknown":{{}}}}}}"#
        )
    };
    let plan = |block: &str| {
        let all = [
            change("aws_s3_bucket", r#"{"bucket":"data"}"#),
            change("aws_s3_bucket_policy", &format!(r#"{{"bucket":"data","policy":"{policy}"}}"#)),
            change("aws_s3_bucket_public_access_block", &format!(r#"{{"bucket":"data",{block}}}"#)),
        ];
        format!(r#"{{"format_version":"1.2","resource_changes":[{}],"configuration":{{}}}}"#, all.join(","))
    };
    let switches = |on: bool| {
        ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"]
            .map(|s| format!("\"{s}\":{on}"))
            .join(",")
    };
    write(dir.path(), "plan.json", &plan(&switches(false)));
    write(dir.path(), "closed.json", &plan(&switches(true)));
    write(dir.path(), "other.json", "{}");
    assert_eq!(guard(dir.path(), &["check", "closed.json"]).status.code(), Some(0));
    assert_eq!(guard(dir.path(), &["check", "other.json"]).status.code(), Some(3));
    let table = guard(dir.path(), &["check", "plan.json"]);
    let told = text(&table);
    assert_eq!(table.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&table.stderr));
    assert!(told.starts_with("denied    s3_bucket aws_s3_bucket.data  critical  data-is-not-public\n"), "{told}");
    for part in ["strangers get in", "fix: ", "afresh guard waive data-is-not-public", "1 denied, 0 unknown: 1 resource"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let of = |format: &str| text(&guard(dir.path(), &["check", "plan.json", "--format", format]));
    assert_eq!(of("json").lines().count(), 2);
    assert!(of("sarif").contains("\"version\":\"2.1.0\"") && of("ocsf").contains("\"class_uid\":2003"));
    assert!(of("junit").starts_with("<?xml") && of("junit").contains("failures=\"1\""));
    // What no rule is about is not taken for clean in silence.
    let queue = change("aws_sqs_queue_policy", r#"{"policy":"{}"}"#);
    write(dir.path(), "queue.json", &format!(r#"{{"format_version":"1.2","resource_changes":[{queue}],"configuration":{{}}}}"#));
    let told = text(&guard(dir.path(), &["check", "queue.json"]));
    assert!(told.contains("not judged: 1 resource of kinds that can let others in: aws_sqs_queue_policy (1)"), "{told}");
    let counted = objects(&guard(dir.path(), &["check", "queue.json", "--json"]));
    assert_eq!(counted[0]["not_judged"][0]["kind"], "aws_sqs_queue_policy");
    let aside = guard(dir.path(), &["check", "queue.json", "--format", "sarif"]);
    assert!(String::from_utf8_lossy(&aside.stderr).contains("aws_sqs_queue_policy"));
}

#[test]
fn rules_are_listed_with_samples_and_own_rules_are_held_to_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let listed = text(&guard(dir.path(), &["rules"]));
    assert!(listed.lines().next().unwrap().starts_with("RULE"), "{listed}");
    let row: Vec<&str> = listed.lines().find(|line| line.starts_with("no-secret-in-image")).unwrap().split_whitespace().collect();
    assert_eq!(row[1..3], ["hard", "critical"], "{listed}");
    assert!(listed.contains("egress = [\"any\"]"), "{listed}");
    let own = text(&guard(dir.path(), &["rules", "--text"]));
    write(dir.path(), "own.toml", &own);
    assert_eq!(text(&guard(dir.path(), &["rules", "--rules", "own.toml"])), listed);
    write(dir.path(), "own.toml", &own.replace("fail = [{ user = \"root\" }, { user = 0 }]", "fail = [{ user = \"app\" }]"));
    let refused = guard(dir.path(), &["rules", "--rules", "own.toml"]);
    assert!(refused.status.code() == Some(3) && String::from_utf8_lossy(&refused.stderr).contains("not-root"));
    for (rule, part) in [("not-root", "set an unprivileged user"), ("github-token", "its issuer documents")] {
        assert!(text(&guard(dir.path(), &["explain", rule])).contains(part), "{rule}");
    }
    assert_eq!(guard(dir.path(), &["explain", "no-such"]).status.code(), Some(3));
}
