//! The time by which a shop that does not run is looked at: when it ended, not
//! now. What it left to be done is not late while nobody is there to do it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kernel::{BoxFuture, Outside, Result, Task, Time, World};

use crate::shop::Shop;

/// A clock that can be set back. Cheap to clone.
#[derive(Clone)]
pub struct Past {
    real: World,
    behind: Arc<AtomicI64>,
}

impl Past {
    /// One that goes with the real one.
    pub fn new(real: &World) -> Past {
        Past { real: real.clone(), behind: Arc::default() }
    }

    /// A world that goes by it.
    pub fn world(&self) -> World {
        World::new(self.clone())
    }

    /// Sets it back to when the shop was last at work, as its schedules say:
    /// each has its next slot before it, and the shortest is of a minute. Those
    /// that this program does not know say nothing: nobody has moved them on.
    pub async fn set_back(&self, shop: &Shop) -> Result<()> {
        let known: Vec<&str> = shop.runners()?.iter().flat_map(jobs::Runner::schedules).collect();
        let mut last: Option<Time> = None;
        for (_, db) in &shop.databases {
            let next: Result<Option<Time>> =
                db::read!(db, async |tx| { jobs::audit::next_slot(tx, &known).await });
            last = [last, next?].into_iter().flatten().min();
        }
        if let Some(last) = last {
            let behind = self.real.now().since(last).as_micros();
            self.behind.store(i64::try_from(behind).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Outside for Past {
    fn now(&self) -> Time {
        let behind = u64::try_from(self.behind.load(Ordering::SeqCst)).unwrap_or_default();
        self.real.now() - Duration::from_micros(behind)
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let (real, span) = (self.real.clone(), until.since(self.now()));
        Box::pin(async move { real.sleep(span).await })
    }

    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(16) {
            chunk.copy_from_slice(&self.real.random::<16>()[..chunk.len()]);
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        self.real.spawn(task)
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let real = self.real.clone();
        Box::pin(async move { drop(real.blocking(work).await) })
    }

    fn reached(&self, point: &str) {
        self.real.reached(point);
    }
}
