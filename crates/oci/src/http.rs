//! One request to a registry and its answer: redirects, waits and retries are bounded, and a password goes to nobody but who asked for it.

use crate::limits::Limits;
use crate::peer::Peer;
use crate::trouble::{bad, shown, too_large};
use disk::files;
use model::{Fault, host_of, is_loopback};
use std::fs::File;
use std::io;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

/// Where Debian keeps the authorities that everybody trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const ROOTS_BYTES: u64 = 16 << 20;

pub struct Http {
    agent: Agent,
    /// Reaches no address of this machine.
    elsewhere: Agent,
    /// The host that was named by who may name this machine. None: the first host of each request.
    named: Option<String>,
    peer: Peer,
    limits: Limits,
}

/// A stranger may lead to any name, and any name to any address: it is looked at after it was resolved.
#[derive(Debug, Default)]
struct Elsewhere {
    resolver: DefaultResolver,
    /// The host that was named. Where it is an interface of this machine itself, others there are its neighbours: a registry and the
    /// place of its tokens are often one machine.
    named: Option<String>,
}

impl Resolver for Elsewhere {
    fn resolve(&self, uri: &Uri, config: &ureq::config::Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = self.resolver.resolve(uri, config, timeout)?;
        let is_named_here = || {
            let named = self.named.as_deref().map(|host| (host, 0).to_socket_addrs());
            named.is_some_and(|found| found.is_ok_and(|mut found| found.any(|at| is_interface(at.ip()))))
        };
        if all.iter().any(|at| is_reserved(at.ip()) || is_interface(at.ip()) && !is_named_here()) {
            Err(ureq::Error::Other(Box::new(LeadsHere)))
        } else {
            Ok(all)
        }
    }
}

/// Whether nobody but this machine and what it runs is there: itself, its links, which give cloud machines their passwords, and its servers.
fn is_reserved(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() || ip.is_multicast() || matches!(ip.octets(), [198, 18 | 19, ..])
        }
        IpAddr::V6(ip) => {
            let is_server = ip.is_unique_local() && source_to(ip.into()) == Some(IpAddr::V6(gateway(ip)));
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast() || is_server
        }
    }
}

/// Of the servers' networks this machine is the first address.
fn gateway(ip: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64 | 1)
}

/// An address of this machine is reached from itself.
fn is_interface(ip: IpAddr) -> bool {
    source_to(ip.to_canonical()) == Some(ip.to_canonical())
}

/// The address from which this machine would send there. Nothing is sent.
fn source_to(ip: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[derive(Debug)]
struct LeadsHere;

impl std::fmt::Display for LeadsHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is this machine")
    }
}

impl std::error::Error for LeadsHere {}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub url: String,
    pub accept: String,
    /// The value of the header `Authorization`.
    pub authorization: Option<String>,
    /// The first byte that is wanted.
    pub from: u64,
    /// A form that is posted.
    pub form: Option<String>,
    /// How large the body may be; None: as a layer. It is given up when it takes longer than that needs.
    pub bytes: Option<u64>,
    /// The head of the answer is enough.
    pub is_head: bool,
    /// What is sent, and of which type.
    pub body: Option<(Verb, String, Sent)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Post,
    Put,
}

#[derive(Clone, Debug)]
pub enum Sent {
    Bytes(Vec<u8>),
    /// With its size.
    File(PathBuf, u64),
}

