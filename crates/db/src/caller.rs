//! Whoever is being served, as far as replicas are concerned: when he last
//! changed something.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use kernel::Time;

tokio::task_local! {
    static CURRENT: Caller;
}

/// Somebody who must see his own changes. While he is being served
/// ([`Caller::serve`]), a [`write!`](crate::write) notes its time here, and
/// [`read_near!`](crate::read_near) asks no replica that may not have it yet.
/// Where nobody is being served it asks the primary.
#[derive(Clone, Debug)]
pub struct Caller(Arc<AtomicI64>);

impl Caller {
    /// One who changed something at that time, or never.
    pub fn new(wrote_at: Option<Time>) -> Caller {
        Caller(Arc::new(AtomicI64::new(wrote_at.map_or(NEVER, Time::micros))))
    }

    /// When he last changed something.
    pub fn wrote_at(&self) -> Option<Time> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != NEVER).then_some(Time::from_micros(micros))
    }

    /// Notes that he has changed something just now, wherever that was.
    pub fn wrote(&self, now: Time) {
        self.0.fetch_max(now.micros(), Ordering::Relaxed);
    }

    /// Does some work for him. A task that the work starts is not his.
    pub async fn serve<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), work).await
    }

    /// The one who is being served by this task.
    pub fn current() -> Option<Caller> {
        CURRENT.try_with(Caller::clone).ok()
    }
}

const NEVER: i64 = i64::MIN;
