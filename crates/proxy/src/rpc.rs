//! JSON over HTTP on a Unix socket, mode 0600: what both sides answer with.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;

const BODY_BYTES_MAX: usize = 4 << 20;

pub struct Call {
    pub method: Method,
    pub path: String,
    body: Bytes,
}

impl Call {
    /// `(PUT, ["v1", "routes", "web"])`
    pub fn parts(&self) -> (&str, Vec<&str>) {
        (self.method.as_str(), self.path.split('/').filter(|part| !part.is_empty()).collect())
    }

    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|e| Fault::yours("bad-request", format!("{}: the body does not decode: {e}", self.path)))
    }

    pub fn unknown(&self) -> Fault {
        Fault::yours("not-found", format!("there is no {} {} here", self.method, self.path))
    }
}

pub fn json(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|e| Fault::ours("bad-answer", e.to_string()))
}

/// The caller holds the lock that makes it the only one, so what lies at the path is left over from a dead process.
pub fn bind(path: &Path) -> Result<UnixListener, Fault> {
    let listener = disk::socket::listen(path, 0o600).and_then(UnixListener::from_std);
    listener.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidFilename => {
            Fault::yours("path-too-long", format!("{}: {e}", path.display())).hint("choose a data directory with a shorter path")
        }
        _ => Fault::world("socket", format!("{}: {e}", path.display())).again(false),
    })
}

pub async fn serve<H, F>(listener: UnixListener, handler: H)
where
    H: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Value, Fault>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut backoff = api::accept::Backoff::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                backoff.failed(&e, "the control socket").await;
                continue;
            }
        };
        backoff.accepted();
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let handler = handler.clone();
            async move { Ok::<_, Infallible>(respond(request, &*handler).await) }
        });
        tokio::spawn(http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond<H, F>(request: Request<Incoming>, handler: &H) -> Response<Full<Bytes>>
where
    H: Fn(Call) -> F,
    F: Future<Output = Result<Value, Fault>>,
{
    let (head, body) = request.into_parts();
    let result = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Err(e) => Err(Fault::yours("bad-request", format!("the body cannot be read: {e}"))),
        Ok(body) => handler(Call { method: head.method, path: head.uri.path().to_string(), body: body.to_bytes() }).await,
    };
    let (status, text) = match result {
        Ok(value) => (200, value.to_string()),
        Err(fault) => (api::status_of(&fault), serde_json::to_string(&fault).unwrap_or_default()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
