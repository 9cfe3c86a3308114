//! ACLs as a plan writes them: by a canned name, grant by grant, or as a policy of grants.

use super::planned::{Planned, holds_true, items, map, texts};
use crate::acl::{AclGrant, Grantee};
use crate::ternary::Fact;
use serde_json::Value;

const GROUPS: &str = "http://acs.amazonaws.com/groups/global/";

/// Canned ACLs that let no group in that anyone is in.
const CLOSED: [&str; 5] = ["private", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control", "log-delivery-write"];

/// Of `aws_s3_bucket_acl`.
pub fn of_resource(planned: &Planned) -> Fact<Vec<AclGrant>> {
    if let Some(canned) = canned(planned) {
        return canned;
    }
    let grants = map(planned.blocks("access_control_policy"), |policies| {
        let grants = policies.iter().flat_map(|(policy, _)| items(&policy["grant"]));
        grants.flat_map(|g| items(&g["grantee"]).map(|grantee| grant(grantee, &g["permission"]))).collect()
    });
    whole(grants, planned, "access_control_policy")
}

/// Of a bucket or an object: `acl`, and blocks `grant`.
pub fn inline(planned: &Planned) -> Fact<Vec<AclGrant>> {
    let canned = canned(planned);
    let written = map(planned.blocks("grant"), |grants| {
        grants.iter().flat_map(|(g, _)| texts(&g["permissions"]).into_iter().map(|p| grant(g, &Value::String(p)))).collect::<Vec<_>>()
    });
    let written = whole(written, planned, "grant");
    match (canned, written) {
        (Some(Fact::Known(canned)), Fact::Known(written)) => Fact::Known([canned, written].concat()),
        // The two exclude each other, so the grants are what the provider will read back.
        (Some(canned), _) => canned,
        (None, written) => written,
    }
}

/// `None`: it is not set.
fn canned(planned: &Planned) -> Option<Fact<Vec<AclGrant>>> {
    let group =
        |name: &str, permission: &str| AclGrant { grantee: Grantee::Group(format!("{GROUPS}{name}")), permission: permission.into() };
    let value = match planned.set("acl") {
        Fact::Unknown(missing) => return Some(Fact::Unknown(missing)),
        Fact::Known(value) => value?.as_str().unwrap_or_default(),
    };
    Some(match value {
        "" => return None,
        "public-read" => Fact::Known(vec![group("AllUsers", "READ")]),
        "public-read-write" => Fact::Known(vec![group("AllUsers", "READ"), group("AllUsers", "WRITE")]),
        "authenticated-read" => Fact::Known(vec![group("AuthenticatedUsers", "READ")]),
        closed if CLOSED.contains(&closed) => Fact::Known(Vec::new()),
        _ => Fact::Unknown(planned.missing("acl")),
    })
}

fn grant(grantee: &Value, permission: &Value) -> AclGrant {
    let grantee = match (grantee["uri"].as_str(), grantee["id"].as_str()) {
        (Some(uri), _) if !uri.is_empty() => Grantee::Group(uri.into()),
        (_, id) => Grantee::User(id.unwrap_or_default().into()),
    };
    AclGrant { grantee, permission: permission.as_str().unwrap_or_default().into() }
}

/// What is known of grants is not enough where a part of them is known later.
fn whole(grants: Fact<Vec<AclGrant>>, planned: &Planned, block: &str) -> Fact<Vec<AclGrant>> {
    match planned.blocks(block) {
        Fact::Known(blocks) if blocks.iter().any(|(_, unknown)| holds_true(unknown)) => Fact::Unknown(planned.missing(block)),
        _ => grants,
    }
}
