//! Retries, pages, other regions, answers without end.

use crate::script::Script;
use aws_client::{AwsError, Client, Environment, ErrorKind, Limits, Options, Request, Service, xml};
use std::time::Duration;

pub fn environment(pairs: &[(&str, &str)]) -> Environment {
    let base = [("HOME", "/nonexistent"), ("AWS_EC2_METADATA_DISABLED", "true")];
    base.iter().chain(pairs).map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "token")];

pub fn limits() -> Limits {
    Limits { attempts: 3, backoff: Duration::ZERO, answer_bytes: 100_000, ..Limits::default() }
}

fn client(script: &Script) -> Client {
    Client::new(&Options { endpoint: Some(script.url.clone()), limits: limits(), ..Options::default() }, environment(KEYS)).unwrap()
}

fn listing() -> Request {
    Request::query(Service::Ec2, "eu-west-1", "ec2:DescribeImages", &[("Owner.1", "self")])
}

fn ok(body: &str) -> (u16, &'static str, String) {
    (200, "", body.into())
}

fn error(status: u16, code: &str) -> (u16, &'static str, String) {
    (status, "", format!("<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>"))
}

#[test]
fn a_signed_query() {
    let script = Script::start(vec![ok("<x/>")]);
    let client = client(&script);
    client.send(&listing(), "").unwrap();
    let asked = script.next();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /", "Action=DescribeImages&Owner.1=self&Version=2016-11-15"));
    let headers = asked.headers.to_ascii_lowercase();
    for part in
        ["x-amz-security-token: token", "/eu-west-1/ec2/aws4_request", "signedheaders=content-type;host;x-amz-date;x-amz-security-token"]
    {
        assert!(headers.contains(part), "{part} in {headers}");
    }
    assert_eq!(client.calls().into_iter().collect::<Vec<_>>(), [("ec2:DescribeImages", 1)]);
}

#[test]
fn what_is_sent_again() {
    for (answers, asked, kind) in [
        (vec![error(503, "Unavailable"), error(400, "RequestLimitExceeded"), ok("<x/>")], 3, None),
        (vec![error(500, "InternalError"), ok("<x/>")], 2, None),
        (vec![error(429, "SlowDown"), error(503, ""), error(429, "SlowDown")], 3, Some(ErrorKind::Throttled)),
        (vec![error(403, "UnauthorizedOperation"), ok("<x/>")], 1, Some(ErrorKind::Denied)),
        (vec![error(403, "ExpiredToken"), ok("<x/>")], 1, Some(ErrorKind::Credentials)),
        (vec![error(400, "InvalidAction"), ok("<x/>")], 1, Some(ErrorKind::Unimplemented)),
        // What an emulator answers about an operation that it lacks.
        (vec![(500, "", "<!doctype html>".into()), ok("<x/>")], 1, Some(ErrorKind::Unimplemented)),
        (vec![(200, "", "x".repeat(200_000)), ok("<x/>")], 1, Some(ErrorKind::Broken)),
        // A redirect is followed only to where S3 says that a bucket is.
        (vec![(302, "location: http://127.0.0.1:1/\r\n", String::new()), ok("<x/>")], 1, Some(ErrorKind::Other)),
    ] {
        let script = Script::start(answers.clone());
        let found = client(&script).send(&listing(), "");
        assert_eq!(found.as_ref().err().map(|e| e.kind), kind, "{found:?}");
        assert_eq!(script.asked(), asked, "{answers:?}");
    }
}

#[test]
fn a_bucket_in_another_region() {
    let moved = |region| (301, region, "<Error><Code>PermanentRedirect</Code></Error>".to_string());
    let script = Script::start(vec![moved("x-amz-bucket-region: eu-north-1\r\n"), ok("{}")]);
    let request = Request::get(Service::S3, "us-east-1", "s3:GetBucketPolicy", "/b".into(), &[("policy", "")]);
    client(&script).send(&request, "").unwrap();
    assert!(script.next().headers.contains("/us-east-1/s3/"));
    let second = script.next();
    assert!(second.headers.contains("/eu-north-1/s3/") && second.line == "GET /b?policy=", "{}", second.headers);
    // Neither from region to region without end, nor to what is no region.
    let script = Script::start(vec![moved("x-amz-bucket-region: eu-north-1\r\n"), moved("x-amz-bucket-region: eu-west-1\r\n")]);
    assert_eq!(client(&script).send(&request, "").unwrap_err().kind, ErrorKind::Other);
    let script = Script::start(vec![moved("x-amz-bucket-region: evil.example/\r\n")]);
    assert_eq!(client(&script).send(&request, "").unwrap_err().kind, ErrorKind::Other);
}

fn pages(answers: &[&str]) -> (Vec<String>, Option<AwsError>, usize) {
    let script = Script::start(answers.iter().map(|a| ok(a)).collect());
    let (all, error) = client(&script).pages(listing(), "", "NextToken", |body| {
        xml::read("ec2:DescribeImages", body, "L", |root| {
            use xml::Element;
            let ids = root.items("i", "id")?.iter().filter_map(|n| n.text()).map(str::to_string).collect();
            Some((ids, root.text_at("next").map(str::to_string)))
        })
    });
    (all, error, script.asked())
}

#[test]
fn page_by_page() {
    let (first, last) = ("<L><i><id>1</id></i><next>t</next></L>", "<L><i><id>2</id></i><next/></L>");
    assert_eq!(pages(&[first, last]), (vec!["1".into(), "2".into()], None, 2));
    // What was read before an error counts, and the error is told.
    let (all, error, _) = pages(&[first, "<L><i><id>2"]);
    assert_eq!((all.len(), error.unwrap().kind), (1, ErrorKind::Broken));
    let (all, error, asked) = pages(&[first, first, first]);
    assert_eq!((all.len(), error.unwrap().kind, asked), (2, ErrorKind::Broken, 2));
}

#[test]
fn endpoints_and_regions_that_are_none() {
    for (endpoint, region) in
        [("127.0.0.1:5000", "us-east-1"), ("http://u:p@h/", "us-east-1"), ("http://h/x", "us-east-1"), ("http://h", "a.b/c")]
    {
        let options = Options { endpoint: Some(endpoint.into()), region: Some(region.into()), ..Options::default() };
        assert_eq!(Client::new(&options, environment(KEYS)).unwrap_err().code, "bad-aws-config", "{endpoint} {region}");
    }
}

#[test]
fn an_answer_about_one_thing_is_smaller_than_a_page() {
    let long = format!("<x>{}</x>", " ".repeat(2 << 20));
    let script = Script::start(vec![ok(&long), ok(&long)]);
    let limits = Limits { answer_bytes: 4 << 20, ..limits() };
    let client = Client::new(&Options { endpoint: Some(script.url.clone()), limits, ..Options::default() }, environment(KEYS)).unwrap();
    assert_eq!(client.send(&listing(), "").unwrap_err().kind, ErrorKind::Broken);
    assert_eq!(client.send(&listing().as_listing(), "").unwrap().len(), long.len());
}
