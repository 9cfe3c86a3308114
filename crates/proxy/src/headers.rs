//! Headers between client and target: which requests are refused, which headers are removed and which are set.
//!
//! Framing is never passed on: hyper decodes it on one side and writes its own on the other, so a request that two
//! parsers could read differently never leaves the balancer as it came.

use crate::limits::HEAD_BYTES_MAX;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri, Version};

pub const ERROR_MARK: HeaderName = HeaderName::from_static("x-afresh-error");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Why a request is not forwarded: status, code, message.
pub type Refusal = (StatusCode, &'static str, &'static str);

pub fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    // hyper stops reading a head that grows too large, but not one that arrives at once.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEAD_BYTES_MAX {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "the request's headers are larger than 64 KiB"));
    }
    if request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "no-tunnels", "CONNECT is not supported"));
    }
    if has_token(headers, &header::UPGRADE, "websocket") {
        return Err((StatusCode::NOT_IMPLEMENTED, "no-websocket", "upgrades to WebSocket are not supported yet"));
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err((StatusCode::BAD_REQUEST, "two-hosts", "more than one Host header"));
    }
    if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) {
        return Err((StatusCode::BAD_REQUEST, "no-host", "an HTTP/1.1 request needs a Host header"));
    }
    // The authority of an absolute form replaces Host, so the same rules apply to it.
    let named = request.uri().authority().map(|authority| without_user(authority).as_bytes());
    if !headers.get(header::HOST).map(HeaderValue::as_bytes).into_iter().chain(named).all(is_host) {
        return Err((StatusCode::BAD_REQUEST, "bad-host", "the Host header is not a host name with an optional port"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if let Some(first) = codings.next()
        && (!plain(first) || codings.next().is_some())
    {
        return Err((StatusCode::NOT_IMPLEMENTED, "transfer-coding", "the only transfer coding supported is chunked"));
    }
    if headers.get(header::EXPECT).is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err((StatusCode::EXPECTATION_FAILED, "expectation", "the only expectation supported is 100-continue"));
    }
    Ok(())
}

/// RFC 9112, 3.2: anything else is refused. Servers build links from it, and trust the `X-Forwarded-Host` that is derived from it.
/// May be empty.
fn is_host(text: &[u8]) -> bool {
    text.is_empty()
        || Authority::try_from(text).is_ok_and(|host| {
            let port = host.as_str().strip_prefix(host.host()).and_then(|rest| rest.strip_prefix(':'));
            let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
            !host.host().is_empty() && (host.as_str() == host.host() || port.is_some_and(is_port))
        })
}

fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host)
}

