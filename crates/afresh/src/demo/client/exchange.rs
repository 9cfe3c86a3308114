//! One request and its answer, checked to the last byte: status, id, digest, end of the stream.

use super::account::{Kind, Outcome};
use super::connection::{Pool, Sender};
use crate::demo::shop::CONFESSION;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// From the request to the last byte of its answer.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a slow answer takes, in pieces.
const SLOW_MS: u64 = 300;

pub async fn exchange(pool: &Pool, n: u64, kind: Kind) -> (Option<u64>, Outcome) {
    let ask = Ask::new(pool, n, kind);
    match tokio::time::timeout(WHOLE_WITHIN, run(pool, ask)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => (None, Outcome::Failed(why)),
        Err(_) => (None, Outcome::Failed(format!("no complete response within {WHOLE_WITHIN:?}"))),
    }
}

struct Ask {
    kind: Kind,
    id: String,
    request: Request<Full<Bytes>>,
    /// Of the body sent.
    sha256: String,
    bytes: usize,
}

impl Ask {
    fn new(pool: &Pool, n: u64, kind: Kind) -> Self {
        let id = format!("q{n}");
        let (method, path, body) = match kind {
            Kind::KeepAlive | Kind::Fresh => (Method::GET, format!("/hello?id={id}"), Bytes::new()),
            Kind::Slow => (Method::GET, format!("/slow?ms={SLOW_MS}&id={id}"), Bytes::new()),
            Kind::Post => (Method::POST, format!("/orders?id={id}"), order(n)),
        };
        let sha256 = hex::encode(Sha256::digest(&body));
        let bytes = body.len();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("made of ASCII letters and digits above");
        let host = http::HeaderValue::from_str(&pool.target().to_string()).expect("an address is ASCII");
        request.headers_mut().insert(http::header::HOST, host);
        if kind == Kind::Fresh {
            request.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        Self { kind, id, request, sha256, bytes }
    }
}

/// 64 bytes to 64 KiB, different for each request.
fn order(n: u64) -> Bytes {
    let line = format!("order {n:>16} 3 x shirt, 1 x hat, to be delivered on a rainy Monday\n");
    let times = 1 << (n % 11);
    Bytes::from(line.repeat(times))
}

async fn run(pool: &Pool, ask: Ask) -> Result<(Option<u64>, Outcome), String> {
    let kept = if ask.kind == Kind::Fresh { None } else { pool.take() };
    let (mut sender, fresh) = match kept {
        Some(sender) => (sender, false),
        None => (pool.open().await?, true),
    };
    let response = match sender.try_send_request(ask.request).await {
        Ok(response) => response,
        Err(mut error) => match error.take_message() {
            // The kept connection was closed before a byte of this request was written: it was never sent, so this is no second try.
            Some(request) if !fresh => {
                sender = pool.open().await?;
                sender.send_request(request).await.map_err(|e| told(&e))?
            }
            _ => return Err(told(error.error())),
        },
    };
    let status = response.status().as_u16();
    let own = response.headers().get("x-afresh-error").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| format!("broken answer: {e}"))?.to_bytes();
    keep(pool, ask.kind, sender);
    if let Some(code) = own {
        return Err(format!("status {status} by the balancer: {code}"));
    }
    let answer = last_object(&body);
    let version = answer.as_ref().and_then(|a| a["version"].as_u64());
    let confessed = String::from_utf8_lossy(&body).contains(CONFESSION);
    if status >= 500 && confessed {
        return Ok((version, Outcome::Release(status)));
    }
    let wrong = match &answer {
        None => Some(format!("status {status}, the answer is not JSON")),
        Some(answer) => wrong(ask.kind, &ask.id, &ask.sha256, ask.bytes, status, answer),
    };
    Ok((version, wrong.map_or(Outcome::Whole, Outcome::Failed)))
}

fn keep(pool: &Pool, kind: Kind, sender: Sender) {
    if kind != Kind::Fresh {
        pool.keep(sender);
    }
}

/// With its causes: "connection error" alone says nothing.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The whole body, or its last line that is not empty: slow responses carry what matters in their last piece.
fn last_object(body: &[u8]) -> Option<Value> {
    let whole = serde_json::from_slice(body).ok();
    whole.or_else(|| body.split(|b| *b == b'\n').rfind(|line| !line.is_empty()).and_then(|line| serde_json::from_slice(line).ok()))
}

fn wrong(kind: Kind, id: &str, sha256: &str, bytes: usize, status: u16, answer: &Value) -> Option<String> {
    let want = if kind == Kind::Post { 201 } else { 200 };
    if status != want {
        return Some(format!("status {status}, {want} was due"));
    }
    if kind == Kind::Post {
        // The body holds the request's number, so its digest is as good as an id.
        let right = answer["sha256"] == sha256 && answer["bytes"] == bytes;
        return (!right).then(|| "the digest is of another body".to_string());
    }
    (answer["id"] != id).then(|| "the answer is to another request".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_answers_are_seen() {
        let hello = |id: &str| json!({"service": "web", "version": 1, "id": id});
        assert_eq!(wrong(Kind::KeepAlive, "q1", "", 0, 200, &hello("q1")), None);
        assert!(wrong(Kind::KeepAlive, "q1", "", 0, 200, &hello("q2")).is_some());
        assert!(wrong(Kind::Slow, "q1", "", 0, 404, &hello("q1")).is_some());
        let order = json!({"version": 1, "bytes": 5, "sha256": "ab"});
        assert_eq!(wrong(Kind::Post, "q1", "ab", 5, 201, &order), None);
        assert!(wrong(Kind::Post, "q1", "cd", 5, 201, &order).is_some());
        assert!(wrong(Kind::Post, "q1", "ab", 6, 201, &order).is_some());
    }

    #[test]
    fn the_last_piece_counts() {
        assert_eq!(last_object(b"{\"id\":\"q1\"}").unwrap()["id"], "q1");
        assert_eq!(last_object(b"....\n....\n{\"id\":\"q1\"}\n").unwrap()["id"], "q1");
        assert_eq!(last_object(b"....\n{\"id\":"), None);
        assert_eq!(last_object(b""), None);
    }

    #[test]
    fn orders_differ_and_stay_small() {
        assert_ne!(order(11), order(22));
        assert!((0..22).all(|n| order(n).len() <= 128 << 10));
    }
}
