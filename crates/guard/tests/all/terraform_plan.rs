//! Plans of Terraform as `terraform show -json` writes them, built piece by piece.

use crate::estate;
use guard::{TerraformPlan, Verdict};
use serde_json::{Value, json};

#[derive(Default, Clone)]
pub struct Draft {
    changes: Vec<Value>,
    deferred: Vec<Value>,
    resources: Vec<Value>,
}

impl Draft {
    pub fn change(mut self, address: &str, actions: &[&str], before: Value, after: Value, unknown: Value) -> Draft {
        self.changes.push(entry(address, actions, before, after, unknown));
        self
    }

    pub fn create(self, address: &str, after: Value, unknown: Value) -> Draft {
        self.change(address, &["create"], Value::Null, after, unknown)
    }

    /// Something that is there already and stays as it is.
    pub fn keep(self, address: &str, after: Value) -> Draft {
        self.change(address, &["no-op"], after.clone(), after, json!({}))
    }

    pub fn defer(mut self, address: &str, after: Value, unknown: Value) -> Draft {
        let change = entry(address, &["create"], Value::Null, after, unknown);
        self.deferred.push(json!({"reason": "deferred_prereq", "resource_change": change}));
        self
    }

    /// The resource in the configuration, with its arguments.
    pub fn configure(self, address: &str, expressions: Value) -> Draft {
        self.configure_with(address, "aws", expressions)
    }

    pub fn configure_with(mut self, address: &str, provider: &str, expressions: Value) -> Draft {
        self.resources.push(json!({"address": address, "provider_config_key": provider, "expressions": expressions}));
        self
    }

    pub fn text(&self) -> String {
        let mut plan = json!({"format_version": "1.2", "resource_changes": self.changes,
            "configuration": {"root_module": {"resources": self.resources}}});
        if !self.deferred.is_empty() {
            plan["deferred_changes"] = json!(self.deferred);
        }
        plan.to_string()
    }

    pub fn read(&self) -> TerraformPlan {
        TerraformPlan::read(&self.text(), Some(estate::OWNER)).unwrap()
    }

    pub fn verdict(&self, address: &str) -> Verdict {
        verdict(&self.read(), address)
    }
}

/// What the gate is given: no verdict is an unknown one.
pub fn verdict(plan: &TerraformPlan, address: &str) -> Verdict {
    let facts = plan.facts();
    let found = facts.iter().find(|f| f.id == address).unwrap_or_else(|| panic!("{address} is not judged: {facts:?}"));
    match found.attributes.get("verdict") {
        None => Verdict::Unknown,
        Some(value) => serde_json::from_value(value.clone()).unwrap(),
    }
}

fn entry(address: &str, actions: &[&str], before: Value, after: Value, unknown: Value) -> Value {
    let resource = address.split('[').next().unwrap();
    let kind = resource.rsplit('.').nth(1).unwrap();
    json!({"address": address, "mode": "managed", "type": kind, "name": resource.rsplit('.').next().unwrap(),
        "provider_name": "registry.terraform.io/hashicorp/aws",
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown}})
}

/// An expression that refers to these, as Terraform unwraps each step of it.
pub fn refers(to: &[&str]) -> Value {
    json!({"references": to})
}

pub fn constant(value: &str) -> Value {
    json!({"constant_value": value})
}

/// What the provider itself fills in for a new bucket (v4 and later).
pub fn of_new_bucket() -> Value {
    json!({"acceleration_status": true, "acl": true, "arn": true, "bucket_domain_name": true, "bucket_prefix": true, "grant": true,
        "id": true, "policy": true, "region": true, "tags_all": true})
}

pub fn allow(resource: &str) -> Value {
    json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": resource})
}

pub fn policy(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

pub fn open_policy(bucket: &str) -> String {
    policy(&[allow(&format!("arn:aws:s3:::{bucket}/*"))])
}

/// The four switches, and the bucket where it is known.
pub fn switches(on: bool, bucket: Option<&str>) -> Value {
    let names = ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];
    let mut after: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_string(), json!(on))).collect();
    after.extend(bucket.map(|bucket| ("bucket".to_string(), json!(bucket))));
    Value::Object(after)
}

pub const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
