//! Sends calls: signs them, counts them, sends them again within the budget, reads listings page by page.

use crate::answer::error_body;
use crate::credentials::{Chain, Credentials, Environment, Profiles, Surroundings};
use crate::endpoint::Endpoints;
use crate::error::{AwsError, ErrorKind, kind_of};
use crate::http::{ANSWER_BYTES, Http, NoReply, Reply};
use crate::request::Request;
use crate::retry::{Budget, Limits};
use crate::sign::{self, Signable, query_string};
use model::Fault;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use ureq::http::Uri;

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    pub fips: bool,
    pub limits: Limits,
}

#[derive(Debug)]
pub struct Client {
    http: Http,
    chain: Chain,
    credentials: Mutex<Credentials>,
    limits: Limits,
    budget: Budget,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

/// A whole body, whose XML its reader checks.
pub type Body = Vec<u8>;

/// What was read of a listing, and why the rest was not.
pub type Listed<T> = (Vec<T>, Option<AwsError>);

impl Client {
    /// Finds credentials; calls nothing of AWS except for a role.
    pub fn new(options: &Options, environment: Environment) -> Result<Client, Fault> {
        let get = |name: &str| environment.get(name).filter(|v| !v.is_empty()).cloned();
        if let Some(endpoint) = &options.endpoint {
            check_endpoint(endpoint)?;
        }
        let endpoints = Endpoints::new(options.endpoint.as_deref(), &environment, options.fips);
        let profile = options.profile.clone().or_else(|| get("AWS_PROFILE")).unwrap_or_else(|| "default".into());
        let of_profile = || Profiles::read(&environment).map(|p| p.setting(&profile, "region").map(str::to_string));
        let region = match options.region.clone().or_else(|| get("AWS_REGION")).or_else(|| get("AWS_DEFAULT_REGION")) {
            Some(region) => region,
            None => of_profile()?.unwrap_or_else(|| "us-east-1".into()),
        };
        check_region(&region)?;
        let is_direct = options.endpoint.is_some();
        let http = Http::new(&options.limits, is_direct, get("AWS_CA_BUNDLE").as_deref())?;
        let chain = Chain { around: Surroundings { environment, region, endpoints }, profile: options.profile.clone() };
        let credentials = Mutex::new(chain.resolve(&http, &now())?);
        let limits = options.limits.clone();
        Ok(Client { http, chain, credentials, limits, budget: Budget::default(), calls: Mutex::default() })
    }

    /// Of calls that no region was chosen for.
    pub fn region(&self) -> &str {
        &self.chain.around.region
    }

    /// What answers instead of AWS.
    pub fn elsewhere(&self) -> Option<String> {
        self.chain.around.endpoints.elsewhere()
    }

    pub fn concurrency(&self) -> usize {
        self.limits.concurrency
    }

    /// Attempts by IAM action, retries included.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.calls).clone()
    }

    /// Sends a call until it is answered for good, and a change once. An answer is `Ok` only if its status is 200 (204 for a change).
    pub fn send(&self, request: &Request, account: &str) -> Result<Body, AwsError> {
        check_region(&request.region).map_err(|f| AwsError::new(ErrorKind::Other, request.action, f.message))?;
        let mut request = request.clone();
        let mut moved = false;
        let mut attempt = 1;
        loop {
            let (reply, is_worth_it) = match self.once(&request, account) {
                Ok(reply) if request.is_done(reply.status) => {
                    self.budget.give(attempt > 1);
                    return Ok(reply.body);
                }
                Ok(reply) => {
                    if let Some(region) = other_region(&reply, &request).filter(|_| !moved) {
                        (request.region, moved) = (region, true);
                        continue;
                    }
                    self.error(&request, &reply)
                }
                Err(failed) => failed,
            };
            if request.is_sent_once || !is_worth_it || attempt >= self.limits.attempts || !self.budget.take() {
                return Err(reply);
            }
            std::thread::sleep(self.limits.wait_before(attempt, RandomState::new().build_hasher().finish()));
            attempt += 1;
        }
    }

    /// With whether it is worth another attempt.
    fn error(&self, request: &Request, reply: &Reply) -> (AwsError, bool) {
        let said = error_body(&reply.body);
        // An emulator that lacks an operation answers with some page.
        let lacks_it = reply.status == 500 && said.code.is_empty() && self.chain.around.endpoints.is_custom(request.service);
        let kind = if lacks_it { ErrorKind::Unimplemented } else { kind_of(reply.status, &said.code) };
        let is_worth_it = kind == ErrorKind::Throttled || (kind == ErrorKind::Other && reply.status >= 500);
        let message = match (said.code.as_str(), said.message.as_str()) {
            ("", _) => format!("the service answers {}", reply.status),
            (code, "") => format!("{code} ({})", reply.status),
            (code, message) => format!("{code} ({}): {message}", reply.status),
        };
        (AwsError { kind, action: request.action, code: said.code, message }, is_worth_it)
    }

