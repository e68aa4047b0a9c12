//! What holds on PostgreSQL: bodies that are run again, and connections that die.

use std::sync::atomic::{AtomicU32, Ordering};

use db::{Db, Target, query};
use kernel::{Kind, Result, World};
use tokio::sync::Barrier;

use crate::{
    kit::{TestDb, add, postgres, things},
    load::until,
};

/// `once(state)` fails with that SQLSTATE the first time it is called.
const ONCE: &str = "CREATE SEQUENCE calls; \
    CREATE FUNCTION once(state TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN \
        IF nextval('calls') = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = state; END IF; RETURN 1; \
    END $$;";

/// The first commit that has a row of `fates` ends its own connection.
const DEADLY: &str = "CREATE SEQUENCE deaths; CREATE TABLE fates (id BIGINT); \
    CREATE FUNCTION die() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
        IF nextval('deaths') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; \
    END $$; \
    CREATE CONSTRAINT TRIGGER die AFTER INSERT ON fates DEFERRABLE INITIALLY DEFERRED \
    FOR EACH ROW EXECUTE FUNCTION die();";

/// Statements that no service would write, sent past `db`.
pub async fn aside(test: &TestDb, sql: &str) {
    let Target::Postgres { url, schema, .. } = &test.target else { unreachable!() };
    let (client, wire) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(wire);
    let path = format!("SET search_path = \"{}\"", schema.replace('"', "\"\""));
    client.batch_execute(&path).await.unwrap();
    client.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn sessions_are_set_up() {
    let test = postgres().await;
    let settings = "SELECT current_schema(), current_setting('statement_timeout'), \
        current_setting('lock_timeout'), current_setting('TimeZone'), current_setting('application_name'), \
        current_setting('transaction_isolation'), current_setting('transaction_read_only')";
    type Settings = (String, String, String, String, String, String, String);
    let ask = async |level: &str, read_only: &str| {
        let found: Result<Settings> = match level {
            "write" => db::write!(test.db, async |tx| { query(settings).fetch_one(tx).await }),
            "read" => db::read!(test.db, async |tx| { query(settings).fetch_one(tx).await }),
            _ => db::snapshot!(test.db, async |tx| { query(settings).fetch_one(tx).await }),
        };
        let found = found.unwrap();
        assert_eq!((&*found.0, &*found.1, &*found.2), ("it's \"own\"", "10s", "5s"));
        assert_eq!((&*found.3, &*found.4, &*found.6), ("UTC", "carmel", read_only));
        found.5
    };

    assert_eq!(ask("write", "off").await, "read committed");
    assert_eq!(ask("read", "on").await, "read committed");
    assert_eq!(ask("snapshot", "on").await, "repeatable read");
}

#[tokio::test]
async fn what_a_row_holds_stays_out_of_the_log() {
    let test = postgres().await;
    aside(&test, "CREATE TABLE people (email TEXT PRIMARY KEY, age BIGINT NOT NULL)").await;
    let save = async |email: &'static str, age: Option<i64>| {
        let saved: Result<u64> = db::write!(test.db, async |tx| {
            query("INSERT INTO people (email, age) VALUES ($1, $2)").bind(email).bind(age).execute(tx).await
        });
        saved
    };
    save("ada@example.org", Some(36)).await.unwrap();

    for (email, age, state) in [("ada@example.org", Some(37), "23505"), ("bob@example.org", None, "23502")] {
        let error = save(email, age).await.unwrap_err();
        assert_eq!(error.code, "constraint_violated");
        let told = format!("{} {error:?}", error.chain());
        assert!(told.contains(state) && !told.contains("@example.org"), "{told}");
    }
}

#[tokio::test]
async fn a_serialisation_failure_runs_the_body_again() {
    let test = postgres().await;
    aside(&test, ONCE).await;
    let runs = AtomicU32::new(0);

    let outcome: Result<()> = db::write!(test.db, async |tx| {
        runs.fetch_add(1, Ordering::SeqCst);
        add(tx, 1, 1).await?;
        query("SELECT once('40001')").fetch_one::<(i64,)>(tx).await.map(drop)
    });

    outcome.unwrap();
    assert_eq!((runs.into_inner(), test.things().await), (2, vec![(1, 1)]));
}

