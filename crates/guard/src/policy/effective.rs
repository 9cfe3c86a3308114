//! Effective access: is there a request of a stranger that some `Allow` admits and no `Deny` stops?
//!
//! The search picks an action, a resource and a way in. It takes the conditions of the `Allow` as true and, for each `Deny` that
//! covers the request, one of its conditions as false. A choice is possible if every key has a value that a stranger can present.

use super::actions::{Class, S3, beyond_table};
use super::document::{Condition, Matcher, Policy, PrincipalClause, Statement};
use super::outsider::{self, Channel, PROFILES, Profile, Surroundings};
use super::search::{Search, Steps, mentions};
use crate::ternary::Tri;
use serde::Serialize;
use std::collections::BTreeSet;

/// Who gets in, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stranger {
    Anyone,
    AnyAwsAccount,
    AnyVpcEndpoint,
    AnyAwsService,
}

impl Stranger {
    pub fn phrase(self) -> &'static str {
        match self {
            Stranger::Anyone => "anyone on the internet",
            Stranger::AnyAwsAccount => "anyone with an AWS account",
            Stranger::AnyVpcEndpoint => "anyone with a VPC endpoint of their own",
            Stranger::AnyAwsService => "any AWS service, on behalf of any account",
        }
    }
}

/// One list of grants that a request must pass, with its own name for the resource.
///
/// A request to a bucket passes one side; a request through an access point passes the access point's side and the bucket's.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    pub policy: &'a Policy,
    /// Grants that are not in the policy: those of an ACL.
    pub grants: &'a [Grant],
    /// `arn:aws:s3:::bucket`, or the access point's ARN.
    pub arn: &'a str,
    /// Between the ARN and a key: `/`, or `/object/`.
    pub object_infix: &'a str,
}

/// A grant of an ACL, as a statement that `Deny` statements of the policy overrule.
#[derive(Debug, Clone)]
pub struct Grant {
    pub statement: Statement,
    pub needs_account: bool,
}

#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub channel: Channel,
    pub surroundings: &'a Surroundings,
    /// Judge this object only.
    pub key: Option<&'a str>,
}

/// What a stranger can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    pub open: Tri,
    pub classes: BTreeSet<Class>,
    pub stranger: Option<Stranger>,
    /// The statement that opens the worst of it.
    pub statement: Option<serde_json::Value>,
}

impl Grant {
    pub fn new(needs_account: bool, actions: &[&str], source: serde_json::Value) -> Grant {
        let patterns = |texts: &[&str]| texts.iter().map(|t| super::pattern::Pattern::new(t)).collect();
        Grant {
            needs_account,
            statement: Statement {
                allows: true,
                principal: PrincipalClause { negated: false, principals: vec![super::document::Principal::Anyone] },
                actions: Matcher { negated: false, patterns: patterns(actions) },
                resources: Matcher { negated: false, patterns: patterns(&["*"]) },
                conditions: Vec::new(),
                source,
            },
        }
    }
}

/// Searches for a way in through all `sides` at once.
pub fn exposure(sides: &[Side], request: &Request) -> Exposure {
    exposure_within(sides, request, &Steps::default())
}

fn exposure_within(sides: &[Side], request: &Request, steps: &Steps) -> Exposure {
    let mut found = Exposure { open: Tri::No, classes: BTreeSet::new(), stranger: None, statement: None };
    // Most policies name nobody but fixed principals: nothing to search.
    if sides.iter().any(|side| !allows(side).any(|(s, _)| PROFILES.iter().any(|p| outsider::admits(&s.principal, *p)))) {
        return found;
    }
    let is_for_services = sides.iter().any(names_sources);
    let profiles: Vec<Profile> = PROFILES.into_iter().filter(|p| *p != Profile::ServiceForStranger || is_for_services).collect();
    let mut channels = vec![request.channel.clone()];
    if request.channel == Channel::Direct && sides.iter().any(mentions_access_points) {
        channels.push(Channel::StrangersAccessPoint);
    }
    let named = sides.iter().flat_map(|side| side.policy.allows()).filter(|s| !s.actions.negated).flat_map(|s| &s.actions.patterns);
    let beyond = beyond_table(named);
    let mentions = mentions(sides);
    let strangers = profiles.iter().flat_map(|profile| channels.iter().map(move |channel| (*profile, channel)));
    let searches = strangers.map(|(profile, channel)| Search::new(sides, &mentions, request, profile, channel, steps));
    let searches: Vec<Search> = searches.collect();
    for action in S3.iter().chain(&beyond).filter(|a| request.key.is_none() || a.of_object) {
        if found.classes.contains(&action.class) {
            continue;
        }
        let opened = searches.iter().find_map(|search| Some((search, search.open(action)?)));
        let Some((search, statement)) = opened else { continue };
        let stranger = stranger(search.profile, search.channel);
        found.open = Tri::Yes;
        found.classes.insert(action.class);
        found.stranger = Some(found.stranger.map_or(stranger, |s| s.min(stranger)));
        found.statement.get_or_insert_with(|| statement.source.clone());
    }
    if found.open == Tri::No && steps.are_used_up() {
        found.open = Tri::Unknown;
    }
    found
}

