//! `predict --batch` on lines of every kind: an answer or a refusal with its place, never a panic, always JSON.

use capacity::predict::{Limits, predict_batch_line_within};
use proptest::prelude::*;
use serde_json::{Value, json};

fn ask(line: &str) -> Value {
    serde_json::from_str(&predict_batch_line_within(line, Limits { most_arrivals: 20_000 })).unwrap()
}

/// What is asked, where it is at fault, and a part of the reason.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("", "column 1", "not JSON"),
    ("{", "column 2", "not JSON"),
    ("[1]", "line", "a list"),
    (r#"{"model":"mmc","c":2,"lambda":NaN,"service":{"mean":1}}"#, "column 31", "not JSON"),
    (r#"{"model":"mmc","c":2,"lambda":1e999,"service":{"mean":1}}"#, "column 31", "out of range"),
    (r#"{"model":"mm1","c":2}"#, "model", "unknown model"),
    (r#"{"c":2}"#, "model", "missing"),
    (r#"{"model":"mmc","c":2,"lamda":1}"#, "lamda", "unknown field"),
    (r#"{"model":"mmc","c":2,"c":3,"lambda":1,"service":{"mean":1}}"#, "c", "twice"),
    (r#"{"model":"mmc","c":0,"lambda":1,"service":{"mean":1}}"#, "c", "not within"),
    (r#"{"model":"mmc","c":2.5,"lambda":1,"service":{"mean":1}}"#, "c", "not whole"),
    (r#"{"model":"mmc","c":1e30,"lambda":1,"service":{"mean":1}}"#, "c", "not within"),
    (r#"{"model":"mmc","c":"2","lambda":1,"service":{"mean":1}}"#, "c", "text"),
    (r#"{"model":"mmc","c":2,"lambda":-1,"service":{"mean":1}}"#, "lambda", "not within"),
    (r#"{"model":"mmc","c":2,"service":{"mean":1}}"#, "lambda", "missing"),
    (r#"{"model":"mmc","c":2,"lambda":1}"#, "service", "missing"),
    (r#"{"model":"mmc","c":2,"lambda":2,"service":{"mean":1}}"#, "lambda", "overloaded"),
    (r#"{"model":"mmc","c":2,"lambda":1,"service":{"dist":"det","mean":1}}"#, "service.dist", "exponential"),
    (r#"{"model":"mmc","c":2,"lambda":1,"service":{"mean":1},"patience":{"dist":"exp","mean":1}}"#, "patience", "does not use"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"gamma","mean":1}}"#, "service.scv", "needs its SCV"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"h2","mean":1,"scv":0.5}}"#, "service.scv", "covers 1"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"exp","mean":1,"scv":2}}"#, "service.scv", "always 1"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"weibull","mean":1}}"#, "service.dist", "unknown distribution"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"exp","mean":0}}"#, "service.mean", "not within"),
    (r#"{"model":"mgc","c":2,"lambda":1,"service":{"dist":"exp","mean":1},"arrival":{"dist":"gamma","scv":2}}"#, "arrival.dist", "Poisson"),
    (r#"{"model":"ggc","c":2,"lambda":1,"service":{"dist":"exp","mean":1}}"#, "arrival", "missing"),
    (
        r#"{"model":"ggc","c":2,"lambda":1,"service":{"dist":"exp","mean":1},"arrival":{"dist":"gamma","scv":2},"method":"formula"}"#,
        "lambda",
        "trustworthy from 0.8",
    ),
    (
        r#"{"model":"batch","c":2,"lambda":1,"service":{"dist":"exp","mean":1},"arrival":{"dist":"batch_fixed","batch_mean":1.5}}"#,
        "arrival.batch_mean",
        "not whole",
    ),
    (r#"{"model":"mmpp","c":2,"service":{"dist":"exp","mean":1},"arrival":{"dist":"mmpp","rate_high":1}}"#, "arrival.rate_low", "missing"),
    (
        r#"{"model":"mmpp","c":2,"lambda":9,"service":{"dist":"exp","mean":1},"arrival":{"dist":"mmpp","rate_high":2,"rate_low":1,"high_to_low":1,"low_to_high":1}}"#,
        "lambda",
        "the rates of arrival give",
    ),
    (r#"{"model":"erlang_a","c":2,"lambda":1,"service":{"dist":"exp","mean":1}}"#, "patience", "missing"),
    (
        r#"{"model":"erlang_a","c":2,"lambda":1,"service":{"dist":"det","mean":1},"patience":{"dist":"exp","mean":1},"method":"formula"}"#,
        "patience.dist",
        "exponential service and patience",
    ),
    (r#"{"model":"setup","c":2,"lambda":1,"service":{"dist":"exp","mean":1}}"#, "setup", "missing"),
    (
        r#"{"model":"setup","c":2,"lambda":1,"service":{"dist":"exp","mean":1},"setup":{"dist":"exp","mean":1},"method":"formula"}"#,
        "model setup",
        "no formula",
    ),
    (r#"{"model":"preemptive","c":2,"incident":{"lambda":1,"mean":1}}"#, "planned", "missing"),
    (r#"{"model":"preemptive","c":2,"incident":{"lambda":1,"mean":1},"planned":{"lambda":1,"mean":1}}"#, "planned.lambda", "overloaded"),
    (r#"{"model":"step","c":2,"lambda":1,"service":{"dist":"exp","mean":1}}"#, "lambda_peak", "missing"),
    (r#"{"model":"step","c":2,"lambda":1,"lambda_peak":5,"delay":3,"service":{"dist":"exp","mean":1}}"#, "c_after", "overloaded"),
    (r#"{"model":"zone_loss","c":30,"c_after":20,"lambda":25,"service":{"dist":"exp","mean":1}}"#, "c_after", "overloaded"),
    (r#"{"model":"rotation","c":3,"batch":3,"lambda":1,"service":{"dist":"exp","mean":1}}"#, "batch", "no server is left"),
    (r#"{"model":"mmc","c":2,"lambda":1,"service":{"mean":1},"method":"guess"}"#, "method", "unknown method"),
];

#[test]
fn every_refusal_names_its_place_and_a_way_out() {
    for (line, place, reason) in REFUSALS {
        let answer = ask(line);
        let refused = answer["refused"].as_str().unwrap_or_else(|| panic!("{line} is answered: {answer}"));
        println!("{line}\n    {refused} ({})", answer["hint"].as_str().unwrap());
        assert_eq!(answer["place"], *place, "{line}: {answer}");
        assert!(refused.contains(reason), "{line}: {answer}");
        assert!(!answer["hint"].as_str().unwrap().is_empty());
        assert!(answer.get("wait_mean").is_none());
    }
}

#[test]
fn an_id_is_repeated_and_null_is_absent() {
    let answer = ask(r#"{"id":"row 7","model":"mmc","c":5,"lambda":4,"service":{"dist":"exp","mean":1},"patience":null}"#);
    assert_eq!(answer["id"], "row 7");
    assert_eq!(answer["method"], "formula");
    assert!((answer["p_wait"]["value"].as_f64().unwrap() - 0.554_112_554_112_554).abs() < 1e-12);
    assert_eq!(ask(r#"{"id":7,"model":"none"}"#)["id"], 7);
}

#[test]
fn each_model_prints_its_figures() {
    let service = json!({"dist": "lognormal", "mean": 1, "scv": 2});
    let waits = ["p_wait", "wait_mean", "wait_p50", "wait_p95", "wait_p99", "sojourn_mean", "sojourn_p50", "sojourn_p95", "sojourn_p99"];
    let base = json!({"c": 5, "lambda": 3, "service": service});
    for (model, more, extra) in [
        ("mgc", json!({}), None),
        ("ggc", json!({"arrival": {"dist": "gamma", "scv": 2}}), None),
        ("batch", json!({"arrival": {"dist": "batch_geometric", "batch_mean": 2}}), None),
        ("mmpp", json!({"arrival": {"dist": "mmpp", "rate_high": 4, "rate_low": 2, "high_to_low": 1, "low_to_high": 1}}), None),
        ("erlang_a", json!({"patience": {"dist": "det", "mean": 2}}), Some("p_abandon")),
        ("setup", json!({"setup": {"dist": "det", "mean": 2}}), None),
        ("step", json!({"lambda_peak": 6, "c_after": 9, "delay": 5}), Some("wait_worst")),
        ("zone_loss", json!({"c_after": 4}), None),
        ("rotation", json!({"batch": 1, "surge": 0}), None),
    ] {
        let mut request = base.clone();
        let object = request.as_object_mut().unwrap();
        object.insert("model".to_owned(), json!(model));
        object.extend(more.as_object().unwrap().clone());
        let answer = ask(&request.to_string());
        for name in waits.iter().chain(&extra) {
            let figure = &answer[name];
            let part = |part: &str| figure[part].as_f64().unwrap_or_else(|| panic!("{model}: {name}: {answer}"));
            assert!(part("low") <= part("value") && part("value") <= part("high"), "{model}: {name}: {answer}");
        }
    }
}

#[test]
fn a_sojourn_of_det_service_is_the_wait_and_the_service() {
    let answer = ask(r#"{"model":"mgc","c":5,"lambda":2,"service":{"dist":"det","mean":1.1},"method":"simulate"}"#);
    assert_eq!(answer["wait_p50"]["value"], 0.0);
    assert_eq!(answer["sojourn_p50"]["value"], 1.1);
}

/// Near saturation bounded work is less sure than the formula; far from it the simulation is taken.
#[test]
fn auto_takes_what_is_surer() {
    let ask = |lambda: f64, c: u32, dist: &str, most_arrivals: u64| {
        let line = format!(r#"{{"model":"mgc","c":{c},"lambda":{lambda},"service":{{{dist},"mean":1}}}}"#);
        let text = predict_batch_line_within(&line, Limits { most_arrivals });
        serde_json::from_str::<Value>(&text).unwrap()["method"].as_str().unwrap().to_owned()
    };
    let varied = r#""dist":"lognormal","scv":4"#;
    assert_eq!(ask(3.0, 5, r#""dist":"exp""#, 100_000), "formula");
    assert_eq!(ask(3.0, 5, varied, 1_000_000), "simulate");
    assert_eq!(ask(4.9, 5, varied, 1_000_000), "formula");
    assert_eq!(ask(4.999, 5, varied, 1_000_000), "formula");
}

fn mutated() -> impl Strategy<Value = String> {
    let good = prop::sample::select(REFUSALS.iter().map(|(line, _, _)| (*line).to_owned()).collect::<Vec<_>>());
    let piece =
        prop::sample::select(vec!["\"", "{", "}", ",", ":", "null", "-", "1e308", "0", "[", "true", "\"c\":", "\u{0}", "é", "9", "e"]);
    (good, prop::collection::vec((any::<prop::sample::Index>(), piece, any::<bool>()), 0..4)).prop_map(|(line, changes)| {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, piece, is_replaced) in changes {
            let at = at.index(chars.len() + 1);
            let end = if is_replaced { (at + 1).min(chars.len()) } else { at };
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3.0..4.0_f64).prop_map(|e| json!(10_f64.powf(e))),
        (0..12_u32).prop_map(|n| json!(n)),
        Just(json!(-1)),
        Just(json!(1e308)),
        Just(json!(5e-324)),
        Just(json!(0)),
        Just(json!("1")),
        Just(Value::Null),
    ]
}

fn dist() -> impl Strategy<Value = Value> {
    let family = prop::sample::select(vec!["det", "exp", "gamma", "lognormal", "h2", "batch_fixed", "mmpp", "zeta"]);
    (family, number(), number(), number(), number()).prop_map(|(dist, mean, scv, lambda, other)| match dist {
        "det" | "exp" => json!({"dist": dist, "mean": mean}),
        "mmpp" => json!({"dist": dist, "rate_high": mean, "rate_low": scv, "high_to_low": lambda, "low_to_high": other}),
        "batch_fixed" => json!({"dist": dist, "batch_mean": mean}),
        _ => json!({"dist": dist, "mean": mean, "scv": scv}),
    })
}

fn structured() -> impl Strategy<Value = String> {
    let model = prop::sample::select(vec![
        "mmc",
        "mgc",
        "ggc",
        "batch",
        "mmpp",
        "erlang_a",
        "setup",
        "preemptive",
        "step",
        "zone_loss",
        "rotation",
    ]);
    let name = prop::sample::select(vec![
        "c",
        "lambda",
        "service",
        "arrival",
        "patience",
        "setup",
        "incident",
        "planned",
        "delay",
        "c_after",
        "lambda_peak",
        "horizon",
        "surge",
        "batch",
    ]);
    let field = (name, number(), dist()).prop_map(|(name, number, dist)| match name {
        "service" | "arrival" | "patience" | "setup" | "incident" | "planned" => (name, dist),
        _ => (name, number),
    });
    (model, prop::collection::vec(field, 2..7)).prop_map(|(model, fields)| {
        let mut object = serde_json::Map::new();
        object.insert("model".to_owned(), json!(model));
        object.insert("c".to_owned(), json!(3));
        object.insert("lambda".to_owned(), json!(1.5));
        object.insert("service".to_owned(), json!({"dist": "exp", "mean": 1}));
        for (name, value) in fields {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object).to_string()
    })
}

fn check_any(line: &str) {
    let answer = ask(line);
    assert!(answer["refused"].is_string() != answer["method"].is_string(), "{line}: {answer}");
    for (name, figure) in answer.as_object().unwrap() {
        if let Some(figure) = figure.as_object()
            && name != "omitted"
        {
            for part in ["value", "low", "high"] {
                assert!(figure[part].as_f64().is_some_and(|x| x.is_finite() && x >= 0.0), "{line}: {name}: {answer}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_lines_are_answered(line in mutated()) {
        check_any(&line);
    }

    #[test]
    fn requests_of_any_shape_are_answered(line in structured()) {
        check_any(&line);
    }

    #[test]
    fn noise_is_refused(line in "\\PC{0,200}") {
        assert!(ask(&line)["refused"].is_string());
    }
}

#[test]
#[ignore = "100,000 lines of any shape: run in release"]
fn very_many_lines_are_answered() {
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&prop_oneof![mutated(), structured()], |line| {
            check_any(&line);
            Ok(())
        })
        .unwrap();
}

#[test]
fn long_lines_and_deep_nesting_are_refused() {
    assert_eq!(ask(&" ".repeat(70_000))["place"], "line");
    assert!(ask(&"[".repeat(60_000))["refused"].is_string());
    assert!(ask(&"{\"a\":".repeat(10_000))["refused"].is_string());
}
