//! Effective access: is there a request of a stranger that some `Allow` admits and no `Deny` stops?
//!
//! The search picks an action, a resource and a way in. It takes the conditions of the `Allow` as true and, for each `Deny` that
//! covers the request, one of its conditions as false. A choice is possible if every key has a value that a stranger can present.

use super::actions::{Action, Class, S3, beyond_table};
use super::document::{Condition, Matcher, Policy, PrincipalClause, Statement, Test};
use super::literal::holds;
use super::outsider::{self, Channel, Domain, PROFILES, Profile, Surroundings};
use crate::cidr::AddressSet;
use crate::ternary::Tri;
use serde::Serialize;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Ends a search that a hostile policy would make endless; what was not searched is unknown, not safe.
const STEPS_MAX: u32 = 20_000;

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
    let steps = Cell::new(0);
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
    for action in S3.iter().chain(&beyond).filter(|a| request.key.is_none() || a.of_object) {
        if found.classes.contains(&action.class) {
            continue;
        }
        for (profile, channel) in profiles.iter().flat_map(|p| channels.iter().map(move |c| (*p, c))) {
            let search = Search { sides, request, channel, profile, steps: &steps };
            if let Some(statement) = search.open(action) {
                let stranger = stranger(profile, channel);
                found.open = Tri::Yes;
                found.classes.insert(action.class);
                found.stranger = Some(found.stranger.map_or(stranger, |s| s.min(stranger)));
                found.statement.get_or_insert_with(|| statement.source.clone());
                break;
            }
        }
    }
    if found.open == Tri::No && steps.get() > STEPS_MAX {
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
fn allows<'a>(side: &'a Side) -> impl Iterator<Item = (&'a Statement, bool)> {
    side.policy.allows().map(|s| (s, false)).chain(side.grants.iter().map(|g| (&g.statement, g.needs_account)))
}

struct Search<'a> {
    sides: &'a [Side<'a>],
    request: &'a Request<'a>,
    channel: &'a Channel,
    profile: Profile,
    steps: &'a Cell<u32>,
}

