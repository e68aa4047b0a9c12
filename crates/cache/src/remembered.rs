//! What was read, remembered for a while.

use std::{
    fmt::Display,
    future::Future,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{BoxFuture, Error, Result, Time, World};
use moka::future::Cache;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{
    channel::TRUST,
    entry::Entry,
    flights::{Began, Flight, Flights},
    shared::{Asked, Shared},
};

const SHARDS: usize = 1024;
/// How long it is remembered that there is nothing, at most.
const NOTHING_FOR: Duration = Duration::from_secs(5);

/// Values by key, at most so many, at most so long. Cheap to clone.
///
/// What is remembered carries the count of changes that stood when its reading
/// began, and holds only while that count stands. So a reading that began
/// before a change and ends after it is never answered with, however the two
/// interleave. Several keys share a count: a change of one makes a few others
/// be read again, which is harmless.
///
/// With a [`Shared`] behind it, what one process read the others need not read,
/// and a change in one is heard by all: within 50 ms of its answer none of them
/// answers with the old value, because what a process remembers counts only
/// while it has fresh proof that it hears. Without proof it asks Redis; without
/// Redis, the database.
#[derive(Clone)]
pub struct Remembered<K, V: Clone> {
    world: World,
    keep: Duration,
    read: Arc<Read<K, V>>,
    values: Cache<K, (u64, Entry<V>)>,
    changes: Arc<[AtomicU64]>,
    flights: Flights<K, Option<V>>,
    shared: Option<(&'static str, Shared)>,
}

type Read<K, V> = dyn Fn(K) -> BoxFuture<'static, Result<Option<V>>> + Send + Sync;

impl<K, V> Remembered<K, V>
where
    K: Display + FromStr + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Remembers at most `most` values of those that `read` finds, each for
    /// `keep` or up to a tenth less, so that what was read together does not
    /// run out together. `read` serves no [`db::Caller`], whoever asked: so no
    /// replica answers it, which may not know of a change that was answered.
    pub fn new<F>(
        world: &World,
        most: u64,
        keep: Duration,
        read: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        Remembered {
            world: world.clone(),
            keep,
            read: Arc::new(move |key| Box::pin(read(key))),
            values: Cache::new(most),
            changes: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            flights: Flights::new(),
            shared: None,
        }
    }

    /// Shares it under this name with other processes, if there is something
    /// to share it through.
    pub fn shared(mut self, name: &'static str, shared: Option<&Shared>) -> Self {
        let Some(shared) = shared.filter(|_| !self.keep.is_zero()) else { return self };
        let changes = self.changes.clone();
        shared.channel().listen(name, move |key| match key.parse::<K>() {
            Ok(key) => change(&changes, &key),
            // Another version's key; whichever it means, it is forgotten.
            Err(_) => changes.iter().for_each(|count| _ = count.fetch_add(1, Ordering::SeqCst)),
        });
        self.shared = Some((name, shared.clone()));
        self
    }

    /// The value of `key`: remembered, or else read, once for all who ask.
    pub async fn get(&self, key: &K) -> Result<Option<V>> {
        if self.keep.is_zero() {
            return (self.read)(key.clone()).await;
        }
        loop {
            let now = Began { stamp: self.stamp(key), at: self.world.now() };
            if let Some(entry) = self.remembered(key, now).await {
                if entry.until <= now.at {
                    self.refresh(key, now);
                }
                return Ok(entry.value);
            }
            let (flight, is_new) = self.flight(key, now, false);
            let found = flight.await;
            if is_new || self.stamp(key) == now.stamp {
                return found;
            } // What another began to read was changed before it arrived.
        }
    }

    /// Says that `key` was changed: what was read of it before counts no more,
    /// in any process. To be called after the commit and before its answer,
    /// also for what was made, because it may be remembered that it was not
    /// there. Without Redis it returns when a try to reach it has failed, and
    /// Redis is told when it is back, before this process reads there.
    pub async fn changed(&self, key: &K) {
        if let (Some(number), Some((_, shared))) = (self.tell(key), &self.shared) {
            // This process hears of it, too: what it asked Redis for meanwhile counts no more.
            shared.channel().settled(number).await;
        }
    }

    /// The same without waiting until Redis has heard of it: for a change that
    /// was answered, or whose caller is gone, such as one that an event tells of.
    pub fn forget(&self, key: &K) {
        self.tell(key);
    }

    fn tell(&self, key: &K) -> Option<u64> {
        change(&self.changes, key);
        let (name, shared) = self.shared.as_ref()?;
        Some(shared.channel().owe(name, key.to_string(), self.keep + self.grace()))
    }

    /// What is remembered here, if it still counts.
    async fn remembered(&self, key: &K, now: Began) -> Option<Entry<V>> {
        if !self.hears_all(now.at) {
            return None;
        }
        let (count, entry) = self.values.get(key).await?;
        (count == now.stamp && now.at < entry.gone_at(self.grace())).then_some(entry)
    }

    /// Whether every change that counts is known here: of other processes, too,
    /// if there is a way to hear of them.
    fn hears_all(&self, now: Time) -> bool {
        self.shared.as_ref().is_none_or(|(_, shared)| shared.channel().is_current(now))
    }

    /// Reads anew what has run out, while others are answered with it.
    fn refresh(&self, key: &K, now: Began) {
        let (flight, is_new) = self.flight(key, now, true);
        if is_new {
            self.world.spawn(async move { drop(flight.await) });
        }
    }

    fn flight(&self, key: &K, now: Began, anew: bool) -> (Flight<Option<V>>, bool) {
        // Who is not sure to hear of changes does not join what may have seen the row before one.
        let oldest = (!self.hears_all(now.at)).then(|| now.at - TRUST);
        let begin = || -> BoxFuture<'static, Result<Option<V>>> {
            let (remembered, key) = (self.clone(), key.clone());
            Box::pin(async move { remembered.look_up(&key, now.stamp, anew).await })
        };
        self.flights.join(key, now, oldest, begin)
    }

    /// From Redis or the database; `anew`: not what has run out.
    async fn look_up(&self, key: &K, stamp: u64, anew: bool) -> Result<Option<V>> {
        let now = self.world.now();
        let mut before = None;
        if let Some((name, shared)) = &self.shared {
            match shared.ask(name, &key.to_string()).await {
                Asked::Found(bytes) => match Entry::read(&bytes) {
                    Some(entry) if now < if anew { entry.until } else { entry.gone_at(self.grace()) } => {
                        return Ok(self.keep_here(key, stamp, entry).await);
                    }
                    _ => before = Some(bytes),
                },
                Asked::Claimed(mark) => before = Some(mark),
                Asked::Taken | Asked::GoBy => {}
            }
        }
        let value = self.load(key).await?;
        if value.is_none() && self.shared.is_none() {
            return Ok(None); // nobody would tell us that it was made elsewhere
        }
        let keep = if value.is_some() { self.keep } else { self.keep.min(NOTHING_FOR) };
        let keep = keep - Duration::from_micros(self.world.below(keep.as_micros() as u64 / 10));
        let entry = Entry { until: now + keep, value };
        if let (Some((name, shared)), Some(before)) = (&self.shared, before)
            && let Some(bytes) = entry.write()
        {
            let gone_at = entry.gone_at(self.grace());
            shared.fill(name, &key.to_string(), &before, (bytes, gone_at.since(now))).await;
        }
        Ok(self.keep_here(key, stamp, entry).await)
    }

    /// Reads it, in a task that serves nobody.
    async fn load(&self, key: &K) -> Result<Option<V>> {
        let (answer, answered) = oneshot::channel();
        let read = (self.read)(key.clone());
        // Whoever asked may be gone by then.
        self.world.spawn(async move { drop(answer.send(read.await)) });
        answered.await.unwrap_or_else(|_| Err(Error::internal("a reading ended without an answer")))
    }

    async fn keep_here(&self, key: &K, stamp: u64, entry: Entry<V>) -> Option<V> {
        self.values.insert(key.clone(), (stamp, entry.clone())).await;
        entry.value
    }

    /// How long what has run out may be answered with while it is read anew.
    /// Only where every change is heard: else the time is what bounds its age.
    fn grace(&self) -> Duration {
        if self.shared.is_some() { self.keep / 5 } else { Duration::ZERO }
    }

    fn stamp(&self, key: &K) -> u64 {
        let epoch = self.shared.as_ref().map_or(0, |(_, shared)| shared.channel().epoch());
        // Both only grow: the sum stands when both stand.
        count(&self.changes, key).load(Ordering::SeqCst) + epoch
    }
}

fn change<K: Hash>(changes: &[AtomicU64], key: &K) {
    count(changes, key).fetch_add(1, Ordering::SeqCst);
}

fn count<'a, K: Hash>(changes: &'a [AtomicU64], key: &K) -> &'a AtomicU64 {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    &changes[hash as usize % SHARDS]
}
