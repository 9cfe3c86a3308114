//! The settings that containment changes, their values, and what a value does to the facts that a verdict rests on.

use crate::block::PublicAccessBlock;
use crate::ec2::IpPermission;
use crate::judgement::Context;
use crate::ternary::Fact;
use crate::verdict::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "setting")]
pub enum Setting {
    BucketBlock {
        bucket: String,
    },
    AccountBlock {
        account: String,
    },
    /// Only where no switch helps: a `Deny` is added, and every statement that was there stays.
    BucketPolicy {
        bucket: String,
    },
    LaunchPermission {
        image: String,
    },
    CreateVolumePermission {
        snapshot: String,
    },
    RestorePermission {
        snapshot: String,
        of_cluster: bool,
    },
    PubliclyAccessible {
        instance: String,
    },
    /// Rules of one source each, as the API writes them.
    Ingress {
        group: String,
        rules: Vec<Value>,
    },
    /// A file of a host, by the place that it had when it was found.
    FileMode {
        path: String,
        device: u64,
        inode: u64,
    },
    /// A drop in Afresh's own table of nftables.
    FirewallDrop {
        protocol: String,
        port: u16,
    },
}

impl Setting {
    /// The bucket whose setting it is.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Setting::BucketBlock { bucket } | Setting::BucketPolicy { bucket } => Some(bucket),
            _ => None,
        }
    }
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// `None`: there is no configuration, which is not the same as one with every switch off.
    Block(Option<PublicAccessBlock>),
    Policy(Option<String>),
    /// Whether the group `all` has the permission, the flag is set, the drop is there.
    On(bool),
    /// How many of the rules of the setting are there.
    Rules {
        present: usize,
        of: usize,
    },
    Mode(u32),
    /// What is there now has another shape: the file at the path is another one.
    Gone,
}

impl State {
    /// Policies are compared by what they say: AWS may give lists back in another order, and a list of one as its item.
    pub fn is(&self, other: &State) -> bool {
        let json = |text: &String| serde_json::from_str::<Value>(text).ok().map(canonical);
        match (self, other) {
            (State::Policy(Some(a)), State::Policy(Some(b))) => a == b || (json(a).is_some() && json(a) == json(b)),
            _ => self == other,
        }
    }
}

/// Every list of a policy is a set.
fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_cached_key(Value::to_string);
            items.dedup();
            if items.len() == 1 { items.remove(0) } else { Value::Array(items) }
        }
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, canonical(value))).collect()),
        other => other,
    }
}

/// How many of the planned rules a security group has now.
pub fn ingress_state(rules: &[Value], now: &[IpPermission]) -> State {
    let now: Vec<Value> = now.iter().flat_map(IpPermission::by_source).map(|r| r.as_json()).collect();
    State::Rules { present: rules.iter().filter(|r| now.contains(r)).count(), of: rules.len() }
}

/// The facts as they would be read with the setting at that value.
pub(super) fn applied(setting: &Setting, state: &State, resource: &Resource, context: &Context) -> (Resource, Context) {
    let (mut resource, mut context) = (resource.clone(), context.clone());
    match (setting, state) {
        (Setting::BucketBlock { .. }, State::Block(block)) => {
            if let Some(bucket) = bucket_of(&mut resource) {
                bucket.block = Fact::Known(block.unwrap_or_default());
            }
        }
        (Setting::BucketPolicy { .. }, State::Policy(policy)) => {
            if let Some(bucket) = bucket_of(&mut resource) {
                bucket.policy = Fact::Known(policy.clone());
            }
        }
        (Setting::AccountBlock { .. }, State::Block(block)) => context.account_block = Fact::Known(block.unwrap_or_default()),
        (_, State::On(on)) => switch(&mut resource, *on),
        (Setting::Ingress { rules, .. }, State::Rules { present: 0, .. }) => {
            if let Resource::SecurityGroup(group) = &mut resource
                && let Fact::Known(ingress) = &mut group.ingress
            {
                *ingress = ingress.iter().flat_map(IpPermission::by_source).filter(|r| !rules.contains(&r.as_json())).collect();
            }
        }
        _ => {}
    }
    (resource, context)
}

fn bucket_of(resource: &mut Resource) -> Option<&mut crate::s3::Bucket> {
    match resource {
        Resource::Bucket(bucket) => Some(bucket),
        Resource::Object(object) => Some(&mut object.bucket),
        Resource::AccessPoint(access_point) => Some(&mut access_point.bucket),
        _ => None,
    }
}

fn switch(resource: &mut Resource, on: bool) {
    match resource {
        Resource::Ami(ami) => set_all(&mut ami.launch_permission, on),
        Resource::EbsSnapshot(snapshot) => set_all(&mut snapshot.create_volume_permission, on),
        Resource::RdsSnapshot(snapshot) => {
            if let Fact::Known(values) = &mut snapshot.restore {
                values.retain(|v| v != "all");
                on.then(|| values.push("all".into()));
            }
        }
        Resource::RdsInstance(instance) => instance.publicly_accessible = Fact::Known(on),
        _ => {}
    }
}

fn set_all(sharing: &mut Fact<crate::ec2::Sharing>, on: bool) {
    if let Fact::Known(sharing) = sharing {
        sharing.with_all = on;
    }
}
