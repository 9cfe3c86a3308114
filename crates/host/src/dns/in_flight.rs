//! Questions that somebody beyond this host was asked and has not answered yet. Equal ones wait for the first: each more in flight would be one
//! more guess at an id for whoever forges answers, and one more question for others to answer.

use super::cache::Key;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

type Waiting<T> = BTreeMap<Key, watch::Receiver<Option<T>>>;

/// `T`: what comes of a question.
pub struct InFlight<T>(Mutex<Waiting<T>>);

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Held by whoever asks. Dropped without an outcome, one of those that wait asks in its place.
pub struct First<'a, T> {
    all: &'a InFlight<T>,
    key: Key,
    give: watch::Sender<Option<T>>,
}

impl<T> InFlight<T> {
    fn all(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ok: nobody else asks. Err: what somebody else was answered.
    pub async fn join(&self, key: &Key) -> Result<First<'_, T>, T>
    where
        T: Clone,
    {
        loop {
            let mut other = {
                let mut all = self.all();
                match all.get(key) {
                    Some(other) => other.clone(),
                    None => {
                        let (give, take) = watch::channel(None);
                        all.insert(key.clone(), take);
                        return Ok(First { all: self, key: key.clone(), give });
                    }
                }
            };
            let outcome = other.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
            if let Some(outcome) = outcome {
                return Err(outcome);
            }
        }
    }
}

impl<T> First<'_, T> {
    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn done(self, outcome: T) {
        self.give.send_replace(Some(outcome));
    }
}

impl<T> Drop for First<'_, T> {
    /// Before the sender is: whoever sees it gone finds the place free.
    fn drop(&mut self) {
        self.all.all().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn equal_ones_wait_and_one_that_is_given_up_is_asked_again() {
        let all = Arc::new(InFlight::<u32>::default());
        let key: Key = ("db.example.org.".to_string(), 1);
        let Ok(first) = all.join(&key).await else { panic!("nobody asks") };
        let other = all.join(&("db.example.org.".to_string(), 28)).await;
        assert!(other.is_ok(), "another type is another question");
        let wait = |n: usize| {
            let (all, key) = (all.clone(), key.clone());
            tokio::spawn(async move {
                match all.join(&key).await {
                    // It is given up too, or answered by the last.
                    Ok(first) if n < 3 => drop(first),
                    Ok(first) => first.done(7),
                    Err(outcome) => assert_eq!(outcome, 7),
                }
            })
        };
        let waiting: Vec<_> = (0..6).map(wait).collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|one| !one.is_finished()));
        drop(first);
        for one in waiting {
            one.await.unwrap();
        }
        drop(other);
        assert!(all.all().is_empty(), "nothing is left of them");
    }
}