    fn once(&self, request: &Request, account: &str) -> Result<Reply, (AwsError, bool)> {
        let url = self.chain.around.endpoints.url(request.service, &request.region, account);
        let host = url.parse::<Uri>().ok().and_then(|u| u.authority().map(|a| a.as_str().to_string())).unwrap_or_default();
        let now = now();
        let credentials = self.fresh().map_err(|f| (AwsError::new(ErrorKind::Credentials, request.action, f.message), false))?;
        let body = request.body();
        let signable = Signable {
            method: request.method(),
            host: &host,
            path: &request.path,
            query: request.query_pairs(),
            headers: &request.headers,
            body: &body,
            region: &request.region,
            service: request.service.signing_name(),
            is_s3: request.service.signing_name() == "s3",
        };
        let mut headers = request.headers.clone();
        headers.extend(sign::headers(&signable, &credentials, &now));
        let query = query_string(request.query_pairs());
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{url}{}{mark}{query}", request.path);
        *lock(&self.calls).entry(request.action).or_default() += 1;
        let most = self.limits.answer_bytes;
        let most = if request.is_listing { most } else { most.min(ANSWER_BYTES) };
        self.http.send_for(most, signable.method, &url, &headers, &body, None).map_err(|e| {
            let kind = if matches!(e, NoReply::Unreachable(_)) { ErrorKind::Unreachable } else { ErrorKind::Broken };
            (AwsError::new(kind, request.action, e.to_string()), !matches!(e, NoReply::TooLong(_)))
        })
    }

    /// Credentials that do not expire before the call is answered.
    fn fresh(&self) -> Result<Credentials, Fault> {
        let mut held = lock(&self.credentials);
        if !held.is_fresh(jiff::Timestamp::now().as_second()) {
            *held = self.chain.resolve(&self.http, &now())?;
        }
        Ok(held.clone())
    }

    /// Every page of a listing. `read` gives what is on one, and the token of the next. What was read before an error counts.
    pub fn pages<T>(
        &self,
        request: Request,
        account: &str,
        token_parameter: &str,
        mut read: impl FnMut(&[u8]) -> Result<(Vec<T>, Option<String>), AwsError>,
    ) -> Listed<T> {
        let (mut all, mut request, mut last) = (Vec::new(), request.as_listing(), None);
        for _ in 0..self.limits.pages {
            let page = self.send(&request, account).and_then(|body| read(&body));
            let next = match page {
                Ok((items, next)) => {
                    all.extend(items);
                    next.filter(|token| !token.is_empty())
                }
                Err(e) => return (all, Some(e)),
            };
            let Some(token) = next else { return (all, None) };
            if last.as_ref() == Some(&token) {
                return (all, Some(AwsError::broken(request.action, "the listing repeats a page")));
            }
            request = request.with(token_parameter, &token);
            last = Some(token);
        }
        (all, Some(AwsError::broken(request.action, format!("the listing has more than {} pages", self.limits.pages))))
    }
}

/// S3 says where a bucket is when it is asked for elsewhere.
fn other_region(reply: &Reply, request: &Request) -> Option<String> {
    let region = reply.headers.get("x-amz-bucket-region")?.to_str().ok()?;
    (matches!(reply.status, 301 | 307 | 400) && region != request.region && check_region(region).is_ok()).then(|| region.to_string())
}

/// A region is part of a host name.
pub fn check_region(region: &str) -> Result<(), Fault> {
    let is_good = (1..=32).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_good {
        return Ok(());
    }
    let message = format!("{:?} is no AWS region", model::text::shown(region, 60));
    Err(Fault::yours("bad-aws-config", message).hint("write it as eu-central-1"))
}

fn check_endpoint(url: &str) -> Result<(), Fault> {
    let parsed = url.parse::<Uri>().ok();
    let is_good = parsed.as_ref().is_some_and(|u| {
        matches!(u.scheme_str(), Some("http" | "https"))
            && u.authority().is_some_and(|a| !a.as_str().contains('@'))
            && u.path() == "/"
            && u.query().is_none()
    });
    if is_good {
        return Ok(());
    }
    let message = format!("the endpoint {:?} is no URL", model::text::shown(url, 120));
    Err(Fault::yours("bad-aws-config", message).hint("write it as http://127.0.0.1:5000"))
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