#[tokio::test]
async fn of_two_in_a_deadlock_both_succeed() {
    let test = postgres().await;
    let rows: Result<()> = db::write!(test.db, async |tx| {
        add(tx, 1, 0).await?;
        add(tx, 2, 0).await.map(drop)
    });
    rows.unwrap();
    let (both, runs) = (Barrier::new(2), AtomicU32::new(0));
    let cross = async |first: i64, second: i64| {
        let mut met = false;
        let outcome: Result<()> = db::write!(test.db, async |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            let more = "UPDATE things SET n = n + 1 WHERE id = $1";
            query(more).bind(first).execute(tx).await?;
            if !std::mem::replace(&mut met, true) {
                both.wait().await;
            }
            query(more).bind(second).execute(tx).await.map(drop)
        });
        outcome.unwrap();
    };

    tokio::join!(cross(1, 2), cross(2, 1));

    assert_eq!(test.things().await, [(1, 2), (2, 2)]);
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_dies_before_the_commit_is_replaced() {
    let test = postgres().await;
    let runs = AtomicU32::new(0);

    let outcome: Result<()> = db::write!(test.db, async |tx| {
        add(tx, 1, 1).await?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            query("SELECT pg_terminate_backend(pg_backend_pid())").execute(tx).await?;
        }
        add(tx, 2, 2).await.map(drop)
    });

    outcome.unwrap();
    assert_eq!((runs.into_inner(), test.things().await), (2, vec![(1, 1), (2, 2)]));
}

#[tokio::test]
async fn connections_that_died_idle_are_replaced() {
    let test = postgres().await;
    assert_eq!(test.things().await, []);
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carmel' \
        AND datname = current_database()";

    aside(&test, kill).await;

    assert_eq!(test.things().await, []);
    let outcome: Result<u64> = db::write!(test.db, async |tx| { add(tx, 1, 1).await });
    assert_eq!(outcome.unwrap(), 1);
}

