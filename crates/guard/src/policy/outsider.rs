//! Who a stranger can be, and what he can put into each condition key.
//!
//! A stranger is nobody whom a policy names by a fixed value: no principal, account, organisation, VPC or narrow address range of it.
//! He may have an AWS account, a VPC with an endpoint, an access point, and any header he likes.

use super::document::{Condition, Principal, PrincipalClause, Test};
use super::pattern::Pattern;

/// How a stranger comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    AnonymousInternet,
    AnonymousEndpoint,
    AccountInternet,
    AccountEndpoint,
    /// An AWS service that acts for a resource of the stranger.
    ServiceForStranger,
}

pub const PROFILES: [Profile; 5] = [
    Profile::AnonymousInternet,
    Profile::AccountInternet,
    Profile::AnonymousEndpoint,
    Profile::AccountEndpoint,
    Profile::ServiceForStranger,
];

/// The way to the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    Direct,
    /// The access point that is judged.
    AccessPoint {
        arn: String,
        account: String,
    },
    /// An access point that the stranger made in an account of his own.
    StrangersAccessPoint,
}

/// The values that a stranger can present for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    Absent,
    Fixed(Vec<String>),
    /// A value that is the stranger's own: never one that a policy pins down.
    Own {
        generic: String,
        may_be_absent: bool,
    },
    /// Any value.
    Free {
        may_be_absent: bool,
    },
    /// An address of the internet.
    Address,
}

/// What does not depend on who asks.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub owner_account: String,
    pub now_s: Option<i64>,
    /// An account that the policies do not name.
    pub stranger_account: String,
}

const FILLER: &str = "zzstranger";

pub fn is_anonymous(profile: Profile) -> bool {
    matches!(profile, Profile::AnonymousInternet | Profile::AnonymousEndpoint)
}

/// Whether an `Allow` with this principal lets the stranger in.
pub fn admits(clause: &PrincipalClause, profile: Profile) -> bool {
    let anyone = clause.principals.contains(&Principal::Anyone);
    if clause.negated {
        return !anyone;
    }
    anyone
        || clause.principals.iter().any(|p| match p {
            Principal::Federated(_) => matches!(profile, Profile::AccountInternet | Profile::AccountEndpoint),
            Principal::Aws(text) | Principal::Service(text) | Principal::CanonicalUser(text) => !Pattern::new(text).is_fixed(),
            Principal::Anyone => true,
        })
}

/// Whether a `Deny` with this principal is sure to hit the stranger.
pub fn surely_hits(clause: &PrincipalClause) -> bool {
    clause.principals.contains(&Principal::Anyone) != clause.negated
}

pub fn domain(key: &str, profile: Profile, channel: &Channel, around: &Surroundings) -> Domain {
    use Profile::{AccountEndpoint, AccountInternet, AnonymousEndpoint, AnonymousInternet, ServiceForStranger};
    let own = |generic: String| Domain::Own { generic, may_be_absent: false };
    let perhaps = |generic: String| Domain::Own { generic, may_be_absent: true };
    let fixed = |values: &[&str]| Domain::Fixed(values.iter().map(|v| (*v).to_string()).collect());
    let account = &around.stranger_account;
    let with_account = matches!(profile, AccountInternet | AccountEndpoint);
    let over_endpoint = matches!(profile, AnonymousEndpoint | AccountEndpoint);
    let if_account = |domain: Domain| if with_account { domain } else { Domain::Absent };
    let if_endpoint = |domain: Domain| if over_endpoint { domain } else { Domain::Absent };
    let if_service = |domain: Domain| if profile == ServiceForStranger { domain } else { Domain::Absent };
    match key {
        "aws:sourceip" if matches!(profile, AnonymousInternet | AccountInternet) => Domain::Address,
        "aws:sourceip" => Domain::Absent,
        "aws:vpcsourceip" => if_endpoint(Domain::Free { may_be_absent: false }),
        "aws:sourcevpc" => if_endpoint(own(format!("vpc-{FILLER}"))),
        "aws:sourcevpce" => if_endpoint(own(format!("vpce-{FILLER}"))),
        "aws:sourcevpcarn" => if_endpoint(own(format!("arn:aws:ec2:us-east-1:{account}:vpc/vpc-{FILLER}"))),
        "aws:vpceaccount" => if_endpoint(own(account.clone())),
        "aws:vpceorgid" => if_endpoint(perhaps(format!("o-{FILLER}"))),
        "aws:vpceorgpaths" => if_endpoint(perhaps(format!("o-{FILLER}/r-1/"))),
        "aws:principalarn" => if_account(own(format!("arn:aws:iam::{account}:role/{FILLER}"))),
        "aws:principalaccount" => if_account(own(account.clone())),
        "aws:principalorgid" => if_account(perhaps(format!("o-{FILLER}"))),
        "aws:principalorgpaths" => if_account(perhaps(format!("o-{FILLER}/r-1/"))),
        "aws:userid" if with_account => own(format!("AROA{FILLER}:session")),
        "aws:userid" if is_anonymous(profile) => fixed(&["anonymous"]),
        "aws:userid" => Domain::Absent,
        "aws:principaltype" if with_account => fixed(&["AssumedRole", "User", "Account", "FederatedUser"]),
        "aws:principaltype" if is_anonymous(profile) => fixed(&["Anonymous"]),
        // An unsigned request does not have it.
        "aws:principalisawsservice" if is_anonymous(profile) => Domain::Absent,
        "aws:principalisawsservice" => fixed(&[if profile == ServiceForStranger { "true" } else { "false" }]),
        "aws:principalservicename" | "aws:principalservicenameslist" => if_service(Domain::Free { may_be_absent: false }),
        "aws:sourcearn" => if_service(own(format!("arn:aws:sns:us-east-1:{account}:{FILLER}"))),
        "aws:sourceaccount" | "aws:sourceowner" => if_service(own(account.clone())),
        "aws:sourceorgid" => if_service(perhaps(format!("o-{FILLER}"))),
        "aws:sourceorgpaths" => if_service(perhaps(format!("o-{FILLER}/r-1/"))),
        "aws:securetransport" => fixed(&["true", "false"]),
        "aws:currenttime" | "aws:epochtime" => {
            around.now_s.map_or(Domain::Free { may_be_absent: false }, |now| Domain::Fixed(vec![now.to_string()]))
        }
        "aws:resourceaccount" | "s3:resourceaccount" => fixed(&[&around.owner_account]),
        "aws:viaawsservice" if with_account => fixed(&["true", "false"]),
        "aws:viaawsservice" => fixed(&["false"]),
        "s3:dataaccesspointarn" => match channel {
            Channel::Direct => Domain::Absent,
            Channel::AccessPoint { arn, .. } => fixed(&[arn]),
            Channel::StrangersAccessPoint => own(format!("arn:aws:s3:us-east-1:{account}:accesspoint/{FILLER}")),
        },
        "s3:dataaccesspointaccount" => match channel {
            Channel::Direct => Domain::Absent,
            Channel::AccessPoint { account, .. } => fixed(&[account]),
            Channel::StrangersAccessPoint => own(account.clone()),
        },
        "s3:accesspointnetworkorigin" => match channel {
            Channel::Direct => Domain::Absent,
            // An access point of a VPC is never judged here.
            Channel::AccessPoint { .. } => fixed(&["Internet"]),
            Channel::StrangersAccessPoint => fixed(&["Internet", "VPC"]),
        },
        "s3:x-amz-server-side-encryption-aws-kms-key-id" => perhaps(format!("arn:aws:kms:us-east-1:{account}:key/{FILLER}")),
        _ if key.starts_with("aws:principaltag/") || OF_CREDENTIALS.contains(&key) => if_account(Domain::Free { may_be_absent: true }),
        _ => Domain::Free { may_be_absent: true },
    }
}

