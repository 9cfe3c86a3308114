//! One request and its answer: no redirects, a time limit for the whole, and a size that the answer may not pass.

use crate::retry::Limits;
use model::Fault;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, Proxy};

/// Where Debian keeps the authorities that everybody trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Of an answer about one thing: a policy has 20 KiB at most.
pub const ANSWER_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub struct Http {
    agent: Agent,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    #[error("the answer has more than {0} bytes")]
    TooLong(u64),
    #[error("the answer broke off: {0}")]
    CutOff(String),
    #[error("no answer: {0}")]
    Unreachable(String),
}

impl Http {
    /// `is_direct`: past the proxy of the environment. `bundle`: authorities instead of the system's.
    pub fn new(limits: &Limits, is_direct: bool, bundle: Option<&str>) -> Result<Http, Fault> {
        let path = bundle.unwrap_or(SYSTEM_ROOTS);
        let roots = match std::fs::read(path) {
            // What cannot be read in a bundle trusts nobody.
            Ok(pem) => parse_pem(&pem).filter_map(|i| if let Ok(PemItem::Certificate(c)) = i { Some(c) } else { None }).collect(),
            Err(e) if bundle.is_some() => {
                let fault = Fault::yours("bad-aws-config", format!("cannot read the certificates in {path}: {e}"));
                return Err(fault.hint("AWS_CA_BUNDLE names the file"));
            }
            Err(_) => Vec::<Certificate<'static>>::new(),
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(if is_direct { None } else { Proxy::try_from_env() })
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("afresh/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(limits.connect))
            .timeout_global(Some(limits.attempt))
            .input_buffer_size(16 << 10)
            .output_buffer_size(8 << 10)
            .max_idle_connections(limits.concurrency * 2)
            .max_idle_connections_per_host(limits.concurrency)
            .build()
            .new_agent();
        Ok(Http { agent })
    }

    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
        within: Option<Duration>,
    ) -> Result<Reply, NoReply> {
        self.send_for(ANSWER_BYTES, method, url, headers, body, within)
    }

    /// For an answer of that size at most.
    pub fn send_for(
        &self,
        answer_bytes: u64,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
        within: Option<Duration>,
    ) -> Result<Reply, NoReply> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // A body of nothing would be sent as `Content-Length: 0`, also by GET.
        let answer = if body.is_empty() && matches!(method, "GET" | "DELETE") {
            self.run(request.body(()).map_err(|e| unreachable(&e))?, within)
        } else {
            self.run(request.body(body).map_err(|e| unreachable(&e))?, within)
        };
        let (head, body) = answer.map_err(|e| unreachable(&e))?.into_parts();
        let mut bytes = Vec::new();
        body.into_reader()
            .take(answer_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| NoReply::CutOff(model::text::shown(&e.to_string(), 200)))?;
        if bytes.len() as u64 > answer_bytes {
            return Err(NoReply::TooLong(answer_bytes));
        }
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: bytes })
    }

    fn run<S: AsSendBody>(&self, request: Request<S>, within: Option<Duration>) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.configure_request(request);
        let request = if within.is_some() { request.timeout_global(within) } else { request };
        self.agent.run(request.build())
    }
}

fn unreachable(e: &dyn std::fmt::Display) -> NoReply {
    NoReply::Unreachable(model::text::shown(&e.to_string(), 200))
}