/// Conditions that must come out as said, by key.
type Demands<'a> = BTreeMap<&'a str, Vec<(&'a Condition, bool)>>;

impl<'a> Search<'a> {
    /// A statement of the first side through which the stranger gets in with this action.
    fn open(&self, action: &Action<'_>) -> Option<&'a Statement> {
        for suffix in self.keys(action) {
            let names: Vec<String> = self.sides.iter().map(|side| name(side, action, suffix.as_deref())).collect();
            let denies: Vec<&Statement> = self
                .sides
                .iter()
                .zip(&names)
                .flat_map(|(side, arn)| side.policy.denies().filter(move |s| self.covers_surely(s, action, arn)))
                .collect();
            if denies.iter().any(|d| d.conditions.is_empty()) {
                continue;
            }
            // Addresses add up over the statements that admit the same request.
            let mut addresses = AddressSet::default();
            for chosen in self.choices(action, &names) {
                let mut demands = Demands::new();
                let conditions = chosen.iter().flat_map(|s| &s.conditions);
                conditions.for_each(|c| demands.entry(c.key.as_str()).or_default().push((c, true)));
                if demands.keys().all(|key| self.is_possible(key, &demands)) && self.escape(&denies, &mut demands, &mut addresses) {
                    return chosen.first().copied();
                }
            }
        }
        None
    }

    /// One allowing statement from each side, in every combination.
    fn choices(&self, action: &Action<'_>, names: &[String]) -> Vec<Vec<&'a Statement>> {
        let mut chosen: Vec<Vec<&Statement>> = vec![Vec::new()];
        for (side, arn) in self.sides.iter().zip(names) {
            let fitting: Vec<&Statement> = allows(side)
                .filter(|(_, needs_account)| !needs_account || !outsider::is_anonymous(self.profile))
                .map(|(s, _)| s)
                .filter(|s| outsider::admits(&s.principal, self.profile))
                .filter(|s| s.actions.covers_action(action.name) && s.resources.covers_resource(arn))
                .collect();
            chosen = chosen.iter().flat_map(|c| fitting.iter().map(|s| [c.as_slice(), &[*s]].concat())).collect();
        }
        chosen
    }

    fn covers_surely(&self, deny: &Statement, action: &Action<'_>, arn: &str) -> bool {
        outsider::surely_hits(&deny.principal) && deny.actions.covers_action(action.name) && deny.resources.surely_covers_resource(arn)
    }

    /// Keys of objects worth trying: one of no pattern, and one of each pattern of the policies. `None` is the bucket.
    fn keys(&self, action: &Action<'_>) -> Vec<Option<String>> {
        if !action.of_object {
            return vec![None];
        }
        if let Some(key) = self.request.key {
            return vec![Some(key.to_string())];
        }
        let mut keys = BTreeSet::from([Some("zz/any.bin".to_string())]);
        for side in self.sides {
            let prefix = format!("{}{}", side.arn, side.object_infix);
            let patterns = side.policy.statements.iter().flat_map(|s| &s.resources.patterns);
            for instance in patterns.map(|p| p.instance("zz/any.bin")) {
                keys.extend(instance.strip_prefix(&prefix).map(|key| Some(key.to_string())));
            }
        }
        keys.into_iter().collect()
    }

    /// Escapes each `Deny` by making one of its conditions false. True once the addresses found admit anyone.
    fn escape<'d>(&self, denies: &[&'d Statement], demands: &mut Demands<'d>, addresses: &mut AddressSet) -> bool {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX {
            return false;
        }
        let Some((deny, rest)) = denies.split_first() else {
            *addresses = addresses.union(&self.addresses(demands));
            return addresses.admits_anyone();
        };
        for condition in &deny.conditions {
            demands.entry(condition.key.as_str()).or_default().push((condition, false));
            let open = self.is_possible(&condition.key, demands) && self.escape(rest, demands, addresses);
            if let Some(list) = demands.get_mut(condition.key.as_str()) {
                list.pop();
            }
            if open {
                return true;
            }
        }
        false
    }

    fn is_possible(&self, key: &str, demands: &Demands) -> bool {
        let Some(list) = demands.get(key) else { return true };
        let domain = outsider::domain(key, self.profile, self.channel, self.request.surroundings);
        if domain == Domain::Address {
            return !self.addresses(demands).is_empty();
        }
        let mentions: Vec<&Condition> = self
            .sides
            .iter()
            .flat_map(|side| &side.policy.statements)
            .flat_map(|s| &s.conditions)
            .filter(|condition| condition.key == key)
            .collect();
        let meets = |value: Option<&str>| list.iter().all(|(condition, wanted)| holds(condition, value, *wanted) == *wanted);
        outsider::candidates(&domain, &mentions).iter().any(|value| meets(value.as_deref()))
    }

    /// The source addresses that the demands leave. Everything for a stranger whose requests carry none.
    fn addresses(&self, demands: &Demands) -> AddressSet {
        let everything = AddressSet::everything();
        let Some(list) = demands.get("aws:sourceip") else { return everything };
        if outsider::domain("aws:sourceip", self.profile, self.channel, self.request.surroundings) != Domain::Address {
            return everything;
        }
        list.iter().fold(everything, |left, (condition, wanted)| match covered(condition) {
            // Left open by the policy: the stranger's way.
            None => left,
            Some(set) if *wanted => left.intersection(&set),
            Some(set) => left.intersection(&set.complement()),
        })
    }
}

/// The addresses for which a condition on `aws:SourceIp` holds, when the key is there.
fn covered(condition: &Condition) -> Option<AddressSet> {
    match condition.operator.test {
        Test::IpAddress => {
            let set = AddressSet::from_cidrs(condition.values.iter().map(|v| v.text.as_str()))?;
            Some(if condition.operator.negated { set.complement() } else { set })
        }
        Test::Null => {
            let wants_absent = condition.values.iter().any(|v| v.text.eq_ignore_ascii_case("true"));
            let wants_present = condition.values.iter().any(|v| v.text.eq_ignore_ascii_case("false"));
            Some(if wants_present || !wants_absent { AddressSet::everything() } else { AddressSet::default() })
        }
        _ => None,
    }
}

fn name(side: &Side, action: &Action<'_>, key: Option<&str>) -> String {
    match key {
        Some(key) if action.of_object => format!("{}{}{key}", side.arn, side.object_infix),
        _ => side.arn.to_string(),
    }
}
