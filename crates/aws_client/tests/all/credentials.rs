//! The chain of sources, in its order.

use crate::calls::{environment, limits};
use crate::script::{Asked, Script};
use aws_client::{Client, Environment, Options, Request, Service};

const PRINTED: &str =
    r#"{"AccessKeyId":"GIVEN","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z","AccountId":"123456789012"}"#;

fn answer(body: &str) -> (u16, &'static str, String) {
    (200, "", body.into())
}

/// The key that a call is signed with.
fn key_of(asked: &Asked) -> String {
    asked.headers.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_string()
}

fn call(environment: Environment, profile: Option<&str>) -> Result<String, model::Fault> {
    let script = Script::start(vec![answer("<x/>")]);
    let options =
        Options { endpoint: Some(script.url.clone()), profile: profile.map(str::to_string), limits: limits(), ..Options::default() };
    let client = Client::new(&options, environment)?;
    client.send(&Request::query(Service::Ec2, "us-east-1", "ec2:DescribeImages", &[]), "").unwrap();
    Ok(key_of(&script.next()))
}

#[test]
fn the_environment_and_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let config = file(
        "config",
        &format!(
            "[profile sso]\nsso_session = x\n[profile process]\ncredential_process = printf '%s' '{PRINTED}'\n[profile loop]\nrole_arn = arn:aws:iam::1:role/r\n\
             source_profile = other\n[profile other]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = loop\n"
        ),
    );
    let keys = file(
        "credentials",
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = s\n[dev]\naws_access_key_id = DEV\naws_secret_access_key = s\n",
    );
    let files = [("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", keys.as_str())];
    let with = |more: &[(&str, &str)]| environment(&[&files[..], more].concat());
    let of_environment = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(call(with(&of_environment), None).unwrap(), "ENV");
    assert_eq!(call(with(&of_environment), Some("dev")).unwrap(), "DEV");
    assert_eq!(call(with(&[("AWS_PROFILE", "dev")]), None).unwrap(), "DEV");
    assert_eq!(call(with(&[]), None).unwrap(), "DEFAULT");
    assert_eq!(call(with(&[]), Some("process")).unwrap(), "GIVEN");
    for (profile, part) in [("sso", "single sign-on"), ("loop", "without end"), ("none", "no profile")] {
        let fault = call(with(&[]), Some(profile)).unwrap_err();
        assert!(fault.code == "bad-aws-credentials" && fault.message.contains(part), "{fault:?}");
    }
    assert_eq!(call(environment(&[]), None).unwrap_err().code, "no-aws-credentials");
    assert_eq!(call(environment(&[("AWS_ACCESS_KEY_ID", "x")]), None).unwrap_err().code, "bad-aws-credentials");
}

#[test]
fn a_container() {
    let agent = Script::start(vec![answer(PRINTED)]);
    let url = format!("{}/role", agent.url);
    let found = call(environment(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer x")]), None);
    assert_eq!(found.unwrap(), "GIVEN");
    let asked = agent.next();
    assert!(asked.line == "GET /role" && asked.headers.to_ascii_lowercase().contains("authorization: bearer x"), "{}", asked.headers);
    let broken = Script::start(vec![(500, "", String::new())]);
    assert_eq!(call(environment(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &broken.url)]), None).unwrap_err().code, "bad-aws-credentials");
}

#[test]
fn an_instance() {
    let metadata = Script::start(vec![answer("session"), answer("web-role\n"), answer(PRINTED)]);
    let mut variables = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url)]);
    variables.remove("AWS_EC2_METADATA_DISABLED");
    assert_eq!(call(variables, None).unwrap(), "GIVEN");
    assert_eq!(metadata.next().line, "PUT /latest/api/token");
    let second = metadata.next();
    assert!(second.headers.to_ascii_lowercase().contains("x-aws-ec2-metadata-token: session"), "{}", second.headers);
    assert_eq!(metadata.next().line, "GET /latest/meta-data/iam/security-credentials/web-role");
}

#[test]
fn a_role_by_web_identity() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "jwt\n").unwrap();
    let body = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ROLE</AccessKeyId>\
                <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
                </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    let script = Script::start(vec![answer(body), answer("<x/>")]);
    let role = "arn:aws:iam::123456789012:role/scan";
    let variables = environment(&[("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())]);
    let options = Options { endpoint: Some(script.url.clone()), limits: limits(), ..Options::default() };
    let client = Client::new(&options, variables).unwrap();
    let asked = script.next();
    assert!(
        asked.body.contains("WebIdentityToken=jwt") && !asked.headers.to_ascii_lowercase().contains("authorization:"),
        "{}",
        asked.body
    );
    client.send(&Request::query(Service::Ec2, "us-east-1", "ec2:DescribeImages", &[]), "").unwrap();
    assert_eq!(key_of(&script.next()), "ROLE");
}
