//! The search for one request of a stranger: an `Allow` of every side that fits it, and a way past each `Deny`.

use super::actions::Action;
use super::document::{Condition, Statement, Test};
use super::effective::{Request, Side, allows};
use super::literal::holds;
use super::outsider::{self, Channel, Domain, Profile};
use crate::cidr::AddressSet;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

/// Ends a search that a hostile policy would make endless; what was not searched is unknown, not safe.
///
/// A step is one comparison of a statement, a condition or a value with the request.
#[derive(Default)]
pub(super) struct Steps {
    taken: Cell<u32>,
    are_used_up: Cell<bool>,
}

impl Steps {
    pub const MAX: u32 = 500_000;

    /// Before the work is done. False: there are not so many left, so the work is not to be done.
    fn take(&self, count: usize) -> bool {
        let taken = u32::try_from(count).ok().and_then(|count| self.taken.get().checked_add(count)).filter(|taken| *taken <= Steps::MAX);
        match taken {
            Some(taken) if !self.are_used_up.get() => self.taken.set(taken),
            _ => self.are_used_up.set(true),
        }
        !self.are_used_up.get()
    }

    pub fn are_used_up(&self) -> bool {
        self.are_used_up.get()
    }

    #[cfg(test)]
    pub fn taken(&self) -> u32 {
        self.taken.get()
    }
}

/// The conditions of all policies, by their key.
pub(super) type Mentions<'a> = BTreeMap<&'a str, Vec<&'a Condition>>;

pub(super) fn mentions<'a>(sides: &[Side<'a>]) -> Mentions<'a> {
    let mut found = Mentions::new();
    let conditions = sides.iter().flat_map(|side| &side.policy.statements).flat_map(|s| &s.conditions);
    conditions.for_each(|c| found.entry(c.key.as_str()).or_default().push(c));
    found
}

/// The search for one stranger who comes one way.
pub(super) struct Search<'a> {
    sides: &'a [Side<'a>],
    mentions: &'a Mentions<'a>,
    request: &'a Request<'a>,
    pub channel: &'a Channel,
    pub profile: Profile,
    steps: &'a Steps,
    /// Of each side, the statements that could let him in, and those that are sure to be about him.
    allows: Vec<Vec<&'a Statement>>,
    denies: Vec<Vec<&'a Statement>>,
    /// Many actions are allowed and denied by the same statements.
    answers: RefCell<BTreeMap<Fitting, Option<&'a Statement>>>,
}

/// Which statements of each side are about an action, by their place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fitting {
    of_object: bool,
    allows: Vec<Vec<usize>>,
    denies: Vec<Vec<usize>>,
}

