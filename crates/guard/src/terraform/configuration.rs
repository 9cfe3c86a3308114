//! The configuration that a plan carries: which arguments its author set, what they refer to, and the provider of each resource.

use super::planned::items;
use serde_json::Value;
use std::collections::BTreeMap;

/// Resources by their address without any index.
pub struct Configuration<'a>(BTreeMap<String, &'a Value>);

impl<'a> Configuration<'a> {
    pub fn read(value: &'a Value) -> Configuration<'a> {
        let mut found = BTreeMap::new();
        let mut modules = vec![(String::new(), &value["root_module"])];
        while let Some((prefix, module)) = modules.pop() {
            for resource in items(&module["resources"]) {
                found.extend(resource["address"].as_str().map(|address| (format!("{prefix}{address}"), resource)));
            }
            let calls = module["module_calls"].as_object().into_iter().flatten();
            modules.extend(calls.map(|(name, call)| (format!("{prefix}module.{name}."), &call["module"])));
        }
        Configuration(found)
    }

    pub fn of(&self, address: &str) -> Option<&'a Value> {
        self.0.get(address).copied()
    }
}
