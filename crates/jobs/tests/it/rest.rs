//! A runner with nothing to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use db::{Db, Disk, Step, Target};
use jobs::Runner;
use kernel::{Result, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::world::{Note, Notes};

/// Counts what is read and what is changed.
#[derive(Default)]
struct Counting {
    reads: AtomicU32,
    changes: AtomicU32,
}

impl Disk for Counting {
    fn before(&self, step: Step<'_>) -> Result<()> {
        if let Step::Statement(sql) = step {
            let counter = if sql.starts_with("SELECT") { &self.reads } else { &self.changes };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_runner_reads_and_changes_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Counting::default()));
    let target = Target::Sqlite { path: folder.path().join("jobs.db") };
    let db = Db::open_on(&target, &World::real(), disk.clone()).await.unwrap();
    db.migrate(jobs::MIGRATIONS).await.unwrap();
    let (notes, stop) = (Notes::new(&db), CancellationToken::new());
    let runner = Runner::new("test", db.clone()).worker::<Note>(notes.clone());
    let running = tokio::spawn(runner.run(stop.clone()));
    sleep(Duration::from_secs(1)).await; // it has begun

    let counts = || (disk.reads.load(Ordering::Relaxed), disk.changes.load(Ordering::Relaxed));
    let before = counts();
    sleep(Duration::from_millis(2500)).await; // two polls or more
    let after = counts();

    assert!(after.0 > before.0, "it looks what others have added");
    assert_eq!(after.1, before.1, "and takes nobody's turn at writing");
    stop.cancel();
    running.await.unwrap();
}
