//! Sends every line of every server to journald or syslog as well. The logs on the disk are the queue: they are bounded, survive the keeper,
//! and whoever writes them does not know of this. So a receiver that is slow, away or hangs blocks nobody; what a rotation removes before it
//! was sent is counted, and an alarm says so. After a kill -9 of the keeper the lines of its last seconds are sent again.
//!
//! ```text
//! logs/ID.log ─▶ read from its place, one part at a time ─▶ send, one line at a time ─▶ place moves on ─▶ forwarded.json, every few seconds
//!                   └ lost: counted                            └ refused, or too slow: the same line again, a second later
//! ```

use crate::keeper::Keeper;
use crate::log_list::{Listed, logs};
use crate::log_settings::Forward;
use crate::syslog::{Message, SHORT_BYTES, cut, framed};
use crate::{log_reader, state_files};
use api::logs::{LogLine, LogQuery};
use model::{Fault, InstanceId, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const SEND_WITHIN: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// How far it came, on the disk.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    /// What was printed before forwarding began is not sent.
    since: Time,
    #[serde(default)]
    places: BTreeMap<String, Place>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Place {
    next: String,
    lines: u64,
    /// Of the log when it was read to its end: its bytes, when it was written, and whether its program ran.
    #[serde(skip)]
    read: Option<(u64, Time, bool)>,
}

pub fn run(keeper: &Keeper, to: &Forward) {
    let path = keeper.layout.host().join("forwarded.json");
    let saved = state_files::read_json::<Saved>(&path).good().unwrap_or(Saved { since: disk::files::now(), ..Saved::default() });
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut forwarder = Forwarder { keeper, to, host, sender: None, saved, stored: Instant::now() };
    while !keeper.is_stopped() {
        let listed = logs(&keeper.layout);
        forwarder.saved.places.retain(|id, _| listed.iter().any(|log| log.id == *id));
        let mut has_more = false;
        // One part of each in turn: a server that prints without end keeps nobody else's lines here.
        for log in &listed {
            match forwarder.send_part(log) {
                Ok(more) => has_more |= more,
                Err(fault) => tracing::debug!(log = log.id, "{fault}"),
            }
            forwarder.save(&path);
        }
        if !has_more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

struct Forwarder<'a> {
    keeper: &'a Keeper,
    to: &'a Forward,
    host: String,
    sender: Option<Sender>,
    saved: Saved,
    stored: Instant,
}

impl Forwarder<'_> {
    /// What is new in one log, as far as one part of it. True: there is more.
    fn send_part(&mut self, log: &Listed) -> Result<bool, Fault> {
        let mut place = self.saved.places.get(&log.id).cloned().unwrap_or_default();
        let Ok(instance) = InstanceId::new(log.id.clone()) else { return Ok(false) };
        let lives = self.keeper.state().instances.get(&instance).is_some_and(|one| one.ended.is_none());
        // A line without an end is sent when its program has ended.
        let now = (log.bytes, log.written, lives);
        if place.read == Some(now) {
            return Ok(false);
        }
        let from = Some(place.next.clone()).filter(|next| !next.is_empty());
        let query = LogQuery { since: Some(self.saved.since), from, ..LogQuery::default() };
        let part = log_reader::part(&self.keeper.layout.log(&instance), &instance, &query, lives)?;
        if part.lost {
            let dropped = part.dropped.saturating_sub(place.lines).max(1);
            place.lines += dropped;
            self.keeper.forwarded.dropped(dropped, disk::files::now());
        }
        for line in &part.lines {
            if !self.send(&instance, line) {
                return Ok(false);
            }
        }
        place.lines += part.lines.len() as u64;
        place.next = part.next;
        place.read = (!part.more).then_some(now);
        self.saved.places.insert(log.id.clone(), place);
        Ok(part.more)
    }

    /// Waits until it is sent. False: the keeper ends.
    fn send(&mut self, instance: &InstanceId, line: &LogLine) -> bool {
        let mut text = line.text.as_str();
        while !self.keeper.is_stopped() {
            let message = Message { host: &self.host, instance, at: line.at, stream: line.stream, text };
            let sent = match &mut self.sender {
                Some(sender) => sender.send(&message),
                None => Sender::open(self.to).and_then(|mut sender| {
                    let sent = sender.send(&message);
                    self.sender = Some(sender);
                    sent
                }),
            };
            match sent {
                Ok(()) => {
                    self.keeper.forwarded.sent();
                    return true;
                }
                // A datagram that the kernel does not take: less of the line.
                Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) && text.len() > SHORT_BYTES => {
                    text = cut(text, SHORT_BYTES);
                }
                Err(e) => {
                    self.sender = None;
                    self.keeper.forwarded.failed(&e.to_string(), disk::files::now());
                    std::thread::sleep(AGAIN_AFTER);
                }
            }
        }
        false
    }

    fn save(&mut self, path: &std::path::Path) {
        if self.stored.elapsed() < SAVE_EVERY && !self.keeper.is_stopped() {
            return;
        }
        self.stored = Instant::now();
        if let Err(fault) = state_files::write_json_quick(path, &self.saved) {
            tracing::warn!("{fault}");
        }
    }
}

