//! A registry, by the distribution specification: manifests and blobs, pulled.

use crate::challenge;
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::document::{Descriptor, MANIFESTS};
use crate::http::{Answer, Http, Request, Sent, Verb};
use crate::limits::Limits;
use crate::source::Blobs;
use crate::trouble::{bad, shown};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Digest, Fault, Reference, host_of};
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

const OCTETS: &str = "application/octet-stream";
/// Of the answer that holds a token.
const TOKEN_BYTES: u64 = 1 << 20;

pub struct Registry {
    http: Http,
    reference: Reference,
    /// `https://host:port`.
    base: String,
    credentials: Option<Credentials>,
    /// The password that there is stays here.
    is_withheld: bool,
    /// What the last request was sent with.
    authorization: Option<String>,
    limits: Limits,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// `plain`: the registry may be spoken to without TLS, and so may one on this machine that does not know it. That one gets no password
    /// unless it was said: whoever has its port while it is down would.
    pub fn new(
        reference: &Reference,
        credentials: Option<Credentials>,
        ca: Option<&Path>,
        plain: bool,
        limits: &Limits,
    ) -> Result<Registry, Fault> {
        // As everybody calls it, and as it is called.
        let authority = if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
        let http = Http::new(ca, limits)?.of(host_of(authority));
        let scheme = if (plain || reference.is_loopback()) && http.speaks_plain(authority) { "http" } else { "https" };
        let base = format!("{scheme}://{authority}");
        let is_withheld = scheme == "http" && !plain && credentials.is_some();
        let credentials = credentials.filter(|_| !is_withheld);
        Ok(Registry { http, reference: reference.clone(), base, credentials, is_withheld, authorization: None, limits: limits.clone() })
    }

    /// Logs in when the registry asks for it, and once more when what it gave then is no longer good.
    fn get(&mut self, path: &str, request: Request) -> Result<Answer, Fault> {
        let url = format!("{}/v2/{}/{path}", self.base, self.reference.repository);
        self.ask(url, request)
    }

    fn ask(&mut self, url: String, request: Request) -> Result<Answer, Fault> {
        let mut logins = 0;
        loop {
            let authorization = self.authorization.clone();
            let answer = self.http.send(&Request { url: url.clone(), authorization, ..request.clone() })?;
            if answer.status != 401 {
                return Ok(answer);
            }
            // Whoever a redirect leads to would name the place that the password is sent to.
            if logins == 2 || answer.is_redirected {
                return Err(self.refused(answer));
            }
            logins += 1;
            self.authorization = Some(self.log_in(answer)?);
        }
    }

    fn refused(&self, answer: Answer) -> Fault {
        let status = answer.status;
        let how = if self.credentials.is_some() { "with the password that is given for it" } else { "without a password" };
        let text = format!(
            "the registry {} gives {} to nobody {how} ({status}{})",
            self.reference.registry,
            self.reference.repository,
            answer.reason(&self.limits)
        );
        if self.is_withheld {
            return Fault::yours("registry-refused", format!("{text}; it speaks no TLS, so the password was not sent"))
                .hint("if nobody else can be on its port: `registry { plain_http = true }` in the image");
        }
        let plain = if self.base.starts_with("http:") { " --tls-verify=false" } else { "" };
        Fault::yours("registry-refused", text).hint(format!(
            "`skopeo login{plain} --authfile FILE {}` writes a password; name the file in the image: `registry {{ auth = \"FILE\" }}`",
            shown(&self.reference.registry)
        ))
    }

    fn log_in(&self, answer: Answer) -> Result<String, Fault> {
        let asked = answer.headers.get_all("www-authenticate").iter().filter_map(|v| v.to_str().ok());
        match challenge::parse(asked) {
            Some(Challenge::Basic) => match &self.credentials {
                Some(Credentials::Password { user, password }) if self.authorization.is_none() => Ok(basic(user, password)),
                _ => Err(self.refused(answer)),
            },
            Some(Challenge::Bearer { realm, service, scope }) => self.token(&realm, service, scope),
            None => Err(self.refused(answer)),
        }
    }

