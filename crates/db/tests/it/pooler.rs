//! PostgreSQL behind pgbouncer in transaction mode. What holds on both
//! databases is tested there as well (`on_pgbouncer`); here is the rest.

use std::{process::Command, sync::OnceLock};

use db::{Db, Options, Pooler, Target, query};
use kernel::{Result, World};
use testkit::pgbouncer;

use crate::kit::{self, TABLES, TestDb, add};

/// The address of the pgbouncer that these tests share, without a database.
pub fn plain() -> &'static str {
    static SHARED: OnceLock<(pgbouncer::Pooler, String)> = OnceLock::new();
    &SHARED.get_or_init(|| started(Command::new("pgbouncer"), &[])).1
}

fn started(command: Command, options: &[&str]) -> (pgbouncer::Pooler, String) {
    let (_, host) = kit::server().rsplit_once('@').unwrap();
    let pooler = pgbouncer::Pooler::start_by(command, host, options);
    let address = pooler.url("").trim_end_matches('/').to_owned();
    (pooler, address)
}

#[tokio::test]
async fn every_transaction_brings_its_settings_along_and_leaves_none_behind() {
    let test = kit::pooled().await;

    sessions_are_set_up(&test).await;

    let Target::Postgres { url, .. } = &test.target else { unreachable!() };
    let (stranger, wire) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(wire);
    let ask = async |sql| {
        let answer = stranger.simple_query(sql).await.unwrap();
        answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    };
    // On each of the pooler's connections. Statements of two processes would have the same names.
    for _ in 0..4 {
        assert_eq!(ask("SHOW search_path").await.unwrap(), "\"$user\", public");
        assert_eq!(ask("SELECT count(*) FROM pg_prepared_statements").await.unwrap(), "0");
    }
}

async fn sessions_are_set_up(test: &TestDb) {
    let ask = "SELECT current_schema(), current_setting('statement_timeout'), \
        current_setting('lock_timeout'), current_setting('TimeZone'), \
        current_setting('transaction_isolation'), current_setting('transaction_read_only')";
    type Settings = (String, String, String, String, String, String);
    let write: Result<Settings> = db::write!(test.db, async |tx| { query(ask).fetch_one(tx).await });
    let read: Result<Settings> = db::read!(test.db, async |tx| { query(ask).fetch_one(tx).await });
    let snapshot: Result<Settings> = db::snapshot!(test.db, async |tx| { query(ask).fetch_one(tx).await });

    for (found, level, read_only) in [
        (write, "read committed", "off"),
        (read, "read committed", "on"),
        (snapshot, "repeatable read", "on"),
    ] {
        let found = found.unwrap();
        assert_eq!((&*found.0, &*found.1, &*found.2, &*found.3), ("it's \"own\"", "10s", "5s", "UTC"));
        assert_eq!((&*found.4, &*found.5), (level, read_only));
    }
}

/// Two services behind one pooler have the same texts for tables of their own.
async fn two_services_do_not_see_each_other(test: TestDb, pooler: Pooler) {
    let Target::Postgres { url, .. } = test.target.clone() else { unreachable!() };
    let target = Target::Postgres { url, schema: "other".into(), connections: 4 };
    let options = Options { pooler, ..Options::default() };
    let other = Db::open_with(&target, &options, &World::real()).await.unwrap();
    other.migrate(TABLES).await.unwrap();

    for id in 0..20 {
        let (ours, theirs) = tokio::join!(
            async { db::write!(test.db, async |tx| { add(tx, id, 1).await }) as Result<u64> },
            async { db::write!(other, async |tx| { add(tx, id + 100, 2).await }) as Result<u64> },
        );
        assert_eq!((ours.unwrap(), theirs.unwrap()), (1, 1));
    }

    assert!(test.things().await.iter().all(|thing| thing.1 == 1));
    assert!(kit::things(&other).await.iter().all(|thing| thing.1 == 2));
}

#[tokio::test]
async fn two_services_share_a_pooler() {
    two_services_do_not_see_each_other(kit::pooled().await, Pooler::Plain).await;
}

/// pgbouncer 1.21 or newer, which no stable Debian before 13 has:
/// `CARMEL_TEST_PGBOUNCER` is the command that runs it.
#[tokio::test]
#[ignore = "needs pgbouncer 1.21 or newer: CARMEL_TEST_PGBOUNCER"]
async fn prepared_statements_work_where_the_pooler_knows_them() {
    let command = std::env::var("CARMEL_TEST_PGBOUNCER").expect("CARMEL_TEST_PGBOUNCER is a command");
    let mut words = command.split_whitespace();
    let mut newer = Command::new(words.next().unwrap());
    newer.args(words);
    let (_pooler, address) = started(newer, &["max_prepared_statements = 100"]);
    let open = async || {
        let options = Options { pooler: Pooler::Preparing, ..Options::default() };
        kit::postgres_behind(&address, options).await
    };

    sessions_are_set_up(&open().await).await;
    two_services_do_not_see_each_other(open().await, Pooler::Preparing).await;
    let test = open().await;
    let writers = (0..40).map(|id| {
        let db = test.db.clone();
        async move { db::write!(db, async |tx| { add(tx, id, id).await }) as Result<u64> }
    });
    let answers = futures::future::join_all(writers).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let kept: Result<(i64,)> = db::read!(test.db, async |tx| {
        query("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO things%'")
            .fetch_one(tx)
            .await
    });
    assert!(kept.unwrap().0 > 0);
}
