//! A host of its own for a test: a thread in a network namespace and a mount namespace of its own, with a LAN beside it and an internet behind
//! that. Nothing of it is seen outside, and all of it is gone with the thread's last process.
//!
//! ```text
//! servers ── afreshMARK ── host ── up0 ─── lan0 ── lan (198.19.250.1, fdaa:250::1; also 169.254.169.254, fd00:ec2::254)
//!                                                    └── internet stand-in: 198.19.251.1, fdaa:251::1 on the same machine
//! ```

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

pub const HOST4: &str = "198.19.250.2";
pub const HOST6: &str = "fdaa:250::2";
pub const LAN4: &str = "198.19.250.1";
pub const LAN6: &str = "fdaa:250::1";
pub const INTERNET4: &str = "198.19.251.1";
pub const INTERNET6: &str = "fdaa:251::1";
pub const METADATA4: &str = "169.254.169.254";
pub const METADATA6: &str = "fd00:ec2::254";

pub type Callers = Arc<Mutex<Vec<SocketAddr>>>;

pub struct Estate {
    lan: File,
    /// Where connections and packets came from that the LAN's machine took, and that the host took.
    pub lan_callers: Callers,
    pub host_callers: Callers,
}

/// Runs the test on a host of its own; what it panics with is ours.
pub fn on_a_host_of_its_own(test: impl FnOnce(&Estate) + Send + 'static) {
    let run = move || {
        let estate = Estate::make();
        test(&estate);
    };
    if let Err(panic) = std::thread::Builder::new().spawn(run).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn own_network() -> File {
    File::open(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid())).unwrap()
}

impl Estate {
    fn make() -> Self {
        let none: Option<&str> = None;
        // A namespace is made by a thread of its own, which leaves: the file keeps it.
        let lan = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            own_network()
        });
        let lan = lan.join().unwrap();
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        // It shows the network of whoever mounts it; control groups are mounted below it.
        let kept = tempfile::tempdir().unwrap();
        let at = kept.path().display();
        sh(&format!("mount --rbind /sys/fs/cgroup {at}; mount -t sysfs sysfs /sys; mount --rbind {at} /sys/fs/cgroup; umount -l {at}"));
        // Another test's host must not put back what is this one's.
        sh("mount -t tmpfs tmpfs /run");
        let me = Self { lan, lan_callers: Arc::default(), host_callers: Arc::default() };
        me.wire();
        me
    }

    fn wire(&self) {
        let lan = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&self.lan));
        sh(&format!(
            "ip link set lo up
             ip link add up0 type veth peer name lan0 netns {lan}
             ip addr add {HOST4}/24 dev up0; ip addr add {HOST6}/64 dev up0 nodad; ip link set up0 up
             ip route add default via {LAN4}; ip route add default via {LAN6} dev up0"
        ));
        self.in_lan(|| {
            sh(&format!(
                "ip link set lo up
                 ip addr add {LAN4}/24 dev lan0; ip addr add {LAN6}/64 dev lan0 nodad; ip link set lan0 up
                 for a in {INTERNET4}/32 {METADATA4}/32; do ip addr add $a dev lo; done
                 for a in {INTERNET6}/128 {METADATA6}/128; do ip addr add $a dev lo nodad; done"
            ))
        });
        // A packet to the metadata address goes to the LAN, as in a cloud.
        sh(&format!("ip route add {METADATA4} via {LAN4}; ip route add {METADATA6} via {LAN6} dev up0"));
    }

    /// In the network beyond the host.
    pub fn in_lan<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.lan, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// Answers each connection and each packet on this port, at every address of the LAN's machine.
    pub fn serve_lan(&self, port: u16) {
        for address in [LAN4, LAN6, INTERNET4, INTERNET6, METADATA4, METADATA6] {
            let sockets = self.in_lan(move || listen(address, port));
            answer_all(sockets, &self.lan_callers);
        }
    }

    /// As [`Self::serve_lan`], on the host.
    pub fn serve_host(&self, port: u16) {
        answer_all(listen("::", port), &self.host_callers);
    }
}

