//! What was read, remembered for a while.

use std::{
    future::Future,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{Result, Time, World};
use moka::future::Cache;

const SHARDS: usize = 1024;

/// Values by key, at most so many, at most so long. Cheap to clone.
///
/// What is remembered carries the count of changes that stood when its reading
/// began, and holds only while that count stands. So a reading that began
/// before a change and ends after it is never answered with, however the two
/// interleave. Several keys share a count: a change of one makes a few others
/// be read again, which is harmless.
#[derive(Clone)]
pub struct Remembered<K, V> {
    world: World,
    keep: Duration,
    values: Cache<K, Entry<V>>,
    changes: Arc<[AtomicU64]>,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    change: u64,
    until: Time,
}

impl<K, V> Remembered<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Remembers at most `most` values, each for `keep`.
    pub fn new(world: &World, most: u64, keep: Duration) -> Remembered<K, V> {
        Remembered {
            world: world.clone(),
            keep,
            values: Cache::new(most),
            changes: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The value of `key`: remembered, or else read. Nothing is not remembered.
    pub async fn get(&self, key: &K, read: impl Future<Output = Result<Option<V>>>) -> Result<Option<V>> {
        if self.keep.is_zero() {
            return read.await;
        }
        let change = self.count(key).load(Ordering::SeqCst);
        let now = self.world.now();
        if let Some(entry) = self.values.get(key).await
            && entry.change == change
            && entry.until > now
        {
            return Ok(Some(entry.value));
        }
        let value = read.await?;
        if let Some(value) = &value {
            let entry = Entry { value: value.clone(), change, until: now + self.keep };
            self.values.insert(key.clone(), entry).await;
        }
        Ok(value)
    }

    /// Says that `key` was changed: what was read of it before counts no more.
    /// To be called after the commit and before its answer.
    pub fn changed(&self, key: &K) {
        self.count(key).fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self, key: &K) -> &AtomicU64 {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        &self.changes[hash as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_that_began_before_a_change_is_not_remembered() {
        let remembered = Remembered::new(&World::real(), 10, Duration::from_secs(60));

        let slow = remembered.get(&1, async {
            remembered.changed(&1); // the change is made and answered while this is read
            Ok(Some("old"))
        });
        assert_eq!(slow.await.unwrap(), Some("old"));

        assert_eq!(remembered.get(&1, async { Ok(Some("new")) }).await.unwrap(), Some("new"));
        assert_eq!(remembered.get(&1, async { Ok(Some("newer")) }).await.unwrap(), Some("new"));
        remembered.changed(&1);
        assert_eq!(remembered.get(&1, async { Ok(Some("newer")) }).await.unwrap(), Some("newer"));
    }
}
