//! The calls of S3 that a scan makes, and what their answers come to. "There is none" is an answer.

use aws_client::xml::{self, Element, Node};
use aws_client::{AwsError, Client, ErrorKind, Listed, Request, Service, encode};
use guard::{AclGrant, Grantee, Ownership, PublicAccessBlock};

/// What the calls share: who calls whom.
#[derive(Clone, Copy)]
pub struct S3<'a> {
    pub client: &'a Client,
    pub account: &'a str,
}

#[derive(Clone, Debug)]
pub struct ListedBucket {
    pub name: String,
    pub region: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ListedAccessPoint {
    pub name: String,
    pub arn: String,
    pub bucket: String,
    pub bucket_account: Option<String>,
    pub network_origin: String,
    pub region: String,
}

/// One name for buckets of several regions.
#[derive(Clone, Debug)]
pub struct ListedMultiRegionAccessPoint {
    pub point: ListedAccessPoint,
    pub block: PublicAccessBlock,
    /// With the account of each, if the answer has it.
    pub buckets: Vec<(ListedBucket, Option<String>)>,
}

const KEYS: &str = "s3:ListBucket";

/// Where multi-region access points are administered, wherever their buckets are. They exist in AWS's commercial partition only.
const MULTI_REGION: &str = "us-west-2";

#[derive(Clone, Debug)]
pub struct Acl {
    pub owner: Option<String>,
    pub grants: Vec<AclGrant>,
}

fn none_if<T>(code: &str, none: T, read: Result<T, AwsError>) -> Result<T, AwsError> {
    match read {
        Err(e) if e.kind == ErrorKind::NotFound && e.code == code => Ok(none),
        other => other,
    }
}

fn block(node: Node) -> Option<PublicAccessBlock> {
    let on = |name: &str| node.flag_at(name).map(|flag| flag.unwrap_or(false));
    Some(PublicAccessBlock {
        block_public_acls: on("BlockPublicAcls")?,
        ignore_public_acls: on("IgnorePublicAcls")?,
        block_public_policy: on("BlockPublicPolicy")?,
        restrict_public_buckets: on("RestrictPublicBuckets")?,
    })
}

fn acl(root: Node) -> Option<Acl> {
    let grant = |node: &Node| {
        let grantee = node.child("Grantee")?;
        let text = |name: &str| grantee.text_at(name).map(str::to_string);
        // By what it has, and not by its `xsi:type`: a group that lost its type is a group.
        let grantee = (text("URI").map(Grantee::Group))
            .or_else(|| text("ID").map(Grantee::User))
            .or_else(|| text("EmailAddress").map(Grantee::Email))?;
        Some(AclGrant { grantee, permission: node.text_at("Permission")?.to_string() })
    };
    let grants = root.items("AccessControlList", "Grant")?.iter().map(grant).collect::<Option<Vec<_>>>()?;
    Some(Acl { owner: root.child("Owner").and_then(|o| o.text_at("ID")).map(str::to_string), grants })
}

fn next(root: &Node, name: &str) -> Option<String> {
    root.text_at(name).map(str::to_string)
}

impl S3<'_> {
    fn control(&self, action: &'static str, region: &str, path: &str, query: &[(&str, &str)]) -> Request {
        let request = Request::get(Service::S3Control, region, action, format!("/v20180820/{path}"), query);
        request.with_header("x-amz-account-id", self.account)
    }

    fn of_bucket(&self, action: &'static str, bucket: &ListedBucket, key: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, AwsError> {
        let region = bucket.region.as_deref().unwrap_or(self.client.region());
        let slash = if key.is_empty() { "" } else { "/" };
        let path = format!("/{}{slash}{}", encode(&bucket.name, false), encode(key, true));
        let request = Request::get(Service::S3, region, action, path, query).of_owner(self.account);
        self.client.send(&if action == KEYS { request.as_listing() } else { request }, self.account)
    }

