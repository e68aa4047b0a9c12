//! What holds on SQLite: one writer whose commits are shared, and that nobody keeps.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use db::{Db, Disk, Moment, Step, Target, query};
use futures::{FutureExt, future::join_all};
use kernel::{Error, Result, World};
use tempfile::TempDir;

use crate::kit::{Clock, TABLES, add, on_disk, sqlite, things};

/// Counts commits, and refuses them while it is told to.
#[derive(Default)]
struct Counting {
    commits: AtomicU32,
    refuse: AtomicBool,
    elsewhere: bool,
}

impl Disk for Counting {
    fn before(&self, step: Step<'_>) -> Result<()> {
        if step == Step::Commit {
            self.commits.fetch_add(1, Ordering::SeqCst);
            if self.refuse.load(Ordering::SeqCst) {
                return Err(Error::unavailable("storage_failed", "refused by the test"));
            }
        }
        Ok(())
    }

    fn inline(&self) -> bool {
        !self.elsewhere
    }
}

async fn counted(world: &World, disk: Counting) -> (TempDir, Db, Arc<Counting>) {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(disk));
    let target = Target::Sqlite { path: folder.path().join("test.db") };
    let db = on_disk(&target, world, disk.clone()).await;
    db.migrate(TABLES).await.unwrap();
    disk.commits.store(0, Ordering::SeqCst);
    (folder, db, disk)
}

async fn write(db: &Db, id: i64) -> Result<u64> {
    db::write!(db, async |tx| { add(tx, id, id).await })
}

