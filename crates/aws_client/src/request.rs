//! One call, in the form of its protocol.

use crate::endpoint::Service;
use crate::sign::query_string;
use base64::Engine as _;
use sha2::{Digest as _, Sha256};

#[derive(Clone, Debug)]
pub struct Request {
    pub service: Service,
    pub region: String,
    /// The IAM action that allows it, which is also its name in counts and errors.
    pub action: &'static str,
    /// Encoded, beginning with a slash.
    pub path: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The query protocols post their parameters.
    pub(crate) is_posted: bool,
    /// REST calls that change something: their method and their body. They are sent once.
    pub(crate) change: Option<(&'static str, Vec<u8>)>,
    /// Query calls that change something are sent once too.
    pub(crate) is_sent_once: bool,
    /// A page of many things may be larger than an answer about one.
    pub(crate) is_listing: bool,
}

/// What the query protocols call an IAM action: without its prefix.
pub fn operation(action: &str) -> &str {
    action.split_once(':').map_or(action, |(_, operation)| operation)
}

impl Request {
    /// REST: what is asked for is in the path and the query.
    pub fn get(service: Service, region: &str, action: &'static str, path: String, query: &[(&str, &str)]) -> Request {
        let request = Request {
            service,
            region: region.into(),
            action,
            path,
            parameters: Vec::new(),
            headers: Vec::new(),
            is_posted: false,
            change: None,
            is_sent_once: false,
            is_listing: false,
        };
        query.iter().fold(request, |request, (name, value)| request.with(name, value))
    }

    /// The query protocols of EC2, RDS and STS. The operation is the IAM action without its prefix.
    pub fn query(service: Service, region: &str, action: &'static str, parameters: &[(&str, &str)]) -> Request {
        let version = match service {
            Service::Ec2 => "2016-11-15",
            Service::Rds => "2014-10-31",
            Service::Sts | Service::S3 | Service::S3Control => "2011-06-15",
        };
        let mut request = Request::get(service, region, action, "/".into(), &[("Action", operation(action)), ("Version", version)]);
        request.is_posted = true;
        request.headers.push(("content-type", "application/x-www-form-urlencoded; charset=utf-8".into()));
        parameters.iter().fold(request, |request, (name, value)| request.with(name, value))
    }

    /// A change by REST, sent once: only its caller can tell whether it still fits. S3 demands a checksum of its body.
    pub fn change(
        service: Service,
        region: &str,
        action: &'static str,
        method: &'static str,
        path: String,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Request {
        let checksum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&body));
        let request = Request::get(service, region, action, path, query);
        let request = if body.is_empty() { request } else { request.with_header("x-amz-checksum-sha256", &checksum) };
        Request { change: Some((method, body)), is_sent_once: true, ..request }
    }

    /// A query that changes something: it is sent once, whatever is answered.
    #[must_use]
    pub fn sent_once(self) -> Request {
        Request { is_sent_once: true, ..self }
    }

    pub(crate) fn method(&self) -> &'static str {
        match &self.change {
            Some((method, _)) => method,
            None if self.is_posted => "POST",
            None => "GET",
        }
    }

    /// Whether the status says that it was done. S3 answers a change without a body with 204.
    pub(crate) fn is_done(&self, status: u16) -> bool {
        status == 200 || (status == 204 && self.change.is_some())
    }

    /// Sets a parameter, in place of an earlier one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.parameters.retain(|(n, _)| n != name);
        self.parameters.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn as_listing(self) -> Request {
        Request { is_listing: true, ..self }
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    /// Of a bucket: refused where it belongs to another account, who may have taken the name of one that was deleted.
    #[must_use]
    pub fn of_owner(self, account: &str) -> Request {
        self.with_header("x-amz-expected-bucket-owner", account)
    }

    pub(crate) fn query_pairs(&self) -> &[(String, String)] {
        if self.is_posted { &[] } else { &self.parameters }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        match &self.change {
            Some((_, body)) => body.clone(),
            None if self.is_posted => query_string(&self.parameters).into_bytes(),
            None => Vec::new(),
        }
    }
}
