//! The resolver's sockets: who is answered, and how much at a time.
//!
//! | bound | what happens beyond it |
//! | --- | --- |
//! | look-ups that wait for others, of one server and of all | not answered: the program asks again |
//! | connections of one server and of all | closed |
//! | bytes of a question | not read, the connection is closed |
//! | packets a second of one server | dropped by the kernel (`firewall/rules`) |

use super::message::{Answer, Question};
use super::policy::{Asker, HOST_NAME, Own, Verdict, judge};
use super::{Known, Resolver};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use model::ServiceName;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub const PORT: u16 = 53;
const WAITING_MAX: usize = 128;
const WAITING_OF_ONE_MAX: usize = 32;
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_ONE_MAX: usize = 8;
const QUESTION_BYTES_MAX: usize = 2_048;
/// Between questions on a connection, and for each to arrive whole.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Of what we answer ourselves.
const OWN_TTL_S: u32 = 5;

/// What the resolver must know of servers.
pub trait Servers: Send + Sync + 'static {
    /// None: nobody whom we answer.
    fn asker(&self, from: IpAddr) -> Option<Asker>;
    /// Whether it is to be had inside.
    fn is_offered(&self, service: &ServiceName) -> bool;
    fn own(&self) -> Own;
    /// Whom the host asks.
    fn upstreams(&self) -> Vec<SocketAddr>;
    /// Somebody answered just now; the server hears it once this is done.
    fn heard(&self, name: &str, answer: &Answer) -> impl Future<Output = ()> + Send;
}

pub struct Sockets {
    udp: Vec<std::net::UdpSocket>,
    tcp: Vec<std::net::TcpListener>,
}

/// All of them or none: a name server of somebody else must not be asked in place of ours.
pub fn bind(own: Own) -> io::Result<Sockets> {
    let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new() };
    for gateway in own.gateways() {
        let (udp, tcp) = (std::net::UdpSocket::bind((gateway, PORT))?, std::net::TcpListener::bind((gateway, PORT))?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        sockets.udp.push(udp);
        sockets.tcp.push(tcp);
    }
    Ok(sockets)
}

struct Shared<S> {
    resolver: Arc<Resolver>,
    servers: S,
    waiting: Room,
    connections: Room,
}

/// Until it is dropped.
pub async fn serve<S: Servers>(sockets: Sockets, resolver: Arc<Resolver>, servers: S) -> io::Result<()> {
    let shared = Arc::new(Shared {
        resolver,
        servers,
        waiting: Room::new(WAITING_MAX, WAITING_OF_ONE_MAX),
        connections: Room::new(CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX),
    });
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        tasks.spawn(datagrams(shared.clone(), UdpSocket::from_std(socket)?));
    }
    for listener in sockets.tcp {
        tasks.spawn(connections(shared.clone(), TcpListener::from_std(listener)?));
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn datagrams<S: Servers>(shared: Arc<Shared<S>>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        while waiting.try_join_next().is_some() {}
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else {
            // An error that an earlier answer met; never one of the socket itself.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let Some(asker) = shared.servers.asker(from.ip()) else { continue };
        let question = match Question::read(&buffer[..n]) {
            Ok(question) => question,
            Err(reply) => {
                send(&socket, reply, from).await;
                continue;
            }
        };
        let most = question.udp_bytes_max();
        if let Some(answer) = shared.at_once(&asker, &question) {
            send(&socket, question.answered(&answer, most), from).await;
        } else if let Some(place) = shared.waiting.enter(asker.server) {
            let (shared, socket) = (shared.clone(), socket.clone());
            waiting.spawn(async move {
                let answer = shared.forwarded(&question).await;
                send(&socket, question.answered(&answer, most), from).await;
                drop(place);
            });
        }
    }
}

async fn send(socket: &UdpSocket, reply: Option<Vec<u8>>, to: SocketAddr) {
    if let Some(reply) = reply {
        // A server that is gone hears nothing.
        let _ = socket.send_to(&reply, to).await;
    }
}

async fn connections<S: Servers>(shared: Arc<Shared<S>>, listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let place = shared.servers.asker(from.ip()).and_then(|asker| shared.connections.enter(asker.server));
        if let Some(place) = place {
            let shared = shared.clone();
            open.spawn(async move {
                let _ = connection(&shared, stream, from).await;
                drop(place);
            });
        }
    }
}

