//! Listening sockets: bound, and closed without resetting a connection that is already in the backlog.

use crate::admission::Admission;
use crate::clock::now_ms;
use crate::downstream::Downstream;
use crate::listen_error;
use crate::mutex::lock;
use crate::route_table::RouteTable;
use crate::serve;
use crate::shutdown;
use json_http::accept::{Backoff, Seldom};
use model::Gateway;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Connections that are not accepted yet.
const BACKLOG: u32 = 4_096;
/// A new listener accepts once the targets behind it are probed, or after this time.
const FIRST_PROBES_MS: u64 = 1_000;

pub struct Listener {
    pub addr: SocketAddr,
    closing: watch::Sender<bool>,
}

impl Listener {
    /// Err: a sentence that says why, and which process has the port.
    ///
    /// `within`: who comes from elsewhere than the servers' network is not answered, whatever a firewall lets through.
    pub fn open(
        addr: SocketAddr,
        within: Option<Gateway>,
        route: &Arc<RouteTable>,
        admission: &Arc<Admission>,
    ) -> Result<Listener, String> {
        let listener = bind(addr).map_err(|e| listen_error::explain(addr, &e))?;
        let (closing, closed) = watch::channel(false);
        tokio::spawn(accept(listener, within, route.clone(), admission.clone(), closed));
        Ok(Listener { addr, closing })
    }
}

impl Drop for Listener {
    /// Connections in the backlog are still accepted; each connection ends after the response in progress.
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

async fn accept(
    listener: TcpListener,
    within: Option<Gateway>,
    route: Arc<RouteTable>,
    admission: Arc<Admission>,
    closing: watch::Receiver<bool>,
) {
    let mut stop = closing.clone();
    let mut refused = Seldom::default();
    let mut start = |stream: TcpStream, from: SocketAddr| {
        if within.is_some_and(|gateway| !gateway.is_near(from.ip())) {
            return;
        }
        let _ = stream.set_nodelay(true); // without it small responses take longer, no more
        let downstream = Downstream::new(from.ip());
        let Some(place) = admission.admit(&downstream, now_ms()) else {
            if let Some(before) = refused.due(Instant::now()) {
                let max = admission.limits.per_client;
                tracing::warn!(
                    "route {}: {} has {max} connections in use, further ones are refused ({before} similar messages suppressed)",
                    route.name,
                    from.ip()
                );
            }
            return;
        };
        let (route, closing) = (route.clone(), closing.clone());
        tokio::spawn(async move {
            serve::connection(stream, downstream, route, closing).await;
            drop(place);
        });
    };
    first_probes(&route).await;
    let mut backoff = Backoff::default();
    loop {
        let next = async {
            admission.has_place().await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = shutdown::requested(&mut stop) => break,
            accepted = next => match accepted {
                Ok((stream, from)) => {
                    backoff.accepted();
                    start(stream, from);
                }
                // Out of file descriptors, or a client that left the backlog: the listener continues.
                Err(e) => backoff.failed(&e, &format!("route {}", route.name)).await,
            },
        }
    }
    // Closing a listener resets the connections in its backlog, so the backlog is emptied first.
    while let Ok(Ok((stream, from))) = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await {
        start(stream, from);
    }
}

/// After a start no target is probed yet. Clients wait in the backlog instead of being refused.
async fn first_probes(route: &RouteTable) {
    let until = tokio::time::Instant::now() + Duration::from_millis(FIRST_PROBES_MS);
    while tokio::time::Instant::now() < until {
        let snapshot = route.snapshot();
        let waits = snapshot.groups.iter().zip(snapshot.spec.weights.values()).any(|(group, weight)| {
            let members = group.members();
            *weight > 0 && members.targets.iter().any(|t| !t.account.is_closed() && !t.probed.load(SeqCst))
        });
        if !waits {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Records why a route does not listen (None: it does), and logs each change.
pub fn set_listen_error(route: &RouteTable, error: Option<String>) {
    let mut current = lock(&route.listen_error);
    if *current != error {
        match &error {
            Some(why) => tracing::warn!("route {}: {why}", route.name),
            None => tracing::info!("route {} listens", route.name),
        }
        *current = error;
    }
}
