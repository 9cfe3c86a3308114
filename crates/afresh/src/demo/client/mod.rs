//! An open-loop client that accounts for every single request.
//!
//! Requests begin at a fixed rate whether or not earlier ones were answered, and latency is measured from the moment a request
//! was due: a server that stalls cannot hide it by slowing the client. Nothing is retried. A thread and an event loop of its own.

pub mod account;
mod connection;
mod exchange;

use account::{Account, Kind, Outcome, Record};
use connection::Pool;
use model::Fault;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Load {
    pub target: SocketAddr,
    pub per_second: u32,
    /// Stops after this many requests.
    pub requests: Option<u64>,
}

/// More than this open at once: the target has stopped answering, and the machine is to stay usable. Each one beyond counts as failed.
const OPEN_MAX: u64 = 20_000;

struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    open: AtomicU64,
    failed: AtomicU64,
    account: Mutex<Account>,
}

pub struct Client {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Client {
    pub fn start(load: Load) -> Result<Self, Fault> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            open: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            account: Mutex::new(Account::default()),
        });
        let inside = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Fault::world("io", format!("no event loop for the client: {e}")))?;
        let run = move || runtime.block_on(pace(load, inside));
        let thread = std::thread::Builder::new().name("client".into()).spawn(run);
        Ok(Self { shared, thread: thread.map_err(|e| Fault::world("io", format!("no thread for the client: {e}")))? })
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Relaxed)
    }

    /// Failed so far, release errors not among them.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Relaxed)
    }

    pub fn running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Sends no more, waits for every open request, and gives the account.
    pub fn finish(self) -> Result<Account, Fault> {
        self.shared.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| Fault::ours("client-broke", "the client of the demo panicked"))?;
        let mut account = self.shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *account))
    }
}

/// Begins request n at `start + n / rate`, in bursts of a millisecond at most.
async fn pace(load: Load, shared: Arc<Shared>) {
    let pool = Arc::new(Pool::new(load.target));
    let start = Instant::now();
    let start_ms = crate::show::now().0;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut n = 0;
    while !shared.stop.load(Relaxed) && load.requests.is_none_or(|max| n < max) {
        tick.tick().await;
        let due = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(u64::from(load.per_second)) / 1_000_000;
        while n < due && load.requests.is_none_or(|max| n < max) {
            let offset = Duration::from_micros(n * 1_000_000 / u64::from(load.per_second));
            let offset_ms = u64::try_from(offset.as_millis()).unwrap_or(u64::MAX);
            begin(n, start + offset, start_ms + offset_ms, &pool, &shared);
            n += 1;
        }
    }
    while shared.open.load(Relaxed) > 0 {
        tick.tick().await;
    }
}

fn begin(n: u64, due: Instant, due_ms: u64, pool: &Arc<Pool>, shared: &Arc<Shared>) {
    shared.sent.fetch_add(1, Relaxed);
    let kind = Kind::of(n);
    if shared.open.fetch_add(1, Relaxed) >= OPEN_MAX {
        settle(
            shared,
            Record {
                kind,
                due_ms,
                sent_ms: due_ms,
                took_us: 0,
                version: None,
                outcome: Outcome::Failed("too many were open to begin it".into()),
            },
        );
        return;
    }
    let (pool, shared) = (pool.clone(), shared.clone());
    tokio::spawn(async move {
        let sent_ms = crate::show::now().0;
        let (version, outcome) = exchange::exchange(&pool, n, kind).await;
        let took_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        settle(&shared, Record { kind, due_ms, sent_ms, took_us, version, outcome });
    });
}

fn settle(shared: &Shared, record: Record) {
    if matches!(record.outcome, Outcome::Failed(_)) {
        shared.failed.fetch_add(1, Relaxed);
    }
    shared.account.lock().unwrap_or_else(PoisonError::into_inner).records.push(record);
    shared.open.fetch_sub(1, Relaxed);
}
