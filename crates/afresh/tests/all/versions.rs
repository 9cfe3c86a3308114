//! What an older version said on its sockets, kept as it said it: `tests/golden/COMMIT`, never edited. This version reads it, and says no less.
//! So keeper, balancer and control plane of the two versions understand each other, in both directions, while an upgrade is under way.

use api::control::{RotationStatus, ServiceStatus};
use api::fleet::Alarm;
use api::host::{DeclareGroup, HostCounters, InstanceUsage};
use api::paths::Health;
use api::proxy::{DeclareRoute, ProxyCounters};
use model::{GroupHeld, GroupSeen, RouteHeld, RouteSeen};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

macro_rules! golden {
    ($name:literal) => {
        ($name, include_str!(concat!("../golden/a7662f7/", $name, ".json")))
    };
}

/// Everything in `old` is in `new`, with the same value.
fn says_no_less(at: &str, old: &Value, new: &Value) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let missing = |key: &String| vec![format!("{at}.{key} is not said any more")];
            old.iter()
                .flat_map(|(key, old)| new.get(key).map_or_else(|| missing(key), |new| says_no_less(&format!("{at}.{key}"), old, new)))
                .collect()
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).enumerate().flat_map(|(n, (old, new))| says_no_less(&format!("{at}[{n}]"), old, new)).collect()
        }
        _ if old == new => Vec::new(),
        _ => vec![format!("{at}: {old} became {new}")],
    }
}

/// As a version after this one may say it: an object has a key that nobody here knows. Objects whose keys are data are left alone.
fn with_unknown_key(mut value: Value) -> Value {
    let each = |object: &mut serde_json::Map<String, Value>| drop(object.insert("of_a_later_version".to_string(), json!(1)));
    match &mut value {
        Value::Object(object) => each(object),
        Value::Array(all) => all.iter_mut().filter_map(Value::as_object_mut).for_each(each),
        _ => {}
    }
    value
}

fn same<T: Serialize + DeserializeOwned>((name, text): (&str, &str)) {
    let old: Value = serde_json::from_str(text).unwrap();
    let read: T = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: this version does not read it: {e}"));
    let new = serde_json::to_value(&read).unwrap();
    let lost = says_no_less(name, &old, &new);
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    serde_json::from_value::<T>(with_unknown_key(old)).unwrap_or_else(|e| panic!("{name}: a key of a later version is refused: {e}"));
}

#[test]
fn what_the_last_version_said_is_read_and_said_again() {
    same::<Vec<GroupSeen>>(golden!("host-groups"));
    same::<Vec<GroupHeld>>(golden!("host-inventory"));
    same::<Vec<GroupHeld>>(golden!("host-inventory-inside"));
    same::<Vec<InstanceUsage>>(golden!("host-usage"));
    same::<HostCounters>(golden!("host-counters"));
    same::<Health>(golden!("host-health"));
    same::<Vec<RouteSeen>>(golden!("proxy-routes"));
    same::<Vec<RouteSeen>>(golden!("proxy-routes-inside"));
    same::<Vec<RouteHeld>>(golden!("proxy-inventory"));
    same::<ProxyCounters>(golden!("proxy-counters"));
    same::<Vec<Alarm>>(golden!("proxy-alarms"));
    same::<Health>(golden!("api-health"));
    same::<Vec<Alarm>>(golden!("api-alarms"));
    same::<Vec<ServiceStatus>>(golden!("api-services"));
    same::<Vec<RotationStatus>>(golden!("api-rotations"));
}

/// Declarations are what a newer control plane sends to an older keeper or balancer. A stamp and what the last version declared, as it
/// declared it: nothing that it does not know is in them unless a service file asks for it.
#[test]
fn a_declaration_has_nothing_that_the_last_version_does_not_know() {
    let held: Vec<GroupHeld> = serde_json::from_str(golden!("host-inventory").1).unwrap();
    let said: Vec<Value> = serde_json::from_str(golden!("host-inventory").1).unwrap();
    for (held, said) in held.into_iter().zip(said) {
        let spec = held.spec.unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), said["spec"]);
        let declared = serde_json::to_value(DeclareGroup { stamp: held.seen.stamp.unwrap(), spec }).unwrap();
        assert_eq!(declared, json!({ "stamp": said["seen"]["stamp"], "spec": said["spec"] }));
    }
    let held: Vec<RouteHeld> = serde_json::from_str(golden!("proxy-inventory").1).unwrap();
    let said: Vec<Value> = serde_json::from_str(golden!("proxy-inventory").1).unwrap();
    assert!(!held.is_empty());
    for (held, said) in held.into_iter().zip(said) {
        let declared = serde_json::to_value(DeclareRoute { stamp: held.stamp, spec: held.spec }).unwrap();
        assert_eq!(declared["spec"], said["spec"]);
    }
}
