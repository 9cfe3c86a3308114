//! The one call that gives a setting a value.

use super::setting::{Setting, State};
use serde::Serialize;
use serde_json::{Value, json};

/// A call of an API, or a change of a host. `command` does the same by hand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// `s3`, `s3control`, `ec2`, `rds`, `host`.
    pub service: &'static str,
    pub operation: &'static str,
    pub parameters: Value,
    pub command: String,
}

impl Call {
    /// `None`: the value is not one that the setting can be given.
    pub(super) fn setting(setting: &Setting, state: &State) -> Option<Call> {
        Some(match (setting, state) {
            (Setting::BucketBlock { bucket }, State::Block(block)) => {
                block_call("s3", "s3api", json!({"Bucket": bucket}), "bucket", bucket, block)
            }
            (Setting::AccountBlock { account }, State::Block(block)) => {
                block_call("s3control", "s3control", json!({"AccountId": account}), "account-id", account, block)
            }
            (Setting::BucketPolicy { bucket }, State::Policy(Some(policy))) => call(
                "s3",
                "PutBucketPolicy",
                json!({"Bucket": bucket, "Policy": policy}),
                format!("aws s3api put-bucket-policy --bucket {bucket} --policy {}", quoted(policy)),
            ),
            (Setting::BucketPolicy { bucket }, State::Policy(None)) => {
                call("s3", "DeleteBucketPolicy", json!({"Bucket": bucket}), format!("aws s3api delete-bucket-policy --bucket {bucket}"))
            }
            (Setting::LaunchPermission { image }, State::On(on)) => {
                let change = if *on { "Add" } else { "Remove" };
                call(
                    "ec2",
                    "ModifyImageAttribute",
                    json!({"ImageId": image, "LaunchPermission": {change: [{"Group": "all"}]}}),
                    format!("aws ec2 modify-image-attribute --image-id {image} --launch-permission '{change}=[{{Group=all}}]'"),
                )
            }
            (Setting::CreateVolumePermission { snapshot }, State::On(on)) => {
                let change = if *on { "add" } else { "remove" };
                call(
                    "ec2",
                    "ModifySnapshotAttribute",
                    json!({"SnapshotId": snapshot, "Attribute": "createVolumePermission", "OperationType": change, "GroupNames": ["all"]}),
                    format!(
                        "aws ec2 modify-snapshot-attribute --snapshot-id {snapshot} --attribute createVolumePermission \
                         --operation-type {change} --group-names all"
                    ),
                )
            }
            (Setting::RestorePermission { snapshot, of_cluster }, State::On(on)) => restore_call(snapshot, *of_cluster, *on),
            (Setting::PubliclyAccessible { instance }, State::On(on)) => {
                let flag = if *on { "--publicly-accessible" } else { "--no-publicly-accessible" };
                call(
                    "rds",
                    "ModifyDBInstance",
                    // AWS applies it at once. `ApplyImmediately` would apply whatever else waits for the maintenance window.
                    json!({"DBInstanceIdentifier": instance, "PubliclyAccessible": on}),
                    format!("aws rds modify-db-instance --db-instance-identifier {instance} {flag}"),
                )
            }
            (Setting::Ingress { group, rules, .. }, State::Rules { present, of, altered: 0 }) if *present == 0 || present == of => {
                let (operation, verb) = if *present == 0 {
                    ("RevokeSecurityGroupIngress", "revoke-security-group-ingress")
                } else {
                    ("AuthorizeSecurityGroupIngress", "authorize-security-group-ingress")
                };
                let rules = Value::Array(rules.clone());
                let mut command = format!("aws ec2 {verb} --group-id {group} --ip-permissions {}", quoted(&rules.to_string()));
                let mut parameters = json!({"GroupId": group, "IpPermissions": rules});
                let tags: Vec<Value> = setting.shared_tags().iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
                if *present > 0 && !tags.is_empty() {
                    let tags = json!([{"ResourceType": "security-group-rule", "Tags": tags}]);
                    command.push_str(&format!(" --tag-specifications {}", quoted(&tags.to_string())));
                    parameters["TagSpecifications"] = tags;
                }
                call("ec2", operation, parameters, command)
            }
            (Setting::FileMode { path, identity }, State::Mode(mode)) => call(
                "host",
                "SetFileMode",
                json!({"Path": path, "Identity": identity, "Mode": format!("{mode:04o}")}),
                format!("chmod {mode:04o} {}", quoted(path)),
            ),
            (Setting::FirewallDrop { protocol, port }, State::On(on)) => {
                let operation = if *on { "AddDrop" } else { "RemoveDrop" };
                let element = format!("element inet afresh_contain ports {{ {protocol} . {port} }}");
                let verb = if *on { "add" } else { "delete" };
                call("host", operation, json!({"Protocol": protocol, "Port": port}), format!("nft {verb} {}", quoted(&element)))
            }
            _ => return None,
        })
    }
}

fn call(service: &'static str, operation: &'static str, parameters: Value, command: String) -> Call {
    Call { service, operation, parameters, command }
}

fn block_call(
    service: &'static str,
    program: &str,
    mut parameters: Value,
    flag: &str,
    name: &str,
    block: &Option<crate::block::PublicAccessBlock>,
) -> Call {
    let Some(block) = block else {
        let command = format!("aws {program} delete-public-access-block --{flag} {name}");
        return call(service, "DeletePublicAccessBlock", parameters, command);
    };
    let switches = [
        ("BlockPublicAcls", block.block_public_acls),
        ("IgnorePublicAcls", block.ignore_public_acls),
        ("BlockPublicPolicy", block.block_public_policy),
        ("RestrictPublicBuckets", block.restrict_public_buckets),
    ];
    let written: Vec<String> = switches.iter().map(|(name, on)| format!("{name}={on}")).collect();
    parameters["PublicAccessBlockConfiguration"] = json!(block);
    let command =
        format!("aws {program} put-public-access-block --{flag} {name} --public-access-block-configuration {}", written.join(","));
    call(service, "PutPublicAccessBlock", parameters, command)
}

fn restore_call(snapshot: &str, of_cluster: bool, on: bool) -> Call {
    let (operation, verb, parameter, flag) = if of_cluster {
        (
            "ModifyDBClusterSnapshotAttribute",
            "modify-db-cluster-snapshot-attribute",
            "DBClusterSnapshotIdentifier",
            "db-cluster-snapshot-identifier",
        )
    } else {
        ("ModifyDBSnapshotAttribute", "modify-db-snapshot-attribute", "DBSnapshotIdentifier", "db-snapshot-identifier")
    };
    let (values, change) = if on { ("ValuesToAdd", "values-to-add") } else { ("ValuesToRemove", "values-to-remove") };
    call(
        "rds",
        operation,
        json!({parameter: snapshot, "AttributeName": "restore", values: ["all"]}),
        format!("aws rds {verb} --{flag} {snapshot} --attribute-name restore --{change} all"),
    )
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
