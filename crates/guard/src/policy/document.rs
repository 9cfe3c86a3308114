//! A resource policy as read: statements with every scalar made a list, operators and keys in lower case.

use super::pattern::Pattern;
use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub allows: bool,
    pub principal: PrincipalClause,
    pub actions: Matcher,
    pub resources: Matcher,
    pub conditions: Vec<Condition>,
    /// The statement as the owner wrote it, for messages.
    pub source: Value,
}

/// `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalClause {
    pub negated: bool,
    pub principals: Vec<Principal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Anyone,
    /// An account, user, role or session, as written.
    Aws(String),
    Service(String),
    Federated(String),
    CanonicalUser(String),
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub negated: bool,
    pub patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub operator: Operator,
    /// In lower case.
    pub key: String,
    pub values: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    pub test: Test,
    pub negated: bool,
    pub if_exists: bool,
    pub set: SetQualifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetQualifier {
    None,
    ForAnyValue,
    ForAllValues,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Arn,
    IpAddress,
    Bool,
    Null,
    Number(Comparison),
    Date(Comparison),
    Binary,
    /// Not an operator of IAM. An `Allow` is judged as if it were met, a `Deny` as if it were not.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equals,
    Less,
    LessEquals,
    Greater,
    GreaterEquals,
}

/// AWS's own limit for the policies of a bucket and of an access point.
const BYTES_MAX: usize = 20 * 1024;

impl Policy {
    /// `None`: not a policy, or one that AWS does not take. What it grants is then not known.
    pub fn parse(text: &str) -> Option<Policy> {
        let value: Value = serde_json::from_str(text).ok()?;
        // White space aside.
        if value.to_string().len() > BYTES_MAX { None } else { Policy::from_value(&value) }
    }

    pub fn from_value(value: &Value) -> Option<Policy> {
        let statements = match field(value.as_object()?, "statement")? {
            Value::Array(items) => items.iter().map(statement).collect::<Option<Vec<_>>>()?,
            one => vec![statement(one)?],
        };
        Some(Policy { statements })
    }

    pub fn allows(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|s| s.allows)
    }

    pub fn denies(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|s| !s.allows)
    }
}

impl Matcher {
    pub fn covers_action(&self, action: &str) -> bool {
        self.patterns.iter().any(|p| p.matches_ignoring_case(action)) != self.negated
    }

    pub fn covers_resource(&self, arn: &str) -> bool {
        self.patterns.iter().any(|p| p.matches(arn)) != self.negated
    }

    /// What asking it about a text may cost.
    pub(super) fn cost(&self, text: &str) -> usize {
        self.patterns.iter().map(|p| p.cost(text)).sum()
    }