    pub fn account_block(&self) -> Result<PublicAccessBlock, AwsError> {
        self.account_configuration().map(Option::unwrap_or_default)
    }

    /// None: the account has no configuration, which is not the same as one with every switch off.
    pub fn account_configuration(&self) -> Result<Option<PublicAccessBlock>, AwsError> {
        let request = self.control("s3:GetAccountPublicAccessBlock", self.client.region(), "configuration/publicAccessBlock", &[]);
        let read = self.client.send(&request, self.account);
        let read = read.and_then(|body| xml::read(request.action, &body, "PublicAccessBlockConfiguration", block)).map(Some);
        none_if("NoSuchPublicAccessBlockConfiguration", None, read)
    }

    pub fn buckets(&self) -> Listed<ListedBucket> {
        // With a parameter S3 says where each bucket is. moto cuts a page off and says nothing of the next, so pages are as large as can be.
        let request = Request::get(Service::S3, self.client.region(), "s3:ListAllMyBuckets", "/".into(), &[("max-buckets", "10000")]);
        let action = request.action;
        self.client.pages(request, self.account, "continuation-token", |body| {
            xml::read(action, body, "ListAllMyBuckets", |root| {
                let bucket = |node: &Node| {
                    let region = node.text_at("BucketRegion").filter(|r| !r.is_empty()).map(str::to_string);
                    Some(ListedBucket { name: node.text_at("Name")?.to_string(), region })
                };
                let buckets = root.items("Buckets", "Bucket")?.iter().map(bucket).collect::<Option<Vec<_>>>()?;
                Some((buckets, next(&root, "ContinuationToken")))
            })
        })
    }

    pub fn policy(&self, bucket: &ListedBucket) -> Result<Option<String>, AwsError> {
        let action = "s3:GetBucketPolicy";
        let read = self.of_bucket(action, bucket, "", &[("policy", "")]);
        let read = read.and_then(|body| policy_text(action, body).map(Some));
        none_if("NoSuchBucketPolicy", None, read)
    }

    pub fn acl(&self, bucket: &ListedBucket) -> Result<Acl, AwsError> {
        let action = "s3:GetBucketAcl";
        self.of_bucket(action, bucket, "", &[("acl", "")]).and_then(|body| xml::read(action, &body, "AccessControlPolicy", acl))
    }

    pub fn object_acl(&self, bucket: &ListedBucket, key: &str) -> Result<Acl, AwsError> {
        let action = "s3:GetObjectAcl";
        self.of_bucket(action, bucket, key, &[("acl", "")]).and_then(|body| xml::read(action, &body, "AccessControlPolicy", acl))
    }

    pub fn block(&self, bucket: &ListedBucket) -> Result<PublicAccessBlock, AwsError> {
        self.configuration(bucket).map(Option::unwrap_or_default)
    }

    /// None: the bucket has no configuration.
    pub fn configuration(&self, bucket: &ListedBucket) -> Result<Option<PublicAccessBlock>, AwsError> {
        let action = "s3:GetBucketPublicAccessBlock";
        let read = self.of_bucket(action, bucket, "", &[("publicAccessBlock", "")]);
        let read = read.and_then(|body| xml::read(action, &body, "PublicAccessBlockConfiguration", block)).map(Some);
        none_if("NoSuchPublicAccessBlockConfiguration", None, read)
    }

    /// Whether the bucket serves a website.
    pub fn website(&self, bucket: &ListedBucket) -> Result<bool, AwsError> {
        let action = "s3:GetBucketWebsite";
        let read = self.of_bucket(action, bucket, "", &[("website", "")]);
        none_if("NoSuchWebsiteConfiguration", false, read.and_then(|body| xml::read(action, &body, "WebsiteConfiguration", |_| Some(true))))
    }