/// Keys that come with a signed request only.
const OF_CREDENTIALS: &[&str] = &[
    "aws:username",
    "aws:multifactorauthpresent",
    "aws:multifactorauthage",
    "aws:tokenissuetime",
    "aws:federatedprovider",
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:sourceidentity",
];

/// Values worth trying for a key, given every condition of the policies that speaks of it. `None` is the absent key.
pub fn candidates(domain: &Domain, mentions: &[&Condition]) -> Vec<Option<String>> {
    let mut found: Vec<Option<String>> = Vec::new();
    match domain {
        Domain::Absent | Domain::Address => found.push(None),
        Domain::Fixed(values) => found.extend(values.iter().cloned().map(Some)),
        Domain::Own { generic, may_be_absent } => {
            found.push(Some(generic.clone()));
            let open = mentions.iter().filter(|c| matches!(c.operator.test, Test::StringLike | Test::Arn)).flat_map(|c| &c.values);
            found.extend(open.filter(|v| !pins(&mentions[0].key, v)).filter_map(|v| of_shape(generic, v)).map(Some));
            if *may_be_absent {
                found.push(None);
            }
        }
        Domain::Free { may_be_absent } => {
            found.push(Some(FILLER.to_string()));
            for condition in mentions {
                found.extend(condition.values.iter().flat_map(|v| near(condition.operator.test, v)).map(Some));
            }
            if *may_be_absent {
                found.push(None);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A text that the pattern matches and that AWS could have given: the ID of a VPC begins with `vpc-`, whatever the pattern says.
fn of_shape(generic: &str, pattern: &Pattern) -> Option<String> {
    let instance = pattern.instance(FILLER);
    match ["vpce-", "vpc-", "o-", "arn:"].into_iter().find(|prefix| generic.starts_with(prefix)) {
        Some(prefix) if !instance.starts_with(prefix) => Some(format!("{prefix}{instance}")).filter(|text| pattern.matches(text)),
        _ => Some(instance),
    }
}

fn near(test: Test, value: &Pattern) -> Vec<String> {
    match test {
        Test::Bool => vec!["true".into(), "false".into()],
        Test::Number(_) => {
            value.text.parse::<f64>().map(|n| [n - 1.0, n, n + 1.0].iter().map(f64::to_string).collect()).unwrap_or_default()
        }
        Test::Date(_) => {
            crate::date::parse_s(&value.text).map(|t| [t - 86_400, t, t + 86_400].iter().map(i64::to_string).collect()).unwrap_or_default()
        }
        Test::IpAddress => {
            let address = value.text.split('/').next().unwrap_or_default().to_string();
            vec![address, "10.99.99.99".into()]
        }
        // A value of `StringEquals` is its own text, wildcards and all.
        _ => vec![value.instance(FILLER), value.text.clone()],
    }
}

/// Whether a pattern with a wildcard still names one holder: an account in an ARN, an organisation in a path, a role in a session.
fn pins(key: &str, value: &Pattern) -> bool {
    if value.has_variable() {
        return false;
    }
    if !value.has_wildcard() {
        return true;
    }
    let fixed = |text: &str| !text.is_empty() && Pattern::new(text).is_fixed();
    let segments: Vec<&str> = value.text.splitn(6, ':').collect();
    if segments.len() == 6 && segments[0] == "arn" {
        return fixed(segments[4]);
    }
    match key {
        "aws:userid" => value.text.split_once(':').is_some_and(|(role, _)| fixed(role)),
        "aws:principalorgpaths" | "aws:vpceorgpaths" | "aws:sourceorgpaths" => {
            value.text.split_once('/').is_some_and(|(organisation, _)| fixed(organisation))
        }
        _ => false,
    }
}
