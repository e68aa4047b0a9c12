//! Gathering: concurrent calls of one kind become one statement.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use kernel::{BoxFuture, Error, Kind, Result, World};
use tokio::sync::oneshot;

/// Gathers concurrent calls into batches. With nobody else waiting a call goes
/// alone at once; what comes while a batch is under way makes up the next one.
/// Cheap to clone.
pub struct Gather<K, V>(Arc<Inner<K, V>>);

struct Inner<K, V> {
    world: World,
    most: usize,
    batch: Box<Batch<K, V>>,
    queue: Mutex<Queue<K, V>>,
}

type Batch<K, V> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<Vec<Result<V>>>> + Send + Sync;

/// Those who wait for a batch, and whether a task is at work on them.
struct Queue<K, V> {
    calls: VecDeque<Call<K, V>>,
    running: bool,
}

struct Call<K, V> {
    key: K,
    answer: oneshot::Sender<Result<V>>,
}

impl<K: Clone + Send + 'static, V: Send + 'static> Gather<K, V> {
    /// `batch` takes at most `most` calls in the order of their arrival and
    /// gives each its answer, in that order. A batch that fails as a whole is
    /// split until the one at fault is alone, unless what it asks is away; so
    /// it keeps all or nothing of what it did.
    pub fn new<F>(world: &World, most: usize, batch: F) -> Self
    where
        F: Fn(Vec<K>) -> BoxFuture<'static, Result<Vec<Result<V>>>> + Send + Sync + 'static,
    {
        Gather(Arc::new(Inner {
            world: world.clone(),
            most: most.max(1),
            batch: Box::new(batch),
            queue: Mutex::new(Queue { calls: VecDeque::new(), running: false }),
        }))
    }

    /// Asks for one.
    pub async fn call(&self, key: K) -> Result<V> {
        let (answer, answered) = oneshot::channel();
        let idle = {
            let mut queue = self.0.queue();
            queue.calls.push_back(Call { key, answer });
            !std::mem::replace(&mut queue.running, true)
        };
        if idle {
            // A task of its own: a caller that is dropped takes nobody with it.
            let inner = self.0.clone();
            self.0.world.spawn(async move { inner.work().await });
        }
        answered.await.unwrap_or_else(|_| Err(Error::internal("a batch ended without an answer")))
    }
}

impl<K: Clone + Send + 'static, V: Send + 'static> Inner<K, V> {
    /// Runs batch after batch until nobody waits.
    async fn work(self: Arc<Self>) {
        loop {
            let calls: Vec<Call<K, V>> = {
                let mut queue = self.queue();
                // Whoever was dropped meanwhile wants nothing any more.
                queue.calls.retain(|call| !call.answer.is_closed());
                let count = queue.calls.len().min(self.most);
                if count == 0 {
                    queue.running = false;
                    return;
                }
                queue.calls.drain(..count).collect()
            };
            self.settle(calls).await;
        }
    }

    /// Answers all of them, in as few batches as that takes. The halves of a
    /// batch that failed follow one another, so that the order is kept.
    async fn settle(&self, calls: Vec<Call<K, V>>) {
        let mut parts = vec![calls];
        while let Some(mut part) = parts.pop() {
            let keys: Vec<K> = part.iter().map(|call| call.key.clone()).collect();
            match self.ask(keys).await {
                Ok(answers) => {
                    for (call, answer) in part.into_iter().zip(answers) {
                        // A caller that was dropped needs no answer.
                        drop(call.answer.send(answer));
                    }
                }
                Err(Fault::Batch(error)) if part.len() > 1 && may_be_of_one(&error) => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(Fault::Batch(error) | Fault::Ours(error)) => {
                    for call in part {
                        drop(call.answer.send(Err(error.clone())));
                    }
                }
            }
        }
    }

    async fn ask(&self, keys: Vec<K>) -> Result<Vec<Result<V>>, Fault> {
        let asked = keys.len();
        let work = AssertUnwindSafe(async { (self.batch)(keys).await }).catch_unwind();
        match work.await {
            Ok(Ok(answers)) if answers.len() == asked => Ok(answers),
            Ok(Ok(answers)) => {
                let message = format!("a batch of {asked} gave {} answers", answers.len());
                Err(Fault::Ours(Error::internal(message)))
            }
            Ok(Err(error)) => Err(Fault::Batch(error)),
            Err(_) => Err(Fault::Ours(Error::internal("a batch panicked"))),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<K, V>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a member may be at fault. When what was asked is away nobody is,
/// and asking for each again would take long and load it more.
fn may_be_of_one(error: &Error) -> bool {
    !matches!(error.kind, Kind::Unavailable | Kind::TimedOut)
}

/// Why a batch has no answers.
enum Fault {
    /// It was refused: perhaps for one of its members only.
    Batch(Error),
    /// It is wrong in itself: splitting would not help.
    Ours(Error),
}

impl<K, V> Clone for Gather<K, V> {
    fn clone(&self) -> Self {
        Gather(self.0.clone())
    }
}
