//! Every order in which a few threads can take their steps at an [`Account`], one after the other. The account's own source is
//! compiled here over atomics that hand the turn to the next thread of the schedule before each operation, so what is judged is what
//! runs in production. Orders weaker than sequential consistency are refused: the account's proof needs it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the crate starts no threads; its test must")]

#[path = "../../src/account.rs"]
#[allow(dead_code, reason = "only what the schedules call")]
mod account;

use account::Account;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex};

/// What `account.rs` finds as `crate::atomic`.
pub mod atomic {
    pub use std::sync::atomic::Ordering;

    fn step(order: Ordering) {
        assert_eq!(order, Ordering::SeqCst, "the proof needs sequential consistency");
        super::wait_for_turn();
    }

    #[derive(Debug, Default)]
    pub struct AtomicU64(std::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub fn load(&self, order: Ordering) -> u64 {
            step(order);
            self.0.load(order)
        }
        pub fn fetch_add(&self, n: u64, order: Ordering) -> u64 {
            step(order);
            self.0.fetch_add(n, order)
        }
        pub fn fetch_sub(&self, n: u64, order: Ordering) -> u64 {
            step(order);
            self.0.fetch_sub(n, order)
        }
    }

    #[derive(Debug, Default)]
    pub struct AtomicBool(std::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub fn load(&self, order: Ordering) -> bool {
            step(order);
            self.0.load(order)
        }
        pub fn store(&self, value: bool, order: Ordering) {
            step(order);
            self.0.store(value, order);
        }
    }
}

/// Who may take the next step.
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Which of the threads that wait goes next, for each step; beyond its end always the first.
    plan: Vec<usize>,
    /// How many could have gone, for each step taken.
    choices: Vec<usize>,
    waiting: Vec<usize>,
    running: usize,
    chosen: Option<usize>,
}

thread_local! {
    static SELF: RefCell<Option<(Arc<Turns>, usize)>> = const { RefCell::new(None) };
}

impl State {
    /// Once nobody runs, the plan says who does.
    fn choose(&mut self) {
        if self.running == 0 && self.chosen.is_none() && !self.waiting.is_empty() {
            self.waiting.sort_unstable();
            let step = self.choices.len();
            let which = self.plan.get(step).copied().unwrap_or(0);
            self.choices.push(self.waiting.len());
            self.chosen = Some(self.waiting.remove(which));
        }
    }
}

fn wait_for_turn() {
    let Some((turns, me)) = SELF.with_borrow(Clone::clone) else { return };
    let mut state = turns.state.lock().unwrap();
    state.running -= 1;
    state.waiting.push(me);
    state.choose();
    turns.changed.notify_all();
    while state.chosen != Some(me) {
        state = turns.changed.wait(state).unwrap();
    }
    state.chosen = None;
    state.running += 1;
}

/// Counts a thread as not running when it ends, also by a panic.
struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        let (turns, _) = SELF.with_borrow_mut(Option::take).unwrap();
        let mut state = turns.state.lock().unwrap();
        state.running -= 1;
        state.choose();
        turns.changed.notify_all();
    }
}

trait Gate: Default + Sync {
    fn enter(&self) -> bool;
    fn leave(&self) -> u64;
    fn close(&self);
    fn is_drained(&self) -> bool;
    fn in_flight(&self) -> u64;
}

impl Gate for Account {
    fn enter(&self) -> bool {
        Account::enter(self)
    }
    fn leave(&self) -> u64 {
        Account::leave(self)
    }
    fn close(&self) {
        Account::close(self);
    }
    fn is_drained(&self) -> bool {
        Account::is_drained(self)
    }
    fn in_flight(&self) -> u64 {
        Account::in_flight(self)
    }
}

/// The mistake that the account must not make: it reads the flag, then counts.
#[derive(Default)]
struct Hasty {
    closed: atomic::AtomicBool,
    count: atomic::AtomicU64,
}

impl Gate for Hasty {
    fn enter(&self) -> bool {
        if self.closed.load(atomic::Ordering::SeqCst) {
            return false;
        }
        self.count.fetch_add(1, atomic::Ordering::SeqCst);
        true
    }
    fn leave(&self) -> u64 {
        self.count.fetch_sub(1, atomic::Ordering::SeqCst) - 1
    }
    fn close(&self) {
        self.closed.store(true, atomic::Ordering::SeqCst);
    }
    fn is_drained(&self) -> bool {
        self.closed.load(atomic::Ordering::SeqCst) && self.in_flight() == 0
    }
    fn in_flight(&self) -> u64 {
        self.count.load(atomic::Ordering::SeqCst)
    }
}

