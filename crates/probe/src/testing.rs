//! Servers with known answers. Whoever probes runs this table in its tests: all must come to the column `healthy`, which is written by
//! hand from RFC 9110 and 9112, so none disagrees with another.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// For a probe that must pass, also on a busy machine; and the time after which one fails that gets no answer.
const PATIENCE: Duration = Duration::from_secs(10);
const IMPATIENCE: Duration = Duration::from_millis(150);

#[derive(Clone, Copy)]
enum Part {
    Send(&'static str),
    /// This many bytes of a header's value, or of a body.
    Fill(usize),
    Flush,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
    /// Neither an answer nor an end.
    Hang,
}

struct Case {
    name: &'static str,
    healthy: bool,
    parts: &'static [Part],
    end: End,
}

use End::{Close, Hang, Reset};
use Part::{Fill, Flush, Send};

const fn case(name: &'static str, healthy: bool, parts: &'static [Part], end: End) -> Case {
    Case { name, healthy, parts, end }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("200", true, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Close),
    case("200 of HTTP/1.0", true, &[Send("HTTP/1.0 200 OK\r\n\r\nok")], Close),
    case("200 that stays open", true, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Hang),
    case("204", true, &[Send("HTTP/1.1 204 No Content\r\n\r\n")], Close),
    case("206, a part", true, &[Send("HTTP/1.1 206 Partial Content\r\n\r\n")], Close),
    case("without a reason phrase", true, &[Send("HTTP/1.1 200\r\n\r\n")], Close),
    case("301 elsewhere", true, &[Send("HTTP/1.1 301 x\r\nLocation: http://192.0.2.1/\r\n\r\n")], Close),
    case("302 to a login page", true, &[Send("HTTP/1.1 302 x\r\nLocation: /login\r\n\r\n")], Close),
    case("304", true, &[Send("HTTP/1.1 304 Not Modified\r\n\r\n")], Close),
    case("400", false, &[Send("HTTP/1.1 400 Bad Request\r\n\r\n")], Close),
    case("404", false, &[Send("HTTP/1.1 404 Not Found\r\n\r\nno such page")], Close),
    case("500", false, &[Send("HTTP/1.1 500 x\r\n\r\ndatabase is locked")], Close),
    case("503 chunked", false, &[Send("HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")], Close),
    case("100, then 200", true, &[Send("HTTP/1.1 100 Continue\r\n\r\n"), Flush, Send("HTTP/1.1 200 OK\r\n\r\n")], Close),
    case("103, then 200", true, &[Send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), Flush, Send("HTTP/1.1 200 OK\r\n\r\n")], Close),
    case("103, then 500", false, &[Send("HTTP/1.1 103 Early Hints\r\n\r\n"), Flush, Send("HTTP/1.1 500 x\r\n\r\n")], Close),
    case("100 and no more", false, &[Send("HTTP/1.1 100 Continue\r\n\r\n")], Close),
    case("100 and silence", false, &[Send("HTTP/1.1 100 Continue\r\n\r\n")], Hang),
    case("101", false, &[Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")], Close),
    case("in pieces", true, &[Send("HT"), Flush, Send("TP/1.1 2"), Flush, Send("00 OK\r\n"), Flush, Send("\r\n"), Flush, Send("ok")], Close),
    case("no answer in time", false, &[], Hang),
    case("half a head in time", false, &[Send("HTTP/1.1 200 OK\r\nX: y\r\n")], Hang),
    case("a body that never comes", true, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")], Hang),
    case("a body that breaks off", true, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")], Close),
    case("a body without end", true, &[Send("HTTP/1.1 200 OK\r\n\r\n"), Fill(1 << 20)], Hang),
    case("a huge error", false, &[Send("HTTP/1.1 500 x\r\n\r\n"), Fill(1 << 20)], Close),
    case("closed without an answer", false, &[], Close),
    case("reset", false, &[], Reset),
    case("truncated in the status", false, &[Send("HTTP/1.1 20")], Close),
    case("truncated in the head", false, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")], Close),
    case("a large head", true, &[Send("HTTP/1.1 200 OK\r\nX: "), Fill(20_000), Send("\r\n\r\n")], Close),
    case("a huge head", false, &[Send("HTTP/1.1 200 OK\r\nX: "), Fill(1 << 20), Send("\r\n\r\n")], Close),
    case("a header with a space in its name", false, &[Send("HTTP/1.1 200 OK\r\na b: c\r\n\r\n")], Close),
    case("four digits", false, &[Send("HTTP/1.1 2000 OK\r\n\r\n")], Close),
    case("SSH", false, &[Send("SSH-2.0-OpenSSH_9.2p1\r\n")], Hang),
    case("a mail server", false, &[Send("220 mail.example ESMTP\r\n")], Hang),
    case("HTTP/2", false, &[Send("\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d")], Hang),
    case("a TLS alert", false, &[Send("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{16}")], Close),
    case("HTML alone", false, &[Send("<html>200 OK</html>\n")], Close),
];

/// Lets `probe` judge the server at an address within a time, for every case at once; panics with those that it judges otherwise.
pub async fn judge_every_case<P, E>(probe: impl Fn(SocketAddr, Duration) -> P)
where
    P: Future<Output = Result<(), E>> + std::marker::Send + 'static,
    E: Debug + std::marker::Send + 'static,
{
    let mut tasks = Vec::new();
    for case in CASES {
        tasks.push((case, tokio::spawn(probe(case.serve().await, case.within()))));
    }
    let mut wrong = Vec::new();
    for (case, task) in tasks {
        let passed = task.await.expect("a probe does not panic");
        if passed.is_ok() != case.healthy {
            wrong.push(format!("{}: {passed:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

impl Case {
    /// The time that its probe should have.
    fn within(&self) -> Duration {
        if self.healthy || self.end != Hang { PATIENCE } else { IMPATIENCE }
    }

    /// Answers every connection in this way until the runtime ends.
    async fn serve(&'static self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.answer(stream));
            }
        });
        address
    }

    async fn answer(&'static self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            request.push(byte[0]);
        }
        for part in self.parts {
            let sent = match part {
                Part::Send(text) => stream.write_all(text.as_bytes()).await,
                Part::Fill(bytes) => stream.write_all(&vec![b'x'; *bytes]).await,
                Part::Flush => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Ok(())
                }
            };
            if sent.is_err() {
                return; // the probe has seen enough
            }
        }
        match self.end {
            End::Close => drop(stream),
            End::Reset => {
                let _ = stream.set_zero_linger();
            }
            End::Hang => tokio::time::sleep(Duration::from_secs(3_600)).await,
        }
    }
}
