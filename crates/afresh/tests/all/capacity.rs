//! `afresh capacity` as a script sees it. Nothing here needs root or a running control plane.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn afresh(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_afresh"))
        .arg("capacity")
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn batch_answers_every_line_in_order() {
    let mut input = String::new();
    for id in 0..60 {
        // Slow and quick ones, so that an answer could overtake another.
        let method = if id % 7 == 0 { "simulate" } else { "formula" };
        let patience = r#""patience":{"dist":"exp","mean":1}"#;
        let service = r#""service":{"dist":"exp","mean":1}"#;
        input += &format!(r#"{{"id":{id},"model":"erlang_a","c":2,"lambda":1,{service},{patience},"method":"{method}"}}"#);
        input += if id % 2 == 0 { "\n" } else { "\r\n\n" };
    }
    input += "no JSON";
    let out = afresh(&["predict", "--batch"], &input);
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8(out.stdout).unwrap();
    let answers: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 61);
    for (id, answer) in answers[..60].iter().enumerate() {
        assert_eq!(answer["id"], id, "{answer}");
        assert!((answer["p_abandon"]["value"].as_f64().unwrap() - 0.09).abs() < 0.03, "{answer}");
    }
    assert!(answers[60]["refused"].as_str().unwrap().contains("not JSON"));
}

#[test]
fn size_and_predict_agree_and_refuse_with_a_way_out() {
    let load = ["--rate", "240", "--service", "1s"];
    let size = |more: &[&str]| afresh(&[&["size", "--json"], &load[..], more].concat(), "");
    let found: serde_json::Value = serde_json::from_slice(&size(&["--slo", "p99 wait <= 500ms"]).stdout).unwrap();
    let servers = found["servers"].as_u64().unwrap();
    let wait = |servers: u64| {
        let out = afresh(&[&["predict", "--json", "--servers", &servers.to_string()], &load[..]].concat(), "");
        let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        answer["wait_p99"]["value"].as_f64().unwrap()
    };
    assert!(wait(servers) <= 0.5 && wait(servers - 1) > 0.5, "{found}");
    let zones: serde_json::Value = serde_json::from_slice(&size(&["--slo", "p99 wait <= 500ms", "--zones", "3"]).stdout).unwrap();
    assert!(zones["servers"].as_u64().unwrap() - zones["largest_zone"].as_u64().unwrap() >= servers, "{zones}");

    let out = size(&["--slo", "p99 <= 500ms"]);
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.starts_with("error[capacity-refused]: slo: ") && text.contains("\nhint: "), "{text}");
    assert_eq!(size(&["--slo", "fast"]).status.code(), Some(2));
}
