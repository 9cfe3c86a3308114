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
        /// The identifier and the tags of each. Empty: they could not be read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        identities: Vec<RuleIdentity>,
    },
    /// A file of a host, and what tells it from another that has its name since.
    FileMode {
        path: String,
        #[serde(flatten)]
        identity: FileIdentity,
    },
    /// A drop in Afresh's own table of nftables.
    FirewallDrop {
        protocol: String,
        port: u16,
    },
}

/// What a rule that is revoked loses: AWS gives each a new identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleIdentity {
    pub id: String,
    pub tags: Vec<(String, String)>,
}

impl Setting {
    /// The tags that one call gives to all of its rules.
    pub(super) fn shared_tags(&self) -> &[(String, String)] {
        let Setting::Ingress { identities, .. } = self else { return &[] };
        match &identities[..] {
            [first, others @ ..] if others.iter().all(|o| o.tags == first.tags) => &first.tags,
            _ => &[],
        }
    }

    /// What an undo does not give back, or what could not be told after it.
    pub fn not_restored(&self) -> Vec<String> {
        match self {
            Setting::FileMode { identity, .. } if identity.born.is_none() => vec![
                "whether a file that has the name and the inode later is the same: its filesystem does not say when it was made".into(),
            ],
            Setting::Ingress { identities, .. } if identities.is_empty() => {
                vec!["identifiers and tags of the rules: they could not be read".into()]
            }
            Setting::Ingress { identities, .. } => {
                let ids: Vec<&str> = identities.iter().map(|i| i.id.as_str()).collect();
                let mut lost = vec![format!("identifiers of the rules, to which AWS gives new ones: {}", ids.join(", "))];
                if self.shared_tags().is_empty() && identities.iter().any(|i| !i.tags.is_empty()) {
                    lost.push("tags of the rules, which differ: they are in the record".into());
                }
                lost
            }
            _ => Vec::new(),
        }
    }
}

/// Inodes are given again after a file was deleted, and devices get other numbers when a system starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    pub inode: u64,
    pub device: u64,
    /// When the inode was made, as the filesystem says: seconds and nanoseconds. None: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// The UUID of the filesystem. None: it has none, and the device is the one of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
}

impl FileIdentity {
    /// Whether it is the file that was recorded. What was known then must be known again, and be the same.
    pub fn is(&self, recorded: &FileIdentity) -> bool {
        let is_there = match &recorded.filesystem {
            Some(_) => self.filesystem == recorded.filesystem,
            None => self.device == recorded.device,
        };
        is_there && self.inode == recorded.inode && (recorded.born.is_none() || self.born == recorded.born)
    }
}

impl Setting {
    /// The bucket whose setting it is.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Setting::BucketBlock { bucket } | Setting::BucketPolicy { bucket } => Some(bucket),
            _ => None,
        }
    }

    /// The `type` and `id` of what it is a setting of. None: that is always there.
    pub fn resource(&self) -> Option<(&'static str, &str)> {
        Some(match self {
            Setting::BucketBlock { bucket } | Setting::BucketPolicy { bucket } => ("s3_bucket", bucket),
            Setting::LaunchPermission { image } => ("ami", image),
            Setting::CreateVolumePermission { snapshot } => ("ebs_snapshot", snapshot),
            Setting::RestorePermission { snapshot, of_cluster: false } => ("rds_snapshot", snapshot),
            Setting::RestorePermission { snapshot, of_cluster: true } => ("rds_cluster_snapshot", snapshot),
            Setting::PubliclyAccessible { instance } => ("rds_instance", instance),
            Setting::Ingress { group, .. } => ("security_group", group),
            Setting::FileMode { path, .. } => ("file", path),
            Setting::AccountBlock { .. } | Setting::FirewallDrop { .. } => return None,
        })
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
        /// How many are there with another description: somebody else wrote them.
        #[serde(default, skip_serializing_if = "is_zero")]
        altered: usize,
    },
    Mode(u32),
    /// What is there now has another shape: the file at the path is another one.
    Gone,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl State {
    pub(super) fn rules(present: usize, of: usize) -> State {
        State::Rules { present, of, altered: 0 }
    }

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
    let present = rules.iter().filter(|r| now.contains(r)).count();
    // AWS has one rule of a source and its ports, whatever is said of it.
    let admits = |r: &Value| now.iter().any(|n| undescribed(n) == undescribed(r));
    State::Rules { present, of: rules.len(), altered: rules.iter().filter(|r| !now.contains(r) && admits(r)).count() }
}

/// Without what is only said of it.
pub(super) fn undescribed(rule: &Value) -> Value {
    let mut rule = rule.clone();
    for sources in ["IpRanges", "Ipv6Ranges", "PrefixListIds"] {
        for source in rule.get_mut(sources).and_then(Value::as_array_mut).into_iter().flatten() {
            source.as_object_mut().map(|source| source.remove("Description"));
        }
    }
    rule
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
