//! Serves a client's connection from its first byte to its last.

use crate::clock::now_ms;
use crate::downstream::{Downstream, DownstreamIo, Timeout};
use crate::exchange;
use crate::limits::{HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};
use crate::route_table::RouteTable;
use crate::shutdown;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How often a connection's timeouts are checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// `closing` is set when the listener closes: the request in progress is answered, then the connection ends.
pub async fn connection(stream: TcpStream, downstream: Arc<Downstream>, route: Arc<RouteTable>, mut closing: watch::Receiver<bool>) {
    let io = TokioIo::new(DownstreamIo { stream, downstream: downstream.clone() });
    let served = downstream.clone();
    let service = service_fn(move |request| {
        let (route, downstream) = (route.clone(), served.clone());
        async move { Ok::<_, Infallible>(exchange::forward(&route, &downstream, request).await) }
    });
    // hyper's own timeout for heads would include the idle time between requests; `Downstream` distinguishes the two.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(REQUEST_HEADERS_MAX)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut check = tokio::time::interval_at(tokio::time::Instant::now() + CHECK_EVERY, CHECK_EVERY);
    let mut closing_down = false;
    loop {
        tokio::select! {
            // What has arrived is read before anything is decided about the connection.
            biased;
            // A connection that the client broke off is not an error.
            _ = connection.as_mut() => return,
            () = shutdown::requested(&mut closing), if !closing_down => {
                closing_down = true;
                connection.as_mut().graceful_shutdown();
            }
            // A slow head is not waited for; a request that has just started is answered.
            () = downstream.until_shed() => {
                if downstream.is_slow_in_head(now_ms()) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            _ = check.tick() => match downstream.timeout() {
                Timeout::None => {}
                Timeout::Stuck => return,
                Timeout::Idle => connection.as_mut().graceful_shutdown(),
            },
        }
    }
}