    pub fn ownership(&self, bucket: &ListedBucket) -> Result<Ownership, AwsError> {
        let action = "s3:GetBucketOwnershipControls";
        let read = self.of_bucket(action, bucket, "", &[("ownershipControls", "")]);
        let read = read.and_then(|body| {
            xml::read(action, &body, "OwnershipControls", |root| match root.child("Rule")?.text_at("ObjectOwnership")? {
                "BucketOwnerEnforced" => Some(Ownership::BucketOwnerEnforced),
                "BucketOwnerPreferred" => Some(Ownership::BucketOwnerPreferred),
                "ObjectWriter" => Some(Ownership::ObjectWriter),
                _ => None,
            })
        });
        none_if("OwnershipControlsNotFoundError", Ownership::ObjectWriter, read)
    }

    /// Up to `most` keys.
    pub fn keys(&self, bucket: &ListedBucket, most: usize) -> Listed<String> {
        let action = KEYS;
        let (mut keys, mut token) = (Vec::new(), None::<String>);
        while keys.len() < most {
            let page = (most - keys.len()).min(1000).to_string();
            // Keys are any bytes that XML may not hold.
            let mut query = vec![("list-type", "2"), ("max-keys", page.as_str()), ("encoding-type", "url")];
            query.extend(token.as_deref().map(|t| ("continuation-token", t)));
            let read = self.of_bucket(action, bucket, "", &query).and_then(|body| {
                xml::read(action, &body, "ListBucket", |root| {
                    let encoded = root.text_at("EncodingType") == Some("url");
                    let contents = root.children().filter(|c| c.tag_name().name() == "Contents");
                    let key = |node: Node| node.text_at("Key").map(|key| if encoded { decode(key) } else { key.to_string() });
                    // A listing says its bucket, which no other answer with this root lacks.
                    root.text_at("Name")?;
                    Some((contents.map(key).collect::<Option<Vec<_>>>()?, next(&root, "NextContinuationToken").filter(|t| !t.is_empty())))
                })
            });
            match read {
                Ok((found, more)) => {
                    keys.extend(found);
                    if more.is_none() {
                        break;
                    }
                    if more == token {
                        return (keys, Some(AwsError::broken(action, "the listing repeats a page")));
                    }
                    token = more;
                }
                Err(error) => return (keys, Some(error)),
            }
        }
        keys.truncate(most);
        (keys, None)
    }

    pub fn access_points(&self, region: &str) -> Listed<ListedAccessPoint> {
        let request = self.control("s3:ListAccessPoints", region, "accesspoint", &[("maxResults", "1000")]);
        let action = request.action;
        self.client.pages(request, self.account, "nextToken", |body| {
            xml::read(action, body, "ListAccessPoints", |root| {
                let point = |node: &Node| {
                    let name = node.text_at("Name")?.to_string();
                    let arn = || {
                        let (partition, _) = aws_client::partition(region);
                        format!("arn:{partition}:s3:{region}:{}:accesspoint/{name}", self.account)
                    };
                    Some(ListedAccessPoint {
                        arn: node.text_at("AccessPointArn").filter(|a| !a.is_empty()).map_or_else(arn, str::to_string),
                        bucket: node.text_at("Bucket")?.to_string(),
                        bucket_account: node.text_at("BucketAccountId").filter(|a| !a.is_empty()).map(str::to_string),
                        network_origin: node.text_at("NetworkOrigin")?.to_string(),
                        region: region.to_string(),
                        name,
                    })
                };
                let points = root.items("AccessPointList", "AccessPoint")?.iter().map(point).collect::<Option<Vec<_>>>()?;
                Some((points, next(&root, "NextToken")))
            })
        })
    }

    pub fn access_point_policy(&self, point: &ListedAccessPoint) -> Result<Option<String>, AwsError> {
        let request =
            self.control("s3:GetAccessPointPolicy", &point.region, &format!("accesspoint/{}/policy", encode(&point.name, false)), &[]);
        let read = self.client.send(&request, self.account).and_then(|body| {
            let text = xml::read(request.action, &body, "GetAccessPointPolicy", |root| root.text_at("Policy").map(str::to_string))?;
            policy_text(request.action, text.into_bytes()).map(Some)
        });
        none_if("NoSuchAccessPointPolicy", None, read)
    }

