//! Replicas: they may answer, and nobody misses what he changed himself.

use std::time::Duration;

use db::{Caller, Db, Options, query};
use kernel::{Result, World};
use testkit::postgres::Server;

use crate::{
    kit::{TestDb, add},
    load::until,
    outage::open,
};

/// A primary, a replica of it that may be behind by `lag`, and a database on both.
async fn pair(lag: Duration) -> (Server, Server, Db) {
    let primary = Server::own(&["fsync=off"]);
    let replica = primary.replica(&["fsync=off"]);
    let options = Options { replicas: vec![replica.url()], lag, ..Options::default() };
    let db = open(primary.url(), options).await;
    until("the replica serves", async || by_replica(&db, &stranger()).await).await;
    (primary, replica, db)
}

const LONG: Duration = Duration::from_secs(300);

/// One who has changed nothing.
fn stranger() -> Caller {
    Caller::new(None)
}

async fn save(db: &Db, id: i64) {
    let saved: Result<u64> = db::write!(db, async |tx| { add(tx, id, 0).await });
    saved.unwrap();
}

/// Whether a replica answers him.
async fn by_replica(db: &Db, caller: &Caller) -> bool {
    let ask = async {
        db::read_near!(db, async |tx| { query("SELECT pg_is_in_recovery()").fetch_one::<(bool,)>(tx).await })
    };
    let answer: Result<(bool,)> = caller.serve(ask).await;
    answer.unwrap().0
}

/// How many `things` he sees.
async fn seen(db: &Db, caller: &Caller) -> i64 {
    let ask = async {
        db::read_near!(db, async |tx| { query("SELECT count(*) FROM things").fetch_one::<(i64,)>(tx).await })
    };
    let answer: Result<(i64,)> = caller.serve(ask).await;
    answer.unwrap().0
}

#[tokio::test]
async fn nobody_misses_what_he_changed_himself() {
    let (primary, replica, db) = pair(LONG).await;
    let (ann, bob) = (stranger(), stranger());
    replica.stand_still(&primary);

    ann.serve(save(&db, 1)).await;

    assert_eq!((seen(&db, &ann).await, seen(&db, &bob).await), (1, 0));
    let ann_elsewhere = Caller::new(ann.wrote_at()); // her next request, at another process
    assert_eq!(seen(&db, &ann_elsewhere).await, 1);
    replica.go_on();
    until("the replica serves her again", async || by_replica(&db, &ann).await).await;
    assert_eq!(seen(&db, &ann).await, 1);
}

#[tokio::test]
async fn a_replica_that_is_too_far_behind_is_left_out_and_taken_back() {
    let (primary, replica, db) = pair(Duration::from_secs(2)).await;
    replica.stand_still(&primary);
    save(&db, 1).await;

    until("it is left out", async || !by_replica(&db, &stranger()).await).await;
    assert_eq!(seen(&db, &stranger()).await, 1);

    replica.go_on();
    until("it is taken back", async || by_replica(&db, &stranger()).await).await;
}

#[tokio::test]
async fn a_replica_that_dies_is_missed_by_nobody_and_taken_back() {
    let (_primary, mut replica, db) = pair(Duration::from_secs(10)).await;

    replica.kill();
    for _ in 0..50 {
        assert!(!by_replica(&db, &stranger()).await);
    }

    replica.restart();
    until("it is taken back", async || by_replica(&db, &stranger()).await).await;
}

#[tokio::test]
async fn a_replica_that_was_promoted_is_a_replica_no_more() {
    let (_primary, replica, db) = pair(Duration::from_secs(10)).await;

    replica.promote();
    save(&db, 1).await;

    until("it is left out", async || seen(&db, &stranger()).await == 1).await;
}

#[tokio::test]
async fn the_primary_answers_whoever_does_not_ask_for_less() {
    let (_primary, _replica, db) = pair(Duration::from_secs(10)).await;
    let asked = "SELECT pg_is_in_recovery()";

    let near: Result<(bool,)> = db::read_near!(db, async |tx| { query(asked).fetch_one(tx).await });
    assert!(!near.unwrap().0, "nobody knows what this one has changed");
    let read: Result<(bool,)> =
        stranger().serve(async { db::read!(db, async |tx| { query(asked).fetch_one(tx).await }) }).await;
    assert!(!read.unwrap().0, "what is read may be cached or decided by");
    assert!(by_replica(&db, &stranger()).await);
}

crate::both_databases!(without_replicas_near_is_here);

async fn without_replicas_near_is_here(test: TestDb) {
    let caller = stranger();
    let before = World::real().now();

    caller.serve(save(&test.db, 1)).await;

    assert!(caller.wrote_at().unwrap() >= before);
    assert_eq!(seen(&test.db, &caller).await, 1);
}
