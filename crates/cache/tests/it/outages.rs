//! Redis goes and comes back.

use std::time::Duration;

use kernel::World;
use testkit::{
    redis::{Cluster, Sentinel, Server},
    wire::{Line, Wire},
};

use crate::world::{Pair, Process, Table, until};

/// What she remembers from before is void, though she hears again.
#[tokio::test]
async fn a_process_that_lost_its_channel_forgets_all_and_has_it_again() {
    let mut pair = Pair::start().await;
    let call_all = |name: &str| (0..100).for_each(|id| pair.table.commit(id, name));
    call_all("Ann");
    for id in 0..100 {
        until("ann knows it", async || pair.ann.knows(id).await).await;
    }

    pair.redis.kill();
    pair.ann.lost().await;
    call_all("Bob"); // by somebody who could tell Redis, and she did not hear
    pair.redis.restart();

    pair.ann.connected().await;
    for id in 1..100 {
        until("she has proof that she hears", async || pair.ann.knows(0).await).await;
        assert_eq!(pair.ann.name(id).await.as_deref(), Some("Bob"));
    }
    pair.bob.connected().await;
    pair.bob.rename(1, "Carl").await;
    until("she hears again", async || pair.ann.name(1).await.as_deref() == Some("Carl")).await;
}

#[tokio::test]
async fn without_redis_the_shop_goes_on_and_recovers_alone() {
    let mut pair = Pair::start().await;
    pair.table.commit(1, "0");
    until("both know it", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;

    pair.redis.kill();
    pair.ann.lost().await;
    pair.bob.lost().await;
    for n in 1..=20 {
        pair.ann.rename(1, &n.to_string()).await;
        assert_eq!(pair.bob.name(1).await, Some(n.to_string()));
        assert_eq!(pair.ann.name(1).await, Some(n.to_string()));
    }

    pair.redis.restart();
    pair.ann.connected().await;
    pair.bob.connected().await;
    until("both remember again", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;
    pair.ann.rename(1, "new").await;
    until("bob hears again", async || pair.bob.name(1).await.as_deref() == Some("new")).await;
}

#[tokio::test]
async fn a_process_that_starts_without_redis_finds_it_later() {
    let mut redis = Server::start();
    redis.kill();
    let table = Table::new();
    table.commit(1, "Ann");
    let process = Process::begin(&World::real(), &table, &redis.url());
    assert_eq!(process.name(1).await.as_deref(), Some("Ann"));
    process.rename(1, "Bob").await;
    assert_eq!(process.name(1).await.as_deref(), Some("Bob"));

    redis.restart();

    process.connected().await;
    until("it remembers", async || process.knows(1).await).await;
}

/// Redis saves, the change removes the old value, Redis dies and comes back
/// with what it had saved.
#[tokio::test]
async fn a_redis_that_comes_back_with_old_data_is_not_believed() {
    let mut pair = Pair::start().await;
    pair.table.commit(1, "old");
    until("it is in Redis", async || pair.ann.name(1).await.is_some() && pair.bob.knows(1).await).await;
    pair.redis.ask(&["save"]);

    pair.ann.rename(1, "new").await;
    pair.redis.kill();
    pair.redis.restart();

    assert!(pair.redis.ask(&["keys", "*"]).contains("names:1"), "it came back with what it had saved");
    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
    assert_eq!(pair.bob.name(1).await.as_deref(), Some("new"));
}

/// The writer cannot reach Redis, the others can: they learn of the change
/// before the writer reads there again.
#[tokio::test]
async fn a_change_that_redis_did_not_hear_of_is_told_when_it_is_back() {
    let pair = Pair::start().await;
    let (wire, carl) = far_away(&pair).await;
    pair.table.commit(1, "old");
    until("it is in Redis", async || carl.name(1).await.is_some() && pair.bob.knows(1).await).await;

    wire.set(Line::Reset);
    carl.rename(1, "new").await;

    assert!(!carl.is_connected());
    assert_eq!(carl.name(1).await.as_deref(), Some("new"));
    wire.set(Line::Good);
    carl.connected().await;
    assert_eq!(carl.name(1).await.as_deref(), Some("new"));
    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
    until("bob hears of it", async || pair.bob.name(1).await.as_deref() == Some("new")).await;
}

/// Redis is back, and others found it first.
#[tokio::test]
async fn who_has_lost_redis_tries_again_before_he_answers_a_change() {
    let pair = Pair::start().await;
    let (wire, carl) = far_away(&pair).await;
    pair.table.commit(1, "old");
    wire.set(Line::Reset);
    carl.lost().await;
    tokio::time::sleep(Duration::from_secs(3)).await; // from now on it is tried every half a second or second
    until("bob knows it", async || pair.bob.knows(1).await).await;

    wire.set(Line::Slow(Duration::from_millis(20)));
    carl.rename(1, "new").await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    assert_eq!(pair.bob.name(1).await.as_deref(), Some("new"));
}

/// A process that has its own line to the Redis of these two.
async fn far_away(pair: &Pair) -> (Wire, Process) {
    let wire = Wire::to(([127, 0, 0, 1], pair.redis.port()).into()).await;
    let url = format!("redis://{}", wire.address());
    let process = Process::start(&pair.clock.world(), &pair.table, &url).await;
    (wire, process)
}

/// A frozen Redis breaks no connection: only the proof that does not come says
/// that nothing is heard any more.
#[tokio::test]
async fn a_process_that_hears_nothing_does_not_trust_what_it_remembers() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    until("bob knows it", async || pair.bob.knows(1).await).await;

    pair.redis.freeze();
    pair.ann.rename(1, "new").await;

    assert_eq!(pair.bob.name(1).await.as_deref(), Some("new"));
    pair.redis.thaw();
    pair.ann.connected().await;
    pair.bob.connected().await;
    until("they remember again", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;
    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
}

/// Each of its answers takes a tenth of a second. Whoever has waited in vain
/// spares the others that.
#[tokio::test]
async fn a_slow_redis_is_not_asked_by_everybody() {
    let redis = Server::start_with(&["--enable-debug-command", "local"]);
    let table = Table::new();
    let process = Process::start(&World::real(), &table, &redis.url()).await;
    let slow = redis.slow_down(Duration::from_millis(100));
    let before = redis.calls("get");

    for id in 0..200 {
        table.commit(id, "Ann");
        assert_eq!(process.name(id).await.as_deref(), Some("Ann"));
    }

    let asked = redis.calls("get") - before;
    assert!((1..50).contains(&asked), "it was asked {asked} times");
    drop(slow);
    until("it is asked again", async || process.knows(1).await).await;
}

#[tokio::test]
async fn a_flushed_redis_is_filled_again() {
    let pair = Pair::start().await;
    pair.table.commit(1, "Ann");
    until("both know it", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;

    pair.redis.flush();
    pair.ann.rename(1, "Bob").await;

    until("bob hears of it", async || pair.bob.name(1).await.as_deref() == Some("Bob")).await;
    until("it is in Redis", async || {
        pair.ann.name(1).await;
        pair.redis.ask(&["keys", "*"]).contains("names:1")
    })
    .await;
}

#[tokio::test]
async fn a_reader_whose_claim_was_flushed_does_not_fill() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    pair.table.hold();

    tokio::join!(pair.ann.name(1), async {
        until("ann has seen the old row", async || pair.table.reads() == 1).await;
        pair.redis.flush();
        pair.bob.rename(1, "new").await;
        pair.table.open();
    });

    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
}

/// The replica has the old value and never hears of the change: it is made the
/// master without it.
#[tokio::test]
async fn when_sentinels_make_another_master_the_processes_follow_and_do_not_believe_it() {
    let mut sentinel = Sentinel::start();
    let (world, table) = (World::real(), Table::new());
    table.commit(1, "old");
    let ann = Process::start(&world, &table, &sentinel.url()).await;
    let bob = Process::start(&world, &table, &sentinel.url()).await;
    until("the replica has it", async || {
        ann.name(1).await;
        sentinel.replica.ask(&["keys", "*"]).contains("names:1")
    })
    .await;

    sentinel.replica.freeze(); // the removal does not arrive
    ann.rename(1, "new").await;
    sentinel.master.kill();
    sentinel.replica.thaw();

    ann.lost().await;
    assert_eq!(bob.name(1).await.as_deref(), Some("new"));
    ann.connected().await;
    bob.connected().await;
    assert_eq!(bob.name(1).await.as_deref(), Some("new"));
    until("they remember again", async || ann.knows(1).await && bob.knows(1).await).await;
    bob.rename(1, "newer").await;
    until("ann hears again", async || ann.name(1).await.as_deref() == Some("newer")).await;
}

#[tokio::test]
async fn a_cluster_is_shared_through_the_node_that_has_our_keys() {
    let cluster = Cluster::start();
    let (world, table) = (World::real(), Table::new());
    table.commit(1, "old");
    let ann = Process::start(&world, &table, &cluster.url()).await;
    let bob = Process::start(&world, &table, &cluster.url()).await;
    until("bob knows what ann read", async || ann.name(1).await.is_some() && bob.knows(1).await).await;

    ann.rename(1, "new").await;

    until("bob hears of it", async || bob.name(1).await.as_deref() == Some("new")).await;
    let heir = cluster.hand_on(cache::PREFIX);
    until("they have followed", async || {
        let both_know = ann.knows(1).await && bob.knows(1).await;
        both_know && heir.ask(&["keys", "*"]).contains("names:1")
    })
    .await;
    bob.rename(1, "newer").await;
    until("ann hears again", async || ann.name(1).await.as_deref() == Some("newer")).await;
}
