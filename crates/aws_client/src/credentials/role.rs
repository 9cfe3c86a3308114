//! Credentials of a role, from the security token service.

use super::keys::{Credentials, bad, seconds};
use super::surroundings::Surroundings;
use crate::endpoint::Service;
use crate::http::Http;
use crate::sign::{self, Signable, query_string};
use crate::xml::{self, Element};
use model::Fault;
use ureq::http::Uri;

const VERSION: &str = "2011-06-15";
const SESSION: &str = "afresh";

pub fn assume(
    around: &Surroundings,
    http: &Http,
    source: &Credentials,
    role: &str,
    session: Option<&str>,
    external_id: Option<&str>,
    now: &str,
) -> Result<Credentials, Fault> {
    let mut form = form("AssumeRole", role, session);
    form.extend(external_id.map(|id| ("ExternalId".to_string(), id.to_string())));
    ask(around, http, "AssumeRole", role, &form, Some((source, now)))
}

pub fn with_web_identity(around: &Surroundings, http: &Http, role: &str, file: &str, session: Option<&str>) -> Result<Credentials, Fault> {
    let token = std::fs::read_to_string(file).map_err(|e| bad(format!("cannot read the web identity token {file}: {e}")))?;
    let mut form = form("AssumeRoleWithWebIdentity", role, session);
    form.push(("WebIdentityToken".into(), token.trim().to_string()));
    ask(around, http, "AssumeRoleWithWebIdentity", role, &form, None)
}

fn form(action: &str, role: &str, session: Option<&str>) -> Vec<(String, String)> {
    let pairs = [("Action", action), ("Version", VERSION), ("RoleArn", role), ("RoleSessionName", session.unwrap_or(SESSION))];
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).to_vec()
}

fn ask(
    around: &Surroundings,
    http: &Http,
    operation: &str,
    role: &str,
    form: &[(String, String)],
    signer: Option<(&Credentials, &str)>,
) -> Result<Credentials, Fault> {
    let url = format!("{}/", around.endpoints.url(Service::Sts, &around.region, ""));
    let body = query_string(form);
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded".to_string())];
    if let Some((credentials, now)) = signer {
        let host = url.parse::<Uri>().ok().and_then(|u| u.authority().map(|a| a.as_str().to_string())).unwrap_or_default();
        let request = Signable {
            method: "POST",
            host: &host,
            path: "/",
            query: &[],
            headers: &headers,
            body: body.as_bytes(),
            region: &around.region,
            service: Service::Sts.signing_name(),
            is_s3: false,
        };
        headers.extend(sign::headers(&request, credentials, now));
    }
    let failed = |why: &dyn std::fmt::Display| bad(format!("cannot assume the role {role}: {why}"));
    let reply = http.send("POST", &url, &headers, body.as_bytes(), None).map_err(|e| failed(&e))?;
    if reply.status != 200 {
        let error = crate::answer::error_body(&reply.body);
        return Err(failed(&format!("the service answers {} {}: {}", reply.status, error.code, error.message)));
    }
    let result = format!("{operation}Result");
    let read = xml::read("sts:AssumeRole", &reply.body, operation, |root| {
        let found = root.child(&result)?.child("Credentials")?;
        let mut credentials =
            Credentials::fixed(found.text_at("AccessKeyId")?, found.text_at("SecretAccessKey")?, Some(found.text_at("SessionToken")?));
        credentials.expires_s = Some(seconds(found.text_at("Expiration")?)?);
        Some(credentials)
    });
    read.map_err(|e| failed(&e))
}