    fn token(&self, realm: &str, service: Option<String>, scope: Option<String>) -> Result<String, Fault> {
        if self.base.starts_with("https:") && !realm.starts_with("https://") {
            let text = format!("the registry {} wants the password sent without TLS, to {}", self.reference.registry, shown(realm));
            return Err(bad("plain-redirect", text).hint("ask whoever runs the registry"));
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository));
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|s| ("service", s)));
        let bytes = Some(TOKEN_BYTES);
        let request = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let own = [("grant_type", "refresh_token"), ("client_id", "afresh"), ("refresh_token", token.as_str())];
                fields.extend(own.map(|(k, v)| (k, v.to_string())));
                Request { url: realm.to_string(), form: Some(form(&fields)), bytes, ..Request::default() }
            }
            other => {
                let join = if realm.contains('?') { '&' } else { '?' };
                let authorization = match other {
                    Some(Credentials::Password { user, password }) => Some(basic(user, password)),
                    _ => None,
                };
                Request { url: format!("{realm}{join}{}", form(&fields)), authorization, bytes, ..Request::default() }
            }
        };
        let answer = self.http.send(&request)?;
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        let bytes = answer.document(&self.limits, TOKEN_BYTES, "the token of the registry")?;
        let token = serde_json::from_slice::<Token>(&bytes).ok().and_then(|t| t.token.or(t.access_token));
        let token = token.filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic()));
        let token = token.ok_or_else(|| bad("bad-registry-answer", format!("what {} answered holds no token", shown(realm))))?;
        Ok(format!("Bearer {token}"))
    }

    fn document(&mut self, version: &str, what: &str) -> Result<(Vec<u8>, Option<Digest>), Fault> {
        let bytes = Some(self.limits.document_bytes);
        let answer = self.get(&format!("manifests/{version}"), Request { accept: MANIFESTS.join(", "), bytes, ..Request::default() })?;
        let answer = self.good(answer, what)?;
        let told = answer.header("docker-content-digest").and_then(|d| Digest::new(d).ok());
        let bytes = answer.document(&self.limits, self.limits.document_bytes, what)?;
        Ok((bytes, told))
    }

    /// Of the manifest or index that the name leads to, as the registry says it.
    pub fn top_digest(&mut self) -> Result<Option<Digest>, Fault> {
        let version = self.reference.version().to_string();
        let request = Request { accept: MANIFESTS.join(", "), is_head: true, ..Request::default() };
        let answer = self.get(&format!("manifests/{version}"), request)?;
        let answer = self.good(answer, &format!("image {version}"))?;
        Ok(answer.header("docker-content-digest").and_then(|d| Digest::new(d).ok()))
    }

    /// None: there is none.
    pub fn manifest_if_there(&mut self, version: &str) -> Result<Option<Vec<u8>>, Fault> {
        let answer = self.get(&format!("manifests/{version}"), Request { accept: MANIFESTS.join(", "), ..Request::default() })?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = self.good(answer, version)?;
        answer.document(&self.limits, self.limits.document_bytes, version).map(Some)
    }

    pub fn has_blob(&mut self, digest: &Digest) -> Result<bool, Fault> {
        let answer = self.get(&format!("blobs/{digest}"), Request { is_head: true, ..Request::default() })?;
        if answer.status == 404 { Ok(false) } else { self.good(answer, &format!("blob {}", digest.short())).map(|_| true) }
    }

    pub fn put_blob(&mut self, digest: &Digest, body: Sent) -> Result<(), Fault> {
        let begin = (Verb::Post, OCTETS.to_string(), Sent::Bytes(Vec::new()));
        let answer = self.get("blobs/uploads/", Request { body: Some(begin), ..Request::default() })?;
        let answer = self.taken(answer, "a blob")?;
        let at = answer.header("location").unwrap_or_default();
        let at = if at.starts_with('/') && !at.starts_with("//") { format!("{}{at}", self.base) } else { at.to_string() };
        // Who we are is for this registry alone.
        if !at.starts_with(&format!("{}/", self.base)) {
            let text = format!("the registry {} wants blobs sent to {}", self.reference.registry, shown(&at));
            return Err(bad("bad-registry-answer", text).hint("ask whoever runs the registry"));
        }
        let url = format!("{at}{}digest={digest}", if at.contains('?') { '&' } else { '?' });
        let answer = self.ask(url, Request { body: Some((Verb::Put, OCTETS.to_string(), body)), ..Request::default() })?;
        self.taken(answer, &format!("blob {}", digest.short())).map(drop)
    }

    /// True: the registry lists it with what it refers to.
    pub fn put_manifest(&mut self, version: &str, kind: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let body = Some((Verb::Put, kind.to_string(), Sent::Bytes(bytes.to_vec())));
        let answer = self.get(&format!("manifests/{version}"), Request { body, ..Request::default() })?;
        Ok(self.taken(answer, &format!("manifest {}", shown(version)))?.header("oci-subject").is_some())
    }

    fn taken(&self, answer: Answer, what: &str) -> Result<Answer, Fault> {
        match answer.status {
            201 | 202 => Ok(answer),
            403 | 405 => Err(self.refused(answer)),
            status => {
                let (to, reason) = (self.reference.registry.clone(), answer.reason(&self.limits));
                Err(Fault::world("registry-failed", format!("the registry {to} answered {status} when it was sent {what}{reason}")))
            }
        }
    }

    fn good(&self, answer: Answer, what: &str) -> Result<Answer, Fault> {
        let at = format!("{}/{}", self.reference.registry, self.reference.repository);
        match answer.status {
            200 | 206 => Ok(answer),
            403 => Err(self.refused(answer)),
            404 => {
                let text = format!("{at} has no {what}{}", answer.reason(&self.limits));
                Err(Fault::yours("no-such-image", text).hint("is it written right, and was it pushed?"))
            }
            status => {
                let text = format!(
                    "the registry {} answered {status} when it was asked for {what}{}",
                    self.reference.registry,
                    answer.reason(&self.limits)
                );
                Err(Fault::world("registry-failed", text))
            }
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

fn form(fields: &[(&str, String)]) -> String {
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut out, b| {
            if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
                out.push(char::from(b));
            } else {
                out.push_str(&format!("%{b:02X}"));
            }
            out
        })
    };
    fields.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&")
}

