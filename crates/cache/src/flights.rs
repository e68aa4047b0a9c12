//! One look-up for all who ask for the same at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt,
    future::{Shared, WeakShared},
};
use kernel::{BoxFuture, Result, Time};

/// A look-up under way.
pub(crate) type Flight<V> = Shared<BoxFuture<'static, Result<V>>>;

/// The look-ups under way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Flights<K, V: Clone>(Arc<Mutex<HashMap<K, UnderWay<V>>>>);

struct UnderWay<V: Clone> {
    began: Began,
    flight: WeakShared<BoxFuture<'static, Result<V>>>,
}

/// When a look-up began: under which count of changes, and at what time.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Began {
    pub(crate) stamp: u64,
    pub(crate) at: Time,
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Flights<K, V> {
        Flights(Arc::default())
    }

    /// The flight for `key` that began under this count and not before
    /// `oldest`, or else a new one that begins `now`; and whether it is new.
    /// What began before a change is never joined after it.
    pub(crate) fn join(
        &self,
        key: &K,
        now: Began,
        oldest: Option<Time>,
        begin: impl FnOnce() -> BoxFuture<'static, Result<V>>,
    ) -> (Flight<V>, bool) {
        let mut under_way = self.lock();
        if let Some(flight) = under_way.get(key).filter(|found| found.may_be_joined(now, oldest))
            && let Some(flight) = flight.flight.upgrade()
        {
            return (flight, false);
        }
        let (landing, work) = (Landing { flights: self.clone(), key: key.clone(), began: now }, begin());
        let work: BoxFuture<'static, Result<V>> = Box::pin(async move {
            let _landing = landing; // leaves the list also when nobody waits any more
            work.await
        });
        let flight = work.shared();
        if let Some(weak) = flight.downgrade() {
            under_way.insert(key.clone(), UnderWay { began: now, flight: weak });
        }
        (flight, true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, UnderWay<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> UnderWay<V> {
    fn may_be_joined(&self, now: Began, oldest: Option<Time>) -> bool {
        self.began.stamp == now.stamp && oldest.is_none_or(|oldest| self.began.at >= oldest)
    }
}

/// Takes a flight off the list when it is dropped.
struct Landing<K: Hash + Eq, V: Clone> {
    flights: Flights<K, V>,
    key: K,
    began: Began,
}

impl<K: Hash + Eq, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&self.key).is_some_and(|found| found.began == self.began) {
            under_way.remove(&self.key);
        }
    }
}
