//! What may be retried. The rules, in the order in which they apply:
//!
//! | what failed | GET, PUT, ... with a body we still have | POST, or a body we no longer have |
//! | --- | --- | --- |
//! | no connection | again, on another target | again, on another target |
//! | the socket was closed before the request was given to it | again | again |
//! | broke off, not one byte answered | once more | never |
//! | broke off inside the answer's head, or no answer in time | never | never |
//!
//! Idempotent methods: RFC 9110, 9.2.2. A retry of what failed on a new connection is paid from a budget, so that a failing release
//! does not get twice the load. An idle connection that its server closed is ordinary: that retry is free, and the next one uses a new
//! connection.

/// This many tries for a request, the first included.
const TRIES_MAX: u32 = 3;
/// A fifth of the requests may be retried,
const PAID_PER_REQUEST_MILLI: u64 = 200;
/// and ten per second,
const PAID_PER_MS_MILLI: u64 = 10;
/// saved up to at most this.
const SAVED_MAX_MILLI: u64 = 200_000;
const SAVED_FIRST_MILLI: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Sending it twice does what sending it once does, and we have all of it.
    Safe,
    Never,
}

/// `whole`: the body is empty or fully buffered.
pub fn replay_of(method: &str, whole: bool) -> Replay {
    match method {
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" if whole => Replay::Safe,
        _ => Replay::Never,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, or not in time.
    NoConnection,
    /// The connection was closed before anything of the request was written.
    Unsent,
    /// Interrupted after something may have been written. `answered`: a byte of the response had come.
    Broken { answered: bool },
    /// No head in time.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// On a connection that had served a request before.
    pub reused: bool,
    /// Whether this request was already sent again after an interruption.
    pub replayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// On another target if there is one, always on a new connection. `paid`: only if the budget has one.
    Again {
        paid: bool,
        replayed: bool,
    },
    GiveUp,
}

pub fn after(failure: Failure, attempt: Attempt, replay: Replay) -> Next {
    if attempt.number >= TRIES_MAX {
        return Next::GiveUp;
    }
    match failure {
        Failure::NoConnection => Next::Again { paid: true, replayed: attempt.replayed },
        Failure::Unsent => Next::Again { paid: !attempt.reused, replayed: attempt.replayed },
        Failure::Broken { answered: false } if replay == Replay::Safe && !attempt.replayed => {
            Next::Again { paid: !attempt.reused, replayed: true }
        }
        Failure::Broken { .. } | Failure::Late => Next::GiveUp,
    }
}

/// A token bucket that requests and time fill.
#[derive(Clone, Debug)]
pub struct Budget {
    saved_milli: u64,
    requests: u64,
    at_ms: u64,
}

impl Budget {
    pub fn new(now_ms: u64) -> Self {
        Self { saved_milli: SAVED_FIRST_MILLI, requests: 0, at_ms: now_ms }
    }

    /// `requests`: how many there have been in all. True: one more try is paid.
    pub fn take(&mut self, now_ms: u64, requests: u64) -> bool {
        let earned = requests.saturating_sub(self.requests).saturating_mul(PAID_PER_REQUEST_MILLI);
        let rested = now_ms.saturating_sub(self.at_ms).saturating_mul(PAID_PER_MS_MILLI);
        self.saved_milli = self.saved_milli.saturating_add(earned).saturating_add(rested).min(SAVED_MAX_MILLI);
        self.requests = self.requests.max(requests);
        self.at_ms = self.at_ms.max(now_ms);
        let enough = self.saved_milli >= 1_000;
        if enough {
            self.saved_milli -= 1_000;
        }
        enough
    }
}