enum Sender {
    Journald(UnixDatagram),
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Sender {
    fn open(to: &Forward) -> std::io::Result<Self> {
        let unix = |path: &PathBuf| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SEND_WITHIN))?;
            Ok(socket)
        };
        let addresses = |text: &str| -> std::io::Result<Vec<SocketAddr>> { Ok(text.to_socket_addrs()?.collect()) };
        let none = || std::io::Error::new(ErrorKind::NotFound, "the name has no address");
        match to {
            Forward::Journald(path) => unix(path).map(Self::Journald),
            Forward::Syslog(path) => unix(path).map(Self::Unix),
            Forward::Udp(text) => {
                let to = addresses(text)?.into_iter().next().ok_or_else(none)?;
                let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.connect(to)?;
                socket.set_write_timeout(Some(SEND_WITHIN))?;
                Ok(Self::Udp(socket))
            }
            Forward::Tcp(text) => {
                let mut last = none();
                for to in addresses(text)? {
                    match TcpStream::connect_timeout(&to, SEND_WITHIN) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(SEND_WITHIN))?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(e) => last = e,
                    }
                }
                Err(last)
            }
        }
    }

    fn send(&mut self, message: &Message<'_>) -> std::io::Result<()> {
        match self {
            Self::Journald(socket) => socket.send(&message.journald()).map(drop),
            Self::Unix(socket) => socket.send(&message.rfc5424()).map(drop),
            Self::Udp(socket) => socket.send(&message.rfc5424()).map(drop),
            Self::Tcp(stream) => stream.write_all(&framed(&message.rfc5424())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::{LOG_BYTES_MAX, LogFile};
    use crate::log_forwarded::AWAY_MS;
    use crate::testing::TestKeeper;
    use api::logs::Stream;
    use std::io::{BufRead, Read};

    fn log(t: &TestKeeper) -> LogFile {
        LogFile::open(t.keeper.layout.log(&"web-r2-5-1".parse().unwrap()))
    }

    /// What a receiver gets while the forwarder runs; it is stopped afterwards.
    fn forwarding<T>(t: &TestKeeper, to: &Forward, look: impl FnOnce() -> T) -> T {
        // Lines that were printed before forwarding began are not sent.
        let path = t.keeper.layout.host().join("forwarded.json");
        state_files::write_json_quick(&path, &Saved::default()).unwrap();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&t.keeper, to));
            let seen = look();
            t.keeper.stop();
            running.join().unwrap();
            seen
        })
    }

    #[test]
    fn every_line_reaches_journald_and_syslog() {
        let t = TestKeeper::new();
        let mut log = log(&t);
        log.add(Stream::Stdout, b"one\n");
        log.add(Stream::Stderr, b"two\n");
        let socket = t.keeper.layout.root().join("journal.sock");
        let receiver = UnixDatagram::bind(&socket).unwrap();
        let got = forwarding(&t, &Forward::Journald(socket), || {
            let mut buffer = vec![0; 64 << 10];
            (0..2)
                .map(|_| receiver.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()).unwrap())
                .collect::<Vec<_>>()
        });
        assert!(got[0].contains("one") && got[0].contains("stdout") && got[1].contains("two") && got[1].contains("web-r2-5-1"), "{got:?}");

        let t = TestKeeper::new();
        self::log(&t).add(Stream::Stdout, b"one\ntwo\n");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Forward::Tcp(listener.local_addr().unwrap().to_string());
        let got = forwarding(&t, &to, || {
            let mut stream = std::io::BufReader::new(listener.accept().unwrap().0);
            let mut message = || {
                let mut length = Vec::new();
                stream.read_until(b' ', &mut length).unwrap();
                let length: usize = String::from_utf8(length).unwrap().trim().parse().unwrap();
                let mut text = vec![0; length];
                stream.read_exact(&mut text).unwrap();
                String::from_utf8(text).unwrap()
            };
            [message(), message()]
        });
        assert!(got[0].starts_with("<134>1 ") && got[0].ends_with(" web web-r2-5-1 stdout - one") && got[1].ends_with("- two"), "{got:?}");
    }

    /// A receiver that never reads: its queue fills, nothing else does; what the log dropped meanwhile is counted once it reads.
    #[test]
    fn what_was_dropped_before_it_was_sent_is_counted_and_alarmed() {
        let t = TestKeeper::new();
        let mut log = log(&t);
        let socket = t.keeper.layout.root().join("journal.sock");
        let line = format!("{}\n", "x".repeat(1023));
        log.add(Stream::Stdout, line.as_bytes());
        let to = Forward::Journald(socket.clone());
        forwarding(&t, &to, || {
            let later = || Time(disk::files::now().0 + 2 * AWAY_MS);
            let failing = || !t.keeper.forwarded.alarms(&to, later()).is_empty();
            while !failing() {
                std::thread::yield_now();
            }
            let alarms = t.keeper.forwarded.alarms(&to, later());
            assert!(alarms.len() == 1 && alarms[0].text.contains("no line of any server reaches journald"), "{alarms:?}");
            let receiver = UnixDatagram::bind(&socket).unwrap();
            let mut buffer = vec![0; 64 << 10];
            receiver.recv(&mut buffer).unwrap();
            // Now it hangs, while the log is rotated away three times.
            (0..4 * LOG_BYTES_MAX / 1024).for_each(|_| log.add(Stream::Stdout, line.as_bytes()));
            let is_counted = || t.keeper.forwarded.alarms(&to, disk::files::now()).iter().any(|alarm| alarm.text.contains("were dropped"));
            receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            while !is_counted() {
                receiver.recv(&mut buffer).unwrap();
            }
        });
        let alarms = t.keeper.forwarded.alarms(&to, disk::files::now());
        assert!(alarms.iter().any(|alarm| alarm.text.contains(" lines were dropped before they reached")), "{alarms:?}");
    }

    /// Whichever is read first, its lines do not all come before those of the other.
    #[test]
    fn a_server_that_prints_without_end_keeps_no_other_s_lines() {
        let t = TestKeeper::new();
        let ids = ["api-r1-1-1", "web-r2-5-1"];
        let (line, per_log) = (format!("{}\n", "x".repeat(1023)), LOG_BYTES_MAX / 1024 / 2);
        let parts = 1024 * per_log / api::logs::PART_BYTES_MAX as u64;
        assert!(parts >= 3, "{parts}: one part is not all of a log");
        for id in ids {
            let mut log = LogFile::open(t.keeper.layout.log(&id.parse().unwrap()));
            (0..per_log).for_each(|_| log.add(Stream::Stdout, line.as_bytes()));
        }
        let socket = t.keeper.layout.root().join("journal.sock");
        let receiver = UnixDatagram::bind(&socket).unwrap();
        let whose = forwarding(&t, &Forward::Journald(socket), || {
            let mut buffer = vec![0; 64 << 10];
            let mut next = || {
                let bytes = receiver.recv(&mut buffer).unwrap();
                let text = String::from_utf8_lossy(&buffer[..bytes]);
                ids.iter().position(|id| text.contains(id)).unwrap()
            };
            (0..2 * per_log).map(|_| next()).collect::<Vec<_>>()
        });
        let last_of_first = whose.iter().rposition(|one| *one == whose[0]).unwrap();
        let first_of_other = whose.iter().position(|one| *one != whose[0]).unwrap();
        assert!(first_of_other < last_of_first, "{first_of_other} lines of one log came before any of the other");
    }
}
