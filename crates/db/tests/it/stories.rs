//! What holds on both databases.

use std::sync::atomic::{AtomicU32, Ordering};

use db::{Caller, Engine, Gather, query, query_for};
use futures::{FutureExt, future::join_all};
use kernel::{Error, Kind, Result, Value};
use uuid::Uuid;

use crate::kit::{TestDb, add};

crate::both_databases!(
    a_change_is_seen_by_its_own_transaction_and_by_the_next,
    each_of_many_writers_gets_its_own_answer,
    a_body_that_fails_leaves_nothing,
    parameters_are_bound_by_their_number,
    every_value_reads_back,
    lists_are_bound,
    who_asked_for_a_gathered_change_has_changed_something,
    one_statement_is_for_many_rows,
    of_many_rows_all_or_none_are_changed,
    what_is_not_waited_for_is_done_in_its_order,
    what_is_not_waited_for_and_refused_leaves_nothing,
    a_value_of_another_type_is_refused,
    a_number_that_is_not_whole_is_to_be_cast,
    after_a_refused_statement_nothing_more_is_done,
    a_statement_that_was_not_awaited_spoils_its_transaction,
    who_looks_cannot_change,
    a_snapshot_stays_the_same,
    a_cancelled_writer_leaves_nothing,
    a_signal_is_raised_by_a_commit_only,
    a_text_is_checked_without_running,
    it_tells_the_time,
    after_closing_nothing_is_begun,
    a_missing_column_is_named,
    text_is_ordered_by_its_bytes,
    a_text_that_one_of_them_cannot_store_is_refused_by_both,
);

async fn a_change_is_seen_by_its_own_transaction_and_by_the_next(test: TestDb) {
    let seen: Result<Vec<(i64,)>> = db::write!(test.db, async |tx| {
        add(tx, 1, 10).await?;
        query("UPDATE things SET n = n + 1 WHERE id = $1 RETURNING n").bind(1i64).fetch_all(tx).await
    });

    assert_eq!(seen.unwrap(), [(11,)]);
    assert_eq!(test.things().await, [(1, 11)]);
}

async fn each_of_many_writers_gets_its_own_answer(test: TestDb) {
    let writers = (0..60).map(|id| {
        let db = test.db.clone();
        tokio::spawn(async move {
            let n = if id % 7 == 3 { -1 } else { id * 2 };
            let outcome: Result<(i64,)> = db::write!(db, async |tx| {
                add(tx, id + 1000, 1).await?;
                add(tx, id, n).await?;
                query("SELECT n FROM things WHERE id = $1").bind(id).fetch_one(tx).await
            });
            (id, outcome)
        })
    });

    let answers = join_all(writers).await;

    for answer in answers {
        match answer.unwrap() {
            (id, Ok((n,))) => assert!(id % 7 != 3 && n == id * 2),
            (id, Err(error)) => {
                assert_eq!((id % 7, error.kind, &*error.code), (3, Kind::Conflict, "constraint_violated"));
                assert!(error.cause.is_some());
            }
        }
    }
    let kept: Vec<i64> = (0..60).filter(|id| id % 7 != 3).collect();
    let expected = kept.iter().map(|id| (*id, id * 2)).chain(kept.iter().map(|id| (id + 1000, 1)));
    assert_eq!(test.things().await, expected.collect::<Vec<_>>());
}

async fn a_body_that_fails_leaves_nothing(test: TestDb) {
    let outcome: Result<()> = db::write!(test.db, async |tx| {
        add(tx, 1, 1).await?;
        Err(Error::conflict("changed_my_mind", "it was changed"))
    });

    assert_eq!(outcome.unwrap_err().code, "changed_my_mind");
    assert_eq!(test.things().await, []);
}

async fn parameters_are_bound_by_their_number(test: TestDb) {
    let row: Result<(String, String, String)> = db::read!(test.db, async |tx| {
        query("SELECT CAST($2 AS TEXT), CAST($1 AS TEXT), '$1 $2' WHERE CAST($2 AS TEXT) = 'two'")
            .bind("one")
            .bind("two")
            .fetch_one(tx)
            .await
    });
    let missing: Result<u64> =
        db::write!(test.db, async |tx| { query("DELETE FROM things WHERE id = $1").execute(tx).await });

    assert_eq!(row.unwrap(), ("two".into(), "one".into(), "$1 $2".into()));
    assert_eq!(missing.unwrap_err().kind, Kind::Internal);
}

