//! Writers that do not stop, and remember what was answered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use db::{Db, query};
use kernel::{Error, Result};
use tokio::task::JoinHandle;

/// Writers that add one of the `things` after the other, each by a key that
/// makes a second time harmless.
pub struct Load {
    told: Arc<Told>,
    writers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    next: AtomicI64,
    answered: Mutex<Vec<i64>>,
    failed: Mutex<Vec<Error>>,
}

impl Load {
    pub fn start(db: &Db, writers: usize) -> Load {
        Load::start_at(db, writers, 0)
    }

    /// The same, from another id on.
    pub fn start_at(db: &Db, writers: usize, first: i64) -> Load {
        let told = Arc::new(Told { next: AtomicI64::new(first), ..Told::default() });
        let writers = (0..writers).map(|_| tokio::spawn(write(db.clone(), told.clone()))).collect();
        Load { told, writers }
    }

    /// Waits until so many more were answered, and returns all that were.
    pub async fn more(&self, count: usize) -> Vec<i64> {
        let goal = self.answered().len() + count;
        until("writes are answered", async || self.answered().len() >= goal).await;
        self.answered()
    }

    pub fn answered(&self) -> Vec<i64> {
        self.told.answered.lock().unwrap().clone()
    }

    /// Ends the writers; returns what was answered, and why others were not.
    pub async fn stop(self) -> (Vec<i64>, Vec<Error>) {
        self.told.stop.store(true, Ordering::SeqCst);
        for writer in self.writers {
            writer.await.unwrap();
        }
        let failed = self.told.failed.lock().unwrap().clone();
        (self.told.answered.lock().unwrap().clone(), failed)
    }
}

async fn write(db: Db, told: Arc<Told>) {
    while !told.stop.load(Ordering::SeqCst) {
        let id = told.next.fetch_add(1, Ordering::SeqCst);
        let outcome: Result<u64> = db::write!(db, async |tx| {
            tx.repeatable();
            query("INSERT INTO things (id, n) VALUES ($1, 0) ON CONFLICT DO NOTHING")
                .bind(id)
                .execute(tx)
                .await
        });
        match outcome {
            Ok(_) => told.answered.lock().unwrap().push(id),
            Err(error) => told.failed.lock().unwrap().push(error),
        }
    }
}

/// Waits until it is so, for as long as a busy machine may need.
pub async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !so().await {
        assert!(Instant::now() < limit, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Those of `answered` that are not among the `things`.
pub async fn missing(db: &Db, answered: &[i64]) -> Vec<i64> {
    let kept: std::collections::HashSet<i64> =
        crate::kit::things(db).await.into_iter().map(|thing| thing.0).collect();
    answered.iter().copied().filter(|id| !kept.contains(id)).collect()
}
