//! Ids in answers to names. It works on the JSON of an answer, as hiding environments does, so that no answer can be forgotten. Groups,
//! instances, rotations and runs keep the id in their names, and so do texts.

use model::{Fault, Names, ServiceName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Keys of answers that hold a service, or a list of services, alone or each before something.
const ONE: &[&str] = &["service"];
const MANY: &[&str] = &["services", "unchanged", "left", "promoted", "waiting", "settings"];
/// What users chose the keys of.
const OWN: &[&str] = &["env", "secrets", "args"];

pub fn show(names: &Names, value: &mut Value) {
    let current: BTreeMap<&str, &str> =
        names.rows().filter(|(_, named)| named.current).map(|(name, named)| (named.service.as_str(), name.as_str())).collect();
    if !current.is_empty() {
        Shown(current).walk(value);
    }
}

/// As [`show`], of an answer that has not become JSON yet.
pub fn shown<T: Serialize + DeserializeOwned>(names: &Names, answer: T) -> Result<T, Fault> {
    let wrong = |e: serde_json::Error| Fault::ours("unwritable", e.to_string());
    let mut value = serde_json::to_value(answer).map_err(wrong)?;
    show(names, &mut value);
    serde_json::from_value(value).map_err(wrong)
}

struct Shown<'a>(BTreeMap<&'a str, &'a str>);

impl Shown<'_> {
    fn walk(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => self.fields(fields),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            _ => {}
        }
    }

    fn fields(&self, fields: &mut Map<String, Value>) {
        // A service's spec, by what no other thing has beside its name.
        if fields.contains_key("tier") && fields.contains_key("rollout") {
            fields.get_mut("name").into_iter().for_each(|name| self.name(name));
        }
        for (key, inner) in fields.iter_mut() {
            match key.as_str() {
                key if ONE.contains(&key) => self.name(inner),
                "instances" if inner.is_object() => self.keys(inner),
                key if MANY.contains(&key) => self.names(inner),
                "allow" => self.allowed(inner),
                key if OWN.contains(&key) && inner.is_object() => {}
                _ => self.walk(inner),
            }
        }
    }

    fn name(&self, value: &mut Value) {
        match value {
            Value::String(id) => {
                if let Some(name) = self.0.get(id.as_str()) {
                    *id = (*name).to_string();
                }
            }
            other => self.walk(other),
        }
    }

    fn names(&self, value: &mut Value) {
        for item in value.as_array_mut().into_iter().flatten() {
            match item {
                Value::Array(pair) if pair.first().is_some_and(Value::is_string) => pair.iter_mut().take(1).for_each(|id| self.name(id)),
                item => self.name(item),
            }
        }
    }

    /// How many of each service.
    fn keys(&self, value: &mut Value) {
        let Some(fields) = value.as_object_mut() else { return };
        let old = std::mem::take(fields);
        fields.extend(old.into_iter().map(|(id, count)| (self.0.get(id.as_str()).map_or(id.clone(), |name| (*name).to_string()), count)));
    }

    /// `service.web` among ports of the host.
    fn allowed(&self, value: &mut Value) {
        for text in value.as_array_mut().into_iter().flatten() {
            if let Some(name) = text.as_str().and_then(|text| self.0.get(text.strip_prefix("service.")?)) {
                *text = Value::String(format!("service.{name}"));
            }
        }
    }
}

/// What is called so, for [`crate::http`]'s list of names.
pub fn rows(names: &Names, services: impl Iterator<Item = ServiceName>) -> Vec<api::control::NameRow> {
    let row = |id: ServiceName| api::control::NameRow {
        name: names.name_of(&id).clone(),
        former: names.others_of(&id).chain([&id]).filter(|other| *other != names.name_of(&id)).cloned().collect(),
        id,
    };
    services.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_in_answers_are_shown_by_name_and_nothing_else_is_touched() {
        let service = |text: &str| ServiceName::new(text).unwrap();
        let mut names = Names::default();
        names.rename(&service("web"), &service("shop"));
        let spec = |name: &str| {
            json!({ "name": name, "tier": "web", "rollout": {}, "image": "web", "env": { "service": "web" }, "secrets": { "env": { "service": "web" } },
                    "network": { "allow": [format!("service.{name}"), "host:1"] } })
        };
        let answer = |name: &str| {
            json!({ "service": name, "group": "web-r1-1", "id": "web.7", "text": "web", "unchanged": [name, "api"], "name": "web",
                    "services": [[name, "web"]], "instances": { name: 2 }, "spec": spec(name), "list": [{ "services": [name], "image_name": "web" }] })
        };
        let mut value = answer("web");
        show(&names, &mut value);
        assert_eq!(value, answer("shop"));
        let again = value.clone();
        show(&names, &mut value);
        assert_eq!(value, again, "a name is no id: showing twice is showing once");
    }
}
