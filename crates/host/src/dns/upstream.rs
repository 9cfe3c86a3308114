//! One question to those whom this host asks, over UDP, and over TCP what does not fit.
//!
//! Every question has an id of its own and goes from a port of its own, to keep strangers from answering it; an answer to another question is
//! not taken.

use super::message::{Answer, UDP_BYTES_MAX};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// For all attempts together: less than programs wait before they ask again (`etc`).
pub const WITHIN: Duration = Duration::from_millis(3_400);
/// One alone is asked twice: packets are lost.
const ATTEMPTS_MIN: usize = 2;
const DATAGRAM_BYTES_MAX: usize = 4_096;
/// Those who did not answer for this time raise an alarm, if they were asked lately.
const AWAY_FOR: Duration = Duration::from_secs(10);
const ASKED_LATELY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Upstreams {
    /// Who answered last is asked first.
    first: AtomicUsize,
    silent: Mutex<Option<Silent>>,
}

struct Silent {
    since: Instant,
    last: Instant,
    why: String,
}

impl Upstreams {
    pub async fn ask(&self, servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Answer, String> {
        let attempts = servers.len().max(ATTEMPTS_MIN);
        let each = WITHIN / u32::try_from(attempts).unwrap_or(1);
        let first = self.first.load(Ordering::Relaxed);
        let (mut why, mut is_there) = ("this host names no resolver in /etc/resolv.conf".to_string(), false);
        for n in (first..).take(if servers.is_empty() { 0 } else { attempts }) {
            let server = servers[n % servers.len()];
            match timeout(each, once(server, name, kind)).await {
                Ok(Ok(heard)) if matches!(heard.code, ResponseCode::NoError | ResponseCode::NXDomain) => {
                    self.first.store(n % servers.len(), Ordering::Relaxed);
                    self.is_there();
                    return Ok(heard);
                }
                Ok(Ok(answer)) => {
                    is_there = true;
                    why = format!("{} answered {}", server.ip(), answer.code);
                }
                Ok(Err(e)) => why = format!("{}: {e}", server.ip()),
                Err(_) => why = format!("{} did not answer within {} ms", server.ip(), each.as_millis()),
            }
        }
        if is_there {
            self.is_there();
        } else {
            self.is_silent(&why);
        }
        Err(why)
    }

    fn is_there(&self) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_silent(&self, why: &str) {
        let now = Instant::now();
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let since = silent.as_ref().filter(|silent| now.duration_since(silent.last) < ASKED_LATELY).map_or(now, |silent| silent.since);
        *silent = Some(Silent { since, last: now, why: why.to_string() });
    }

    /// Since when nobody answers, in seconds, and why.
    pub fn away(&self, now: Instant) -> Option<(u64, String)> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = silent.as_ref().filter(|silent| now.duration_since(silent.last) < ASKED_LATELY)?;
        let away = now.duration_since(silent.since);
        (away >= AWAY_FOR).then(|| (away.as_secs(), silent.why.clone()))
    }
}

/// Nothing of the server that asks is in it.
fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.set_edns(edns);
    message
}

async fn once(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Answer> {
    let asked = question(name, kind);
    let bytes = asked.to_vec().map_err(io::Error::other)?;
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let n = socket.recv(&mut buffer).await?;
        match answer_to(&asked, &buffer[..n]) {
            Some(message) if message.metadata.truncation => return over_tcp(server, &asked, &bytes).await,
            Some(message) => return Ok(taken(message)),
            // Somebody else's, or of an older question.
            None => {}
        }
    }
}

async fn over_tcp(server: SocketAddr, asked: &Message, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), bytes].concat()).await?;
    let n = usize::from(stream.read_u16().await?);
    let mut buffer = vec![0; n];
    stream.read_exact(&mut buffer).await?;
    let message = answer_to(asked, &buffer).ok_or_else(|| io::Error::other("it answered something else"))?;
    Ok(taken(message))
}

fn answer_to(asked: &Message, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let is_answer = message.metadata.message_type == MessageType::Response && message.metadata.op_code == OpCode::Query;
    (is_answer && message.metadata.id == asked.metadata.id && message.queries == asked.queries).then_some(message)
}

/// An answer with more records is passed on as none: each hit in the cache costs time and memory by their number.
const RECORDS_MAX: usize = 256;

