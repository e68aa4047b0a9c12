//! The leases this runner holds, renewed while the work goes on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use db::{Db, Tx};
use kernel::{JobId, Result};
use tokio::sync::Notify;

use crate::{Run, claim};

/// The attempts under way, by job.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<JobId, Arc<Run>>>,
    some: Notify,
}

impl Leases {
    /// Its lease is renewed until the answer is dropped.
    pub fn hold<'a>(&'a self, run: &'a Arc<Run>) -> Held<'a> {
        self.held().insert(run.id, run.clone());
        self.some.notify_one();
        Held { leases: self, run }
    }

    /// Renews what is held, for ever: four times within the shortest lease, so
    /// that a failure or two do no harm.
    pub async fn renew(&self, service: &'static str, db: &Db) {
        loop {
            let Some(shortest) = self.held().values().map(|run| run.lease).min() else {
                self.some.notified().await;
                continue;
            };
            db.world().sleep(shortest / 4).await;
            let runs: Vec<Arc<Run>> = self.held().values().cloned().collect();
            let held: Vec<(JobId, i64)> = runs.iter().map(|run| (run.id, run.token)).collect();
            let renewed = db::write!(db, async |tx| { claim::renew_many(tx, &held).await });
            match renewed {
                // One that was finished with its effect is not lost, only done.
                Ok(renewed) => runs
                    .iter()
                    .filter(|run| !renewed.contains(&run.id) && !run.finished.load(Ordering::Relaxed))
                    .for_each(|run| run.lost.cancel()),
                Err(error) => tracing::warn!(service, error = error.chain(), "leases were not renewed"),
            }
        }
    }

    /// Renews what is held and has run out: it is worked on here all the same.
    /// A clock was set forward, this one's or that of another process, which
    /// takes the lease for longer than any and shortens it.
    pub async fn renew_ended(&self, tx: &mut Tx) -> Result<()> {
        let held: Vec<(JobId, i64)> = self.held().values().map(|run| (run.id, run.token)).collect();
        if !held.is_empty() {
            claim::renew_ending(tx, &held, tx.world().now()).await?;
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Run>>> {
        // Nothing in here panics half way, so what a panic left behind is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease that is being renewed.
pub(crate) struct Held<'a> {
    leases: &'a Leases,
    run: &'a Run,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // By now the job may be held again here, under a later token.
        let mut held = self.leases.held();
        if held.get(&self.run.id).is_some_and(|other| other.token == self.run.token) {
            held.remove(&self.run.id);
        }
    }
}