impl Sent {
    pub fn len(&self) -> u64 {
        match self {
            Sent::Bytes(bytes) => bytes.len() as u64,
            Sent::File(_, size) => *size,
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// It comes from where a redirect led, and not from who was asked.
    pub is_redirected: bool,
    body: Body,
}

/// The first part of a URL: who it speaks to.
fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or("").to_string();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    (scheme, uri.host().unwrap_or("").to_ascii_lowercase(), port)
}

impl Http {
    /// `ca`: an authority that is trusted beside those of the system.
    pub fn new(ca: Option<&Path>, limits: &Limits) -> Result<Http, Fault> {
        let mut roots = certificates(Path::new(SYSTEM_ROOTS)).unwrap_or_default();
        if let Some(ca) = ca {
            let own = certificates(ca)?;
            if own.is_empty() {
                return Err(Fault::yours("bad-registry-ca", format!("{} holds no certificate", ca.display())).hint("it must be PEM"));
            }
            roots.extend(own);
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("afresh/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.silence))
            .timeout_connect(Some(limits.silence))
            .timeout_per_read(Some(limits.silence))
            .timeout_per_write(Some(limits.silence))
            .timeout_recv_response(Some(limits.silence * 2))
            .build();
        let elsewhere = Agent::with_parts(config.clone(), DefaultConnector::default(), Elsewhere::default());
        Ok(Http { agent: config.new_agent(), elsewhere, named: None, peer: Peer::Registry, limits: limits.clone() })
    }

    /// Of this host: nothing that it answers leads to this machine, unless it is here itself.
    pub fn of(self, host: &str) -> Http {
        let named = Some(host.to_ascii_lowercase());
        let resolver = Elsewhere { named: named.clone(), ..Elsewhere::default() };
        let elsewhere = Agent::with_parts(self.elsewhere.config().clone(), DefaultConnector::default(), resolver);
        Http { named, elsewhere, ..self }
    }

    /// What a link of an artifact leads to.
    pub fn of_link(self) -> Http {
        Http { peer: Peer::Link, ..self }
    }

    fn may_be_here(&self, first: &Uri, at: &Uri) -> bool {
        let host = |uri: &Uri| host_of(uri.host().unwrap_or("")).to_ascii_lowercase();
        let named = self.named.clone().unwrap_or_else(|| host(first));
        let is_address_here = || named.parse().is_ok_and(|ip| is_reserved(ip) || is_interface(ip));
        is_loopback(&named) || host(at) == named || is_address_here()
    }

    fn once(&self, agent: &Agent, url: &str, request: &Request, with_authorization: bool) -> Result<Response<Body>, ureq::Error> {
        let authorization = request.authorization.as_deref().filter(|_| with_authorization);
        let within = self.limits.time_of(request.bytes.unwrap_or(self.limits.layer_bytes));
        if let Some(form) = &request.form {
            let post = agent.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            return post.config().timeout_recv_body(Some(within)).build().send(form.as_str());
        }
        if let Some((verb, kind, body)) = &request.body {
            let send = if *verb == Verb::Post { agent.post(url) } else { agent.put(url) };
            let mut send = send.header(header::CONTENT_TYPE, kind).header(header::CONTENT_LENGTH, body.len().to_string());
            if let Some(authorization) = authorization {
                send = send.header(header::AUTHORIZATION, authorization);
            }
            // Both ways: whoever takes a byte now and then would keep us forever, too.
            let (sending, answering) = (self.limits.time_of(body.len()), self.limits.time_of(self.limits.document_bytes));
            let send = send.config().timeout_send_body(Some(sending)).timeout_recv_body(Some(answering)).build();
            return match body {
                Sent::Bytes(bytes) => send.send(bytes.as_slice()),
                Sent::File(path, _) => send.send(File::open(path)?),
            };
        }
        let mut get = if request.is_head { agent.head(url) } else { agent.get(url) };
        if !request.accept.is_empty() {
            get = get.header(header::ACCEPT, &request.accept);
        }
        if let Some(authorization) = authorization {
            get = get.header(header::AUTHORIZATION, authorization);
        }
        if request.from > 0 {
            get = get.header(header::RANGE, format!("bytes={}-", request.from));
        }
        get.config().timeout_recv_body(Some(within)).build().call()
    }

    /// Follows redirects. The answer may have any other status.
    pub fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let first = uri(&request.url, self.peer)?;
        let mut at = first.clone();
        for _ in 0..=self.limits.redirects {
            let is_redirected = origin(&at) != origin(&first);
            let agent = if self.may_be_here(&first, &at) { &self.agent } else { &self.elsewhere };
            let answer = self.patiently(agent, &at, request, !is_redirected)?;
            let (head, body) = answer.into_parts();
            let target = head.headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
            let (301 | 302 | 303 | 307 | 308, Some(target)) = (head.status.as_u16(), target) else {
                return Ok(Answer { status: head.status.as_u16(), headers: head.headers, is_redirected, body });
            };
            if request.form.is_some() {
                let text = format!("the registry {} leads elsewhere, to {}, when it is to give a token", host(&at), shown(target));
                return Err(bad("bad-registry-answer", text).hint("ask whoever runs the registry"));
            }
            at = follow(&at, target, self.peer)?;
        }
        let text = format!("{} leads from one place to another more than {} times", shown(&request.url), self.limits.redirects);
        Err(bad("redirect-loop", text).hint(self.peer.bad_answer().1))
    }

    /// Tries again when the registry is busy or the network fails.
    fn patiently(&self, agent: &Agent, at: &Uri, request: &Request, with_authorization: bool) -> Result<Response<Body>, Fault> {
        let url = at.to_string();
        let mut backoff = self.limits.backoff;
        for left in (0..=self.limits.retries).rev() {
            let wait = match self.once(agent, &url, request, with_authorization) {
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {
                    let wait = retry_after(answer.headers()).unwrap_or(backoff);
                    if left == 0 || wait > self.limits.retry_after {
                        let (code, hint) = self.peer.busy();
                        let text =
                            format!("the {} {} is busy, and asks to be left alone for {} s", self.peer.name(), host(at), wait.as_secs());
                        return Err(Fault::world(code, text).hint(hint));
                    }
                    wait
                }
                Ok(answer) if left > 0 && matches!(answer.status().as_u16(), 500 | 502 | 504) => backoff,
                Ok(answer) => return Ok(answer),
                Err(e) if left == 0 || is_final(&e) => return Err(unreachable(at, &e, self.peer)),
                Err(_) => backoff,
            };
            std::thread::sleep(wait);
            backoff = (backoff * 2).min(self.limits.retry_after);
        }
        Err(Fault::ours("no-answer", "a request was never sent"))
    }

    /// Whether somebody answers there without TLS, so that `https` is not understood.
    pub fn speaks_plain(&self, authority: &str) -> bool {
        let (url, request) = (format!("https://{authority}/v2/"), Request::default());
        self.once(&self.agent, &url, &request, false).is_err_and(|e| is_plain(&e))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// All of it, if it is no more than `limit`.
    pub fn document(self, limits: &Limits, limit: u64, what: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        self.reader(limits)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Fault::world("registry-broke-off", format!("{what} broke off: {}", shown(&e.to_string()))).hint("try again"))?;
        if bytes.len() as u64 > limit {
            return Err(too_large(format!("{what} has more than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// What the registry says is wrong.
    pub fn reason(self, limits: &Limits) -> String {
        let mut bytes = Vec::new();
        // What cannot be read is no news beside the status.
        let _ = self.reader(limits).take(8192).read_to_end(&mut bytes);
        let said = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        let message = said.as_ref().and_then(|v| v["errors"][0]["message"].as_str().or(v["errors"][0]["code"].as_str()));
        message.map_or(String::new(), |m| format!(": {}", shown(m)))
    }

    pub fn reader(self, limits: &Limits) -> Timed {
        let body: Box<dyn Read + Send> = Box::new(self.body.into_reader());
        Timed { body, begun: Instant::now(), bytes: 0, grace: limits.grace(), least_rate: limits.least_rate }
    }
}

/// A body that comes drop by drop would keep us forever, though it is never silent.
pub struct Timed {
    body: Box<dyn Read + Send>,
    begun: Instant,
    bytes: u64,
    grace: Duration,
    least_rate: u64,
}

impl Read for Timed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.body.read(to)?;
        self.bytes += n as u64;
        let late = self.begun.elapsed().saturating_sub(self.grace);
        if late.as_secs().saturating_mul(self.least_rate) > self.bytes {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("fewer than {} bytes a second", self.least_rate)));
        }
        Ok(n)
    }
}

fn host(at: &Uri) -> String {
    shown(at.authority().map_or("", |a| a.as_str()))
}

fn uri(text: &str, peer: Peer) -> Result<Uri, Fault> {
    let parsed =
        text.parse::<Uri>().ok().filter(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some_and(|h| !h.is_empty()));
    // A user in it would be sent as who we are.
    parsed
        .filter(|u| u.authority().is_some_and(|a| !a.as_str().contains('@')))
        .ok_or_else(|| bad(peer.bad_answer().0, format!("the {} leads to {:?}, which is no address", peer.name(), shown(text))))
}

/// A place elsewhere must not be reached with less protection than the first.
fn follow(at: &Uri, target: &str, peer: Peer) -> Result<Uri, Fault> {
    let next = if target.starts_with('/') && !target.starts_with("//") {
        uri(&format!("{}://{}{target}", at.scheme_str().unwrap_or(""), at.authority().map_or("", |a| a.as_str())), peer)?
    } else {
        uri(target, peer)?
    };
    if at.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
        let text = format!("the {} {} leads to {} without TLS", peer.name(), host(at), host(&next));
        return Err(bad("plain-redirect", text).hint(peer.bad_answer().1));
    }
    Ok(next)
}

/// Seconds; a date is taken for none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn of_rustls(e: &ureq::Error) -> Option<&rustls::Error> {
    match e {
        ureq::Error::Rustls(e) => Some(e),
        ureq::Error::Io(e) => e.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn is_plain(e: &ureq::Error) -> bool {
    matches!(of_rustls(e), Some(rustls::Error::InvalidMessage(_)))
        || matches!(e, ureq::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof)
}

/// Trying again changes nothing.
fn is_final(e: &ureq::Error) -> bool {
    of_rustls(e).is_some()
        || matches!(e, ureq::Error::Timeout(ureq::Timeout::SendBody))
        || !matches!(e, ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed)
        || matches!(e, ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused)
}

fn unreachable(at: &Uri, e: &ureq::Error, peer: Peer) -> Fault {
    let (host, name) = (host(at), peer.name());
    if let Some(rustls::Error::InvalidCertificate(why)) = of_rustls(e) {
        let (code, hint) = peer.untrusted();
        return Fault::yours(code, format!("the certificate of the {name} {host} is not trusted: {why}")).hint(hint);
    }
    let said = shown(&e.to_string());
    match e {
        ureq::Error::Other(why) if why.is::<LeadsHere>() => {
            let (code, hint) = peer.bad_answer();
            bad(code, format!("the {name} leads to {host}, which is this machine or a network of its own")).hint(hint)
        }
        e if is_plain(e) => {
            let (code, hint) = peer.plain();
            Fault::yours(code, format!("the {name} {host} does not speak TLS: {said}")).hint(hint)
        }
        ureq::Error::HostNotFound => Fault::world(peer.unreachable(), format!("no address is known of the {name} {host}"))
            .hint("is it written right? `getent hosts NAME` asks as we do"),
        _ => Fault::world(peer.unreachable(), format!("the {name} {host} cannot be reached: {said}"))
            .hint(format!("does it run, and does a firewall let this machine through? `curl -v {at}` asks as we do")),
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Fault> {
    let bytes = files::read_limited(path, ROOTS_BYTES)?;
    // What cannot be read in a bundle trusts nobody.
    Ok(parse_pem(&bytes).filter_map(|item| if let Ok(PemItem::Certificate(one)) = item { Some(one) } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_may_lead() {
        let at = |text: &str| uri(text, Peer::Registry).unwrap();
        let from = at("https://r.example:5000/v2/a/blobs/x");
        assert_eq!(follow(&from, "/other?x=1", Peer::Registry).unwrap(), at("https://r.example:5000/other?x=1"));
        assert_eq!(follow(&from, "https://s.example/y", Peer::Registry).unwrap(), at("https://s.example/y"));
        for bad in ["http://s.example/", "//s.example/y", "ftp://x/", "y", "", "https://", "https://u:p@s.example/"] {
            assert!(follow(&from, bad, Peer::Registry).is_err(), "{bad}");
        }
        assert!(origin(&at("https://R.example/")) == origin(&at("https://r.example:443/x")));
    }

    #[test]
    fn a_registry_leads_nowhere_on_this_machine() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let limits = Limits { retries: 0, silence: Duration::from_millis(200), ..Limits::default() };
        let http = |named: &str| Http::new(None, &limits).unwrap().of(named);
        // Nobody else's addresses either: a link's, which gives cloud machines their passwords, servers', and those of this machine's interfaces.
        let own = source_to([192, 0, 2, 1].into()).map(|ip| ip.to_string());
        let links = ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "198.18.7.2", "198.19.255.1", "224.0.0.1"];
        for name in links.into_iter().chain(own.as_deref().filter(|own| *own != "127.0.0.1")) {
            let fault = http("r.example").send(&Request { url: format!("http://{name}:{port}/"), ..Request::default() }).err().unwrap();
            assert!(fault.code == "bad-registry-answer" && fault.message.contains("this machine"), "{name}: {fault:?}");
            assert!(
                http(host_of(name))
                    .may_be_here(&uri("https://s.example/", Peer::Registry).unwrap(), &uri("https://t.example/", Peer::Registry).unwrap()),
                "{name}"
            );
        }
        assert!(is_interface([127, 0, 0, 1].into()) && !is_interface([192, 0, 2, 1].into()) && !is_reserved([192, 0, 2, 1].into()));
        assert!(!is_reserved([198, 20, 0, 1].into()) && !is_reserved("2001:db8::1".parse().unwrap()));
        assert_eq!(gateway("fd00:1:2:3:4::5".parse().unwrap()), "fd00:1:2:3::1".parse::<Ipv6Addr>().unwrap());
        for name in ["127.0.0.1", "localhost", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"] {
            let url = format!("http://{name}:{port}/");
            let fault = http("r.example").send(&Request { url: url.clone(), ..Request::default() }).err().unwrap();
            assert!(fault.code == "bad-registry-answer" && fault.message.contains("this machine"), "{name}: {fault:?}");
            assert!(listener.accept().is_err(), "{name} was asked");
            // Who is here itself, or is called by this name, is reached; nobody answers.
            for named in ["localhost", host_of(name)] {
                let fault = http(named).send(&Request { url: url.clone(), ..Request::default() }).err().unwrap();
                assert!(fault.code == "registry-unreachable" && fault.hint.is_some_and(|hint| hint.contains(&url)), "{name}");
            }
            while listener.accept().is_ok() {}
        }
        // Whoever names a link may name this machine; what it leads to may not.
        let (http, at) = (Http::new(None, &limits).unwrap(), |text: &str| uri(text, Peer::Registry).unwrap());
        let (far, here) = (at("https://s.example/"), at("https://127.0.0.1/"));
        assert!(http.may_be_here(&here, &here) && http.may_be_here(&here, &far) && http.may_be_here(&far, &far));
        assert!(!http.may_be_here(&far, &here));
    }

    /// It read what it was sent so slowly that each write came to its end, and all of them did not.
    #[test]
    fn a_body_is_sent_within_the_time_of_its_size() {
        const BYTES: u64 = 32 << 20;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let slow = std::thread::spawn(move || {
            let (mut from, _) = listener.accept().unwrap();
            let (mut piece, mut read) = (vec![0; 64 << 10], 0);
            while read < BYTES {
                match from.read(&mut piece) {
                    Ok(0) | Err(_) => return,
                    Ok(n) => read += n as u64,
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = io::Write::write_all(&mut from, b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(BYTES).unwrap();
        let body = (Verb::Put, String::new(), Sent::File(file.path().to_path_buf(), BYTES));
        let limits = Limits { silence: Duration::from_millis(500), least_rate: u64::MAX, ..Limits::default() };
        let sent = Http::new(None, &limits).unwrap().send(&Request { url, body: Some(body), ..Request::default() });
        let fault = sent.err().expect("it was sent");
        assert!(fault.code == "registry-unreachable" && fault.message.contains("send body"), "{fault:?}");
        slow.join().unwrap();
    }

    /// An artifact's link leads to no registry.
    #[test]
    fn errors_of_a_link_speak_of_a_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let limits = Limits { retries: 0, silence: Duration::from_millis(200), ..Limits::default() };
        let http = Http::new(None, &limits).unwrap().of_link();
        let fault = http.send(&Request { url: format!("https://{at}/code.tar.gz"), ..Request::default() }).err().unwrap();
        assert_eq!(fault.code, "link-unreachable");
        assert!(!format!("{fault:?}").contains("registry") && fault.hint.is_some(), "{fault:?}");
        let fault = follow(&uri("https://a.example/x", Peer::Link).unwrap(), "http://b.example/", Peer::Link).unwrap_err();
        assert!(fault.code == "plain-redirect" && !format!("{fault:?}").contains("registry"), "{fault:?}");
    }
}
