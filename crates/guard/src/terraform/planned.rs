//! One resource that is there after the apply, and what is known of its arguments.

use super::address::without_indices;
use super::configuration::Configuration;
use crate::ternary::{Fact, Missing};
use serde_json::Value;

pub struct Planned<'a> {
    pub address: &'a str,
    pub kind: &'a str,
    /// Created or replaced.
    pub is_created: bool,
    /// Put off to a later plan, so nothing of it is in force after this one.
    is_deferred: bool,
    before: &'a Value,
    after: &'a Value,
    unknown: &'a Value,
    configuration: Option<&'a Value>,
}

impl<'a> Planned<'a> {
    /// `None`: it is gone after the apply, or is only read.
    pub fn read(change: &'a Value, configuration: &Configuration<'a>, is_deferred: bool) -> Result<Option<Planned<'a>>, String> {
        let text = |name: &str| change[name].as_str().ok_or_else(|| format!("a resource has no {name}"));
        let (address, kind) = (text("address")?, text("type")?);
        let actions = change["change"]["actions"].as_array().ok_or_else(|| format!("{address} has no actions"))?;
        let has = |action: &str| actions.iter().any(|a| a == action);
        if (has("delete") && !has("create")) || change["mode"] == "data" {
            return Ok(None);
        }
        let change = &change["change"];
        // What is no longer managed stays as it was.
        let is_forgotten = has("forget") && !has("create");
        Ok(Some(Planned {
            address,
            kind,
            is_created: has("create") && !is_deferred,
            is_deferred,
            before: &change["before"],
            after: &change[if is_forgotten { "before" } else { "after" }],
            unknown: if is_forgotten { &Value::Null } else { &change["after_unknown"] },
            configuration: configuration.of(&without_indices(address)),
        }))
    }

    pub fn missing(&self, name: &str) -> Missing {
        Missing(format!("{}.{name} (known after apply)", self.address))
    }

    /// `None`: it is not set. What is known after the apply only is unknown.
    pub fn value(&self, name: &str) -> Fact<Option<&'a Value>> {
        if self.is_deferred || holds_true(&self.unknown[name]) {
            return Fact::Unknown(self.missing(name));
        }
        Fact::Known(Some(&self.after[name]).filter(|v| !v.is_null()))
    }

    /// As `value`. An argument that the provider fills in where its author sets none is not set for a new resource.
    pub fn set(&self, name: &str) -> Fact<Option<&'a Value>> {
        match self.value(name) {
            Fact::Unknown(_) if self.is_created && self.is_configured(name) == Some(false) => Fact::Known(None),
            other => other,
        }
    }

    /// Whether this plan sets it, rather than reads back what is there. Where the configuration is not known, it does.
    pub fn sets(&self, name: &str) -> bool {
        let is_changed = self.value(name).known().is_some() && self.before[name] != self.after[name];
        self.is_configured(name).unwrap_or(true) || is_changed
    }

    /// Whether its author sets an argument. `dynamic` blocks leave no trace, so this is for arguments that are no blocks.
    pub fn is_configured(&self, name: &str) -> Option<bool> {
        self.configuration.map(|c| !c["expressions"][name].is_null())
    }

    /// What an argument refers to, every step of it.
    pub fn references(&self, name: &str) -> Vec<&'a str> {
        self.configuration.into_iter().flat_map(|c| items(&c["expressions"][name]["references"])).filter_map(Value::as_str).collect()
    }

    /// Which configuration of the provider makes it.
    pub fn provider(&self) -> Option<&'a str> {
        self.configuration.and_then(|c| c["provider_config_key"].as_str())
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.value(name).known().copied().flatten().and_then(Value::as_str)
    }

    /// One that is not set is off.
    pub fn flag(&self, name: &str) -> Fact<bool> {
        map(self.value(name), |value| value.and_then(Value::as_bool) == Some(true))
    }

    pub fn texts(&self, name: &str) -> Fact<Vec<String>> {
        map(self.value(name), |value| texts(value.unwrap_or(&Value::Null)))
    }

    pub fn policy(&self) -> Fact<Option<String>> {
        let is_some = |text: &&str| !text.is_empty() && *text != "{}";
        map(self.set("policy"), |value| value.and_then(Value::as_str).filter(is_some).map(str::to_string))
    }

    /// The blocks of a name, each with what of it is unknown. Unknown: how many there are.
    pub fn blocks(&self, name: &str) -> Fact<Vec<(&'a Value, &'a Value)>> {
        if self.is_deferred || self.unknown[name] == true {
            return Fact::Unknown(self.missing(name));
        }
        let unknown = &self.unknown[name];
        Fact::Known(items(&self.after[name]).enumerate().map(|(n, block)| (block, &unknown[n])).collect())
    }

    /// The whole of it, and what of it is unknown: for a resource that is one block by itself.
    pub fn whole(&self) -> (&'a Value, &'a Value) {
        if self.is_deferred { (&Value::Null, &Value::Bool(true)) } else { (self.after, self.unknown) }
    }

    /// Whether an argument is there at all: set, or known later.
    pub fn has(&self, name: &str) -> bool {
        let is_none = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        !is_none(&self.after[name]) || holds_true(&self.unknown[name])
    }
}

pub fn map<T, U>(fact: Fact<T>, change: impl FnOnce(T) -> U) -> Fact<U> {
    match fact {
        Fact::Known(value) => Fact::Known(change(value)),
        Fact::Unknown(missing) => Fact::Unknown(missing),
    }
}

pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        _ => Vec::new(),
    }
}

/// `after_unknown` marks an attribute, or parts of it.
pub fn holds_true(unknown: &Value) -> bool {
    match unknown {
        Value::Bool(b) => *b,
        Value::Array(items) => items.iter().any(holds_true),
        Value::Object(map) => map.values().any(holds_true),
        _ => false,
    }
}