async fn every_value_reads_back(test: TestDb) {
    type All = (i64, Option<String>, Option<bool>, Option<Vec<u8>>, Option<Uuid>);
    let full: All =
        (i64::MAX, Some("ä\u{1F600}".into()), Some(true), Some(vec![0, 255]), Some(Uuid::from_u128(7)));
    let empty: All = (0, None, None, None, None);
    let insert = "INSERT INTO things (id, n, name, ok, raw, tag) VALUES ($1, $2, $3, $4, $5, $6)";

    let found: Result<Vec<All>> = db::write!(test.db, async |tx| {
        for (id, (n, name, ok, raw, tag)) in [full.clone(), empty.clone()].into_iter().enumerate() {
            let row = query(insert).bind(id as i64).bind(n).bind(name).bind(ok).bind(raw).bind(tag);
            assert_eq!(row.execute(tx).await?, 1);
        }
        query("SELECT n, name, ok, raw, tag FROM things ORDER BY id").fetch_all(tx).await
    });

    assert_eq!(found.unwrap(), [full, empty]);
}

/// So that no replica shows him what was before it.
async fn who_asked_for_a_gathered_change_has_changed_something(test: TestDb) {
    let gather: Gather<i64, ()> = Gather::writing(&test.db, 8, |tx, ids: &[i64]| {
        Box::pin(async move {
            for id in ids {
                add(tx, *id, 0).await?;
            }
            Ok(ids.iter().map(|_| Ok(())).collect())
        })
    });
    let caller = Caller::new(None);

    caller.serve(gather.call(1)).await.unwrap();

    assert!(caller.wrote_at().is_some());
    assert_eq!(test.things().await, [(1, 0)]);
}

/// Each shape of value, some or all of a column missing.
async fn one_statement_is_for_many_rows(test: TestDb) {
    type Row = (i64, i64, Option<String>, Option<bool>, Option<Vec<u8>>, Option<Uuid>);
    let insert = || {
        db::many(
        "INSERT INTO things (id, n, name, ok, raw, tag) VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO things (id, n, name, ok, raw, tag)
         SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::TEXT[], $4::BOOLEAN[], $5::BYTEA[], $6::UUID[])",
    )
    };
    let find = || {
        db::many(
            "SELECT id, n, name, ok, raw, tag FROM things WHERE id = $1",
            "SELECT id, n, name, ok, raw, tag FROM things WHERE id = ANY ($1::BIGINT[])",
        )
    };
    let full: Row =
        (1, 10, Some("\"{,}\" NULL ä".into()), Some(false), Some(vec![0, 255]), Some(Uuid::from_u128(7)));
    let empty: Row = (2, 20, None, None, None, None);
    for rows in [vec![empty.clone()], vec![full.clone(), empty.clone()], vec![full, empty], Vec::new()] {
        let kept: Result<(u64, Vec<Row>)> = db::write!(test.db, async |tx| {
            query("DELETE FROM things").execute(tx).await?;
            let row = |(id, n, name, ok, raw, tag): &Row| {
                db::values![*id, *n, name.as_deref(), *ok, raw.as_deref(), *tag]
            };
            let inserted = insert().rows(&rows, row).execute(tx).await?;
            let ids = rows.iter().map(|row| row.0).chain([404]);
            Ok((inserted, find().rows(ids, |id| db::values![id]).fetch_all(tx).await?))
        });

        let (inserted, mut kept) = kept.unwrap();
        kept.sort_by_key(|row| row.0);
        assert_eq!((inserted, kept), (rows.len() as u64, rows));
    }
}

async fn of_many_rows_all_or_none_are_changed(test: TestDb) {
    let refused: Result<u64> =
        db::write!(test.db, async |tx| { insert(&[(1, 1), (2, -1), (3, 3)]).execute(tx).await });

    assert_eq!(refused.unwrap_err().code, "constraint_violated");
    assert_eq!(test.things().await, []);
}

