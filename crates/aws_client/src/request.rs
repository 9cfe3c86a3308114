//! One call, in the form of its protocol.

use crate::endpoint::Service;
use crate::sign::query_string;

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
}

/// What the query protocols call an IAM action: without its prefix.
pub fn operation(action: &str) -> &str {
    action.split_once(':').map_or(action, |(_, operation)| operation)
}

impl Request {
    /// REST: what is asked for is in the path and the query.
    pub fn get(service: Service, region: &str, action: &'static str, path: String, query: &[(&str, &str)]) -> Request {
        let request =
            Request { service, region: region.into(), action, path, parameters: Vec::new(), headers: Vec::new(), is_posted: false };
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

    /// Sets a parameter, in place of an earlier one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.parameters.retain(|(n, _)| n != name);
        self.parameters.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn query_pairs(&self) -> &[(String, String)] {
        if self.is_posted { &[] } else { &self.parameters }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        if self.is_posted { query_string(&self.parameters).into_bytes() } else { Vec::new() }
    }
}