fn taken(mut message: Message) -> Answer {
    if message.answers.len() + message.authorities.len() > RECORDS_MAX {
        message.metadata.response_code = ResponseCode::ServFail;
        (message.answers, message.authorities) = (Vec::new(), Vec::new());
    }
    Answer { code: message.metadata.response_code, answers: message.answers, authorities: message.authorities }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{RData, Record};
    use std::io::{Read, Write};
    use std::sync::Arc;

    fn tokio() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn name() -> Name {
        Name::from_ascii("db.example.org.").unwrap()
    }

    /// Answers each datagram with what `answer` makes of it, and connections as well.
    fn server(answer: impl Fn(&Message, bool) -> Vec<Message> + Send + Sync + 'static) -> SocketAddr {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        let udp = std::net::UdpSocket::bind(at).unwrap();
        let answer = Arc::new(answer);
        let over_udp = answer.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while let Ok((n, from)) = udp.recv_from(&mut buffer) {
                for message in over_udp(&Message::from_vec(&buffer[..n]).unwrap(), false) {
                    udp.send_to(&message.to_vec().unwrap(), from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut len = [0; 2];
                stream.read_exact(&mut len).unwrap();
                let mut buffer = vec![0; u16::from_be_bytes(len).into()];
                stream.read_exact(&mut buffer).unwrap();
                for message in answer(&Message::from_vec(&buffer).unwrap(), true) {
                    let bytes = message.to_vec().unwrap();
                    stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()).unwrap();
                }
            }
        });
        at
    }

    fn record(n: u16) -> Record {
        let [high, low] = n.to_be_bytes();
        Record::from_rdata(name(), 60, RData::A(Ipv4Addr::new(10, 0, high, low).into()))
    }

    fn with_addresses(asked: &Message, count: u16) -> Message {
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.add_queries(asked.queries.iter().cloned());
        message.add_answers((0..count).map(record));
        message
    }

    #[test]
    fn only_an_answer_to_this_question_is_taken() {
        let at = server(|asked, _| {
            let good = with_addresses(asked, 1);
            let mut other_id = with_addresses(asked, 3);
            other_id.metadata.id ^= 1;
            let mut other_name = with_addresses(asked, 2);
            other_name.queries[0].set_name(Name::from_ascii("evil.example.org.").unwrap());
            vec![asked.clone(), other_id, other_name, good]
        });
        let heard = tokio().block_on(Upstreams::default().ask(&[at], &name(), RecordType::A)).unwrap();
        assert_eq!(heard.answers.len(), 1);
    }

    #[test]
    fn what_does_not_fit_comes_over_tcp() {
        let at = server(|asked, over_tcp| {
            let whole = with_addresses(asked, 200);
            vec![if over_tcp { whole } else { whole.truncate() }]
        });
        let heard = tokio().block_on(Upstreams::default().ask(&[at], &name(), RecordType::A)).unwrap();
        assert_eq!(heard.answers.len(), 200);
    }

    /// Whatever part of the answer they are in.
    #[test]
    fn an_answer_with_more_records_than_the_bound_is_not_passed_on() {
        for (answers, authorities, is_passed_on) in [(256, 0, true), (257, 0, false), (200, 56, true), (200, 57, false), (3_000, 0, false)]
        {
            let at = server(move |asked, over_tcp| {
                let mut whole = with_addresses(asked, answers);
                whole.add_authorities((0..authorities).map(record));
                vec![if over_tcp { whole } else { whole.truncate() }]
            });
            match tokio().block_on(Upstreams::default().ask(&[at], &name(), RecordType::A)) {
                Ok(heard) => assert!(is_passed_on && heard.answers.len() == usize::from(answers), "{answers} and {authorities}"),
                Err(why) => assert!(!is_passed_on && why.contains("Server Failure"), "{answers} and {authorities}: {why}"),
            }
        }
    }

    #[test]
    fn another_is_asked_and_asked_first_from_then_on() {
        let broken = server(|asked, _| vec![Message::error_msg(asked.metadata.id, OpCode::Query, ResponseCode::ServFail)]);
        let failing = server(|asked, _| {
            let mut message = with_addresses(asked, 0);
            message.metadata.response_code = ResponseCode::ServFail;
            vec![message]
        });
        let good = server(|asked, _| vec![with_addresses(asked, 1)]);
        let upstreams = Upstreams::default();
        let runtime = tokio();
        assert_eq!(runtime.block_on(upstreams.ask(&[failing, good], &name(), RecordType::A)).unwrap().answers.len(), 1);
        assert_eq!(upstreams.first.load(Ordering::Relaxed), 1);
        let why = runtime.block_on(upstreams.ask(&[failing], &name(), RecordType::A)).unwrap_err();
        assert!(why.contains("127.0.0.1 answered") && upstreams.away(Instant::now() + AWAY_FOR).is_none(), "{why}: it is there");
        // An answer without the question proves nothing.
        let why = runtime.block_on(upstreams.ask(&[broken], &name(), RecordType::A)).unwrap_err();
        assert!(why.contains("did not answer within 1700 ms"), "{why}");
        let away = upstreams.away(Instant::now() + AWAY_FOR).unwrap();
        assert!(away.0 >= 10 && away.1.contains("did not answer"), "{away:?}");
        assert!(upstreams.away(Instant::now()).is_none() && upstreams.away(Instant::now() + ASKED_LATELY).is_none());
        runtime.block_on(upstreams.ask(&[good], &name(), RecordType::A)).unwrap();
        assert!(upstreams.away(Instant::now() + AWAY_FOR).is_none());
        assert!(runtime.block_on(upstreams.ask(&[], &name(), RecordType::A)).unwrap_err().contains("names no resolver"));
    }
}