async fn connection<S: Servers>(shared: &Arc<Shared<S>>, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    loop {
        let n = usize::from(timeout(IDLE_FOR, stream.read_u16()).await??);
        if n > QUESTION_BYTES_MAX {
            return Ok(());
        }
        let mut buffer = vec![0; n];
        timeout(IDLE_FOR, stream.read_exact(&mut buffer)).await??;
        // Each time: its address may be another server's by now.
        let Some(asker) = shared.servers.asker(from.ip()) else { return Ok(()) };
        let reply = match Question::read(&buffer) {
            Ok(question) => {
                let answer = match shared.at_once(&asker, &question) {
                    Some(answer) => answer,
                    None => {
                        let Some(_place) = shared.waiting.enter(asker.server) else { return Ok(()) };
                        shared.forwarded(&question).await
                    }
                };
                question.answered(&answer, usize::from(u16::MAX))
            }
            Err(reply) => reply,
        };
        let Some((reply, len)) = reply.and_then(|reply| u16::try_from(reply.len()).ok().map(|len| (reply, len))) else { return Ok(()) };
        timeout(IDLE_FOR, stream.write_all(&[&len.to_be_bytes()[..], &reply].concat())).await??;
    }
}

impl<S: Servers> Shared<S> {
    /// None: somebody else must be asked.
    fn at_once(&self, asker: &Asker, question: &Question) -> Option<Answer> {
        let own = self.servers.own();
        let addresses = |all: Vec<IpAddr>| of_ours(question, all.into_iter().filter_map(|address| of_kind(address, question.kind)));
        let is_offered = |service: &ServiceName| self.servers.is_offered(service);
        Some(match judge(asker, own, is_offered, &question.name, question.kind) {
            Verdict::Gateway => addresses(own.gateways()),
            Verdict::Loopback => addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            Verdict::GatewayName => {
                let name = Name::from_ascii(format!("{HOST_NAME}.")).ok();
                of_ours(question, name.map(|name| RData::PTR(PTR(name))).into_iter())
            }
            Verdict::NoData => Answer::of(ResponseCode::NoError),
            Verdict::Unknown => Answer::of(ResponseCode::NXDomain),
            Verdict::Forward => return self.resolver.cached(&question.name, question.kind, Instant::now()),
        })
    }

    async fn forwarded(&self, question: &Question) -> Answer {
        let asked = self.resolver.ask(&self.servers.upstreams(), &question.name, question.kind).await;
        if let Ok(Known::New(answer)) = &asked.known {
            self.servers.heard(question.name.to_ascii().trim_end_matches('.'), answer).await;
        }
        let known = self.resolver.is_heard(asked);
        known.map_or_else(|_| Answer::of(ResponseCode::ServFail), |known| Answer::clone(known.answer()))
    }
}

fn of_kind(address: IpAddr, kind: RecordType) -> Option<RData> {
    match (address, kind) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(address.into())),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(address.into())),
        _ => None,
    }
}

fn of_ours(question: &Question, data: impl Iterator<Item = RData>) -> Answer {
    let answers = data.map(|data| Record::from_rdata(question.name.clone(), OWN_TTL_S, data)).collect();
    Answer { answers, ..Answer::of(ResponseCode::NoError) }
}

/// So many at a time, of each server and of all.
struct Room {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<BTreeMap<Ipv4Addr, usize>>>,
}

struct Place {
    server: Ipv4Addr,
    taken: Arc<Mutex<BTreeMap<Ipv4Addr, usize>>>,
}

impl Room {
    fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Arc::default() }
    }

    fn enter(&self, server: Ipv4Addr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.most || taken.get(&server).is_some_and(|n| *n >= self.most_of_one) {
            return None;
        }
        *taken.entry(server).or_default() += 1;
        Some(Place { server, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.server).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            taken.remove(&self.server)
        } else {
            taken.insert(self.server, left)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_leaves_room_for_others() {
        let room = Room::new(4, 3);
        let one = Ipv4Addr::new(198, 18, 7, 2);
        let mut places: Vec<Place> = (0..3).map(|_| room.enter(one).unwrap()).collect();
        assert!(room.enter(one).is_none());
        let other = room.enter([198, 18, 7, 3].into()).unwrap();
        assert!(room.enter([198, 18, 7, 4].into()).is_none(), "all together");
        drop(other);
        places.pop();
        assert!(room.enter(one).is_some());
        drop(places);
        assert!(room.taken.lock().unwrap().is_empty(), "who waits for nothing is forgotten");
    }
}