    pub fn multi_region_access_points(&self) -> Listed<ListedMultiRegionAccessPoint> {
        if aws_client::partition(self.client.region()).0 != "aws" {
            return (Vec::new(), None);
        }
        let request = self.control("s3:ListMultiRegionAccessPoints", MULTI_REGION, "mrap/instances", &[("maxResults", "100")]);
        let action = request.action;
        let listed = self.client.pages(request, self.account, "nextToken", |body| {
            xml::read(action, body, "ListMultiRegionAccessPoints", |root| {
                let items = root.items("AccessPoints", "AccessPoint")?;
                let points = items.iter().map(|node| multi_region(node, self.account)).collect::<Option<Vec<_>>>()?;
                Some((points, next(&root, "NextToken")))
            })
        });
        match listed {
            // An emulator that has none of them has none that is public.
            (found, Some(error)) if error.kind == ErrorKind::Unimplemented => (found, None),
            other => other,
        }
    }

    pub fn multi_region_policy(&self, name: &str) -> Result<Option<String>, AwsError> {
        let path = format!("mrap/instances/{}/policy", encode(name, false));
        let request = self.control("s3:GetMultiRegionAccessPointPolicy", MULTI_REGION, &path, &[]);
        let read = self.client.send(&request, self.account).and_then(|body| {
            let text = xml::read(request.action, &body, "GetMultiRegionAccessPointPolicy", |root| {
                // Without an established policy there may be one that is proposed, which is not in force.
                let established = root.child("Policy")?.child("Established").and_then(|e| e.filled_at("Policy"));
                Some(established)
            })?;
            text.map(|text| policy_text(request.action, text.into_bytes())).transpose()
        });
        none_if("NoSuchMultiRegionAccessPointPolicy", None, read)
    }

    pub fn access_point_block(&self, point: &ListedAccessPoint) -> Result<PublicAccessBlock, AwsError> {
        let request = self.control("s3:GetAccessPoint", &point.region, &format!("accesspoint/{}", encode(&point.name, false)), &[]);
        let body = self.client.send(&request, self.account)?;
        xml::read(request.action, &body, "GetAccessPoint", |root| block(root.child("PublicAccessBlockConfiguration")?))
    }
}

fn multi_region(node: &Node, account: &str) -> Option<ListedMultiRegionAccessPoint> {
    let alias = node.filled_at("Alias")?;
    let bucket = |node: &Node| {
        let listed = ListedBucket { name: node.filled_at("Bucket")?, region: node.filled_at("Region") };
        Some((listed, node.filled_at("BucketAccountId")))
    };
    Some(ListedMultiRegionAccessPoint {
        block: block(node.child("PublicAccessBlock")?)?,
        buckets: node.items("Regions", "Region")?.iter().map(bucket).collect::<Option<Vec<_>>>()?,
        point: ListedAccessPoint {
            name: node.filled_at("Name")?,
            arn: format!("arn:aws:s3::{account}:accesspoint/{alias}"),
            bucket: String::new(),
            bucket_account: None,
            network_origin: "Internet".into(),
            region: MULTI_REGION.into(),
        },
    })
}

/// A text that is no policy is no answer.
fn policy_text(action: &'static str, body: Vec<u8>) -> Result<String, AwsError> {
    let text = String::from_utf8(body).map_err(|_| AwsError::broken(action, "the policy is not UTF-8"))?;
    let is_policy = guard::Policy::parse(&text).is_some();
    is_policy.then_some(text).ok_or_else(|| AwsError::broken(action, "the policy cannot be parsed"))
}

/// Percent-encoding as S3's `encoding-type=url` writes it, where a space is a plus.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match (first, digits) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_s3_encodes_them() {
        assert_eq!(decode("a%2Fb+c%C3%BC%2Bd"), "a/b cü+d");
        assert_eq!(decode("100%"), "100%");
    }
}
