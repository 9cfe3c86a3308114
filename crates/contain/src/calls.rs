//! The calls of a plan, as AWS takes them: a plan has the parameters as AWS's own tools write them.

use aws_client::{Request, Service, encode};
use guard::contain::Call;
use serde_json::Value;

/// None: no such call is made here.
pub fn request(call: &Call, account: &str, region: &str) -> Option<Request> {
    match call.service {
        "s3" => of_bucket(call, account, region),
        "s3control" => of_account(call, account, region),
        "ec2" => query(Service::Ec2, call, region),
        "rds" => query(Service::Rds, call, region),
        _ => None,
    }
}

fn of_bucket(call: &Call, account: &str, region: &str) -> Option<Request> {
    let path = format!("/{}", encode(call.parameters["Bucket"].as_str()?, false));
    let change =
        |action, method, query: &str, body: Vec<u8>| Request::change(Service::S3, region, action, method, path, &[(query, "")], body);
    let request = match call.operation {
        "PutPublicAccessBlock" => change("s3:PutBucketPublicAccessBlock", "PUT", "publicAccessBlock", configuration(&call.parameters)?),
        "DeletePublicAccessBlock" => change("s3:PutBucketPublicAccessBlock", "DELETE", "publicAccessBlock", Vec::new()),
        "PutBucketPolicy" => change("s3:PutBucketPolicy", "PUT", "policy", call.parameters["Policy"].as_str()?.as_bytes().to_vec()),
        "DeleteBucketPolicy" => change("s3:DeleteBucketPolicy", "DELETE", "policy", Vec::new()),
        _ => return None,
    };
    Some(request.of_owner(account))
}

fn of_account(call: &Call, account: &str, region: &str) -> Option<Request> {
    (call.parameters["AccountId"].as_str()? == account).then_some(())?;
    let (method, body) = match call.operation {
        "PutPublicAccessBlock" => ("PUT", configuration(&call.parameters)?),
        "DeletePublicAccessBlock" => ("DELETE", Vec::new()),
        _ => return None,
    };
    let path = "/v20180820/configuration/publicAccessBlock".to_string();
    let request = Request::change(Service::S3Control, region, "s3:PutAccountPublicAccessBlock", method, path, &[], body);
    Some(request.with_header("x-amz-account-id", account))
}

fn configuration(parameters: &Value) -> Option<Vec<u8>> {
    let block = &parameters["PublicAccessBlockConfiguration"];
    let switches = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    let written = switches.iter().map(|name| Some(format!("<{name}>{}</{name}>", block[*name].as_bool()?))).collect::<Option<String>>()?;
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    Some(format!("<PublicAccessBlockConfiguration xmlns=\"{namespace}\">{written}</PublicAccessBlockConfiguration>").into_bytes())
}

fn query(service: Service, call: &Call, region: &str) -> Option<Request> {
    let action = [
        "ec2:ModifyImageAttribute",
        "ec2:ModifySnapshotAttribute",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:AuthorizeSecurityGroupIngress",
        "rds:ModifyDBSnapshotAttribute",
        "rds:ModifyDBClusterSnapshotAttribute",
        "rds:ModifyDBInstance",
    ]
    .into_iter()
    .find(|action| aws_client::operation(action) == call.operation)?;
    let mut flat = Vec::new();
    for (name, value) in call.parameters.as_object()? {
        flatten(service, parameter(name).into(), value, &mut flat);
    }
    let pairs: Vec<(&str, &str)> = flat.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Some(Request::query(service, region, action, &pairs).sent_once())
}

/// EC2 calls some lists otherwise than its tools do.
fn parameter(name: &str) -> &str {
    match name {
        "GroupNames" => "UserGroup",
        "TagSpecifications" => "TagSpecification",
        "Tags" => "Tag",
        other => other,
    }
}

/// Members of a list are numbered: `Name.1` by EC2, `Name.member.1` by RDS, which has names of its own for those of an attribute.
fn flatten(service: Service, name: String, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(service, format!("{name}.{}", parameter(member)), value, into);
            }
        }
        Value::Array(items) => {
            let infix = if service == Service::Rds { ".AttributeValue" } else { "" };
            for (number, item) in (1..).zip(items) {
                flatten(service, format!("{name}{infix}.{number}"), item, into);
            }
        }
        Value::String(text) => into.push((name, text.clone())),
        other => into.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flat(service: Service, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in value.as_object().unwrap() {
            flatten(service, parameter(name).into(), value, &mut found);
        }
        found.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// As botocore writes them.
    #[test]
    fn lists_and_structures() {
        let rule = json!({"IpProtocol": "tcp", "FromPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all of it"}]});
        assert_eq!(
            flat(Service::Ec2, &json!({"GroupId": "sg-1", "IpPermissions": [rule]})),
            [
                "GroupId=sg-1",
                "IpPermissions.1.FromPort=22",
                "IpPermissions.1.IpProtocol=tcp",
                "IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
                "IpPermissions.1.IpRanges.1.Description=all of it",
            ]
        );
        assert_eq!(
            flat(Service::Ec2, &json!({"LaunchPermission": {"Add": [{"Group": "all"}]}, "GroupNames": ["all"]})),
            ["UserGroup.1=all", "LaunchPermission.Add.1.Group=all"]
        );
        let tags = json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "team", "Value": "web"}]}]);
        assert_eq!(
            flat(Service::Ec2, &json!({"TagSpecifications": tags})),
            [
                "TagSpecification.1.ResourceType=security-group-rule",
                "TagSpecification.1.Tag.1.Key=team",
                "TagSpecification.1.Tag.1.Value=web"
            ]
        );
        assert_eq!(flat(Service::Rds, &json!({"ValuesToAdd": ["all"], "X": true})), ["ValuesToAdd.AttributeValue.1=all", "X=true"]);
    }
}
