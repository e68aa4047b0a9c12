//! The process dies at every step there is: what was answered is there, and of
//! what was not answered all or nothing.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use db::{Db, Disk, Step, Target};
use kernel::{Error, Result, World};

use crate::kit::{TABLES, add, on_disk, things};

/// A disk that takes so many steps more and then none.
struct Dying {
    left: AtomicI64,
    died: AtomicBool,
}

impl Disk for Dying {
    fn before(&self, _: Step<'_>) -> Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.died.store(true, Ordering::SeqCst);
        Err(Error::unavailable("dead", "the process is dead"))
    }

    fn inline(&self) -> bool {
        true
    }
}

/// Adds two things: both or none.
async fn pair(db: &Db, id: i64) -> (i64, bool) {
    let outcome: Result<u64> = db::write!(db, async |tx| {
        add(tx, id, id).await?;
        add(tx, id + 100, id).await
    });
    (id, outcome.is_ok())
}

/// Some writers one by one and some in a group; one of them fails by itself.
async fn work(db: &Db) -> Vec<(i64, bool)> {
    let mut answers = vec![pair(db, 1).await];
    let (two, bad, three, four) = tokio::join!(pair(db, 2), pair(db, -5), pair(db, 3), pair(db, 4));
    answers.extend([two, bad, three, four]);
    answers.push(pair(db, 6).await);
    answers
}

#[tokio::test]
async fn whatever_step_is_the_last_nothing_answered_is_lost_and_nothing_is_half_there() {
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Dying { left: AtomicI64::new(i64::MAX), died: AtomicBool::new(false) });
        let target = Target::Sqlite { path: folder.path().join("live.db") };
        let db = on_disk(&target, &World::real(), disk.clone()).await;
        db.migrate(TABLES).await.unwrap();

        disk.left.store(steps, Ordering::SeqCst);
        let answers = work(&db).await;

        let found = after_the_crash(folder.path()).await;
        for (id, ok) in answers {
            let there = [id, id + 100].map(|id| found.iter().any(|row| row.0 == id));
            assert_eq!(there[0], there[1], "{id} is half there after {steps} steps");
            assert!(!ok || there[0], "{id} was answered and is lost after {steps} steps");
            assert!(id > 0 || !there[0], "{id} breaks a rule");
        }
        if !disk.died.load(Ordering::SeqCst) {
            assert_eq!(found.len(), 10);
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 20, "beginnings, statements and commits of the work");
}

/// What the next process finds: the files as they are, nothing closed or tidied up.
async fn after_the_crash(folder: &Path) -> Vec<(i64, i64)> {
    std::fs::copy(folder.join("live.db"), folder.join("copy.db")).unwrap();
    std::fs::copy(folder.join("live.db-wal"), folder.join("copy.db-wal")).unwrap();
    let copy = Target::Sqlite { path: folder.join("copy.db") };
    things(&Db::open(&copy, &World::real()).await.unwrap()).await
}
