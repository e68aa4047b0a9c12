//! One finding for all who ask for the same at the same time, and nothing kept.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::Result;
use tokio::sync::oneshot;

/// Answers by key that are not remembered, and cost something to find: each is
/// found once for all who ask for it at the same time. Who asks while it is being
/// found waits for the next finding, so what he is answered was found after he
/// had asked, and has every change that was answered before. Cheap to clone.
#[derive(Clone)]
pub struct Coalesced<K: Hash + Eq + Clone, V: Clone>(Arc<Mutex<Lines<K, V>>>);

/// Those who wait, by key; a key that is there is being found.
type Lines<K, V> = HashMap<K, Vec<Waiting<K, V>>>;
type Waiting<K, V> = oneshot::Sender<Turn<K, V>>;

/// What becomes of who waits.
enum Turn<K: Hash + Eq + Clone, V: Clone> {
    /// Somebody has found it for him.
    Found(Result<V>),
    /// He is to find it.
    Lead(Lead<K, V>),
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Coalesced<K, V> {
    fn default() -> Coalesced<K, V> {
        Coalesced(Arc::default())
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Coalesced<K, V> {
    /// The answer for this key, which `find` finds if it is this caller's turn
    /// to. Whoever asks for the same must be answered the same by his own `find`.
    pub async fn get(&self, key: K, find: impl Future<Output = Result<V>>) -> Result<V> {
        let turn = {
            let mut lines = self.lines();
            match lines.get_mut(&key) {
                None => {
                    lines.insert(key.clone(), Vec::new());
                    None
                }
                Some(line) => {
                    let (turn, mine) = oneshot::channel();
                    line.push(turn);
                    Some(mine)
                }
            }
        };
        let lead = match turn {
            None => Lead { all: self.clone(), key, followers: Vec::new() },
            Some(turn) => match turn.await {
                Ok(Turn::Found(found)) => return found,
                Ok(Turn::Lead(lead)) => lead,
                // Nobody forgets a turn unsent; if one did, it would be found here, for this caller alone.
                Err(_) => return find.await,
            },
        };
        let found = find.await;
        lead.found(&found);
        found
    }

    fn lines(&self) -> MutexGuard<'_, Lines<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to find what a key stands for. Dropped, it is handed on to the
/// first who waits, whether something was found, the caller is gone, or it
/// panicked.
struct Lead<K: Hash + Eq + Clone, V: Clone> {
    all: Coalesced<K, V>,
    key: K,
    /// They had asked when this turn began.
    followers: Vec<Waiting<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Lead<K, V> {
    fn found(mut self, found: &Result<V>) {
        for follower in self.followers.drain(..) {
            // One that is gone needs no answer.
            drop(follower.send(Turn::Found(found.clone())));
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Lead<K, V> {
    fn drop(&mut self) {
        let mut waiting = mem::take(&mut self.followers);
        {
            let mut lines = self.all.lines();
            waiting.extend(lines.get_mut(&self.key).map(mem::take).unwrap_or_default());
            waiting.retain(|one| !one.is_closed());
            if waiting.is_empty() {
                lines.remove(&self.key);
                return;
            }
        }
        let first = waiting.remove(0);
        let lead = Lead { all: self.all.clone(), key: self.key.clone(), followers: waiting };
        // One that is gone by now drops the turn that he is sent, which hands it on.
        drop(first.send(Turn::Lead(lead)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::{join, join_all};
    use kernel::Error;
    use tokio::{sync::Semaphore, task::yield_now};

    use super::*;

    /// Counts findings; each takes a permit, and says what stood when it began.
    struct Source {
        findings: AtomicU64,
        value: AtomicU64,
        permits: Semaphore,
    }

    impl Source {
        fn new() -> Source {
            Source { findings: AtomicU64::new(0), value: AtomicU64::new(0), permits: Semaphore::new(0) }
        }

        async fn find(&self) -> Result<u64> {
            self.findings.fetch_add(1, Ordering::SeqCst);
            let value = self.value.load(Ordering::SeqCst);
            self.permits.acquire().await.unwrap().forget();
            Ok(value)
        }
    }

    /// Lets everybody go as far as he can.
    async fn all_wait() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_thousand_who_ask_at_once_cost_two_findings_and_none_is_older_than_his_question() {
        let (all, source) = (Coalesced::<u8, u64>::default(), Source::new());
        let first = all.get(1, source.find());
        let others = async {
            all_wait().await;
            source.value.store(7, Ordering::SeqCst); // a change that is answered while the first is found
            let others = join_all((0..1_000).map(|_| all.get(1, source.find())));
            let permits = async {
                all_wait().await;
                source.permits.add_permits(2);
            };
            join(others, permits).await.0
        };

        let (first, others) = join(first, others).await;

        assert_eq!(first.unwrap(), 0);
        assert!(others.into_iter().all(|found| found.unwrap() == 7));
        assert_eq!(source.findings.load(Ordering::SeqCst), 2);
        assert!(all.lines().is_empty());
    }

    #[tokio::test]
    async fn who_asks_for_something_else_waits_for_nobody() {
        let (all, source) = (Coalesced::<u8, u64>::default(), Source::new());

        let never = all.get(1, source.find());
        tokio::select! {
            biased;
            _ = never => panic!("nothing lets it end"),
            found = all.get(2, async { Ok(2) }) => assert_eq!(found.unwrap(), 2),
        }
    }

    #[tokio::test]
    async fn the_turn_of_one_who_goes_away_is_the_next_ones() {
        let (all, source) = (Arc::new(Coalesced::<u8, u64>::default()), Arc::new(Source::new()));
        let ask = || {
            let (all, source) = (all.clone(), source.clone());
            tokio::spawn(async move { all.get(1, source.find()).await })
        };
        let mut asks = Vec::new();
        for _ in 0..6 {
            asks.push(ask());
            all_wait().await;
        }
        // The one who finds, the one who is next, and one who follows.
        for gone in [0, 1, 3] {
            asks[gone].abort();
            all_wait().await;
        }
        source.permits.add_permits(9);

        for (number, ask) in asks.into_iter().enumerate() {
            match ask.await {
                Ok(found) => assert_eq!((found.unwrap(), [0, 1, 3].contains(&number)), (0, false)),
                Err(gone) => assert!(gone.is_cancelled() && [0, 1, 3].contains(&number), "{number}"),
            }
        }
        assert!(all.lines().is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_who_waited_for_it_and_nobody_elses() {
        let all = Coalesced::<u8, u64>::default();
        let gate = Semaphore::new(0);
        let begins = async {
            gate.acquire().await.unwrap().forget();
            Ok(1)
        };
        let failing = || all.get(1, async { Err(Error::internal("no")) });

        let (found, failed, second, ()) = tokio::join!(all.get(1, begins), failing(), failing(), async {
            all_wait().await;
            gate.add_permits(1);
        });

        assert_eq!(found.unwrap(), 1);
        assert!(failed.is_err() && second.is_err());
        assert_eq!(all.get(1, async { Ok(3) }).await.unwrap(), 3);
    }
}
