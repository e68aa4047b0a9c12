//! Migrations, on both databases.

use std::time::Duration;

use db::{Attempts, Db, Migration, Mode, query};
use kernel::{Kind, Result, World};

use crate::{
    kit::{TABLES, TestDb, add, postgres, things},
    load::until,
};

crate::both_databases!(
    a_migration_is_applied_once,
    a_migration_with_another_text_is_refused,
    a_migration_that_fails_leaves_nothing,
    of_two_processes_one_applies,
    an_older_program_works_on_tables_that_a_newer_one_has_migrated,
    what_the_version_before_may_not_survive_is_refused_until_it_says_whom_it_needs,
);

const MORE: &[Migration] = &[
    TABLES[0],
    Migration {
        name: "test_2",
        sql: "CREATE TABLE more (id UUID PRIMARY KEY, note TEXT NOT NULL); -- a BOOLEAN; no
              CREATE INDEX more_note ON more (note);
              INSERT INTO more (id, note) SELECT tag, name FROM things WHERE tag IS NOT NULL;",
    },
    Migration { name: "test_3", sql: "ALTER TABLE more ADD COLUMN old BOOLEAN NOT NULL DEFAULT FALSE" },
];

async fn a_migration_is_applied_once(test: TestDb) {
    assert_eq!(test.db.migrate(TABLES).await.unwrap(), 0);
    assert_eq!(test.db.migrate(MORE).await.unwrap(), 2);
    assert_eq!(test.again().await.migrate(MORE).await.unwrap(), 0);
    test.db.check("SELECT id, note, old FROM more WHERE old = TRUE").await.unwrap();
}

async fn a_migration_with_another_text_is_refused(test: TestDb) {
    let changed = Migration { name: "test_1", sql: "CREATE TABLE other (id BIGINT)" };

    let error = test.db.migrate(&[changed, MORE[1]]).await.unwrap_err();

    assert_eq!((error.kind, &*error.code), (Kind::Conflict, "migration_changed"));
    assert!(test.db.check("SELECT id FROM more").await.is_err());
}

async fn a_migration_that_fails_leaves_nothing(test: TestDb) {
    let broken =
        Migration { name: "test_2", sql: "CREATE TABLE half (id BIGINT); INSERT INTO nowhere VALUES (1)" };

    assert!(test.db.migrate(&[TABLES[0], broken]).await.is_err());

    assert!(test.db.check("SELECT id FROM half").await.is_err());
    assert_eq!(test.db.migrate(MORE).await.unwrap(), 2);
}

async fn of_two_processes_one_applies(test: TestDb) {
    let processes = futures::future::join_all((0..4).map(|_| test.again())).await;

    let applied: Result<Vec<usize>> =
        futures::future::try_join_all(processes.iter().map(|process| process.migrate(MORE))).await;

    assert_eq!(applied.unwrap().iter().sum::<usize>(), 2);
}

async fn an_older_program_works_on_tables_that_a_newer_one_has_migrated(test: TestDb) {
    let older = test.again().await;
    let newer =
        Migration { name: "test_4", sql: "ALTER TABLE things ADD COLUMN late BIGINT NOT NULL DEFAULT 7" };
    let saved: Result<u64> = db::write!(older, async |tx| { add(tx, 1, 1).await });
    saved.unwrap();

    test.db.migrate(&[MORE, &[newer]].concat()).await.unwrap();

    // It runs on, and starts again.
    for (id, program) in [(2, older), (3, test.again().await)] {
        assert_eq!(program.migrate(TABLES).await.unwrap(), 0);
        let saved: Result<u64> = db::write!(program, async |tx| { add(tx, id, 1).await });
        saved.unwrap();
        assert_eq!(things(&program).await.len(), id as usize);
    }
}

async fn what_the_version_before_may_not_survive_is_refused_until_it_says_whom_it_needs(test: TestDb) {
    let sql = "ALTER TABLE things DROP COLUMN tag";
    let hidden = Migration { name: "test_4", sql };
    let named = Migration { name: "test_4 needs test_3", sql };
    let with = |last| [MORE, &[last]].concat();

    let refused = test.db.migrate(&with(hidden)).await.unwrap_err();

    assert_eq!((refused.kind, &*refused.code), (Kind::Internal, "migration_breaks"));
    assert!(refused.chain().contains("DROP COLUMN"), "{}", refused.chain());
    test.db.check("SELECT tag FROM things").await.unwrap();
    assert_eq!(test.db.migrate(&with(named)).await.unwrap(), 1);
    // The one before knows how to live without it; the one before that does not.
    assert_eq!(test.again().await.migrate(MORE).await.unwrap(), 0);
    let older = test.again().await.migrate(TABLES).await.unwrap_err();
    assert_eq!((older.kind, &*older.code), (Kind::Conflict, "program_too_old"));
    assert!(older.message.contains("test_4 needs test_3"), "{}", older.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_may_take_longer_than_a_transaction_and_others_wait_for_it() {
    let test = postgres().await;
    let long = Migration {
        name: "long_1",
        sql: "CREATE TABLE slow AS SELECT CAST(pg_sleep(20) AS TEXT) AS nothing",
    };
    let (one, other) = (test.again().await, test.again().await);
    let (list, same) = ([long], [long]);

    let (first, second) = tokio::join!(one.migrate(&list), other.migrate(&same));

    assert_eq!(first.unwrap() + second.unwrap(), 1);
    test.db.check("SELECT nothing FROM slow").await.unwrap();
}

/// A transaction that has looked at `things` and stays open until it is dropped.
async fn reader_of_things(db: &Db) -> (Attempts, db::Tx) {
    let mut attempts = Attempts::new(db, Mode::Snapshot);
    let mut tx = attempts.begin().await.unwrap();
    let looked: Vec<(i64,)> = query("SELECT id FROM things").fetch_all(&mut tx).await.unwrap();
    assert_eq!(looked, []);
    (attempts, tx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_lets_others_pass_while_it_waits_for_its_table() {
    let test = postgres().await;
    let reader = reader_of_things(&test.db).await;
    let change = Migration { name: "test_2", sql: "ALTER TABLE things ADD COLUMN late BIGINT" };
    let migrating = test.again().await;
    let migrating = tokio::spawn(async move { migrating.migrate(&[change]).await });
    let other = test.again().await;
    let waits: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("it waits", async || {
        let waiting: Result<(i64,)> = db::read!(other, async |tx| { query(waits).fetch_one(tx).await });
        waiting.unwrap().0 > 0
    })
    .await;

    // Whoever comes now stands behind the migration, which steps aside.
    let saved: Result<u64> = db::write!(other, async |tx| { add(tx, 1, 1).await });

    assert_eq!(saved.unwrap(), 1, "not within the time for a lock");
    assert!(!migrating.is_finished(), "and it asks again");
    drop(reader);
    let applied = World::real().timeout(Duration::from_secs(60), migrating).await;
    assert_eq!(applied.expect("in a minute").unwrap().unwrap(), 1);
}
