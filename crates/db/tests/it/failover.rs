//! The primary dies, and its replica takes its place.

use std::time::Instant;

use db::{Db, Options, query};
use kernel::{Kind, Result};
use testkit::postgres::{Pair, Server};

use crate::{
    kit::add,
    load::{Load, missing, until},
    outage::open,
};

/// A primary and a replica of it, and a database that may be on either.
async fn pair(options: &[&str]) -> (Pair, Db) {
    let pair = Pair::start(options);
    let db = open(pair.url(), Options::default()).await;
    (pair, db)
}

fn set(server: &Server, setting: &str) {
    server.run_sql(&format!("ALTER SYSTEM SET {setting}"));
    server.run_sql("SELECT pg_reload_conf()");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_synchronous_replication_nothing_answered_is_missing_after_a_failover() {
    let (mut pair, db) = pair(&[]).await;
    pair.synchronise();
    let load = Load::start(&db, 16);
    load.more(300).await;

    pair.primary.kill();
    pair.replica.promote();
    let promoted = Instant::now();
    load.more(1).await;
    let resumed = promoted.elapsed();
    load.more(100).await;

    let (answered, failed) = load.stop().await;
    println!("writes resumed {resumed:?} after the promotion; {} failed meanwhile", failed.len());
    assert!(resumed.as_secs() < 30, "{resumed:?}"); // five are claimed; others use this machine as well
    assert!(missing(&db, &answered).await.is_empty());
    assert!(failed.iter().all(|error| matches!(error.kind, Kind::Unavailable)), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_asynchronous_replication_what_the_replica_had_not_heard_is_lost() {
    let (Pair { mut primary, mut replica }, db) = pair(&["fsync=off"]).await;
    let load = Load::start(&db, 8);
    load.more(100).await;
    let (heard, _) = load.stop().await;
    let all_heard = "SELECT pg_current_wal_lsn() <= min(replay_lsn) FROM pg_stat_replication";
    until("the replica has heard all of it", async || primary.ask(all_heard) == "t").await;
    replica.kill();
    let load = Load::start_at(&db, 8, 1_000_000);
    load.more(100).await;

    primary.kill();
    let (unheard, _) = load.stop().await;
    replica.restart();
    replica.promote();

    assert!(missing(&db, &heard).await.is_empty());
    assert_eq!(missing(&db, &unheard).await.len(), unheard.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_takes_no_changes_any_more_is_left_for_the_one_that_does() {
    let (Pair { primary, replica }, db) = pair(&["fsync=off"]).await;
    let save = async |id| {
        let saved: Result<u64> = db::write!(db, async |tx| { add(tx, id, id).await });
        saved
    };
    save(1).await.unwrap();
    set(&primary, "default_transaction_read_only = on");
    until("the connections know it", async || {
        save(2)
            .await
            .is_err_and(|error| error.code == "database_unavailable" || error.code == "database_read_only")
    })
    .await;

    replica.promote();

    until("changes are taken", async || save(3).await.is_ok()).await;
    let ask = async |mode: &str| {
        let found: Result<Vec<(i64,)>> = match mode {
            "read" => {
                db::read!(db, async |tx| { query("SELECT id FROM things WHERE id = 3").fetch_all(tx).await })
            }
            _ => db::snapshot!(db, async |tx| {
                query("SELECT id FROM things WHERE id = 3").fetch_all(tx).await
            }),
        };
        found.unwrap()
    };
    assert_eq!(ask("read").await, [(3,)]);
    assert_eq!(ask("snapshot").await, [(3,)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_meets_the_old_primary_is_sent_on_and_told_nothing() {
    let (Pair { primary, replica }, db) = pair(&["fsync=off"]).await;
    let save = async |id| -> Result<u64> { db::write!(db, async |tx| { add(tx, id, id).await }) };
    save(0).await.unwrap();
    replica.promote();

    set(&primary, "default_transaction_read_only = on");

    // The old connection learns of it in a moment.
    for id in 1.. {
        save(id).await.unwrap();
        if replica.ask(&format!("SELECT count(*) FROM shop.things WHERE id = {id}")) == "1" {
            break;
        }
        assert!(id < 1000, "it still writes to the old one");
    }
}
