//! Settings and their values as text.

use guard::PublicAccessBlock;
use guard::contain::{Setting, State};

pub(super) fn setting(setting: &Setting) -> String {
    match setting {
        Setting::BucketBlock { bucket } => format!("public access block of bucket {bucket}"),
        Setting::AccountBlock { account } => format!("public access block of account {account}"),
        Setting::BucketPolicy { bucket } => format!("policy of bucket {bucket}"),
        Setting::LaunchPermission { image } => format!("launch permission of image {image} for everybody"),
        Setting::CreateVolumePermission { snapshot } => format!("permission of everybody to make volumes of snapshot {snapshot}"),
        Setting::RestorePermission { snapshot, .. } => format!("permission of everybody to restore database snapshot {snapshot}"),
        Setting::PubliclyAccessible { instance } => format!("publicly accessible flag of database {instance}"),
        Setting::Ingress { group, rules, .. } if rules.len() == 1 => format!("1 ingress rule of security group {group}"),
        Setting::Ingress { group, rules, .. } => format!("{} ingress rules of security group {group}", rules.len()),
        Setting::FileMode { path, .. } => format!("mode of {path}"),
        Setting::FirewallDrop { protocol, port } => format!("drop of {protocol} port {port} in the table inet afresh_contain"),
    }
}

pub(super) fn state(state: &State) -> String {
    match state {
        State::Block(None) => "none".into(),
        State::Block(Some(block)) => switches(block),
        State::Policy(None) => "none".into(),
        State::Policy(Some(text)) => text.clone(),
        State::On(true) => "on".into(),
        State::On(false) => "off".into(),
        State::Rules { present, of, altered: 0 } => format!("{present} of {of} present"),
        State::Rules { present, of, altered } => format!("{present} of {of} present, {altered} with another description"),
        State::Mode(mode) => format!("{mode:04o}"),
        State::Gone => "not there, or replaced by another".into(),
    }
}

fn switches(block: &PublicAccessBlock) -> String {
    let all = [
        ("BlockPublicAcls", block.block_public_acls),
        ("IgnorePublicAcls", block.ignore_public_acls),
        ("BlockPublicPolicy", block.block_public_policy),
        ("RestrictPublicBuckets", block.restrict_public_buckets),
    ];
    let on: Vec<&str> = all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    if on.is_empty() { "every switch off".into() } else { on.join(", ") }
}