/// Turns the client's request into the target's. `client` is the client's address.
pub fn to_target(parts: &mut http::request::Parts, client: &HeaderValue, listen: &str) {
    if let Some(authority) = parts.uri.authority() {
        // The absolute form: its authority overrules Host (RFC 9112, 3.2.2), and the target gets the origin form.
        if let Ok(host) = HeaderValue::from_str(without_user(authority)) {
            parts.headers.insert(header::HOST, host);
        }
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    remove_hop_by_hop(&mut parts.headers);
    // hyper sends the 100 itself when the body is first read.
    parts.headers.remove(header::EXPECT);
    if !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(listen)
    {
        parts.headers.insert(header::HOST, host); // HTTP/1.0
    }
    set_forwarded(&mut parts.headers, client);
    parts.version = Version::HTTP_11;
}

/// The balancer sets the client, the host and the scheme: there is no list of trusted proxies, so what arrives is only a claim of the
/// client. Servers behind gateways like WSGI cannot distinguish `_` from `-`, so both are removed.
fn set_forwarded(headers: &mut HeaderMap, client: &HeaderValue) {
    remove_claims(headers);
    headers.insert(FORWARDED_FOR, client.clone());
    headers.insert(REAL_IP, client.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    let host = headers.get(header::HOST).cloned();
    if let Ok(value) = HeaderValue::from_bytes(&forwarded(client, host.as_ref())) {
        headers.insert(FORWARDED, value);
    }
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// Also from trailers: some servers merge them into the headers.
pub fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    claims.into_iter().for_each(|name| drop(headers.remove(name)));
}

fn is_claim(name: &str) -> bool {
    const CLAIMS: &[&str] = &["forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "client-ip"];
    let name = name.replace('_', "-");
    name.starts_with("x-forwarded") || CLAIMS.contains(&name.as_str())
}

/// RFC 7239: an IPv6 address is in brackets and quotes, and a host with a port is in quotes. A host that does not fit is left out.
fn forwarded(client: &HeaderValue, host: Option<&HeaderValue>) -> Vec<u8> {
    let ip = client.as_bytes();
    let mut text = if ip.contains(&b':') { [b"for=\"[", ip, b"]\""].concat() } else { [b"for=", ip].concat() };
    let quotable = |b: &u8| b.is_ascii_graphic() && *b != b'"' && *b != b'\\';
    if let Some(host) = host.filter(|host| host.as_bytes().iter().all(quotable)) {
        text.extend([b";host=\"", host.as_bytes(), b"\""].concat());
    }
    text.extend(b";proto=http");
    text
}

/// Err: why a response cannot be passed on. Two parsers could find its end at two places, and the client's may differ from hyper's.
pub fn check_response(parts: &http::response::Parts) -> Result<(), &'static str> {
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (Some(_), _, Some(_), _) => Err("it has both a Content-Length and a Transfer-Encoding"),
        (_, Some(_), ..) => Err("it has more than one Content-Length"),
        (Some(length), ..) if !length.as_bytes().iter().all(u8::is_ascii_digit) => Err("its Content-Length is not a number"),
        (.., Some(_), Some(_)) => Err("it has more than one Transfer-Encoding"),
        (.., Some(coding), _) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Err("its Transfer-Encoding is not chunked"),
        _ => Ok(()),
    }
}

/// Turns the target's response into the client's.
pub fn to_client(parts: &mut http::response::Parts) {
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(ERROR_MARK); // set by the balancer alone
    parts.version = Version::HTTP_11; // hyper writes 1.0 to a client of HTTP/1.0
}

/// Whether the target will close the connection after this response.
pub fn closes(parts: &http::response::Parts) -> bool {
    match parts.version {
        Version::HTTP_11 => has_token(&parts.headers, &header::CONNECTION, "close"),
        _ => true,
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .collect();
        for name in named {
            // A client that lists these wants them removed to confuse the target.
            if name != header::HOST && name != header::CONTENT_LENGTH && name != header::AUTHORIZATION && name != header::COOKIE {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &header::TE, &header::TRANSFER_ENCODING, &header::UPGRADE] {
        headers.remove(name);
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_with_or_without_a_port() {
        let refused = |host: &[u8]| {
            let request = Request::builder().header(header::HOST, HeaderValue::from_bytes(host).unwrap()).body(()).unwrap();
            check(&request).err().map(|(status, code, _)| (status.as_u16(), code))
        };
        for good in ["", "a", "shop.example", "shop.example:8080", "[::1]", "[::1]:80", "192.0.2.1:1", "a_b.c~d", "a:"] {
            assert_eq!(refused(good.as_bytes()), None, "{good}");
        }
        // The first was found by a fuzzer: the client's text in the X-Forwarded-Host that the balancer writes.
        for bad in ["d: for=for-IP: forged", "a b", "a/b", "a@b", ":80", "a:b", "a:123456", "a\"", "a\tb", "[::1", "a?b", "a#b"] {
            assert_eq!(refused(bad.as_bytes()), Some((400, "bad-host")), "{bad}");
        }
        assert_eq!(refused("é".as_bytes()), Some((400, "bad-host")));
    }

    #[test]
    fn the_authority_of_an_absolute_form_is_held_to_the_rules_of_a_host() {
        let refused = |uri: &str| {
            let request = Request::builder().uri(uri).header(header::HOST, "shop.example").body(()).unwrap();
            check(&request).err().map(|(_, code, _)| code)
        };
        for good in ["/", "http://shop.example/", "http://shop.example:8080/a", "http://me@shop.example/", "http://[::1]:80/"] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in ["http://a:b/", "http://a:123456/", "http://me@a:b/"] {
            assert_eq!(refused(bad), Some("bad-host"), "{bad}");
        }
    }
}
