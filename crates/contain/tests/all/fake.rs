//! A small AWS that keeps what is written to it: one resource of each kind, each public at first. Any call can be made to fail.

use crate::http::receive;
use aws_client::{Client, Environment, Limits, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const ACCOUNT: &str = "123456789012";

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused, and nothing is done.
    Denied,
    /// Nothing is done, and no answer comes: as if whoever called was killed before it.
    Dropped,
    /// Done, and no answer comes: as if whoever called was killed after it.
    DroppedAfter,
    /// Somebody else makes the same call right before.
    Second,
}

/// Everything that can be changed, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub values: BTreeMap<&'static str, Option<String>>,
    pub rules: Vec<String>,
    /// Of a rule, by its ports and its source.
    pub tags: BTreeMap<String, String>,
}

pub struct Shared {
    pub state: State,
    /// Calls so far, by their action.
    pub calls: Vec<String>,
    /// Which call fails; `None` from a number on: all of them.
    pub fails: Option<(usize, Fault)>,
    pub all_after: bool,
    /// Every call of this action fails.
    pub denied: Option<String>,
    /// Every call whose name begins so is answered with this status and code.
    pub odd: Option<(&'static str, u16, &'static str)>,
    /// Identifiers of what was deleted.
    pub gone: BTreeSet<&'static str>,
    /// Whose the buckets are.
    pub owner: &'static str,
    /// Whose the credentials are.
    pub account: &'static str,
}

pub struct Fake {
    pub url: String,
    pub shared: Arc<Mutex<Shared>>,
}