    /// As above, but a policy variable may stand for nothing: what a `Deny` is sure to cover.
    pub fn surely_covers_resource(&self, arn: &str) -> bool {
        if self.negated {
            !self.patterns.iter().any(|p| p.matches(arn))
        } else {
            self.patterns.iter().any(|p| !p.has_variable() && p.matches(arn))
        }
    }
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn statement(value: &Value) -> Option<Statement> {
    let object = value.as_object()?;
    let effect = field(object, "effect")?.as_str()?;
    let allows = effect.eq_ignore_ascii_case("allow");
    if !allows && !effect.eq_ignore_ascii_case("deny") {
        return None;
    }
    let principal = match (field(object, "principal"), field(object, "notprincipal")) {
        (Some(value), None) => PrincipalClause { negated: false, principals: principals(value)? },
        (None, Some(value)) => PrincipalClause { negated: true, principals: principals(value)? },
        _ => return None,
    };
    let conditions = match field(object, "condition") {
        None => Vec::new(),
        Some(value) => conditions(value)?,
    };
    Some(Statement {
        allows,
        principal,
        actions: matcher(object, "action", "notaction")?,
        resources: matcher(object, "resource", "notresource")?,
        conditions,
        source: value.clone(),
    })
}

fn matcher(object: &Map<String, Value>, positive: &str, negative: &str) -> Option<Matcher> {
    let (negated, value) = match (field(object, positive), field(object, negative)) {
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        _ => return None,
    };
    Some(Matcher { negated, patterns: scalars(value)?.iter().map(|t| Pattern::new(t)).collect() })
}

fn principals(value: &Value) -> Option<Vec<Principal>> {
    let Some(object) = value.as_object() else {
        return scalars(value)?.iter().map(|t| (t == "*").then_some(Principal::Anyone)).collect();
    };
    let mut found = Vec::new();
    for (kind, value) in object {
        for text in scalars(value)? {
            found.push(match kind.to_ascii_lowercase().as_str() {
                "aws" if text == "*" => Principal::Anyone,
                "aws" => Principal::Aws(text),
                "service" => Principal::Service(text),
                "federated" => Principal::Federated(text),
                "canonicaluser" => Principal::CanonicalUser(text),
                _ => return None,
            });
        }
    }
    Some(found)
}

fn conditions(value: &Value) -> Option<Vec<Condition>> {
    let mut found = Vec::new();
    for (operator, keys) in value.as_object()? {
        let operator = self::operator(operator);
        for (key, values) in keys.as_object()? {
            let values = scalars(values)?.iter().map(|t| Pattern::new(t)).collect();
            found.push(Condition { operator, key: key.to_ascii_lowercase(), values });
        }
    }
    Some(found)
}

/// A string, number, boolean, or a list of them.
fn scalars(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

fn operator(text: &str) -> Operator {
    let lower = text.to_ascii_lowercase();
    let (set, name) = match lower.split_once(':') {
        Some(("foranyvalue", rest)) => (SetQualifier::ForAnyValue, rest),
        Some(("forallvalues", rest)) => (SetQualifier::ForAllValues, rest),
        _ => (SetQualifier::None, lower.as_str()),
    };
    let (name, if_exists) = name.strip_suffix("ifexists").map_or((name, false), |n| (n, true));
    let (test, negated) = match name {
        "stringequals" => (Test::StringEquals, false),
        "stringnotequals" => (Test::StringEquals, true),
        "stringequalsignorecase" => (Test::StringEqualsIgnoreCase, false),
        "stringnotequalsignorecase" => (Test::StringEqualsIgnoreCase, true),
        "stringlike" => (Test::StringLike, false),
        "stringnotlike" => (Test::StringLike, true),
        "arnequals" | "arnlike" => (Test::Arn, false),
        "arnnotequals" | "arnnotlike" => (Test::Arn, true),
        "ipaddress" => (Test::IpAddress, false),
        "notipaddress" => (Test::IpAddress, true),
        "bool" => (Test::Bool, false),
        "null" => (Test::Null, false),
        "binaryequals" => (Test::Binary, false),
        other => match (other.strip_prefix("numeric"), other.strip_prefix("date")) {
            (Some(rest), _) => comparison(rest).map_or((Test::Other, false), |(c, n)| (Test::Number(c), n)),
            (_, Some(rest)) => comparison(rest).map_or((Test::Other, false), |(c, n)| (Test::Date(c), n)),
            _ => (Test::Other, false),
        },
    };
    Operator { test, negated, if_exists, set }
}

fn comparison(text: &str) -> Option<(Comparison, bool)> {
    Some(match text {
        "equals" => (Comparison::Equals, false),
        "notequals" => (Comparison::Equals, true),
        "lessthan" => (Comparison::Less, false),
        "lessthanequals" => (Comparison::LessEquals, false),
        "greaterthan" => (Comparison::Greater, false),
        "greaterthanequals" => (Comparison::GreaterEquals, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_and_lists_and_any_case_read_the_same() {
        let a = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"*",
            "Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}}}"#;
        let b = r#"{"statement":[{"effect":"allow","principal":"*","action":["s3:GetObject"],"resource":["*"],
            "condition":{"stringequals":{"AWS:sourcevpc":["vpc-1"]}}}]}"#;
        let strip = |text| {
            let mut policy = Policy::parse(text).unwrap();
            policy.statements[0].source = Value::Null;
            policy
        };
        assert_eq!(strip(a), strip(b));
    }

    #[test]
    fn what_is_no_policy_is_not_read_as_an_empty_one() {
        for text in ["", "{}", "[]", r#"{"Statement":[{"Effect":"Allow"}]}"#, r#"{"Statement":[{"Effect":"Maybe"}]}"#] {
            assert_eq!(Policy::parse(text), None, "{text}");
        }
    }

    #[test]
    fn operators() {
        let all = operator("ForAllValues:StringNotLikeIfExists");
        assert_eq!((all.test, all.negated, all.if_exists, all.set), (Test::StringLike, true, true, SetQualifier::ForAllValues));
        assert_eq!(operator("NumericLessThanEquals").test, Test::Number(Comparison::LessEquals));
        assert_eq!(operator("StringIs").test, Test::Other);
    }
}
