//! A customer's connection from its first byte to its last.

use crate::client::{Customer, CustomerIo, Pace};
use crate::clock::now_ms;
use crate::exchange;
use crate::headers::HEAD_BYTES_MAX;
use crate::listen::turned;
use crate::way::Way;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How often a connection's pace is looked at.
const LOOK: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 200;

/// `closing` turns true when the listener goes: what is under way is answered, then the connection ends.
pub async fn connection(stream: TcpStream, customer: Arc<Customer>, way: Arc<Way>, mut closing: watch::Receiver<bool>) {
    let io = TokioIo::new(CustomerIo { stream, customer: customer.clone() });
    let served = customer.clone();
    let service = service_fn(move |request| {
        let (way, customer) = (way.clone(), served.clone());
        async move { Ok::<_, Infallible>(exchange::forward(&way, &customer, request).await) }
    });
    // hyper's own limit for heads would also count the idle time between requests; `Customer` tells the two apart.
    let connection =
        http1::Builder::new().header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).serve_connection(io, service);
    tokio::pin!(connection);
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    let mut leaving = false;
    loop {
        tokio::select! {
            // What has come is read before anything is decided over the connection.
            biased;
            // How it ended is the customer's affair: a broken connection is no error of anybody here.
            _ = connection.as_mut() => return,
            () = turned(&mut closing), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            // Half a head that came for too long is not waited for; a request that has just begun is answered.
            () = customer.shed_now() => {
                if customer.is_slow_in_head(now_ms()) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => match customer.pace() {
                Pace::Fine => {}
                Pace::Stuck => return,
                Pace::Idle => connection.as_mut().graceful_shutdown(),
            },
        }
    }
}