fn stranger(profile: Profile, channel: &Channel) -> Stranger {
    match profile {
        Profile::AnonymousInternet if *channel != Channel::StrangersAccessPoint => Stranger::Anyone,
        Profile::AnonymousInternet | Profile::AccountInternet => Stranger::AnyAwsAccount,
        Profile::AnonymousEndpoint | Profile::AccountEndpoint => Stranger::AnyVpcEndpoint,
        Profile::ServiceForStranger => Stranger::AnyAwsService,
    }
}

fn mentions_access_points(side: &Side) -> bool {
    let of_access_point = |c: &Condition| c.key.starts_with("s3:dataaccesspoint") || c.key == "s3:accesspointnetworkorigin";
    side.policy.statements.iter().any(|s| s.conditions.iter().any(of_access_point))
}

/// Whether a statement about everyone says for whose resources a service may come. Where none does, AWS's services are trusted, as
/// `RestrictPublicBuckets` trusts them.
fn names_sources(side: &Side) -> bool {
    let is_source = |c: &Condition| c.key.starts_with("aws:source") && !matches!(c.key.as_str(), "aws:sourceip" | "aws:sourceidentity");
    let of_network = |c: &Condition| c.key.starts_with("aws:sourcevpc");
    let of_everyone = |s: &&Statement| outsider::admits(&s.principal, Profile::ServiceForStranger);
    side.policy.statements.iter().filter(of_everyone).any(|s| s.conditions.iter().any(|c| is_source(c) && !of_network(c)))
}

/// Statements that allow, with whether they need an account.
pub(super) fn allows<'a>(side: &'a Side) -> impl Iterator<Item = (&'a Statement, bool)> {
    side.policy.allows().map(|s| (s, false)).chain(side.grants.iter().map(|g| (&g.statement, g.needs_account)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What `count` statements come to in steps, and the answer.
    fn search(count: usize, statement: impl Fn(usize) -> Value) -> (Tri, u32) {
        let policy = Policy::from_value(&json!({"Statement": (0..count).map(statement).collect::<Vec<_>>()})).unwrap();
        let around = Surroundings::default();
        let request = Request { channel: Channel::Direct, surroundings: &around, key: None };
        let steps = Steps::default();
        let side = Side { policy: &policy, grants: &[], arn: "arn:aws:s3:::b", object_infix: "/" };
        let found = exposure_within(&[side], &request, &steps);
        (found.open, steps.taken())
    }

    fn allow(resource: String, condition: Value) -> Value {
        json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": resource, "Condition": condition})
    }

    /// A condition that no stranger meets, and one that strangers meet who are not anyone.
    fn impossible() -> Value {
        json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}})
    }

    fn narrow() -> Value {
        json!({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}})
    }

    #[test]
    fn a_policy_that_is_built_to_be_endless_is_given_up_as_unknown() {
        let values: Vec<String> = (0..2000).map(|n| format!("vpc-{n}")).collect();
        let referers = json!({"StringNotLike": {"aws:Referer": "*"}, "StringEquals": {"aws:Referer": values}});
        let action = |n: usize, m: usize| if m.is_multiple_of(n + 2) { "s3:Get*".to_string() } else { format!("s3:New{m}") };
        let of_actions = |n: usize| (0..200).map(|m| action(n, m)).collect::<Vec<_>>();
        let dodge = |n: usize| {
            let condition = json!({"StringLike": {format!("aws:RequestTag/{n}"): "x"}, "StringNotLike": {"aws:Referer": format!("*{n}*")}});
            json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": condition})
        };
        for (name, (open, taken)) in [
            ("statements that cannot be met", search(2000, |n| allow(format!("arn:aws:s3:::b/{n}/*"), impossible()))),
            ("statements times keys", search(2000, |n| allow(format!("arn:aws:s3:::b/{n}/*"), narrow()))),
            ("values", search(20, |_| allow("arn:aws:s3:::b/*".into(), referers.clone()))),
            ("wildcards", search(200, |n| allow(format!("arn:aws:s3:::b/{}{n}", "*a".repeat(400)), narrow()))),
            (
                "actions of no table",
                search(
                    60,
                    |n| json!({"Effect": "Allow", "Principal": "*", "Action": of_actions(n), "Resource": format!("arn:aws:s3:::b/{n}"), "Condition": narrow()}),
                ),
            ),
            ("ways past denies", search(40, |n| if n == 0 { allow("*".into(), narrow()) } else { dodge(n) })),
        ] {
            assert!(taken <= Steps::MAX && taken > Steps::MAX / 2, "{name}: {taken}");
            assert_eq!(open, Tri::Unknown, "{name}: after {taken}");
        }
    }

    #[test]
    fn a_policy_as_large_as_aws_takes_is_searched_to_the_end() {
        for (name, condition) in [("met by nobody", impossible()), ("narrow", narrow())] {
            let (open, taken) = search(100, |n| allow(format!("arn:aws:s3:::b/{n}/*"), condition.clone()));
            assert_eq!(open, Tri::No, "{name}: after {taken}");
            assert!(taken < Steps::MAX / 4, "{name}: {taken}");
        }
        let (open, _) = search(100, |n| allow(format!("arn:aws:s3:::b/{n}/*"), if n == 99 { json!({}) } else { impossible() }));
        assert_eq!(open, Tri::Yes);
    }
}
