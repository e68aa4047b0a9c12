//! A server that keeps its connections and answers nobody.

use std::time::{Duration, Instant};

use db::{Caller, Db, Options, query};
use kernel::{Kind, Result};
use testkit::postgres::{Pair, Server};

use crate::{
    kit::{add, things},
    load::until,
    outage::open,
};

async fn save(db: &Db, id: i64) -> Result<u64> {
    db::write!(db, async |tx| { add(tx, id, 0).await })
}

async fn look(db: &Db) -> Result<Vec<(i64,)>> {
    db::read!(db, async |tx| { query("SELECT id FROM things").fetch_all(tx).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_primary_frozen_nobody_hangs_and_afterwards_it_goes_on() {
    let server = Server::own(&["fsync=off"]);
    let db = open(server.url(), Options::default()).await;
    save(&db, 1).await.unwrap();
    assert_eq!(look(&db).await.unwrap().len(), 1);

    server.freeze();
    let all = futures::future::join3(save(&db, 2), look(&db), Db::time(&db));
    let (saved, seen, time) =
        tokio::time::timeout(Duration::from_secs(100), all).await.expect("an answer within its time");

    for error in [saved.unwrap_err(), seen.unwrap_err(), time.unwrap_err()] {
        assert!(matches!(error.kind, Kind::TimedOut | Kind::Unavailable), "{}", error.chain());
    }
    server.thaw();
    until("it goes on", async || save(&db, 3).await.is_ok() && look(&db).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_is_left_for_the_replica_that_takes_its_place() {
    let pair = Pair::start(&["fsync=off"]);
    let db = open(pair.url(), Options::default()).await;
    let Pair { primary, replica } = pair;
    // Every connection is there, and is one to the old primary.
    let all = (1..=8).map(|id| save(&db, id));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(things(&db).await.len(), 8);
    let heard = "SELECT pg_current_wal_lsn() <= min(replay_lsn) FROM pg_stat_replication";
    until("the replica has heard all of it", async || primary.ask(heard) == "t").await;

    primary.freeze();
    replica.promote();
    let promoted = Instant::now();

    // One after the other: each meets a connection that would hold it up.
    let mut refused = 0;
    for id in 100.. {
        if save(&db, id).await.is_ok() && look(&db).await.is_ok() {
            break;
        }
        refused += 1;
        assert!(refused < 5, "it still asks the one that is frozen after {:?}", promoted.elapsed());
    }
    assert_eq!(replica.ask("SELECT count(*) FROM shop.things WHERE id <= 8"), "8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_is_left_out_and_the_primary_answers() {
    let Pair { primary, replica } = Pair::start(&["fsync=off"]);
    let options =
        Options { replicas: vec![replica.url()], lag: Duration::from_secs(300), ..Options::default() };
    let db = open(primary.url(), options).await;
    let by_replica = async || {
        let ask = async {
            db::read_near!(db, async |tx| {
                query("SELECT pg_is_in_recovery()").fetch_one::<(bool,)>(tx).await
            })
        };
        let answer: Result<(bool,)> = Caller::new(None).serve(ask).await;
        answer.expect("somebody answers, always").0
    };
    until("the replica serves", by_replica).await;

    replica.freeze();

    // The first may still be sent to it: nobody knows yet. They are answered, too.
    until("it is left out, and nobody waits for it", async || {
        let asked = Instant::now();
        assert!(!by_replica().await);
        asked.elapsed() < Duration::from_secs(1) // one that was sent to it takes two
    })
    .await;
    replica.thaw();
    until("it is taken back", by_replica).await;
}