/// Keeps what it accepts open.
fn answer_all((tcp, udp): (TcpListener, UdpSocket), callers: &Callers) {
    let all = callers.clone();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in tcp.incoming().flatten() {
            all.lock().unwrap().extend(stream.peer_addr());
            let _ = stream.write_all(b"hello\n");
            kept.push(stream);
        }
    });
    let all = callers.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((n, from)) = udp.recv_from(&mut buffer) {
            all.lock().unwrap().push(from);
            let _ = udp.send_to(&buffer[..n], from);
        }
    });
}

/// By address, so that an answer comes from where the question went; `::` is both families.
fn listen(address: &str, port: u16) -> (TcpListener, UdpSocket) {
    (TcpListener::bind((address, port)).unwrap(), UdpSocket::bind((address, port)).unwrap())
}

/// A file of this host, as this test's processes alone see it.
pub fn overlay_file(path: &str, content: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let (_, kept) = file.keep().unwrap();
    if !Path::new(path).exists() {
        return;
    }
    let none: Option<&str> = None;
    mount(Some(&kept), path, none, MsFlags::MS_BIND, none).unwrap();
    let _ = std::fs::remove_file(kept);
}

/// A name server with one table, which says how long an answer holds. It speaks just enough: one question, A and AAAA.
pub struct Dns {
    pub table: Arc<Mutex<Vec<(&'static str, IpAddr)>>>,
    pub away: Arc<Mutex<bool>>,
    pub asked: Arc<Mutex<usize>>,
    /// What it was sent.
    pub seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Dns {
    pub fn serve(socket: UdpSocket, ttl_s: u32) -> Self {
        let me = Self { table: Arc::default(), away: Arc::default(), asked: Arc::default(), seen: Arc::default() };
        let (table, away, asked, seen) = (me.table.clone(), me.away.clone(), me.asked.clone(), me.seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                *asked.lock().unwrap() += 1;
                seen.lock().unwrap().push(buffer[..n].to_vec());
                if *away.lock().unwrap() {
                    continue;
                }
                let answer = answer(&buffer[..n], &table.lock().unwrap(), ttl_s);
                let _ = socket.send_to(&answer, from);
            }
        });
        me
    }
}

/// RFC 1035: the header, the question as it was asked, and an answer that points at it for each address of its type.
fn answer(asked: &[u8], table: &[(&'static str, IpAddr)], ttl_s: u32) -> Vec<u8> {
    let mut at = 12;
    let mut labels = Vec::new();
    while asked[at] != 0 {
        let len = usize::from(asked[at]);
        labels.push(String::from_utf8_lossy(&asked[at + 1..=at + len]).to_lowercase());
        at += len + 1;
    }
    let (name, kind) = (labels.join("."), u16::from_be_bytes([asked[at + 1], asked[at + 2]]));
    let question = &asked[12..at + 5];
    let of_kind = |address: &IpAddr| matches!((address, kind), (IpAddr::V4(_), 1) | (IpAddr::V6(_), 28));
    let found: Vec<IpAddr> = table.iter().filter(|(n, a)| *n == name && of_kind(a)).map(|(_, a)| *a).collect();
    let known = table.iter().any(|(n, _)| *n == name);
    let mut out = asked[..2].to_vec();
    out.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::try_from(found.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(question);
    for address in found {
        let bytes = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl_s.to_be_bytes());
        out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend(bytes);
    }
    out
}

/// What `program` prints that is run in the network of a process, with all its rights there: more than any server has.
pub fn in_network_of(pid: i64, program: &[&str]) -> String {
    in_network(&format!("/proc/{pid}/ns/net"), program)
}

pub fn in_network(network: &str, program: &[&str]) -> String {
    let out = Command::new("nsenter").arg(format!("--net={network}")).args(program).output().unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}