pub const STAR: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::star/*"}}"#;

/// Open to half of all addresses, which AWS does not call public.
pub fn halves() -> String {
    let odd: Vec<String> = (1..256).step_by(2).map(|n| format!("\"{n}.0.0.0/8\"")).collect();
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::halves/*","Condition":{{"IpAddress":{{"aws:SourceIp":[{}]}}}}}}}}"#,
        odd.join(",")
    )
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let on = || Some("all".to_string());
        let values = BTreeMap::from([
            ("account", None),
            ("block star", None),
            ("block acl", Some(block([true, false, true, false]))),
            ("block halves", None),
            ("block quiet", None),
            ("policy quiet", None),
            ("policy star", Some(STAR.to_string())),
            ("policy acl", None),
            ("policy halves", Some(halves())),
            ("ami-1", on()),
            ("snap-1", on()),
            ("rds-1", on()),
            ("crds-1", on()),
            ("db-1", Some("true".to_string())),
        ]);
        let rules = ["22 22 0.0.0.0/0 everybody", "443 443 0.0.0.0/0 ", "22 22 203.0.113.0/24 office"].map(str::to_string).to_vec();
        let tags = BTreeMap::from([("22 22 0.0.0.0/0".to_string(), "team=web".to_string())]);
        let state = State { values, rules, tags };
        let shared = Shared {
            state,
            calls: Vec::new(),
            fails: None,
            all_after: false,
            denied: None,
            odd: None,
            gone: BTreeSet::new(),
            owner: ACCOUNT,
            account: ACCOUNT,
        };
        let shared = Arc::new(Mutex::new(shared));
        let held = shared.clone();
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = held.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Fake { url, shared }
    }

    pub fn client(&self) -> Client {
        let pairs = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("HOME", "/nonexistent")];
        let environment: Environment = pairs.map(|(k, v)| (k.to_string(), v.to_string())).into();
        let limits = Limits { attempts: 1, backoff: Duration::ZERO, attempt: Duration::from_secs(20), ..Limits::default() };
        Client::new(&Options { endpoint: Some(self.url.clone()), limits, ..Options::default() }, environment).unwrap()
    }

    pub fn state(&self) -> State {
        self.shared.lock().unwrap().state.clone()
    }

    /// Numbers calls from here.
    pub fn fail(&self, fails: Option<(usize, Fault)>, all_after: bool) {
        let mut shared = self.shared.lock().unwrap();
        shared.calls.clear();
        (shared.fails, shared.all_after) = (fails, all_after);
    }

    pub fn calls(&self) -> Vec<String> {
        self.shared.lock().unwrap().calls.clone()
    }
}

pub fn block(on: [bool; 4]) -> String {
    let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    let switches: String = names.iter().zip(on).map(|(name, on)| format!("<{name}>{on}</{name}>")).collect();
    format!("<PublicAccessBlockConfiguration>{switches}</PublicAccessBlockConfiguration>")
}

fn serve(stream: TcpStream, shared: &Mutex<Shared>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((words, headers, body)) = receive(&mut reader) {
        let method = words[0].as_str();
        let (path, query) = words[1].split_once('?').unwrap_or((&words[1], ""));
        assert!(method != "PUT" || headers.contains_key("x-amz-checksum-sha256"), "S3 refuses a change without a checksum");
        let pairs = pairs(if method == "POST" { &body } else { query });
        let mut shared = shared.lock().unwrap();
        let name = pairs.get("Action").cloned().unwrap_or_else(|| format!("{method} {path}?{query}"));
        shared.calls.push(name.clone());
        let number = shared.calls.len() - 1;
        let all_after = shared.all_after;
        let fault = shared.fails.filter(|(at, _)| *at == number || (all_after && number > *at)).map(|(at, fault)| {
            // Whoever was killed makes no further call that could be done.
            if number > at { Fault::Dropped } else { fault }
        });
        let fault = if shared.denied.as_ref() == Some(&name) { Some(Fault::Denied) } else { fault };
        let (status, answer) = match fault {
            Some(Fault::Denied) => error(403, "AccessDenied"),
            Some(Fault::Second) if name != "GetCallerIdentity" => {
                let _ = answer(&mut shared.state, method, path, &pairs, &body);
                answer(&mut shared.state, method, path, &pairs, &body)
            }
            Some(Fault::Dropped) => return,
            Some(Fault::DroppedAfter) if name == "GetCallerIdentity" => return,
            Some(Fault::DroppedAfter) => {
                let _ = answer(&mut shared.state, method, path, &pairs, &body);
                return;
            }
            Some(Fault::Second) | None if name == "GetCallerIdentity" => {
                let result = format!("<GetCallerIdentityResult><Account>{}</Account></GetCallerIdentityResult>", shared.account);
                (200, format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"))
            }
            Some(Fault::Second) | None => match missing(&shared, path, &pairs, &headers) {
                Some(refused) => refused,
                None => answer(&mut shared.state, method, path, &pairs, &body),
            },
        };
        drop(shared);
        let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", answer.len()) };
        if writer.write_all(format!("HTTP/1.1 {status} x\r\n{length}\r\n{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// As S3, EC2 and RDS answer about what does not exist, or belongs to somebody else.
fn missing(shared: &Shared, path: &str, pairs: &BTreeMap<String, String>, headers: &BTreeMap<String, String>) -> Option<(u16, String)> {
    if let Some((begins, status, code)) = shared.odd {
        let action = pairs.get("Action").map_or(path, String::as_str);
        if action.starts_with(begins) {
            return Some(error(status, code));
        }
    }
    let bucket = path[1..].split('/').next().unwrap_or_default();
    if shared.gone.contains(&path[1..]) && path[1..].contains('/') {
        return Some(error(404, "NoSuchKey"));
    }
    if !bucket.is_empty() && !path.starts_with("/v2018") {
        let expected = headers.get("x-amz-expected-bucket-owner").expect("a call of a bucket names its owner");
        return match (shared.gone.contains(bucket), shared.owner == expected) {
            (true, _) => Some(error(404, "NoSuchBucket")),
            (false, false) => Some(error(403, "AccessDenied")),
            (false, true) => None,
        };
    }
    let is_gone = |name: &str| pairs.get(name).is_some_and(|id| shared.gone.contains(id.as_str()));
    let by_name = [
        (&["ImageId", "ImageId.1"][..], 400, "InvalidAMIID.NotFound"),
        (&["SnapshotId", "SnapshotId.1"], 400, "InvalidSnapshot.NotFound"),
        (&["GroupId", "GroupId.1"], 400, "InvalidGroup.NotFound"),
        (&["DBInstanceIdentifier"], 404, "DBInstanceNotFound"),
        (&["DBSnapshotIdentifier"], 404, "DBSnapshotNotFound"),
        (&["DBClusterSnapshotIdentifier"], 404, "DBClusterSnapshotNotFoundFault"),
    ];
    let found = by_name.iter().find(|(names, ..)| names.iter().any(|name| is_gone(name)));
    if let Some((_, status, code)) = found {
        return Some(error(*status, code));
    }
    let action = pairs.get("Action").cloned().unwrap_or_default();
    let lists = [("DescribeImages", "imagesSet"), ("DescribeSnapshots", "snapshotSet"), ("DescribeSecurityGroups", "securityGroupInfo")];
    let list = lists.iter().find(|(name, _)| *name == action && is_gone("Filter.1.Value.1"));
    list.map(|(_, list)| (200, format!("<{action}Response><{list}/></{action}Response>")))
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut parts = text.split('%');
        let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            out.push(u8::from_str_radix(&part[..2], 16).unwrap());
            out.extend(part[2..].bytes());
        }
        String::from_utf8(out).unwrap()
    };
    text.split('&').map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

fn answer(state: &mut State, method: &str, path: &str, pairs: &BTreeMap<String, String>, body: &str) -> (u16, String) {
    if let Some(action) = pairs.get("Action") {
        return query(state, action, pairs);
    }
    if path.starts_with("/v20180820/configuration") {
        return stored(state, "account", method, body, "NoSuchPublicAccessBlockConfiguration");
    }
    if path.starts_with("/v20180820/accesspoint/") {
        return error(404, "NoSuchAccessPoint");
    }
    if path.starts_with("/v20180820/accesspoint") {
        return (200, "<ListAccessPointsResult><AccessPointList/></ListAccessPointsResult>".into());
    }
    if path.starts_with("/v20180820/mrap/instances/") {
        let policy =
            STAR.replace("arn:aws:s3:::star/*", &format!("arn:aws:s3::{ACCOUNT}:accesspoint/alias.mrap/object/*")).replace('"', "&quot;");
        let established = format!("<Established><Policy>{policy}</Policy></Established>");
        return (
            200,
            format!("<GetMultiRegionAccessPointPolicyResult><Policy>{established}</Policy></GetMultiRegionAccessPointPolicyResult>"),
        );
    }
    if path.starts_with("/v20180820/mrap/instances") {
        let regions = "<Regions><Region><Bucket>star</Bucket><Region>us-east-1</Region></Region></Regions>";
        let block = block([false; 4]).replace("Configuration", "");
        let point = format!("<AccessPoint><Name>many</Name><Alias>alias.mrap</Alias>{block}{regions}</AccessPoint>");
        return (
            200,
            format!("<ListMultiRegionAccessPointsResult><AccessPoints>{point}</AccessPoints></ListMultiRegionAccessPointsResult>"),
        );
    }
    if path == "/" {
        let bucket = |name: &str| format!("<Bucket><Name>{name}</Name><BucketRegion>us-east-1</BucketRegion></Bucket>");
        let buckets: String = ["acl", "halves", "quiet", "star"].map(bucket).concat();
        return (200, format!("<ListAllMyBucketsResult><Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"));
    }
    let bucket = path[1..].split('/').next().unwrap();
    if pairs.contains_key("list-type") {
        return (200, format!("<ListBucketResult><Name>{bucket}</Name></ListBucketResult>"));
    }
    let key = |of: &str| state.values.keys().find(|k| **k == format!("{of} {bucket}")).copied();
    if bucket.is_empty() || key("block").is_none() {
        return error(404, "NoSuchBucket");
    }
    if pairs.contains_key("publicAccessBlock") {
        return stored(state, key("block").unwrap(), method, body, "NoSuchPublicAccessBlockConfiguration");
    }
    if pairs.contains_key("policy") {
        return stored(state, key("policy").unwrap(), method, body, "NoSuchBucketPolicy");
    }
    if pairs.contains_key("acl") {
        let group =
            "<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>";
        let grants = if bucket == "acl" { group } else { "" };
        let owner = "<Owner><ID>me</ID></Owner>";
        return (200, format!("<AccessControlPolicy>{owner}<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"));
    }
    let code = if pairs.contains_key("website") { "NoSuchWebsiteConfiguration" } else { "OwnershipControlsNotFoundError" };
    error(404, code)
}

fn stored(state: &mut State, key: &'static str, method: &str, body: &str, absent: &str) -> (u16, String) {
    match (method, state.values.get(key).cloned().flatten()) {
        ("PUT", _) => {
            let namespace = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
            state.values.insert(key, Some(body.replace(namespace, "")));
            (200, String::new())
        }
        ("DELETE", _) => {
            state.values.insert(key, None);
            (204, String::new())
        }
        (_, Some(value)) => (200, value),
        (_, None) => error(404, absent),
    }
}

/// Ports and source of a rule, without what is said of it.
fn place(rule: &str) -> String {
    rule.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" ")
}

fn query(state: &mut State, action: &str, pairs: &BTreeMap<String, String>) -> (u16, String) {
    let get = |name: &str| pairs.get(name).map(String::as_str).unwrap_or_default();
    let ids = ["ImageId", "SnapshotId", "DBSnapshotIdentifier", "DBClusterSnapshotIdentifier", "DBInstanceIdentifier", "Filter.1.Value.1"];
    let id = ids.iter().map(|name| get(name)).find(|id| !id.is_empty()).unwrap_or_default().to_string();
    let key = state.values.keys().find(|k| **k == id).copied();
    let is_on = key.is_some_and(|key| state.values[key].is_some());
    let wide = if is_on { "<item><group>all</group></item>" } else { "" };
    let ec2 = |inner: String| (200, format!("<{action}Response>{inner}</{action}Response>"));
    let rds = |inner: String| (200, format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"));
    let mut set = |on: bool| {
        state.values.insert(key.unwrap(), on.then(|| "all".to_string()));
    };
    let of = if action.contains("Cluster") { "DBClusterSnapshot" } else { "DBSnapshot" };
    match action {
        "DescribeImages" => ec2("<imagesSet><item><imageId>ami-1</imageId></item></imagesSet>".into()),
        "DescribeImageAttribute" => ec2(format!("<imageId>{id}</imageId><launchPermission>{wide}</launchPermission>")),
        "ModifyImageAttribute" => {
            assert!(get("LaunchPermission.Add.1.Group") == "all" || get("LaunchPermission.Remove.1.Group") == "all", "{pairs:?}");
            set(pairs.contains_key("LaunchPermission.Add.1.Group"));
            ec2(String::new())
        }
        "DescribeSnapshots" => {
            ec2("<snapshotSet><item><snapshotId>snap-1</snapshotId><encrypted>false</encrypted></item></snapshotSet>".into())
        }
        "DescribeSnapshotAttribute" => ec2(format!("<snapshotId>{id}</snapshotId><createVolumePermission>{wide}</createVolumePermission>")),
        "ModifySnapshotAttribute" => {
            assert_eq!((get("UserGroup.1"), get("Attribute")), ("all", "createVolumePermission"));
            set(get("OperationType") == "add");
            ec2(String::new())
        }
        "GetSnapshotBlockPublicAccessState" => ec2("<state>unblocked</state>".into()),
        "DescribeSecurityGroups" => {
            let item = |rule: &String| {
                let [from, to, cidr, description] = rule.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{rule}") };
                let description = if description.is_empty() { String::new() } else { format!("<description>{description}</description>") };
                format!(
                    "<item><ipProtocol>tcp</ipProtocol><fromPort>{from}</fromPort><toPort>{to}</toPort><ipRanges><item><cidrIp>{cidr}</cidrIp>\
                     {description}</item></ipRanges></item>"
                )
            };
            let rules: String = state.rules.iter().map(item).collect();
            ec2(format!(
                "<securityGroupInfo><item><groupId>sg-1</groupId><ipPermissions>{rules}</ipPermissions></item></securityGroupInfo>"
            ))
        }
        "RevokeSecurityGroupIngress" | "AuthorizeSecurityGroupIngress" => {
            let of = |n: usize, name: &str| pairs.get(&format!("IpPermissions.{n}.{name}")).cloned().unwrap_or_default();
            let written = (1..).take_while(|n| !of(*n, "IpProtocol").is_empty()).map(|n| {
                let (cidr, text) = (of(n, "IpRanges.1.CidrIp"), of(n, "IpRanges.1.Description"));
                format!("{} {} {cidr} {text}", of(n, "FromPort"), of(n, "ToPort"))
            });
            let written: Vec<String> = written.collect();
            let is_there = |rule: &String| state.rules.iter().any(|r| place(r) == place(rule));
            if action.starts_with("Revoke") {
                if !written.iter().all(is_there) {
                    return error(400, "InvalidPermission.NotFound");
                }
                state.rules.retain(|rule| !written.iter().any(|w| place(w) == place(rule)));
                state.tags.retain(|rule, _| !written.iter().any(|w| place(w) == *rule));
            } else {
                if written.iter().any(is_there) {
                    return error(400, "InvalidPermission.Duplicate");
                }
                if let Some(key) = pairs.get("TagSpecification.1.Tag.1.Key") {
                    let tag = format!("{key}={}", get("TagSpecification.1.Tag.1.Value"));
                    state.tags.extend(written.iter().map(|rule| (place(rule), tag.clone())));
                }
                state.rules.extend(written);
            }
            state.rules.sort();
            ec2("<return>true</return>".into())
        }
        "DescribeSecurityGroupRules" => {
            assert_eq!((get("Filter.1.Name"), get("Filter.1.Value.1")), ("group-id", "sg-1"));
            let item = |rule: &String| {
                let [from, to, cidr, _] = rule.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{rule}") };
                let tag = state.tags.get(&place(rule)).and_then(|tag| tag.split_once('='));
                let tags = tag.map_or(String::new(), |(k, v)| format!("<item><key>{k}</key><value>{v}</value></item>"));
                format!(
                    "<item><securityGroupRuleId>sgr-{from}-{}</securityGroupRuleId><isEgress>false</isEgress><ipProtocol>tcp</ipProtocol>\
                     <fromPort>{from}</fromPort><toPort>{to}</toPort><cidrIpv4>{cidr}</cidrIpv4><tagSet>{tags}</tagSet></item>",
                    cidr.len()
                )
            };
            let out = "<item><securityGroupRuleId>sgr-out</securityGroupRuleId><isEgress>true</isEgress><ipProtocol>-1</ipProtocol>\
                       <fromPort>-1</fromPort><toPort>-1</toPort><cidrIpv4>0.0.0.0/0</cidrIpv4></item>";
            let rules: String = state.rules.iter().map(item).collect();
            ec2(format!("<securityGroupRuleSet>{out}{rules}</securityGroupRuleSet>"))
        }
        "DescribeRouteTables" => {
            ec2("<routeTableSet><item><vpcId>vpc-1</vpcId><associationSet><item><main>true</main></item></associationSet><routeSet><item>\
             <destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><gatewayId>igw-1</gatewayId></item></routeSet></item></routeTableSet>"
                .into())
        }
        "DescribeDBInstances" => rds(format!(
            "<DBInstances><DBInstance><DBInstanceIdentifier>db-1</DBInstanceIdentifier><Endpoint><Port>22</Port></Endpoint><PubliclyAccessible>{}\
             </PubliclyAccessible><VpcSecurityGroups><VpcSecurityGroupMembership><VpcSecurityGroupId>sg-1</VpcSecurityGroupId>\
             </VpcSecurityGroupMembership></VpcSecurityGroups><DBSubnetGroup><VpcId>vpc-1</VpcId><Subnets><Subnet><SubnetIdentifier>subnet-1\
             </SubnetIdentifier></Subnet></Subnets></DBSubnetGroup></DBInstance></DBInstances>",
            state.values["db-1"].as_deref().unwrap()
        )),
        "ModifyDBInstance" => {
            // It would apply whatever else waits for the maintenance window.
            assert_eq!(get("ApplyImmediately"), "");
            let value = get("PubliclyAccessible").to_string();
            state.values.insert("db-1", Some(value));
            rds(String::new())
        }
        "DescribeDBSnapshots" | "DescribeDBClusterSnapshots" => {
            let flag = if of == "DBSnapshot" { "Encrypted" } else { "StorageEncrypted" };
            let name = if of == "DBSnapshot" { "rds-1" } else { "crds-1" };
            rds(format!("<{of}s><{of}><{of}Identifier>{name}</{of}Identifier><{flag}>false</{flag}></{of}></{of}s>"))
        }
        "DescribeDBSnapshotAttributes" | "DescribeDBClusterSnapshotAttributes" => {
            let values = if is_on { "<AttributeValue>all</AttributeValue>" } else { "" };
            rds(format!(
                "<{of}AttributesResult><{of}Identifier>{id}</{of}Identifier><{of}Attributes><{of}Attribute><AttributeName>restore</AttributeName>\
                 <AttributeValues>{values}</AttributeValues></{of}Attribute></{of}Attributes></{of}AttributesResult>"
            ))
        }
        "ModifyDBSnapshotAttribute" | "ModifyDBClusterSnapshotAttribute" => {
            set(get("ValuesToAdd.AttributeValue.1") == "all");
            rds(String::new())
        }
        other => panic!("{other} is not answered"),
    }
}
