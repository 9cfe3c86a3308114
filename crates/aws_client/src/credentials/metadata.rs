//! Credentials that the machine gives: of an ECS or EKS container, and of an EC2 instance (IMDSv2).

use super::keys::{Credentials, Environment, bad, printed};
use crate::http::{Http, NoReply};
use model::Fault;
use std::time::Duration;

/// What is not on AWS answers nobody: this is how long it takes to know.
const WITHIN: Duration = Duration::from_secs(2);
const CONTAINER_HOST: &str = "http://169.254.170.2";
const INSTANCE: &str = "http://169.254.169.254";

fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    environment.get(name).map(String::as_str).filter(|v| !v.is_empty())
}

pub fn of_container(environment: &Environment, http: &Http) -> Result<Option<Credentials>, Fault> {
    let url = match (get(environment, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), get(environment, "AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) => format!("{CONTAINER_HOST}{path}"),
        (None, Some(url)) => url.to_string(),
        (None, None) => return Ok(None),
    };
    if !is_trusted(&url) {
        let fault =
            bad(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI is {url:?}: without TLS only this machine and the container agent are asked"));
        return Err(fault);
    }
    let token = match get(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| bad(format!("cannot read the container's token {path}: {e}")))?;
            Some(text.trim_end().to_string())
        }
        None => get(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_string),
    };
    let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
    let reply = http.send("GET", &url, &headers, b"", Some(WITHIN)).map_err(|e| bad(format!("the container's agent at {url}: {e}")))?;
    if reply.status != 200 {
        return Err(bad(format!("the container's agent at {url} answers {}", reply.status)));
    }
    printed(&reply.body, "the container's agent").map(Some)
}

/// A token is sent in clear only to where nobody listens.
fn is_trusted(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return url.starts_with("https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = model::host_of(authority);
    !authority.contains('@') && (model::is_loopback(host) || ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"].contains(&host))
}

/// `None`: this is no instance, or one without a role.
pub fn of_instance(environment: &Environment, http: &Http) -> Result<Option<Credentials>, Fault> {
    if get(environment, "AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let base = get(environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(INSTANCE).trim_end_matches('/');
    let lifetime = [("x-aws-ec2-metadata-token-ttl-seconds", "300".to_string())];
    let Ok(reply) = http.send("PUT", &format!("{base}/latest/api/token"), &lifetime, b"", Some(WITHIN)) else { return Ok(None) };
    if reply.status != 200 {
        return Ok(None);
    }
    let text = |body: Vec<u8>| String::from_utf8(body).ok().map(|t| t.trim().to_string()).filter(|t| !t.is_empty() && t.len() < 4096);
    let Some(token) = text(reply.body) else { return Ok(None) };
    let headers = [("x-aws-ec2-metadata-token", token)];
    let ask = |path: &str| -> Result<Option<Vec<u8>>, Fault> {
        let failed = |e: NoReply| bad(format!("the instance's metadata service: {e}"));
        let reply = http.send("GET", &format!("{base}/latest/meta-data/iam/security-credentials/{path}"), &headers, b"", Some(WITHIN));
        match reply.map_err(failed)? {
            reply if reply.status == 200 => Ok(Some(reply.body)),
            reply if reply.status == 404 => Ok(None),
            reply => Err(bad(format!("the instance's metadata service answers {}", reply.status))),
        }
    };
    let Some(role) = ask("")?.and_then(text) else { return Ok(None) };
    let role = crate::sign::encode(role.lines().next().unwrap_or_default(), false);
    ask(&role)?.map(|body| printed(&body, "the instance's metadata service")).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_be_asked_for_credentials_without_tls() {
        for good in
            ["http://127.0.0.1:80/x", "http://[::1]/x", "http://169.254.170.23/v1", "https://any.example/x", "http://[fd00:ec2::23]/v1"]
        {
            assert!(is_trusted(good), "{good}");
        }
        for bad in ["http://198.51.100.7/x", "http://127.0.0.1:80@evil.example/", "ftp://127.0.0.1/", "http://169.254.169.254/"] {
            assert!(!is_trusted(bad), "{bad}");
        }
    }
}
