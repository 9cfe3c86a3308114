//! The secrets detector: its own samples, rules that must be refused, and look-alikes.

use crate::random::Random;
use guard::secrets::{Detector, Stream};

fn detector() -> Detector {
    Detector::built_in().unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn every_built_in_rule_holds_on_its_own_samples() {
    let detector = detector();
    assert!(detector.rules().len() >= 40, "{}", detector.rules().len());
    let mut ids: Vec<&str> = detector.rules().iter().map(|r| r.id.as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), detector.rules().len(), "an id is used twice, or the file is not sorted");
    assert!(ids.is_sorted());
    for rule in detector.rules() {
        assert!(rule.source.starts_with("https://"), "{}", rule.id);
        // A failing sample is found by its own rule and by no other: one secret, one finding.
        for sample in &rule.fail {
            let found: Vec<String> = detector.scan(sample.as_bytes()).into_iter().map(|l| l.rule).collect();
            assert_eq!(found, [rule.id.as_str()]);
        }
        for sample in &rule.pass {
            assert!(detector.scan(sample.as_bytes()).is_empty(), "{}: {:?}", rule.id, detector.scan(sample.as_bytes()));
        }
    }
}

fn refused(rule: &str) -> String {
    let head = r#"[[rule]]
id = "r"
title = "t"
source = "https://example.org"
keywords = ["tok_"]
pattern = '(tok_[0-9a-z]{12})'
fix = "f"
"#;
    Detector::load(&format!("{head}{rule}")).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_rule_without_both_samples_or_against_them_is_refused() {
    let good = r#"["tok_", "q8w7e6r5t4y3"]"#;
    let poor = r#"["tok_", "short"]"#;
    assert!(refused(&format!("pass = [{poor}]")).contains("needs a failing and a passing sample"));
    assert!(refused(&format!("fail = [{good}]")).contains("needs a failing and a passing sample"));
    assert!(refused(&format!("fail = [{poor}]\npass = [{poor}]")).contains("does not find its failing sample 1"));
    assert!(refused(&format!("fail = [{good}]\npass = [{good}]")).contains("finds its passing sample 1"));
    assert!(refused(&format!("fail = [{good}]\npass = [{poor}]\nlevel = 3")).contains("unknown field"));
}

#[test]
fn places_and_fingerprints() {
    let detector = detector();
    let rule = detector.rules().iter().find(|r| r.id == "github-token").unwrap();
    let secret = &rule.fail[0];
    let first = format!("a\nb {secret}\n\0\u{1}binary {secret}\n");
    let found = detector.scan(first.as_bytes());
    assert_eq!(found.iter().map(|l| l.line).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(found[0].fingerprint, found[1].fingerprint);
    assert_ne!(found[0].fingerprint, detector.scan(rule.fail[1].as_bytes())[0].fingerprint);
    assert_eq!(found[0].shown, "ghp_… (40 characters)");
    let body = secret.split('_').nth(1).unwrap();
    assert!(!format!("{found:?}").contains(&body[..8]), "the secret is repeated in the finding");
}

#[test]
fn look_alikes_are_left_alone() {
    let hex = "3f786850e387550fdab836ed7e6dc881de23001b";
    for text in [
        format!("commit {hex}"),
        format!("sha256:{hex}{}", &hex[..24]),
        "uuid = 123e4567-e89b-12d3-a456-426614174000".into(),
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----".into(),
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n".into(),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq1l0v8m5kQx7mYp3bJ9m4Y8dHn2c5r user@host".into(),
        "integrity sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==".into(),
        "password = \"hunter2\"".into(),
        "token = \"${GITHUB_TOKEN}\"".into(),
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE".into(),
        "description: use ghp_ tokens, or github_pat_ tokens".into(),
        "cioabcdef capsule; species dapifer; npm_config_cache=/tmp/npm; hf_hub_download(repo)".into(),
        "const AKIA = 'ASIA';".into(),
    ] {
        assert!(detector().scan(text.as_bytes()).is_empty(), "{text}");
    }
}

/// The same secrets at the same places, in whatever pieces they come: at every distance from the ends of the blocks.
#[test]
fn a_stream_finds_what_the_whole_has() {
    let detector = detector();
    let samples: Vec<&String> = detector.rules().iter().flat_map(|r| &r.fail).collect();
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut whole = Vec::new();
        while whole.len() < 3 << 20 {
            whole.extend((0..random.below(8000)).map(|_| *random.pick(b"abc \n\0{}=")));
            whole.extend_from_slice(random.pick(&samples).as_bytes());
            whole.push(b'\n');
        }
        let expected = detector.scan(&whole);
        assert!((500..1000).contains(&expected.len()), "{}", expected.len());
        let (mut stream, mut rest) = (Stream::new(&detector), whole.as_slice());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(if seed < 3 { 5000 } else { 2 << 20 }) as usize));
            stream.push(piece);
            rest = after;
        }
        assert_eq!(stream.finish(), expected, "seed {seed}");
    }
    // A hole is no part of a secret, and moves what lies behind it.
    let secret = &detector.rules().iter().find(|r| r.id == "github-token").unwrap().fail[0];
    let mut stream = Stream::new(&detector);
    stream.push(&secret.as_bytes()[..20]);
    stream.gap(1000);
    stream.push(&secret.as_bytes()[20..]);
    stream.gap(1000);
    stream.push(format!("\n{secret}").as_bytes());
    let found = stream.finish();
    assert_eq!(
        found.iter().map(|l| (l.offset, l.line)).collect::<Vec<_>>(),
        [(secret.len() + 2001 + detector.scan(secret.as_bytes())[0].offset, 2)]
    );
}
