//! Work on many threads, results in the order of the items.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `done` is called once for each item, in order, as soon as all before it are done.
pub fn ordered<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync, done: impl FnMut(R) + Send) {
    let next = AtomicUsize::new(0);
    let held = Mutex::new((0, BTreeMap::new(), done));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            let mut held = held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (due, waiting, done) = &mut *held;
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(due) {
                *due += 1;
                done(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(run);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u32> = (0..500).collect();
        let mut seen = Vec::new();
        ordered(8, &items, |n| n * 2, |n| seen.push(n));
        assert_eq!(seen, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        ordered(8, &[] as &[u32], |n| *n, |_| unreachable!());
    }
}
