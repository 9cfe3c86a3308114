//! A small AWS: names say what their resources are, and each kind of call can be made to fail or to answer as openly as it may.

use crate::http::receive;
use aws_client::{Client, Environment, Limits, Options};
use aws_scan::{Choice, Event, Services, Summary, scan};
use guard::Finding;
use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const ACCOUNT: &str = "123456789012";

/// How one kind of call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Healthy,
    /// As whatever the call could answer at worst.
    Open,
    Denied,
    Throttled,
    Failed,
    NotFound,
    Truncated,
    CutOff,
    Endless,
    Other,
    Page,
    Empty,
}

pub const FAULTS: &[Mode] = &[
    Mode::Denied,
    Mode::Throttled,
    Mode::Failed,
    Mode::NotFound,
    Mode::Truncated,
    Mode::CutOff,
    Mode::Endless,
    Mode::Other,
    Mode::Page,
    Mode::Empty,
];

#[derive(Clone, Debug)]
pub struct World {
    pub buckets: Vec<String>,
    pub account_block: Option<String>,
    pub special: Option<(String, Mode)>,
    /// Items of a page of a listing; 0: all.
    pub page: usize,
}

pub struct Fake {
    pub url: String,
    pub seen: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Fake {
    pub fn start(world: World) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = seen.clone();
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (world, seen) = (world.clone(), counted.clone());
                std::thread::spawn(move || serve(stream, &world, &seen));
            }
        });
        Fake { url, seen }
    }

    pub fn client(&self) -> Client {
        let pairs = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("HOME", "/nonexistent")];
        let environment: Environment = pairs.map(|(k, v)| (k.to_string(), v.to_string())).into();
        let limits = Limits {
            attempts: 2,
            backoff: Duration::ZERO,
            answer_bytes: 64 << 10,
            attempt: Duration::from_secs(20),
            concurrency: 4,
            ..Limits::default()
        };
        Client::new(&Options { endpoint: Some(self.url.clone()), limits, ..Options::default() }, environment).unwrap()
    }

    pub fn scan(&self, regions: &[&str]) -> Result<(Vec<Finding>, Summary), model::Fault> {
        let choice = Choice { services: Services::ALL, regions: regions.iter().map(|r| r.to_string()).collect(), sample: 3 };
        let mut found = Vec::new();
        let summary = scan(&self.client(), &choice, &mut |event| {
            if let Event::Found(one) = event {
                found.push(*one);
            }
        })?;
        Ok((found, summary))
    }

    pub fn count(&self, action: &str) -> u32 {
        self.seen.lock().unwrap().get(action).copied().unwrap_or(0)
    }
}

pub fn world(buckets: &[&str]) -> World {
    World { buckets: buckets.iter().map(|b| b.to_string()).collect(), account_block: None, special: None, page: 0 }
}