impl Blobs for Registry {
    fn top(&mut self) -> Result<(Vec<u8>, Option<Digest>), Fault> {
        let version = self.reference.version().to_string();
        let (bytes, told) = self.document(&version, &format!("image {version}"))?;
        // What was pinned counts, whatever the registry says.
        Ok((bytes, self.reference.digest.clone().or(told)))
    }

    fn manifest(&mut self, of: &Descriptor) -> Result<Vec<u8>, Fault> {
        self.document(of.digest.as_str(), &format!("manifest {}", of.digest.short())).map(|(bytes, _)| bytes)
    }

    fn open(&mut self, of: &Descriptor, from: u64) -> Result<(u64, Box<dyn Read + '_>), Fault> {
        let answer = self.get(&format!("blobs/{}", of.digest), Request { from, bytes: Some(of.size), ..Request::default() })?;
        let answer = self.good(answer, &format!("blob {}", of.digest.short()))?;
        let begins = if answer.status == 206 { from } else { 0 };
        Ok((begins, Box::new(answer.reader(&self.limits))))
    }

    fn offers(&mut self, of: &Descriptor) -> bool {
        let answer = self.get(&format!("blobs/{}", of.digest), Request { is_head: true, ..Request::default() });
        let size = |answer: &Answer| answer.header("content-length").and_then(|n| n.parse().ok());
        answer.is_ok_and(|answer| answer.status == 200 && size(&answer) == Some(of.size))
    }

    fn may_retry(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_escaped() {
        assert_eq!(
            form(&[("scope", "repository:a/b:pull".into()), ("s", "x&y=z ä".into())]),
            "scope=repository%3Aa%2Fb%3Apull&s=x%26y%3Dz%20%C3%A4"
        );
    }

    #[test]
    fn this_machine_is_not_asked_for_a_token() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let reference = "registry.example.org/shop/app".parse().unwrap();
        let registry = Registry::new(&reference, None, None, false, &Limits { retries: 0, ..Limits::default() }).unwrap();
        let fault = registry.token(&format!("https://{}/token", listener.local_addr().unwrap()), None, None).unwrap_err();
        assert_eq!(fault.code, "bad-registry-answer", "{fault:?}");
        assert!(listener.accept().is_err(), "it was asked");
    }
}
