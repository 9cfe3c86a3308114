//! Shared files of the AWS command line: `~/.aws/config` and `~/.aws/credentials`.

use super::keys::{Credentials, Environment, bad};
use super::surroundings::Surroundings;
use super::{metadata, process, role};
use crate::http::Http;
use model::Fault;
use std::collections::BTreeMap;

const FILE_BYTES: u64 = 4 << 20;
/// Roles that assume roles.
const DEPTH: u32 = 8;

#[derive(Debug, Default)]
pub struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl Profiles {
    /// A file that is not there has no profiles; one that cannot be read is an error.
    pub fn read(environment: &Environment) -> Result<Profiles, Fault> {
        let get = |name: &str| environment.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let path = |variable: &str, name: &str| match (get(variable), get("HOME")) {
            (Some(path), _) => Some(path.to_string()),
            (None, Some(home)) => Some(format!("{home}/.aws/{name}")),
            (None, None) => None,
        };
        let mut profiles = Profiles::default();
        for (variable, name, is_config) in [("AWS_CONFIG_FILE", "config", true), ("AWS_SHARED_CREDENTIALS_FILE", "credentials", false)] {
            let Some(path) = path(variable, name) else { continue };
            match read_file(&path) {
                Ok(text) => profiles.add(&text, is_config),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Fault::yours("bad-aws-config", format!("cannot read {path}: {e}"))),
            }
        }
        Ok(profiles)
    }

    /// The credentials file is read last, and wins.
    fn add(&mut self, text: &str, is_config: bool) {
        let mut section: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = section_name(name.trim(), is_config);
                continue;
            }
            // Indented lines are settings within a setting, such as `s3 =`.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            if let (Some(section), Some((key, value))) = (&section, trimmed.split_once('=')) {
                let value = value.split(" #").next().unwrap_or(value).trim();
                self.0.entry(section.clone()).or_default().insert(key.trim().to_ascii_lowercase(), value.to_string());
            }
        }
    }

    pub fn setting(&self, profile: &str, key: &str) -> Option<&str> {
        self.0.get(profile)?.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }
}

fn read_file(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn section_name(name: &str, is_config: bool) -> Option<String> {
    match (is_config, name.split_once(char::is_whitespace)) {
        (true, Some(("profile", name))) => Some(name.trim().trim_matches('"').to_string()),
        (true, _) if name != "default" => None,
        _ => Some(name.to_string()),
    }
}

/// `None`: no profile was named, and the default one has no credentials.
pub fn credentials(
    around: &Surroundings,
    profiles: &Profiles,
    named: Option<&str>,
    http: &Http,
    now: &str,
) -> Result<Option<Credentials>, Fault> {
    let name = named.unwrap_or("default");
    if !profiles.0.contains_key(name) {
        return match named {
            Some(name) => Err(bad(format!("no profile {name:?} is in the AWS config and credentials files"))),
            None => Ok(None),
        };
    }
    let found = of_profile(around, profiles, name, http, now, DEPTH)?;
    match (found, named) {
        (None, Some(name)) => {
            let sso = ["sso_session", "sso_start_url"].iter().any(|key| profiles.setting(name, key).is_some());
            let why = if sso { "uses single sign-on, which is not read here" } else { "has no credentials" };
            let fault = Fault::yours("bad-aws-credentials", format!("the profile {name:?} {why}"));
            Err(fault.hint(format!(
                "add a profile with `credential_process = aws configure export-credentials --profile {name} --format process`"
            )))
        }
        (found, _) => Ok(found),
    }
}

fn of_profile(
    around: &Surroundings,
    profiles: &Profiles,
    name: &str,
    http: &Http,
    now: &str,
    depth: u32,
) -> Result<Option<Credentials>, Fault> {
    let get = |key: &str| profiles.setting(name, key);
    let session = get("role_session_name");
    if let Some(role) = get("role_arn") {
        if let Some(file) = get("web_identity_token_file") {
            return role::with_web_identity(around, http, role, file, session).map(Some);
        }
        let source = match (get("source_profile"), get("credential_source")) {
            (Some(source), _) if source == name => fixed(profiles, name)?,
            (Some(_), _) if depth == 0 => return Err(bad(format!("the profile {name:?} assumes roles of roles without end"))),
            (Some(source), _) => of_profile(around, profiles, source, http, now, depth - 1)?,
            (None, Some("Environment")) => around.environment_keys()?,
            (None, Some("EcsContainer")) => metadata::of_container(&around.environment, http)?,
            (None, Some("Ec2InstanceMetadata")) => metadata::of_instance(&around.environment, http)?,
            (None, _) => return Err(bad(format!("the profile {name:?} has a role_arn and neither source_profile nor credential_source"))),
        };
        let source = source.ok_or_else(|| bad(format!("the profile {name:?} assumes {role} with credentials that are not there")))?;
        return role::assume(around, http, &source, role, session, get("external_id"), now).map(Some);
    }
    if let Some(found) = fixed(profiles, name)? {
        return Ok(Some(found));
    }
    get("credential_process").map(process::credentials).transpose()
}

fn fixed(profiles: &Profiles, name: &str) -> Result<Option<Credentials>, Fault> {
    let get = |key: &str| profiles.setting(name, key);
    let Some(id) = get("aws_access_key_id") else { return Ok(None) };
    let secret = get("aws_secret_access_key");
    let secret = secret.ok_or_else(|| bad(format!("the profile {name:?} has an aws_access_key_id and no aws_secret_access_key")))?;
    Ok(Some(Credentials::fixed(id, secret, get("aws_session_token"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_files() {
        let mut profiles = Profiles::default();
        let config =
            "# c\n[default]\nregion = eu-west-1\n[profile dev]\nRole_Arn=arn:x # why\ns3 =\n  region = no\n[sso-session x]\nregion=no\n";
        profiles.add(config, true);
        profiles.add("[dev]\naws_access_key_id = AK\naws_secret_access_key=a=b\n[profile x]\nregion=r\n", false);
        let get = |profile, key| profiles.setting(profile, key);
        assert_eq!(get("default", "region"), Some("eu-west-1"));
        assert_eq!(get("dev", "role_arn"), Some("arn:x"));
        assert_eq!(get("dev", "aws_secret_access_key"), Some("a=b"));
        assert_eq!((get("dev", "region"), get("x", "region"), get("profile x", "region")), (None, None, Some("r")));
        assert_eq!(fixed(&profiles, "dev").unwrap().unwrap().access_key, "AK");
    }
}
