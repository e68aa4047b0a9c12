//! Gathering: concurrent calls of one kind become one statement.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use kernel::{BoxFuture, Error, Kind, Result, World};
use tokio::sync::oneshot;

use crate::{Caller, Db, Tx};

/// Gathers concurrent calls into batches. With nobody else waiting a call goes
/// alone at once; what comes while a batch is under way makes up the next one.
/// Cheap to clone.
pub struct Gather<K, V>(Arc<Inner<K, V>>);

struct Inner<K, V> {
    world: World,
    most: usize,
    batch: Box<Batch<K, V>>,
    target: Option<Box<Target<K>>>,
    /// Whether whoever asks for one changes something.
    writes: bool,
    queue: Mutex<Queue<K, V>>,
}

type Batch<K, V> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<Vec<Result<V>>>> + Send + Sync;

/// A hash of what a call is about. Two that have the same by chance are kept
/// apart, which does no harm.
type Target<K> = dyn Fn(&K) -> u64 + Send + Sync;

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
            target: None,
            writes: false,
            queue: Mutex::new(Queue { calls: VecDeque::new(), running: false }),
        }))
    }

    /// One whose batch is a transaction, which may be run again like any
    /// [`write!`](crate::write).
    pub fn writing<F>(db: &Db, most: usize, batch: F) -> Self
    where
        K: Sync,
        F: for<'a> Fn(&'a mut Tx, &'a [K]) -> BoxFuture<'a, Result<Vec<Result<V>>>> + Send + Sync + 'static,
    {
        let (db, batch) = (db.clone(), Arc::new(batch));
        let world = db.world().clone();
        let gather = Gather::new(&world, most, move |calls: Vec<K>| {
            let (db, batch) = (db.clone(), batch.clone());
            Box::pin(async move { crate::write!(db, async |tx| { batch(tx, &calls).await }) })
        });
        gather.with(|inner| inner.writes = true)
    }

    /// Puts no two calls about the same into one batch: the second waits for
    /// the next one. So a batch may change all it is about by one statement.
    pub fn one_of_each<T, F>(self, target: F) -> Self
    where
        T: Hash,
        F: Fn(&K) -> T + Send + Sync + 'static,
    {
        let target = move |call: &K| {
            let mut hasher = DefaultHasher::new();
            target(call).hash(&mut hasher);
            hasher.finish()
        };
        self.with(|inner| inner.target = Some(Box::new(target)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner<K, V>)) -> Self {
        change(Arc::get_mut(&mut self.0).expect("it is said before anybody else has it"));
        self
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
        let answer = answered.await;
        if self.0.writes
            && let Some(caller) = Caller::current()
        {
            // The batch is nobody's task: he is told here that he has changed something.
            caller.wrote(self.0.world.now());
        }
        answer.unwrap_or_else(|_| Err(Error::internal("a batch ended without an answer")))
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
                if queue.calls.is_empty() {
                    queue.running = false;
                    return;
                }
                self.next(&mut queue.calls)
            };
            self.settle(calls).await;
        }
    }

    /// Takes those of the next batch.
    fn next(&self, waiting: &mut VecDeque<Call<K, V>>) -> Vec<Call<K, V>> {
        let Some(target) = &self.target else {
            let count = waiting.len().min(self.most);
            return waiting.drain(..count).collect();
        };
        let (mut targets, mut batch, mut later) = (HashSet::new(), Vec::new(), VecDeque::new());
        while batch.len() < self.most
            && let Some(call) = waiting.pop_front()
        {
            match targets.insert(target(&call.key)) {
                true => batch.push(call),
                false => later.push_back(call),
            }
        }
        later.append(waiting);
        *waiting = later;
        batch
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
