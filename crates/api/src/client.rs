//! A small typed client: one connection per call, over a Unix socket or TCP with a token.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;

/// No line of a stream is longer than this; a longer one is a server error.
const LINE_BYTES_MAX: usize = 16 << 20;
/// No answer is larger than this; a larger one is a server error.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

#[derive(Clone)]
pub struct Client {
    address: Address,
    token: Option<String>,
    timeout: Duration,
    reason: Option<String>,
}

impl Client {
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self::at(Address::Unix(socket.into()))
    }

    pub fn tcp(address: impl Into<String>) -> Self {
        Self::at(Address::Tcp(address.into()))
    }

    fn at(address: Address) -> Self {
        Self { address, token: None, timeout: Duration::from_secs(10), reason: None }
    }

    /// The caller's token, also used on a socket. None: the kernel identifies the caller of a socket; a TCP caller is unknown.
    #[must_use]
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// For connecting and for the whole answer of a call that is not a stream.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Why the calls are made, for the journal and the audit; one line.
    #[must_use]
    pub fn reason(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    pub fn socket(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) => None,
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub async fn put<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Fault> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Fault> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T, Fault> {
        let whole = async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            let bytes = self.whole(response.into_body()).await?;
            if status.is_success() {
                serde_json::from_slice(&bytes).map_err(|e| Fault::ours("bad-answer", format!("{path}: the answer does not decode: {e}")))
            } else {
                Err(fault_of(path, status.as_u16(), &bytes))
            }
        };
        tokio::time::timeout(self.timeout, whole).await.unwrap_or_else(|_| Err(self.broken("no answer in time")))
    }

    /// A stream of JSON lines; see [`Lines::next`].
    pub async fn lines(&self, path: &str) -> Result<Lines, Fault> {
        let response = tokio::time::timeout(self.timeout, self.send(Method::GET, path, None::<&()>))
            .await
            .unwrap_or_else(|_| Err(self.broken("no answer in time")))?;
        if response.status().is_success() {
            return Ok(Lines { body: response.into_body(), buffer: Vec::new(), searched: 0 });
        }
        let status = response.status().as_u16();
        let whole = tokio::time::timeout(self.timeout, self.whole(response.into_body()));
        let bytes = whole.await.unwrap_or_else(|_| Err(self.broken("no answer in time")))?;
        Err(fault_of(path, status, &bytes))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Fault> {
        let limited = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(limited.map_err(|e| self.broken(&e.to_string()))?.to_bytes())
    }

    async fn send<B: Serialize>(&self, method: Method, path: &str, body: Option<&B>) -> Result<Response<Incoming>, Fault> {
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => serde_json::to_vec(body).map_err(|e| Fault::ours("bad-request", e.to_string()))?.into(),
        };
        if bytes.len() > crate::BODY_BYTES_MAX {
            return Err(crate::too_large(path, Some(bytes.len() as u64)));
        }
        let mut request = Request::builder().method(method).uri(path).header("host", "afresh").header("content-type", "application/json");
        if let Some(token) = &self.token {
            let value = http::HeaderValue::from_str(&format!("Bearer {token}"));
            request = request.header("authorization", value.map_err(|_| Fault::yours("weak-token", "the token has invalid bytes"))?);
        }
        if let Some(reason) = &self.reason {
            model::text::line(reason).map_err(|wrong| Fault { code: "bad-reason".to_string(), ..wrong.into() })?;
            let value = http::HeaderValue::from_bytes(reason.as_bytes()).map_err(|e| Fault::yours("bad-reason", e.to_string()))?;
            request = request.header(crate::control::REASON, value);
        }
        let request = request.body(Full::new(bytes)).map_err(|e| Fault::ours("bad-request", e.to_string()))?;
        match &self.address {
            Address::Unix(path) => exchange(UnixStream::connect(path).await.map_err(|e| self.broken(&e.to_string()))?, request).await,
            Address::Tcp(address) => exchange(TcpStream::connect(address).await.map_err(|e| self.broken(&e.to_string()))?, request).await,
        }
        .map_err(|e| self.broken(&e.to_string()))
    }

    fn broken(&self, why: &str) -> Fault {
        match &self.address {
            Address::Unix(path) => {
                Fault::world("unreachable", format!("{}: {why}", path.display())).hint("is it running? start all processes: `afresh up`")
            }
            Address::Tcp(address) => {
                Fault::world("unreachable", format!("{address}: {why}")).hint("is `afresh serve --listen` running there?")
            }
        }
    }
}

impl std::fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The same calls for a thread that may block. It must not be a worker thread of the runtime (use `spawn_blocking`).
#[derive(Clone, Debug)]
pub struct Blocking {
    client: Client,
    handle: Handle,
}

impl Blocking {
    pub fn new(client: Client, handle: Handle) -> Self {
        Self { client, handle }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.handle.block_on(self.client.get(path))
    }

    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Fault> {
        self.handle.block_on(self.client.post(path, body))
    }

    /// Any answer will do; its content is ignored.
    pub fn put<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Fault> {
        self.handle.block_on(self.client.put::<_, serde_json::Value>(path, body)).map(drop)
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn fault_of(path: &str, status: u16, bytes: &[u8]) -> Fault {
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        Fault::ours("bad-answer", format!("{path}: status {status}: {text}"))
    })
}

/// JSON lines as they come.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// This much of the buffer has no end of a line.
    searched: usize,
}

impl Lines {
    /// The next line, decoded; None at the end.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                if line.len() == 1 {
                    continue; // an empty line keeps the connection alive
                }
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|e| Fault::ours("bad-answer", format!("a line does not decode: {e}")));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(Fault::ours("bad-answer", format!("a line of the stream has more than {LINE_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(Fault::world("unreachable", format!("the stream was interrupted: {e}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Answers one call with this, then with bytes without end.
    fn endless(head: &'static str) -> Client {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::tcp(listener.local_addr().unwrap().to_string()).timeout(Duration::from_secs(60));
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
        });
        client
    }

    /// A wrong host, or one in its place, must not fill the caller's memory.
    #[test]
    fn an_answer_without_end_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut lines = endless("HTTP/1.1 200 OK\r\n\r\n").lines("/v1/events").await.unwrap();
            assert_eq!(lines.next::<serde_json::Value>().await.unwrap_err().code, "bad-answer");
            let refused = endless("HTTP/1.1 401 x\r\n\r\n").lines("/v1/events").await.err().unwrap();
            assert!(refused.message.contains("length limit"), "{refused}");
            let answer = endless("HTTP/1.1 200 OK\r\n\r\n").get::<serde_json::Value>("/v1/services").await.unwrap_err();
            assert!(answer.message.contains("length limit"), "{answer}");
        });
    }
}
