//! Migrations, on both databases.

use db::Migration;
use kernel::{Kind, Result};

use crate::kit::{TABLES, TestDb};

crate::both_databases!(
    a_migration_is_applied_once,
    a_migration_with_another_text_is_refused,
    a_migration_that_fails_leaves_nothing,
    of_two_processes_one_applies,
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