/// Conditions that must come out as said, by key.
type Demands<'a> = BTreeMap<&'a str, Vec<(&'a Condition, bool)>>;

/// S3 has no longer keys.
const KEY_BYTES_MAX: usize = 1024;

impl<'a> Search<'a> {
    pub fn new(
        sides: &'a [Side<'a>],
        mentions: &'a Mentions<'a>,
        request: &'a Request<'a>,
        profile: Profile,
        channel: &'a Channel,
        steps: &'a Steps,
    ) -> Search<'a> {
        let denies = sides.iter().map(|side| side.policy.denies().filter(|s| outsider::surely_hits(&s.principal)).collect());
        let answers = RefCell::default();
        let search = Search { sides, mentions, request, channel, profile, steps, allows: Vec::new(), denies: denies.collect(), answers };
        let allows = sides.iter().map(|side| search.allows_of(side)).collect();
        Search { allows, ..search }
    }

    /// Statements that admit him, and whose conditions he can meet by themselves.
    fn allows_of(&self, side: &'a Side) -> Vec<&'a Statement> {
        allows(side)
            .filter(|(_, needs_account)| !needs_account || !outsider::is_anonymous(self.profile))
            .map(|(s, _)| s)
            .filter(|s| self.steps.take(1) && outsider::admits(&s.principal, self.profile))
            .filter(|s| {
                let demands = demands(&[s]);
                demands.keys().all(|key| self.is_possible(key, &demands))
            })
            .collect()
    }

    /// A statement of the first side through which the stranger gets in with this action.
    pub fn open(&self, action: &Action<'_>) -> Option<&'a Statement> {
        let fitting = self.fitting(action);
        if fitting.allows.iter().any(Vec::is_empty) {
            return None;
        }
        if let Some(answer) = self.answers.borrow().get(&fitting) {
            return *answer;
        }
        let of = |all: &[Vec<&'a Statement>], places: &[Vec<usize>]| -> Vec<Vec<&'a Statement>> {
            all.iter().zip(places).map(|(all, places)| places.iter().map(|n| all[*n]).collect()).collect()
        };
        let (allowing, denying) = (of(&self.allows, &fitting.allows), of(&self.denies, &fitting.denies));
        let keys = self.keys(action, &allowing, &denying);
        let answer = keys.iter().find_map(|key| self.open_at(key.as_deref(), &allowing, &denying));
        self.answers.borrow_mut().insert(fitting, answer);
        answer
    }

    fn fitting(&self, action: &Action<'_>) -> Fitting {
        let covers = |s: &Statement| self.steps.take(s.actions.cost(action.name)) && s.actions.covers_action(action.name);
        let places = |all: &[&Statement]| (0..all.len()).filter(|n| covers(all[*n])).collect();
        let of = |all: &[Vec<&Statement>]| all.iter().map(|all| places(all)).collect();
        Fitting { of_object: action.of_object, allows: of(&self.allows), denies: of(&self.denies) }
    }

    /// The same, for one object. `None` is the bucket.
    fn open_at(&self, key: Option<&str>, allowing: &[Vec<&'a Statement>], denying: &[Vec<&'a Statement>]) -> Option<&'a Statement> {
        let names: Vec<String> = self.sides.iter().map(|side| name(side, key)).collect();
        let mut denies: Vec<&Statement> = Vec::new();
        for (all, arn) in denying.iter().zip(&names) {
            denies.extend(all.iter().filter(|s| self.steps.take(s.resources.cost(arn)) && s.resources.surely_covers_resource(arn)));
        }
        if denies.iter().any(|d| d.conditions.is_empty()) {
            return None;
        }
        // Addresses add up over the statements that admit the same request.
        let mut addresses = AddressSet::default();
        for chosen in self.choices(allowing, &names) {
            let mut demands = demands(&chosen);
            if demands.keys().all(|key| self.is_possible(key, &demands)) && self.escape(&denies, &mut demands, &mut addresses) {
                return chosen.first().copied();
            }
        }
        None
    }

    /// One allowing statement from each side, in every combination.
    fn choices(&self, allowing: &[Vec<&'a Statement>], names: &[String]) -> Vec<Vec<&'a Statement>> {
        let mut chosen: Vec<Vec<&Statement>> = vec![Vec::new()];
        for (all, arn) in allowing.iter().zip(names) {
            let covers = |s: &&&Statement| self.steps.take(s.resources.cost(arn)) && s.resources.covers_resource(arn);
            let fitting: Vec<&Statement> = all.iter().filter(covers).copied().collect();
            let joined = chosen.iter().flat_map(|c| fitting.iter().map(move |s| (c, s)));
            chosen = joined.take_while(|_| self.steps.take(1)).map(|(c, s)| [c.as_slice(), &[*s]].concat()).collect();
        }
        chosen
    }

    /// Keys of objects worth trying: one of no pattern, and one of each pattern of the statements. `None` is the bucket.
    fn keys(&self, action: &Action<'_>, allowing: &[Vec<&Statement>], denying: &[Vec<&Statement>]) -> Vec<Option<String>> {
        if !action.of_object {
            return vec![None];
        }
        if let Some(key) = self.request.key {
            return vec![Some(key.to_string())];
        }
        let mut keys = BTreeSet::from(["zz/any.bin".to_string()]);
        for (side, (allowing, denying)) in self.sides.iter().zip(allowing.iter().zip(denying)) {
            let prefix = format!("{}{}", side.arn, side.object_infix);
            let patterns = allowing.iter().chain(denying).flat_map(|s| &s.resources.patterns);
            for pattern in patterns.take_while(|p| self.steps.take(p.cost(&prefix))) {
                // The shortest text of a pattern with very many wildcards has nothing for them.
                let instances = ["zz/any.bin", ""].map(|filler| pattern.instance(filler));
                let found = instances.iter().filter_map(|text| text.strip_prefix(&prefix)).find(|key| key.len() <= KEY_BYTES_MAX);
                keys.extend(found.map(str::to_string));
            }
        }
        keys.into_iter().map(Some).collect()
    }

    /// Escapes each `Deny` by making one of its conditions false. True once the addresses found admit anyone.
    fn escape<'d>(&self, denies: &[&'d Statement], demands: &mut Demands<'d>, addresses: &mut AddressSet) -> bool {
        if !self.steps.take(1) {
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
        let mentions = self.mentions.get(key).map_or(&[][..], Vec::as_slice);
        if !self.steps.take(mentions.iter().map(|c| 1 + c.values.len()).sum()) {
            return false;
        }
        let cost = |condition: &Condition, value: &str| 1 + condition.values.iter().map(|v| v.cost(value)).sum::<usize>();
        let meets = |value: Option<&str>| {
            let holds = |(c, wanted): &(&Condition, bool)| {
                self.steps.take(cost(c, value.unwrap_or_default())) && holds(c, value, *wanted) == *wanted
            };
            list.iter().all(holds)
        };
        outsider::candidates(&domain, mentions).iter().any(|value| meets(value.as_deref()))
    }

    /// The source addresses that the demands leave. Everything for a stranger whose requests carry none.
    fn addresses(&self, demands: &Demands) -> AddressSet {
        let everything = AddressSet::everything();
        let Some(list) = demands.get("aws:sourceip") else { return everything };
        if outsider::domain("aws:sourceip", self.profile, self.channel, self.request.surroundings) != Domain::Address {
            return everything;
        }
        if !self.steps.take(list.iter().map(|(condition, _)| 1 + condition.values.len()).sum()) {
            return AddressSet::default();
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

fn name(side: &Side, key: Option<&str>) -> String {
    key.map_or_else(|| side.arn.to_string(), |key| format!("{}{}{key}", side.arn, side.object_infix))
}

fn demands<'a>(statements: &[&'a Statement]) -> Demands<'a> {
    let mut demands = Demands::new();
    let conditions = statements.iter().flat_map(|s| &s.conditions);
    conditions.for_each(|c| demands.entry(c.key.as_str()).or_default().push((c, true)));
    demands
}
