//! `guard scan aws`: lines, exit codes and errors, against a server that answers the two calls of an account whose block is on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

/// Answers the caller's identity, and the block with its switches on or off; what else is asked is denied.
fn server(is_locked: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, answer) = match first.split(' ').nth(1).unwrap() {
                "/" if String::from_utf8_lossy(&body).contains("GetCallerIdentity") => {
                    let result = "<GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult>";
                    (200, format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"))
                }
                "/v20180820/configuration/publicAccessBlock" => {
                    let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
                    let switches: String = names.map(|name| format!("<{name}>{is_locked}</{name}>")).concat();
                    (200, format!("<PublicAccessBlockConfiguration>{switches}</PublicAccessBlockConfiguration>"))
                }
                _ => (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_string()),
            };
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    url
}

fn scan(args: &[&str], keys: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.args(["guard", "scan", "aws"]).args(args).env_clear().env("NO_COLOR", "1").env("AWS_EC2_METADATA_DISABLED", "true");
    if keys {
        command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    command.output().unwrap()
}

fn lines(out: &Output) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_locked_account_is_clean_by_two_calls() {
    let url = server(true);
    let out = scan(&["--endpoint", &url, "--only", "s3", "--json"], true);
    let lines = lines(&out);
    assert_eq!((out.status.code(), lines.len()), (Some(0), 2), "{out:?}");
    assert_eq!((lines[0]["type"].as_str(), lines[0]["verdict"].as_str()), (Some("s3_account"), Some("not_public")));
    assert_eq!((&lines[1]["calls"], &lines[1]["unknown"]), (&2.into(), &0.into()));
    let out = scan(&["--endpoint", &url, "--only", "s3"], true);
    assert!(
        String::from_utf8_lossy(&out.stdout).starts_with("nothing is exposed: 1 resource of account 123456789012, 2 calls in "),
        "{out:?}"
    );
}

#[test]
fn what_may_not_be_read_is_unknown_with_the_statement_that_would_let_it() {
    let url = server(false);
    let out = scan(&["--endpoint", &url, "--region", "eu-central-1", "--json"], true);
    let lines = lines(&out);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let of = |kind: &str| lines.iter().find(|l| l["type"] == kind).unwrap_or_else(|| panic!("{kind} in {lines:?}"));
    for (kind, action) in [
        ("s3_bucket", "s3:ListAllMyBuckets"),
        ("s3_access_point", "s3:ListAccessPoints"),
        ("ami", "ec2:DescribeImages"),
        ("rds_cluster_snapshot", "rds:DescribeDBClusterSnapshots"),
    ] {
        let line = of(kind);
        assert_eq!(line["verdict"], "unknown");
        let statement = format!("{{\"Action\":[\"{action}\"],\"Effect\":\"Allow\",\"Resource\":\"*\"}}");
        assert!(line["fix"].as_str().unwrap().contains(&statement), "{line}");
    }
    let keys: Vec<&String> = of("ami").as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 11, "{keys:?}");
    assert_eq!(lines.last().unwrap()["unknown"], 9);
}

#[test]
fn errors_are_neither_clean_nor_exposed() {
    for (args, keys, code) in [
        (&["--only", "s3"][..], false, "no-aws-credentials"),
        (&["--endpoint", "nowhere"], true, "bad-aws-config"),
        (&["--region", "eu/central"], true, "bad-aws-config"),
        (&["--endpoint", "http://127.0.0.1:1"], true, "aws-unreachable"),
    ] {
        let out = scan(args, keys);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(3), "{text}");
        assert!(text.starts_with(&format!("error[{code}]: ")), "{text}");
    }
    assert_eq!(scan(&["--only", "lambda"], true).status.code(), Some(3));
}
