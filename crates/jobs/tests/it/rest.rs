//! A runner with nothing to do.

use std::{sync::Arc, time::Duration};

use db::{Db, Target};
use jobs::Runner;
use kernel::World;
use testkit::Counting;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::world::{Note, Notes};

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

    let before = disk.seen();
    sleep(Duration::from_millis(2500)).await; // two polls or more
    let after = disk.seen();

    assert!(after.reads > before.reads, "it looks what others have added");
    assert_eq!(after.changes, before.changes, "and takes nobody's turn at writing");
    stop.cancel();
    running.await.unwrap();
}
