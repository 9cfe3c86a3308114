//! Listening sockets: bound, kept, and closed so that nobody who had already come is turned away.

use crate::admission::Admission;
use crate::client::Customer;
use crate::clock::now_ms;
use crate::group::lock;
use crate::port;
use crate::serve;
use crate::way::Way;
use api::accept::{Backoff, Seldom};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Connections that have come and were not accepted yet.
const BACKLOG: u32 = 4_096;
/// A listener that is new accepts once the servers behind it were probed, or after this.
const FIRST_PROBES_MS: u64 = 1_000;

pub struct Listener {
    pub addr: SocketAddr,
    closing: watch::Sender<bool>,
}

impl Listener {
    /// The sentence says what is in the way and who has the port.
    pub fn open(addr: SocketAddr, way: &Arc<Way>, admission: &Arc<Admission>) -> Result<Listener, String> {
        let listener = bind(addr).map_err(|e| port::why_not(addr, &e))?;
        let (closing, ear) = watch::channel(false);
        tokio::spawn(accept(listener, way.clone(), admission.clone(), ear));
        Ok(Listener { addr, closing })
    }
}

impl Drop for Listener {
    /// Whoever is in the queue is accepted still; every connection ends after the answer that is under way.
    fn drop(&mut self) {
        self.closing.send_replace(true);
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, way: Arc<Way>, admission: Arc<Admission>, closing: watch::Receiver<bool>) {
    let mut stop = closing.clone();
    let mut refused = Seldom::default();
    let mut hello = |stream: TcpStream, from: SocketAddr| {
        let _ = stream.set_nodelay(true); // slower without it, no worse
        let customer = Customer::new(from.ip());
        let Some(place) = admission.admit(&customer, now_ms()) else {
            if let Some(before) = refused.due(Instant::now()) {
                let max = admission.limits.per_client;
                tracing::warn!(
                    "route {}: {} has {max} connections in use, no more are accepted from it ({before} like this before)",
                    way.name,
                    from.ip()
                );
            }
            return;
        };
        let (way, closing) = (way.clone(), closing.clone());
        tokio::spawn(async move {
            serve::connection(stream, customer, way, closing).await;
            drop(place);
        });
    };
    first_probes(&way).await;
    let mut backoff = Backoff::default();
    loop {
        let next = async {
            admission.room().await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = turned(&mut stop) => break,
            came = next => match came {
                Ok((stream, from)) => {
                    backoff.accepted();
                    hello(stream, from);
                }
                // Out of file descriptors, or a customer that left the queue: neither is the end of the listener.
                Err(e) => backoff.failed(&e, &format!("route {}", way.name)).await,
            },
        }
    }
    // Closing a listener resets whoever is in its queue, so the queue is emptied first.
    while let Ok(Ok((stream, from))) = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await {
        hello(stream, from);
    }
}

/// After a start nobody was probed yet. Customers wait in the backlog for that moment instead of being refused.
async fn first_probes(way: &Way) {
    let until = tokio::time::Instant::now() + Duration::from_millis(FIRST_PROBES_MS);
    while tokio::time::Instant::now() < until {
        let table = way.table();
        let waits = table.groups.iter().zip(table.spec.weights.values()).any(|(group, weight)| {
            let members = group.members();
            *weight > 0 && members.targets.iter().any(|t| !t.account.is_closed() && !t.probed.load(SeqCst))
        });
        if !waits {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn say(way: &Way, trouble: Option<String>) {
    let mut deaf = lock(&way.deaf);
    if *deaf != trouble {
        match &trouble {
            Some(why) => tracing::warn!("route {}: {why}", way.name),
            None => tracing::info!("route {} listens", way.name),
        }
        *deaf = trouble;
    }
}

/// Returns once it is true, or nobody is left to turn it.
pub async fn turned(ear: &mut watch::Receiver<bool>) {
    // What it hands out holds a lock, which must not live across an await.
    drop(ear.wait_for(|turned| *turned).await);
}