type Actor<G> = fn(&G, &Mutex<Seen>);

/// What the actors have agreed on, outside the schedule.
#[derive(Default)]
struct Seen {
    /// Requests that are being served.
    inside: u64,
    served: u64,
    /// Somebody has read "drained": a server may be killed from here on.
    drained: bool,
}

/// Runs one schedule; the number of choices at each of its steps, or what went wrong.
fn run<G: Gate>(actors: &[Actor<G>], plan: &[usize]) -> Result<Vec<usize>, String> {
    let state = State { plan: plan.to_vec(), choices: Vec::new(), waiting: Vec::new(), running: actors.len(), chosen: None };
    let turns = Arc::new(Turns { state: Mutex::new(state), changed: Condvar::new() });
    let (account, seen) = (G::default(), Mutex::new(Seen::default()));
    let ends: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = actors
            .iter()
            .enumerate()
            .map(|(me, actor)| {
                let (turns, account, seen) = (turns.clone(), &account, &seen);
                scope.spawn(move || {
                    SELF.set(Some((turns, me)));
                    let _ends = Ends;
                    actor(account, seen);
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|e| said(&*e))).collect()
    });
    ends.into_iter().collect::<Result<Vec<()>, String>>()?;
    let (inside, in_flight) = (seen.lock().unwrap().inside, account.in_flight());
    if inside != 0 || in_flight != 0 {
        return Err(format!("{inside} inside and {in_flight} counted at the end"));
    }
    Ok(turns.state.lock().unwrap().choices.clone())
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string())).unwrap_or_default()
}

/// Every schedule, by counting the plan up like a number whose digits have different bases. How many there were.
fn every_order<G: Gate>(actors: &[Actor<G>]) -> u64 {
    let mut plan: Vec<usize> = Vec::new();
    let mut count = 0;
    loop {
        let choices = run(actors, &plan).unwrap_or_else(|why| panic!("schedule {plan:?}: {why}"));
        count += 1;
        plan.resize(choices.len(), 0);
        while let Some(last) = plan.pop() {
            if last + 1 < choices[plan.len()] {
                plan.push(last + 1);
                break;
            }
        }
        if plan.is_empty() {
            return count;
        }
    }
}

fn request<G: Gate>(account: &G, seen: &Mutex<Seen>) {
    if !account.enter() {
        return;
    }
    {
        let mut seen = seen.lock().unwrap();
        assert!(!seen.drained, "a request entered after the account was drained");
        seen.inside += 1;
    }
    let left = account.leave();
    let mut seen = seen.lock().unwrap();
    assert!(!seen.drained || left == 0);
    seen.inside -= 1;
    seen.served += 1;
}

/// As `request`, and it reads the account while inside: no one may see it drained before the request has left.
fn long_request<G: Gate>(account: &G, seen: &Mutex<Seen>) {
    if account.enter() {
        seen.lock().unwrap().inside += 1;
        let drained = account.is_drained();
        assert!(!drained && account.in_flight() > 0, "drained with a request inside");
        seen.lock().unwrap().inside -= 1;
        account.leave();
    }
}

fn closes<G: Gate>(account: &G, seen: &Mutex<Seen>) {
    account.close();
    look(account, seen);
}

fn looks<G: Gate>(account: &G, seen: &Mutex<Seen>) {
    look(account, seen);
}

fn look<G: Gate>(account: &G, seen: &Mutex<Seen>) {
    if account.is_drained() {
        let mut seen = seen.lock().unwrap();
        assert_eq!(seen.inside, 0, "seen drained with a request inside");
        seen.drained = true;
    }
}

#[test]
fn no_order_lets_a_request_in_behind_the_drain() {
    // A request takes 3 steps (enter 2, leave 1), closing and reading 3, reading 2: 20 orders of the first pair at most.
    let counts = [
        every_order::<Account>(&[request, closes]),
        every_order::<Account>(&[request, request, closes]),
        every_order::<Account>(&[request, closes, looks]),
        every_order::<Account>(&[long_request, closes]),
    ];
    assert!(counts.iter().all(|n| *n >= 15) && counts[1] > 500 && counts[2] > 100, "too few orders were tried: {counts:?}");
}

/// The explorer itself must find the order in which a check before the count lets a request in.
#[test]
fn a_check_before_the_count_is_found() {
    let found = std::panic::catch_unwind(|| every_order::<Hasty>(&[request, closes])).unwrap_err();
    assert!(said(&*found).contains("entered after the account was drained"), "{}", said(&*found));
}