/// A statement for each of these rows.
fn insert(rows: &[(i64, i64)]) -> db::Many {
    let insert = db::many(
        "INSERT INTO things (id, n) VALUES ($1, $2)",
        "INSERT INTO things (id, n) SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[])",
    );
    insert.rows(rows, |(id, n)| db::values![*id, *n])
}

async fn what_is_not_waited_for_is_done_in_its_order(test: TestDb) {
    let double = || {
        let double = db::many(
            "UPDATE things SET n = 2 * n WHERE id > $1",
            "UPDATE things SET n = 2 * n FROM unnest($1::BIGINT[]) AS given (id) WHERE things.id > given.id",
        );
        double.rows([0i64], |id| db::values![id])
    };
    // More than go with one statement; at first they are prepared, then they are.
    for _ in 0..2 {
        let seen: Result<(i64,)> = db::write!(test.db, async |tx| {
            query("DELETE FROM things").execute(tx).await?;
            for id in 1..=20 {
                insert(&[(id, 1)]).execute_later(tx).await?;
                double().execute_later(tx).await?;
            }
            let seen = query("SELECT n FROM things WHERE id = 19").fetch_one(tx).await?;
            insert(&[(21, 1)]).execute_later(tx).await?;
            double().execute_later(tx).await?;
            Ok(seen)
        });

        assert_eq!(seen.unwrap(), (4,));
        assert_eq!(test.things().await, (1..=21).map(|id| (id, 1 << (22 - id))).collect::<Vec<_>>());
    }
    let alone: Result<()> = db::write!(test.db, async |tx| { insert(&[(22, 0)]).execute_later(tx).await });
    alone.unwrap();
    assert_eq!(test.things().await.len(), 22);
}

async fn what_is_not_waited_for_and_refused_leaves_nothing(test: TestDb) {
    for asks_more in [true, false] {
        let refused: Result<()> = db::write!(test.db, async |tx| {
            add(tx, 1, 1).await?;
            insert(&[(2, -1)]).execute_later(tx).await?;
            insert(&[(3, 3)]).execute_later(tx).await?;
            if asks_more { add(tx, 4, 4).await.map(drop) } else { Ok(()) }
        });

        assert_eq!(refused.unwrap_err().code, "constraint_violated");
        assert_eq!(test.things().await, []);
    }
    // Nothing of it is left on the connection.
    let next: Result<u64> = db::write!(test.db, async |tx| { add(tx, 5, 5).await });
    assert_eq!((next.unwrap(), test.things().await), (1, vec![(5, 5)]));
}

async fn lists_are_bound(test: TestDb) {
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(u128::MAX));
    let texts = vec!["plain".to_owned(), "\"quoted\"\\\n\u{1}ä".to_owned()];

    type Lists = (Vec<(i64,)>, Vec<(String,)>, Vec<(Uuid,)>);
    let found: Result<Lists> = db::read!(test.db, async |tx| {
        let ints = query_for("SELECT value FROM json_each($1)", "SELECT unnest($1::BIGINT[])");
        let strings = query_for("SELECT value FROM json_each($1)", "SELECT unnest($1::TEXT[])");
        let uuids = query_for("SELECT unhex(value) FROM json_each($1)", "SELECT unnest($1::UUID[])");
        Ok((
            ints.bind(Value::Ints(vec![3, i64::MIN])).fetch_all(tx).await?,
            strings.bind(Value::Texts(texts.clone())).fetch_all(tx).await?,
            uuids.bind(Value::Uuids(vec![a, b])).fetch_all(tx).await?,
        ))
    });

    let (ints, strings, uuids) = found.unwrap();
    assert_eq!(ints, [(3,), (i64::MIN,)]);
    assert_eq!(strings.into_iter().map(|row| row.0).collect::<Vec<_>>(), texts);
    assert_eq!(uuids, [(a,), (b,)]);
}

async fn a_value_of_another_type_is_refused(test: TestDb) {
    let outcome: Result<u64> = db::write!(test.db, async |tx| {
        query("INSERT INTO things (id, n, raw) VALUES (1, 1, $1)").bind("text").execute(tx).await
    });

    assert_eq!(outcome.unwrap_err().kind, Kind::Internal);
    assert_eq!(test.things().await, []);
}