#[tokio::test]
async fn a_commit_of_unknown_fate_is_repeated_only_where_that_is_harmless() {
    let unknown = Err("commit_unknown");
    for (repeatable, later, expected) in
        [(false, false, unknown), (true, false, Ok(())), (false, true, unknown), (true, true, Ok(()))]
    {
        let test = postgres().await;
        aside(&test, DEADLY).await;
        let runs = AtomicU32::new(0);

        let outcome: Result<()> = db::write!(test.db, async |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            if repeatable {
                tx.repeatable();
            }
            let fate = db::many("", "INSERT INTO fates (id) SELECT * FROM unnest($1::BIGINT[])");
            let fate = fate.rows([1i64], |id| db::values![id]);
            // With the commit, or before it.
            if later { fate.execute_later(tx).await } else { fate.execute(tx).await.map(drop) }
        });

        assert_eq!(outcome.as_ref().map(drop).map_err(|error| &*error.code), expected);
        assert_eq!(runs.into_inner(), if repeatable { 2 } else { 1 });
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let test = postgres().await;
    let lock: Result<()> = db::write!(test.db, async |tx| {
        add(tx, 1, 1).await?;
        let other: Result<()> = db::write!(test.db, async |tx| {
            query("SET LOCAL lock_timeout = '20ms'").execute(tx).await?;
            add(tx, 1, 1).await.map(drop)
        });
        assert_eq!(other.unwrap_err().kind, Kind::TimedOut);
        Ok(())
    });
    lock.unwrap();
    let slow: Result<()> = db::write!(test.db, async |tx| {
        query("SET LOCAL statement_timeout = '20ms'").execute(tx).await?;
        query("SELECT CAST(pg_sleep(5) AS TEXT)").execute(tx).await.map(drop)
    });

    assert_eq!(slow.unwrap_err().kind, Kind::TimedOut);
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_and_its_connection_used_again() {
    let test = postgres().await;
    let Target::Postgres { url, schema, .. } = test.target.clone() else { unreachable!() };
    let one = Db::open(&Target::Postgres { url, schema, connections: 1 }, &World::real()).await.unwrap();
    let pid = async |tx: &mut db::Tx| query("SELECT pg_backend_pid()").fetch_one::<(i64,)>(tx).await;
    let mut first = None;
    {
        let mut dropped = Box::pin(async {
            let outcome: Result<()> = db::write!(one, async |tx| {
                first = Some(pid(tx).await?);
                add(tx, 1, 1).await?;
                std::future::pending().await
            });
            outcome
        });
        let limit = World::real().timeout(std::time::Duration::from_millis(300), &mut dropped).await;
        assert!(limit.is_none());
    }

    let second: Result<(i64,)> = db::write!(one, async |tx| { pid(tx).await });

    assert_eq!(Some(second.unwrap()), first);
    assert_eq!(things(&one).await, []);
}

#[tokio::test]
async fn more_transactions_than_connections_take_turns() {
    let test = postgres().await;

    let all = (0..40).map(|id| async move { id });
    let answers = futures::future::join_all(all.map(|id| {
        let db = test.db.clone();
        async move {
            let id = id.await;
            let outcome: Result<u64> = db::write!(db, async |tx| { add(tx, id, id).await });
            outcome
        }
    }));

    assert!(answers.await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(test.things().await.len(), 40);
}

#[tokio::test]
async fn a_statement_that_a_migration_made_stale_is_prepared_anew() {
    let test = postgres().await;
    let ask = "SELECT * FROM things"; // only such a text can become stale
    let read: Result<Vec<(i64, i64)>> = db::write!(test.db, async |tx| { query(ask).fetch_all(tx).await });
    read.unwrap();

    aside(&test, "ALTER TABLE things ADD COLUMN late BIGINT").await;
    let read: Result<Vec<(i64, i64)>> = db::write!(test.db, async |tx| { query(ask).fetch_all(tx).await });

    assert_eq!(read.unwrap(), []);
}

#[tokio::test]
async fn a_deferred_rule_is_broken_at_the_commit() {
    let test = postgres().await;
    aside(&test, "CREATE TABLE twice (id BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;

    let outcome: Result<()> = db::write!(test.db, async |tx| {
        query("INSERT INTO twice (id) VALUES (1), (1)").execute(tx).await.map(drop)
    });

    assert_eq!(outcome.unwrap_err().code, "constraint_violated");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_no_secret_is_told() {
    let target = |url: &str| Target::Postgres { url: url.into(), schema: "s".into(), connections: 2 };
    let away = target("postgres://me:secret@127.0.0.1:1/x");
    let wrong = target("postgres://me:secret@127.0.0.1:port/x");

    let away_error = Db::open(&away, &World::real()).await.err().unwrap();
    let wrong_error = Db::open(&wrong, &World::real()).await.err().unwrap();

    assert_eq!((away_error.kind, &*away_error.code), (Kind::Unavailable, "database_unavailable"));
    assert_eq!(wrong_error.code, "database_url_invalid");
    for text in [format!("{away:?}"), away_error.chain(), wrong_error.chain()] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn of_two_processes_that_make_the_schema_both_open_it() {
    let test = postgres().await;
    let Target::Postgres { url, .. } = test.target.clone() else { unreachable!() };
    let target = Target::Postgres { url, schema: "new".into(), connections: 2 };
    let world = World::real();
    // Another process is in the middle of it.
    let (made, make) = (Barrier::new(2), Barrier::new(2));
    let other = async {
        let outcome: Result<()> = db::write!(test.db, async |tx| {
            query("SELECT CAST(pg_advisory_xact_lock(hashtext('carmel schemas')) AS TEXT)")
                .execute(tx)
                .await?;
            query("CREATE SCHEMA new").execute(tx).await?;
            made.wait().await;
            make.wait().await;
            Ok(())
        });
        outcome.unwrap();
    };
    let ours = async {
        made.wait().await;
        let (opened, ()) = tokio::join!(Db::open(&target, &world), async {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                AND datname = current_database()";
            until("it waits for the other", async || {
                let waiting: Result<(i64,)> =
                    db::read!(test.db, async |tx| { query(waits).fetch_one(tx).await });
                waiting.unwrap().0 > 0
            })
            .await;
            make.wait().await;
        });
        opened
    };

    let ((), opened) = tokio::join!(other, ours);

    assert!(opened.is_ok(), "{:?}", opened.err());
}
