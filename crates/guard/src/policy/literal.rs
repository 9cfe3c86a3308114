//! One condition of a policy against one value of its key: IAM's operators.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>

use super::document::{Comparison, Condition, SetQualifier, Test};
use super::pattern::{Pattern, arn_matches};
use crate::cidr::AddressSet;
use crate::date;

/// Whether the condition holds for a key that has `value`, or is absent. Where the policy leaves it open (a policy variable, an operator
/// that IAM does not know), the answer is what the stranger wants it to be.
pub fn holds(condition: &Condition, value: Option<&str>, wanted: bool) -> bool {
    let operator = condition.operator;
    if operator.test == Test::Other {
        return wanted;
    }
    if operator.test == Test::Null {
        let absent = if value.is_none() { "true" } else { "false" };
        return condition.values.iter().any(|v| if v.has_variable() { wanted } else { v.text.eq_ignore_ascii_case(absent) });
    }
    let Some(value) = value else {
        return operator.if_exists
            || match operator.set {
                SetQualifier::ForAllValues => true,
                SetQualifier::ForAnyValue => false,
                SetQualifier::None => operator.negated,
            };
    };
    let match_wanted = wanted != operator.negated;
    let matched = condition.values.iter().any(|v| if v.has_variable() { match_wanted } else { matches(operator.test, v, value) });
    matched != operator.negated
}

fn matches(test: Test, pattern: &Pattern, value: &str) -> bool {
    match test {
        Test::StringEquals | Test::Binary => pattern.text == value,
        Test::StringEqualsIgnoreCase | Test::Bool => pattern.text.eq_ignore_ascii_case(value),
        Test::StringLike => pattern.matches(value),
        Test::Arn => arn_matches(&pattern.text, value),
        Test::IpAddress => {
            value.parse().is_ok_and(|address| AddressSet::from_cidrs([pattern.text.as_str()]).is_some_and(|set| set.contains(address)))
        }
        Test::Number(comparison) => compare(comparison, value.parse::<f64>().ok(), pattern.text.parse::<f64>().ok()),
        Test::Date(comparison) => compare(comparison, date::parse_s(value), date::parse_s(&pattern.text)),
        Test::Null | Test::Other => false,
    }
}

fn compare<T: PartialOrd>(comparison: Comparison, value: Option<T>, bound: Option<T>) -> bool {
    let (Some(value), Some(bound)) = (value, bound) else { return false };
    match comparison {
        Comparison::Equals => value == bound,
        Comparison::Less => value < bound,
        Comparison::LessEquals => value <= bound,
        Comparison::Greater => value > bound,
        Comparison::GreaterEquals => value >= bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn condition(operator: &str, value: &str) -> Condition {
        let text = format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{{"{operator}":{{"k":{value}}}}}}}}}"#
        );
        Policy::parse(&text).unwrap().statements.remove(0).conditions.remove(0)
    }

    #[test]
    fn operators_follow_the_table_of_the_iam_guide() {
        // operator, values, value of the key, holds
        for (operator, values, value, expected) in [
            ("StringEquals", r#""a""#, Some("a"), true),
            ("StringEquals", r#""a""#, Some("A"), false),
            ("StringEquals", r#""a""#, None, false),
            ("StringEquals", r#""a*""#, Some("ab"), false),
            ("StringNotEquals", r#""a""#, None, true),
            ("StringNotEquals", r#"["a","b"]"#, Some("b"), false),
            ("StringEqualsIgnoreCase", r#""a""#, Some("A"), true),
            ("StringLike", r#""a*""#, Some("ab"), true),
            ("StringNotLike", r#""*""#, Some("x"), false),
            ("StringNotLike", r#""*""#, None, true),
            ("StringEqualsIfExists", r#""a""#, None, true),
            ("StringEqualsIfExists", r#""a""#, Some("b"), false),
            ("ForAllValues:StringEquals", r#""a""#, None, true),
            ("ForAnyValue:StringEquals", r#""a""#, None, false),
            ("ForAnyValue:StringNotEquals", r#""a""#, None, false),
            ("Null", "true", None, true),
            ("Null", "false", None, false),
            ("Null", r#""false""#, Some("x"), true),
            ("Bool", "true", Some("true"), true),
            ("Bool", r#""false""#, Some("true"), false),
            ("NumericLessThan", "10", Some("9"), true),
            ("NumericLessThan", "10", Some("10"), false),
            ("NumericLessThanEquals", "10", Some("10"), true),
            ("NumericGreaterThanEquals", "10", None, false),
            ("DateGreaterThan", r#""2020-01-01T00:00:00Z""#, Some("1900000000"), true),
            ("DateLessThan", r#""2020-01-01T00:00:00Z""#, Some("1900000000"), false),
            ("IpAddress", r#""10.0.0.0/8""#, Some("10.1.2.3"), true),
            ("NotIpAddress", r#""10.0.0.0/8""#, Some("10.1.2.3"), false),
            ("ArnLike", r#""arn:aws:iam::1:role/*""#, Some("arn:aws:iam::1:role/a/b"), true),
            ("ArnEquals", r#""arn:aws:iam::*:role/x""#, Some("arn:aws:iam::7:role/x"), true),
            ("ArnNotLike", r#""arn:aws:iam::1:*""#, None, true),
        ] {
            assert_eq!(holds(&condition(operator, values), value, true), expected, "{operator} {values} {value:?}");
        }
    }

    #[test]
    fn what_the_policy_leaves_open_goes_the_strangers_way() {
        for (operator, value) in [("StringEquals", r#""${aws:username}""#), ("StringNotEquals", r#""${aws:username}""#), ("Sounds", "1")] {
            assert!(holds(&condition(operator, value), Some("x"), true), "{operator}");
            assert!(!holds(&condition(operator, value), Some("x"), false), "{operator}");
        }
    }
}
