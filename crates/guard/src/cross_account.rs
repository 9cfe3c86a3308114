//! Which other accounts a policy or ACL lets in without making it public.

use crate::acl::{AclGrant, Grantee};
use crate::judgement::{Context, CrossAccount};
use crate::policy::document::{Condition, Operator, Principal, SetQualifier, Statement, Test};
use crate::policy::outsider::surely_hits;
use crate::policy::{Policy, Scope, documented};
use std::collections::BTreeSet;

/// Who is named by the `Allow` statements that are not public by themselves, or by what the `Deny` statements leave of those that are.
/// `owner` is the canonical user of the resource's own account.
pub fn of_policy(policy: &Policy, scope: Scope, owner: Option<&str>, context: &Context) -> CrossAccount {
    let left = policy.denies().filter_map(|deny| left_by(deny, context)).min();
    policy.allows().map(|s| of_statement(s, scope, owner, left, context)).max().unwrap_or(CrossAccount::None)
}

pub fn of_acl(grants: &[AclGrant], owner: Option<&str>) -> CrossAccount {
    let other = grants.iter().any(|g| match &g.grantee {
        Grantee::User(id) => owner != Some(id.as_str()),
        Grantee::Email(_) => true,
        Grantee::Group(_) => false,
    });
    if other { CrossAccount::Known } else { CrossAccount::None }
}

/// Whom a `Deny` of everyone else leaves: "unless it is this organisation". `None`: its conditions name nobody.
fn left_by(deny: &Statement, context: &Context) -> Option<CrossAccount> {
    if !surely_hits(&deny.principal) {
        return None;
    }
    let named = |text: &str| named(text, context);
    let left = |condition: &Condition| {
        let operator = Operator { negated: !condition.operator.negated, if_exists: false, set: SetQualifier::None, ..condition.operator };
        let condition = Condition { operator, ..condition.clone() };
        let is_of_network = matches!(condition.key.as_str(), "aws:sourcevpc" | "aws:sourcevpce" | "aws:sourceip");
        of_condition(&condition, named).or_else(|| (is_of_network && !operator.negated).then_some(CrossAccount::Unknown))
    };
    // One condition that is not met is enough to escape it.
    deny.conditions.iter().map(left).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn named(text: &str, context: &Context) -> CrossAccount {
    match account_of(text) {
        Some(account) if account == context.account_id => CrossAccount::None,
        Some(account) => of_account(&account, context.known_accounts.as_ref()),
        None => CrossAccount::Known,
    }
}

fn of_statement(statement: &Statement, scope: Scope, owner: Option<&str>, left: Option<CrossAccount>, context: &Context) -> CrossAccount {
    let named = |text: &str| named(text, context);
    let principals = &statement.principal.principals;
    let open = statement.principal.negated || principals.iter().any(|p| matches!(p, Principal::Anyone | Principal::Federated(_)));
    let of_principals = principals
        .iter()
        .map(|p| match p {
            Principal::Aws(text) => named(text),
            Principal::CanonicalUser(id) if owner == Some(id.as_str()) => CrossAccount::None,
            Principal::CanonicalUser(_) => CrossAccount::Known,
            Principal::Service(_) | Principal::Anyone | Principal::Federated(_) => CrossAccount::None,
        })
        .max()
        .unwrap_or(CrossAccount::None);
    if !open {
        return of_principals;
    }
    // The principal is anyone; a condition says who it is.
    let by_condition = statement.conditions.iter().filter_map(|c| of_condition(c, named)).min();
    let alone = || Policy { statements: vec![statement.clone()] };
    // Without one it is the public, which the verdict speaks of, or a network.
    by_condition.unwrap_or_else(|| match documented::public_statement(&alone(), scope) {
        Some(_) => left.map_or(of_principals, |left| of_principals.max(left)),
        None => CrossAccount::Unknown,
    })
}

/// What a condition says of the account that asks. `None`: nothing.
fn of_condition(condition: &Condition, named: impl Fn(&str) -> CrossAccount) -> Option<CrossAccount> {
    let operator = condition.operator;
    let compares = matches!(operator.test, Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike | Test::Arn);
    if operator.negated || operator.if_exists || operator.set == SetQualifier::ForAllValues || !compares {
        return None;
    }
    let values = condition.values.iter().map(|v| v.text.as_str());
    match condition.key.as_str() {
        "aws:principalaccount"
        | "aws:principalarn"
        | "aws:sourceaccount"
        | "aws:sourceowner"
        | "aws:sourcearn"
        | "s3:dataaccesspointaccount"
        | "s3:dataaccesspointarn" => values.map(|v| account_of(v).map(|_| named(v))).collect::<Option<Vec<_>>>()?.into_iter().max(),
        "aws:principalorgid" | "aws:principalorgpaths" | "aws:userid" => {
            values.clone().all(|v| !v.starts_with('*') && !v.starts_with("o-*") && !v.contains("${")).then_some(CrossAccount::Known)
        }
        _ => None,
    }
}

pub fn of_account(account: &str, known: Option<&BTreeSet<String>>) -> CrossAccount {
    match known {
        Some(known) if !known.contains(account) => CrossAccount::Unknown,
        _ => CrossAccount::Known,
    }
}

/// `123456789012`, or the account of an ARN.
fn account_of(text: &str) -> Option<String> {
    let is_account = |t: &str| t.len() == 12 && t.bytes().all(|b| b.is_ascii_digit());
    if is_account(text) {
        return Some(text.to_string());
    }
    text.split(':').nth(4).filter(|t| is_account(t)).map(str::to_string)
}