fn serve(stream: TcpStream, world: &World, seen: &Mutex<BTreeMap<String, u32>>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((words, _, posted)) = receive(&mut reader) {
        let (path, query) = words[1].split_once('?').unwrap_or((&words[1], ""));
        let pairs: BTreeMap<String, String> = if posted.is_empty() { query } else { &posted }
            .split('&')
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .map(|(k, v)| (k.to_string(), v.replace("%20", " ")))
            .collect();
        let (action, id) = action(path, &pairs);
        *seen.lock().unwrap().entry(action.clone()).or_default() += 1;
        let mode = world.special.as_ref().filter(|(of, _)| *of == action).map_or(Mode::Healthy, |(_, mode)| *mode);
        let (status, answer) = answer(world, &action, &id, &pairs, mode == Mode::Open);
        let error = |status, code: &str| (status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>"));
        let (status, answer) = match mode {
            Mode::Healthy | Mode::Open | Mode::CutOff | Mode::Endless => (status, answer),
            Mode::Denied => error(403, "AccessDenied"),
            Mode::Throttled => error(429, "Throttling"),
            Mode::Failed => error(500, "InternalError"),
            Mode::NotFound => (404, "<html>not here</html>".into()),
            Mode::Truncated => (200, answer[..answer.len() * 2 / 3].to_string()),
            Mode::Other => (200, "<Wrong><Thing/></Wrong>".into()),
            Mode::Page => (200, "<!doctype html><title>Sign in</title>".into()),
            Mode::Empty => (200, String::new()),
        };
        let length = match mode {
            Mode::CutOff => answer.len() + 10,
            Mode::Endless => usize::MAX / 4,
            _ => answer.len(),
        };
        let status = if mode == Mode::Endless || mode == Mode::CutOff { 200 } else { status };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{answer}");
        if writer.write_all(head.as_bytes()).is_err() || mode == Mode::CutOff {
            return;
        }
        if mode == Mode::Endless {
            while writer.write_all(&[b' '; 4096]).is_ok() {}
            return;
        }
    }
}

/// The IAM action of a request, and what it is about.
fn action(path: &str, pairs: &BTreeMap<String, String>) -> (String, String) {
    let get = |name: &str| pairs.get(name).cloned().unwrap_or_default();
    if let Some(name) = pairs.get("Action") {
        let service = match name.as_str() {
            "GetCallerIdentity" => "sts",
            n if n.starts_with("DescribeDB") => "rds",
            _ => "ec2",
        };
        let ids = ["ImageId", "SnapshotId", "PrefixListId", "DBSnapshotIdentifier", "DBClusterSnapshotIdentifier"];
        return (format!("{service}:{name}"), ids.iter().map(|i| get(i)).find(|i| !i.is_empty()).unwrap_or_default());
    }
    if let Some(rest) = path.strip_prefix("/v20180820/") {
        let parts: Vec<&str> = rest.split('/').collect();
        let (action, id) = match parts.as_slice() {
            ["configuration", _] => ("s3:GetAccountPublicAccessBlock", ""),
            ["accesspoint"] => ("s3:ListAccessPoints", ""),
            ["accesspoint", name] => ("s3:GetAccessPoint", *name),
            ["accesspoint", name, _] => ("s3:GetAccessPointPolicy", *name),
            ["mrap", _] => ("s3:ListMultiRegionAccessPoints", ""),
            ["mrap", _, name, _] => ("s3:GetMultiRegionAccessPointPolicy", *name),
            other => panic!("{other:?}"),
        };
        return (action.into(), id.into());
    }
    let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let action = match (bucket, key) {
        ("", _) => "s3:ListAllMyBuckets",
        (_, "") if pairs.contains_key("policy") => "s3:GetBucketPolicy",
        (_, "") if pairs.contains_key("acl") => "s3:GetBucketAcl",
        (_, "") if pairs.contains_key("publicAccessBlock") => "s3:GetBucketPublicAccessBlock",
        (_, "") if pairs.contains_key("ownershipControls") => "s3:GetBucketOwnershipControls",
        (_, "") => "s3:ListBucket",
        _ => "s3:GetObjectAcl",
    };
    (action.into(), if key.is_empty() { bucket.into() } else { format!("{bucket}/{key}") })
}

pub const STAR: &str =
    r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::B","arn:aws:s3:::B/*"]}}"#;
const OWN: &str = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"s3:*","Resource":"arn:aws:s3:::B/*"}}"#;

fn acl(is_public: bool) -> String {
    let group = "<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>";
    format!(
        "<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList><Grant><Grantee><ID>me</ID></Grantee><Permission>FULL_CONTROL\
         </Permission></Grant>{}</AccessControlList></AccessControlPolicy>",
        if is_public { group } else { "" }
    )
}

pub fn block(ignore: bool, restrict: bool) -> String {
    format!(
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>{ignore}</IgnorePublicAcls>\
         <BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>{restrict}</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
    )
}

/// What a healthy AWS answers. `open`: at worst.
fn answer(world: &World, action: &str, id: &str, pairs: &BTreeMap<String, String>, open: bool) -> (u16, String) {
    let has = |token: &str| id.contains(token);
    let none = |code: &str| (404, format!("<Error><Code>{code}</Code><Message>none</Message></Error>"));
    let ec2 = |inner: String| {
        let operation = action.split_once(':').unwrap().1;
        (200, format!("<{operation}Response>{inner}</{operation}Response>"))
    };
    let rds = |inner: String| {
        let operation = action.split_once(':').unwrap().1;
        (200, format!("<{operation}Response><{operation}Result>{inner}</{operation}Result></{operation}Response>"))
    };
    let wide = if open || has("open") || has("public") { "<item><group>all</group></item>" } else { "" };
    let values = if wide.is_empty() { "" } else { "<AttributeValue>all</AttributeValue>" };
    match action {
        "sts:GetCallerIdentity" => rds(format!("<Account>{ACCOUNT}</Account>")),
        "s3:GetAccountPublicAccessBlock" => match &world.account_block {
            Some(block) if !open => (200, block.clone()),
            _ => none("NoSuchPublicAccessBlockConfiguration"),
        },
        "s3:ListAllMyBuckets" => {
            let from: usize = pairs.get("continuation-token").map_or(0, |t| t.parse().unwrap());
            let size = if world.page == 0 { usize::MAX } else { world.page };
            let page: String = world.buckets.iter().skip(from).take(size).map(|b| format!("<Bucket><Name>{b}</Name></Bucket>")).collect();
            let next = from.saturating_add(size);
            let more = if next < world.buckets.len() { format!("<ContinuationToken>{next}</ContinuationToken>") } else { String::new() };
            (200, format!("<ListAllMyBucketsResult><Buckets>{page}</Buckets>{more}</ListAllMyBucketsResult>"))
        }
        "s3:GetBucketPolicy" if open || has("star") => (200, STAR.replace("arn:aws:s3:::B", &format!("arn:aws:s3:::{id}"))),
        "s3:GetBucketPolicy" if has("delegates") => {
            let condition = format!("{{\"StringEquals\":{{\"s3:DataAccessPointAccount\":\"{ACCOUNT}\"}}}}");
            let policy = STAR.replace("arn:aws:s3:::B", &format!("arn:aws:s3:::{id}"));
            (200, policy.replace("\"Principal\"", &format!("\"Condition\":{condition},\"Principal\"")))
        }
        "s3:GetBucketPolicy" if has("own") => (200, OWN.replace("arn:aws:s3:::B", &format!("arn:aws:s3:::{id}"))),
        "s3:GetBucketPolicy" => none("NoSuchBucketPolicy"),
        "s3:GetBucketAcl" => (200, acl(open || has("acl"))),
        "s3:GetBucketPublicAccessBlock" if !open && (has("ignored") || has("restricted")) => {
            (200, block(has("ignored"), has("restricted")))
        }
        "s3:GetBucketPublicAccessBlock" => none("NoSuchPublicAccessBlockConfiguration"),
        "s3:GetBucketOwnershipControls" if !open && has("enforced") => {
            (200, "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>".into())
        }
        "s3:GetBucketOwnershipControls" => none("OwnershipControlsNotFoundError"),
        "s3:ListBucket" => {
            let keys =
                if has("objects") { "<Contents><Key>public.txt</Key></Contents><Contents><Key>shut.txt</Key></Contents>" } else { "" };
            let next = if has("endless") { "<NextContinuationToken>again</NextContinuationToken>" } else { "" };
            (200, format!("<ListBucketResult><Name>{id}</Name><EncodingType>url</EncodingType>{keys}{next}</ListBucketResult>"))
        }
        "s3:GetObjectAcl" => (200, acl(open || has("public"))),
        "s3:ListAccessPoints" => {
            let item = |name: &str, bucket: &str, origin: &str| {
                format!("<AccessPoint><Name>{name}</Name><Bucket>{bucket}</Bucket><NetworkOrigin>{origin}</NetworkOrigin></AccessPoint>")
            };
            let of = |bucket: &String| {
                let names = ["ap-public", "ap-shut", "ap-vpc-public", "ap-blocked-public"];
                names.map(|name| item(&format!("{name}-{bucket}"), bucket, if name.contains("vpc") { "VPC" } else { "Internet" })).concat()
            };
            let points: String = world.buckets.iter().filter(|b| b.contains("delegates")).map(of).collect();
            (200, format!("<ListAccessPointsResult><AccessPointList>{points}</AccessPointList></ListAccessPointsResult>"))
        }
        "s3:GetAccessPoint" => {
            let block = block(false, has("blocked") && !open);
            (200, format!("<GetAccessPointResult><Name>{id}</Name>{block}</GetAccessPointResult>"))
        }
        "s3:GetAccessPointPolicy" if open || has("public") => {
            let arn = format!("arn:aws:s3:us-east-1:{ACCOUNT}:accesspoint/{id}");
            let policy =
                format!(r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"{arn}/object/*"}}}}"#);
            (200, format!("<GetAccessPointPolicyResult><Policy>{}</Policy></GetAccessPointPolicyResult>", policy.replace('"', "&quot;")))
        }
        "s3:GetAccessPointPolicy" => none("NoSuchAccessPointPolicy"),
        "s3:ListMultiRegionAccessPoints" => (200, multi_region(world, open)),
        "s3:GetMultiRegionAccessPointPolicy" if open || has("public") => {
            let arn = format!("arn:aws:s3::{ACCOUNT}:accesspoint/{id}.mrap");
            let policy =
                format!(r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"{arn}/object/*"}}}}"#)
                    .replace('"', "&quot;");
            let established = format!("<Established><Policy>{policy}</Policy></Established>");
            (200, format!("<GetMultiRegionAccessPointPolicyResult><Policy>{established}</Policy></GetMultiRegionAccessPointPolicyResult>"))
        }
        "s3:GetMultiRegionAccessPointPolicy" => none("NoSuchMultiRegionAccessPointPolicy"),
        "ec2:DescribeRegions" => ec2("<regionInfo><item><regionName>us-east-1</regionName></item></regionInfo>".into()),
        "ec2:DescribeImages" => ec2(items("imagesSet", &["ami-public", "ami-shut"], |id| {
            format!("<imageId>{id}</imageId><imageOwnerId>{ACCOUNT}</imageOwnerId>")
        })),
        "ec2:DescribeImageAttribute" => ec2(format!("<imageId>{id}</imageId><launchPermission>{wide}</launchPermission>")),
        "ec2:DescribeSnapshots" => ec2(items("snapshotSet", &["snap-public", "snap-shut", "snap-encrypted-open"], |id| {
            format!("<snapshotId>{id}</snapshotId><ownerId>{ACCOUNT}</ownerId><encrypted>{}</encrypted>", id.contains("encrypted"))
        })),
        "ec2:DescribeSnapshotAttribute" => {
            ec2(format!("<snapshotId>{id}</snapshotId><createVolumePermission>{wide}</createVolumePermission>"))
        }
        "ec2:GetSnapshotBlockPublicAccessState" => ec2("<state>unblocked</state>".into()),
        "ec2:DescribeSecurityGroups" => ec2(items("securityGroupInfo", &["sg-public", "sg-shut", "sg-list", "sg-list-public"], |id| {
            let source = match id {
                id if open || id == "sg-public" => "<ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>".to_string(),
                "sg-shut" => "<ipRanges><item><cidrIp>203.0.113.0/24</cidrIp><description>office</description></item></ipRanges>".into(),
                id => format!("<prefixListIds><item><prefixListId>pl-{}</prefixListId></item></prefixListIds>", &id[3..]),
            };
            let rule = format!("<item><ipProtocol>tcp</ipProtocol><fromPort>5432</fromPort><toPort>5432</toPort>{source}</item>");
            let ping = "<item><ipProtocol>icmp</ipProtocol><fromPort>8</fromPort><toPort>-1</toPort><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item>";
            format!("<groupId>{id}</groupId><ipPermissions>{rule}{ping}</ipPermissions>")
        })),
        "ec2:GetManagedPrefixListEntries" => {
            let cidr = if open || has("public") { "0.0.0.0/0" } else { "203.0.113.0/24" };
            ec2(format!("<entrySet><item><cidr>{cidr}</cidr></item></entrySet>"))
        }
        "ec2:DescribeRouteTables" => {
            let table = |subnet: &str, target: &str| {
                format!(
                    "<item><vpcId>vpc-1</vpcId><associationSet><item><main>false</main><subnetId>{subnet}</subnetId></item></associationSet>\
                     <routeSet><item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><gatewayId>{target}</gatewayId>\
                     <state>active</state></item></routeSet></item>"
                )
            };
            let inside = if open { "igw-1" } else { "nat-1" };
            ec2(format!("<routeTableSet>{}{}</routeTableSet>", table("subnet-out", "igw-1"), table("subnet-in", inside)))
        }
        "rds:DescribeDBInstances" => {
            let instance = |name: &str, flag: bool, group: &str, subnet: &str| {
                format!(
                    "<DBInstance><DBInstanceIdentifier>{name}</DBInstanceIdentifier><Engine>postgres</Engine><Endpoint><Port>5432</Port></Endpoint>\
                     <PubliclyAccessible>{flag}</PubliclyAccessible><VpcSecurityGroups><VpcSecurityGroupMembership><VpcSecurityGroupId>{group}\
                     </VpcSecurityGroupId></VpcSecurityGroupMembership></VpcSecurityGroups><DBSubnetGroup><VpcId>vpc-1</VpcId><Subnets><Subnet>\
                     <SubnetIdentifier>{subnet}</SubnetIdentifier></Subnet></Subnets></DBSubnetGroup></DBInstance>"
                )
            };
            let all = [
                instance("db-public", true, "sg-public", "subnet-out"),
                instance("db-list-public", true, "sg-list-public", "subnet-out"),
                instance("db-no-flag", false, "sg-public", "subnet-out"),
                instance("db-no-group", true, "sg-shut", "subnet-out"),
                instance("db-no-list", true, "sg-list", "subnet-out"),
                instance("db-no-route", true, "sg-public", "subnet-in"),
            ];
            rds(format!("<DBInstances>{}</DBInstances>", all.concat()))
        }
        "rds:DescribeDBSnapshots" | "rds:DescribeDBClusterSnapshots" => {
            let (of, prefix) = if action.contains("Cluster") { ("DBClusterSnapshot", "c") } else { ("DBSnapshot", "") };
            let flag = if prefix.is_empty() { "Encrypted" } else { "StorageEncrypted" };
            let item = |name: &str| format!("<{of}><{of}Identifier>{prefix}{name}</{of}Identifier><{flag}>false</{flag}></{of}>");
            rds(format!("<{of}s>{}{}</{of}s>", item("rs-public"), item("rs-shut")))
        }
        "rds:DescribeDBSnapshotAttributes" | "rds:DescribeDBClusterSnapshotAttributes" => {
            let of = if action.contains("Cluster") { "DBClusterSnapshot" } else { "DBSnapshot" };
            rds(format!(
                "<{of}AttributesResult><{of}Identifier>{id}</{of}Identifier><{of}Attributes><{of}Attribute><AttributeName>restore</AttributeName>\
                 <AttributeValues>{values}</AttributeValues></{of}Attribute></{of}Attributes></{of}AttributesResult>"
            ))
        }
        other => panic!("{other} is not answered"),
    }
}

/// Each leads to every bucket, so that one that delegates is enough.
fn multi_region(world: &World, open: bool) -> String {
    let buckets: String =
        world.buckets.iter().map(|b| format!("<Region><Bucket>{b}</Bucket><Region>us-east-1</Region></Region>")).collect();
    let names =
        if world.buckets.iter().any(|b| b.contains("delegates")) { &["mr-public", "mr-shut", "mr-blocked-public"][..] } else { &[] };
    let point = |name: &&str| {
        let switches = block(false, name.contains("blocked") && !open).replace("PublicAccessBlockConfiguration", "PublicAccessBlock");
        format!("<AccessPoint><Name>{name}</Name><Alias>{name}.mrap</Alias>{switches}<Regions>{buckets}</Regions></AccessPoint>")
    };
    let points: String = names.iter().map(point).collect();
    format!("<ListMultiRegionAccessPointsResult><AccessPoints>{points}</AccessPoints></ListMultiRegionAccessPointsResult>")
}

fn items(list: &str, ids: &[&str], item: impl Fn(&str) -> String) -> String {
    let items: String = ids.iter().map(|id| format!("<item>{}</item>", item(id))).collect();
    format!("<{list}>{items}</{list}>")
}