#[tokio::test]
async fn writers_who_wait_share_a_commit() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;

    let answers = join_all((0..50).map(|id| write(&db, id))).await;

    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(things(&db).await.len(), 50);
    assert_eq!(disk.commits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_group_is_committed_at_once() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;
    // A task each: one task alone has to pause after so many waits.
    let writers = (0..300).map(|id| {
        let db = db.clone();
        tokio::spawn(async move { write(&db, id).await })
    });

    let answers = join_all(writers).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(things(&db).await.len(), 300);
    assert_eq!(disk.commits.load(Ordering::SeqCst), 3); // 128 and 128 and 44
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_many_tasks_share_commits_that_run_elsewhere() {
    let disk = Counting { elsewhere: true, ..Counting::default() };
    let (_folder, db, disk) = counted(&World::real(), disk).await;
    let writers = (0..200).map(|id| {
        let db = db.clone();
        tokio::spawn(async move { write(&db, id).await })
    });

    let answers = join_all(writers).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(things(&db).await.len(), 200);
    assert!(disk.commits.load(Ordering::SeqCst) < 150, "{:?} commits", disk.commits);
}

#[tokio::test]
async fn a_writer_alone_waits_for_nobody() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;

    for id in 0..3 {
        write(&db, id).await.unwrap();
    }

    assert_eq!(disk.commits.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn who_fails_costs_no_commit() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;

    assert_eq!(write(&db, -1).await.unwrap_err().code, "constraint_violated");

    assert_eq!(disk.commits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_every_member_and_the_next_works() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;
    disk.refuse.store(true, Ordering::SeqCst);

    let answers = join_all((0..5).map(|id| write(&db, id))).await;

    assert!(answers.into_iter().all(|answer| answer.unwrap_err().code == "storage_failed"));
    disk.refuse.store(false, Ordering::SeqCst);
    assert_eq!(things(&db).await, []);
    write(&db, 1).await.unwrap();
    assert_eq!(things(&db).await, [(1, 1)]);
}

#[tokio::test]
async fn members_that_are_all_dropped_are_committed_all_the_same() {
    let (_folder, db, disk) = counted(&World::real(), Counting::default()).await;
    let mut writers = Box::pin(join_all((0..3).map(|id| write(&db, id))));
    assert!(futures::poll!(&mut writers).is_pending());

    drop(writers);
    tokio::task::yield_now().await;

    assert_eq!(disk.commits.load(Ordering::SeqCst), 1);
    assert_eq!(things(&db).await.len(), 3);
    write(&db, 9).await.unwrap();
}

#[tokio::test]
async fn a_body_that_waits_for_something_foreign_loses_the_writer() {
    let clock = Clock::default();
    let (_folder, db, _) = counted(&World::new(clock.clone()), Counting::default()).await;
    let gate = tokio::sync::Notify::new();
    // It is polled once and then left alone: its watchdog does not depend on it.
    let mut slow = Box::pin(async {
        let outcome: Result<u64> = db::write!(db, async |tx| {
            add(tx, 1, 1).await?;
            gate.notified().await;
            add(tx, 2, 2).await
        });
        outcome
    });
    assert!(futures::poll!(&mut slow).is_pending());
    let mut next = Box::pin(write(&db, 3));
    assert!(futures::poll!(&mut next).is_pending());

    tokio::task::yield_now().await;
    clock.forward(Duration::from_millis(1001));

    assert_eq!(next.await.unwrap(), 1);
    gate.notify_one();
    assert_eq!(slow.await.unwrap_err().code, "transaction_too_slow");
    assert_eq!(things(&db).await, [(3, 3)]);
}

#[tokio::test]
async fn a_body_that_never_ends_is_ended() {
    let clock = Clock::default();
    let (_folder, db, _) = counted(&World::new(clock.clone()), Counting::default()).await;
    let mut stuck = Box::pin(async {
        let outcome: Result<()> = db::read!(db, async |_tx| { std::future::pending().await });
        outcome
    });
    assert!(futures::poll!(&mut stuck).is_pending());

    clock.forward(Duration::from_secs(16));

    assert_eq!(stuck.await.unwrap_err().code, "transaction_too_slow");
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for_without_holding_the_thread() {
    let test = sqlite().await;
    let other = test.again().await;
    let gate = tokio::sync::Notify::new();
    let mut holder = Box::pin(async {
        let outcome: Result<u64> = db::write!(other, async |tx| {
            add(tx, 1, 1).await?;
            gate.notified().await;
            add(tx, 2, 2).await
        });
        outcome
    });
    assert!(futures::poll!(&mut holder).is_pending());
    let mut waiting = Box::pin(write(&test.db, 3));
    assert!(futures::poll!(&mut waiting).is_pending());

    gate.notify_one();
    let (holder, waiting) = tokio::join!(holder, waiting);

    assert_eq!((holder.unwrap(), waiting.unwrap()), (1, 1));
    assert_eq!(test.things().await, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn another_process_that_writes_for_too_long_is_an_error() {
    let clock = Clock::default();
    let test = sqlite().await;
    let mine = on_disk(&test.target, &World::new(clock.clone()), Arc::new(Counting::default())).await;
    let mut holder = Box::pin(async {
        let outcome: Result<()> = db::write!(test.db, async |tx| {
            add(tx, 1, 1).await?;
            std::future::pending().await
        });
        outcome
    });
    assert!(futures::poll!(&mut holder).is_pending());
    let mut waiting = Box::pin(write(&mine, 3));

    let mut outcome = None;
    while outcome.is_none() {
        outcome = (&mut waiting).now_or_never();
        clock.forward(Duration::from_secs(1));
    }

    assert!(["database_busy", "database_queue_too_long"].contains(&&*outcome.unwrap().unwrap_err().code));
}

#[tokio::test]
async fn a_full_disk_takes_nothing_of_the_neighbours() {
    let (_folder, db, _) = counted(&World::real(), Counting::default()).await;
    let small: Result<(i64,)> =
        db::write!(db, async |tx| { query("PRAGMA max_page_count = 20").fetch_one(tx).await });
    assert_eq!(small.unwrap(), (20,));
    let big = async {
        let outcome: Result<u64> = db::write!(db, async |tx| {
            let insert = query("INSERT INTO things (id, n, raw) VALUES (100, 0, $1)");
            insert.bind(vec![1u8; 200_000]).execute(tx).await
        });
        outcome
    };

    let (one, big, two) = tokio::join!(write(&db, 1), big, write(&db, 2));

    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert_eq!(big.unwrap_err().code, "storage_full");
    assert_eq!(things(&db).await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn more_readers_than_connections_take_turns() {
    let test = sqlite().await;
    write(&test.db, 1).await.unwrap();

    let seen = join_all((0..50).map(|_| test.things())).await;

    assert!(seen.into_iter().all(|all| all == [(1, 1)]));
}

#[tokio::test]
async fn a_missing_folder_is_a_storage_that_does_not_work() {
    let target = Target::Sqlite { path: "/nowhere/at/all.db".into() };

    let error = Db::open(&target, &World::real()).await.err().unwrap();

    assert_eq!(error.code, "storage_failed");
}

async fn opened(path: &Path) -> Db {
    let db = Db::open(&Target::Sqlite { path: path.to_owned() }, &World::real()).await.unwrap();
    db.migrate(TABLES).await.unwrap();
    db
}

/// The rows of a file that nobody else has open.
async fn rows(path: &Path) -> usize {
    let db = opened(path).await;
    let count = things(&db).await.len();
    db.close().await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_two_files_is_kept_while_others_write_and_move_pages() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::real());
    let path = |name: &str| folder.path().join(name);
    let mut files = Vec::new();
    for name in ["one.db", "other.db"] {
        let db = opened(&path(name)).await;
        join_all((0..2000).map(|id| write(&db, id)))
            .await
            .into_iter()
            .for_each(|done| assert_eq!(done.unwrap(), 1));
        files.push(db);
    }

    let moment = Moment::take(&world, &[path("one.db"), path("other.db")]).unwrap();
    for (db, copy) in files.iter().zip(["one.copy", "other.copy"]) {
        join_all((2000..4000).map(|id| write(db, id)))
            .await
            .into_iter()
            .for_each(|done| assert_eq!(done.unwrap(), 1));
        let at = usize::from(copy == "other.copy");
        moment.copy(at, &path(copy)).unwrap();
    }
    drop(moment);

    for (db, name, copy) in [(&files[0], "one.db", "one.copy"), (&files[1], "other.db", "other.copy")] {
        db.close().await;
        assert_eq!((rows(&path(name)).await, rows(&path(copy)).await), (4000, 2000), "{name}");
    }
}

/// A writer that does not end keeps nobody else waiting for longer than a moment may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_cannot_be_had_lets_the_other_writers_go_on() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::real());
    let paths = [folder.path().join("one.db"), folder.path().join("other.db")];
    let (one, other) = (opened(&paths[0]).await, opened(&paths[1]).await);
    let held = other.clone();
    let (begun, wait) = tokio::sync::oneshot::channel();
    // Within the second that a body may hold the writer, again and again.
    let holder = tokio::spawn(async move {
        let mut begun = Some(begun);
        for id in 0..7 {
            let held: Result<()> = db::write!(held, async |tx| {
                add(tx, id, id).await?;
                begun.take().map(|begun| begun.send(()));
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(())
            });
            held.unwrap();
        }
    });
    wait.await.unwrap();

    let (at, own) = (paths.clone(), world.clone());
    let moment = tokio::task::spawn_blocking(move || Moment::take(&own, &at));
    let mut longest = Duration::ZERO;
    for id in 0..60 {
        let began = std::time::Instant::now();
        write(&one, id).await.unwrap();
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let moment = moment.await.unwrap().unwrap();
    assert!(moment.held < Duration::from_millis(1500), "{:?}", moment.held);
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    holder.await.unwrap();
}