async fn a_number_that_is_not_whole_is_to_be_cast(test: TestDb) {
    let sum: Result<(i64,)> =
        db::read!(test.db, async |tx| { query("SELECT 1.5 * count(*) FROM things").fetch_one(tx).await });
    let cast: Result<(i64,)> = db::read!(test.db, async |tx| {
        query("SELECT CAST(SUM(n) AS BIGINT) FROM (SELECT 2 AS n UNION ALL SELECT 3) AS t")
            .fetch_one(tx)
            .await
    });

    assert!(sum.unwrap_err().chain().contains("cast it to BIGINT"));
    assert_eq!(cast.unwrap(), (5,));
}

async fn after_a_refused_statement_nothing_more_is_done(test: TestDb) {
    let outcome: Result<()> = db::write!(test.db, async |tx| {
        add(tx, 1, 1).await?;
        assert!(add(tx, 2, -1).await.is_err());
        assert!(add(tx, 3, 3).await.is_err());
        Ok(()) // the body did not look
    });

    assert_eq!(outcome.unwrap_err().code, "constraint_violated");
    assert_eq!(test.things().await, []);
}

async fn a_statement_that_was_not_awaited_spoils_its_transaction(test: TestDb) {
    let left: Result<bool> = match test.db.engine() {
        // Here a statement ends within one poll.
        Engine::Sqlite => db::write!(test.db, async |tx| {
            add(tx, 1, 1).await?;
            Ok(add(tx, 2, 2).now_or_never().is_none())
        }),
        // Here it may, too, if the answer comes quickly enough: this one's does not.
        Engine::Postgres => db::write!(test.db, async |tx| {
            add(tx, 1, 1).await?;
            let slow = query("SELECT CAST(pg_sleep(0.2) AS TEXT)").fetch_one::<(String,)>(tx);
            Ok(slow.now_or_never().is_none())
        }),
    };

    match test.db.engine() {
        Engine::Sqlite => assert!(!left.unwrap()),
        Engine::Postgres => assert!(left.unwrap_err().chain().contains("not awaited")),
    }
    let kept = if test.db.engine() == Engine::Sqlite { 2 } else { 0 };
    assert_eq!(test.things().await.len(), kept);
}

async fn who_looks_cannot_change(test: TestDb) {
    let read: Result<u64> = db::read!(test.db, async |tx| { add(tx, 1, 1).await });
    let snapshot: Result<u64> = db::snapshot!(test.db, async |tx| { add(tx, 1, 1).await });

    assert!(read.is_err() && snapshot.is_err());
    assert_eq!(test.things().await, []);
}

async fn a_snapshot_stays_the_same(test: TestDb) {
    let count = "SELECT count(*) FROM things";
    let seen: Result<((i64,), (i64,))> = db::snapshot!(test.db, async |tx| {
        let before = query(count).fetch_one(tx).await?;
        let added: Result<u64> = db::write!(test.db, async |tx| { add(tx, 1, 1).await });
        added?;
        Ok((before, query(count).fetch_one(tx).await?))
    });

    assert_eq!(seen.unwrap(), ((0,), (0,)));
    assert_eq!(test.things().await, [(1, 1)]);
}

async fn a_cancelled_writer_leaves_nothing(test: TestDb) {
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let db = test.db.clone();
    let writer = tokio::spawn(async move {
        let mut begun = Some(begun);
        let outcome: Result<()> = db::write!(db, async |tx| {
            add(tx, 1, 1).await?;
            begun.take().unwrap().send(()).unwrap();
            std::future::pending().await
        });
        outcome
    });
    has_begun.await.unwrap();

    writer.abort();
    let next: Result<u64> = db::write!(test.db, async |tx| { add(tx, 2, 2).await });

    assert!(writer.await.unwrap_err().is_cancelled());
    assert_eq!(next.unwrap(), 1);
    assert_eq!(test.things().await, [(2, 2)]);
}

async fn a_signal_is_raised_by_a_commit_only(test: TestDb) {
    let signal = test.db.signal("news");

    let failed: Result<()> = db::write!(test.db, async |tx| {
        tx.signal("news");
        Err(Error::conflict("no", "no"))
    });
    assert!(failed.is_err() && signal.notified().now_or_never().is_none());

    let saved: Result<()> = db::write!(test.db, async |tx| {
        tx.signal("news");
        add(tx, 1, 1).await.map(drop)
    });
    assert!(saved.is_ok() && signal.notified().now_or_never().is_some());
    assert!(signal.notified().now_or_never().is_none());

    let (mut one, mut two) = (Box::pin(signal.notified()), Box::pin(signal.notified()));
    assert!(one.as_mut().enable() as u8 + two.as_mut().enable() as u8 == 0);
    let saved: Result<()> = db::write!(test.db, async |tx| {
        tx.signal("news");
        add(tx, 2, 2).await.map(drop)
    });
    assert!(saved.is_ok() && one.now_or_never().is_some() && two.now_or_never().is_some());
}

async fn a_text_is_checked_without_running(test: TestDb) {
    test.db.check("INSERT INTO things (id, n) VALUES ($1, $2)").await.unwrap();
    let error = test.db.check("SELECT id FROM nothing").await.unwrap_err();

    assert!(error.chain().contains("nothing"), "{}", error.chain());
    assert_eq!(test.things().await, []);
}

async fn it_tells_the_time(test: TestDb) {
    let time = test.db.time().await.unwrap();

    let now = test.db.world().now();
    assert!(now.since(time).as_secs() < 5 && time.since(now).as_secs() < 5);
}

async fn after_closing_nothing_is_begun(test: TestDb) {
    let under_way: Result<u64> = db::write!(test.db, async |tx| { add(tx, 1, 1).await });
    under_way.unwrap();
    let runs = AtomicU32::new(0);

    test.db.close().await;
    let outcome: Result<()> = db::write!(test.db, async |_tx| {
        runs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });

    assert_eq!((&*outcome.unwrap_err().code, runs.into_inner()), ("database_closed", 0));
    assert_eq!(crate::kit::things(&test.again().await).await, [(1, 1)]);
}

#[derive(Debug)]
struct Thing {
    colour: String,
}
db::from_row!(Thing { colour });

async fn a_missing_column_is_named(test: TestDb) {
    let outcome: Result<Thing> =
        db::read!(test.db, async |tx| { query("SELECT 'red' AS color").fetch_one(tx).await });
    let right: Result<Thing> =
        db::read!(test.db, async |tx| { query("SELECT 'red' AS colour").fetch_one(tx).await });

    assert!(outcome.unwrap_err().chain().contains("\"colour\""));
    assert_eq!(right.unwrap().colour, "red");
}

async fn text_is_ordered_by_its_bytes(test: TestDb) {
    let names: Result<Vec<(String,)>> = db::write!(test.db, async |tx| {
        for (id, name) in ["a b", "B", "ab", "a-b", "A"].into_iter().enumerate() {
            let insert = query("INSERT INTO things (id, n, name) VALUES ($1, 0, $2)");
            insert.bind(id as i64).bind(name).execute(tx).await?;
        }
        query("SELECT name FROM things WHERE name > $1 ORDER BY name").bind("A").fetch_all(tx).await
    });

    let names: Vec<String> = names.unwrap().into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["B", "a b", "a-b", "ab"]);
}

async fn a_text_that_one_of_them_cannot_store_is_refused_by_both(test: TestDb) {
    for text in [Value::Text("a\0b".into()), Value::Texts(vec!["a".into(), "\0".into()])] {
        let written: Result<u64> = db::write!(test.db, async |tx| {
            query("INSERT INTO things (id, n, name) VALUES (1, 1, $1)").bind(text.clone()).execute(tx).await
        });
        let read: Result<Vec<(i64,)>> = db::read!(test.db, async |tx| {
            query("SELECT id FROM things WHERE name = $1").bind(text.clone()).fetch_all(tx).await
        });

        for refused in [written.unwrap_err(), read.unwrap_err()] {
            assert_eq!((refused.kind, &*refused.code), (Kind::Invalid, "unstorable_text"), "{refused:?}");
        }
    }
    assert_eq!(test.things().await, []);
}
