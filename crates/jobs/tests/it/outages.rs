//! Redis is away, does not answer, throws away, or is another one now.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jobs::{Bullmq, Dispatch, State};
use kernel::{JobId, World};
use testkit::redis::{Cluster, Sentinel, Server};
use tokio_util::sync::CancellationToken;

use crate::{
    judges::Parcel,
    through_bullmq,
    world::{Gate, Note, Notes, TestDb},
};

through_bullmq!(
    jobs_go_on_while_redis_is_away_and_go_through_it_again_when_it_is_back,
    jobs_go_on_while_redis_does_not_answer,
    a_runner_that_starts_without_redis_does_its_jobs,
    jobs_that_are_worked_elsewhere_wait_while_redis_is_away,
    a_runner_stops_although_redis_does_not_answer,
    a_redis_that_comes_back_with_an_old_copy_is_noticed,
    a_redis_that_evicts_is_not_relied_on,
    a_full_redis_is_as_good_as_none,
    a_job_that_redis_refused_for_a_moment_is_handed_over_again,
    when_sentinels_make_another_master_jobs_go_through_that_one,
    jobs_go_through_a_cluster,
);

/// Waits until that job is done, while time goes by faster than it does.
async fn until_done(test: &TestDb, id: JobId) {
    test.until("it is done", async || {
        test.clock.forward(Duration::from_millis(200));
        test.state(id).await == State::Done
    })
    .await;
}

/// Adds jobs until one has gone through BullMQ's queue there.
async fn until_through(test: &TestDb, redis: &Server, prefix: &str) {
    test.until("jobs go through BullMQ", async || {
        let id = test.add(&Note::new("probe")).await;
        test.until("the probe is done", async || test.state(id).await == State::Done).await;
        redis
            .ask(&["-c", "zrange", &format!("{prefix}:test.default:completed"), "0", "-1"])
            .contains(&id.to_string())
    })
    .await;
}

async fn jobs_go_on_while_redis_is_away_and_go_through_it_again_when_it_is_back(mut test: TestDb) {
    let gate = Arc::new(Gate::default());
    let (gated, notes) = (Notes::gated(&test.db, &gate), Notes::new(&test.db));
    let (stop, no_more) = (CancellationToken::new(), CancellationToken::new());
    let holder = tokio::spawn(test.runner(&gated).concurrency("default", 1).run(no_more.clone()));
    let under_way = test.add(&Note::new("under way")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    no_more.cancel();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    until_through(&test, test.redis(), "bull").await;

    test.redis_mut().kill();
    let meanwhile = test.add(&Note::new("meanwhile")).await;
    until_done(&test, meanwhile).await;
    gate.open.notify_waiters();
    until_done(&test, under_way).await;
    test.redis_mut().restart();
    until_through(&test, test.redis(), "bull").await;
    stop.cancel();
    running.await.unwrap();
    holder.await.unwrap();

    let effects = test.effects().await;
    for once in ["under way", "meanwhile"] {
        assert_eq!(effects.iter().filter(|label| *label == once).count(), 1, "{once}: {effects:?}");
    }
    assert_eq!(test.pending().await, 0);
}

async fn jobs_go_on_while_redis_does_not_answer(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    until_through(&test, test.redis(), "bull").await;

    test.redis().freeze();
    let meanwhile = test.add(&Note::new("meanwhile")).await;
    until_done(&test, meanwhile).await;
    test.redis().thaw();
    until_through(&test, test.redis(), "bull").await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.iter().filter(|label| *label == "meanwhile").count(), 1);
}

async fn a_runner_that_starts_without_redis_does_its_jobs(mut test: TestDb) {
    test.redis_mut().kill();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));

    let id = test.add(&Note::new("a")).await;
    until_done(&test, id).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["a"]);
}

async fn jobs_that_are_worked_elsewhere_wait_while_redis_is_away(mut test: TestDb) {
    test.redis_mut().kill();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).elsewhere::<Parcel>().run(stop.clone()));

    let parcel = test.add(&Parcel { to: "Ann".into() }).await;
    let note = test.add(&Note::new("a")).await; // comes after it, by the same way
    until_done(&test, note).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.state(parcel).await, State::Waiting);
}

async fn a_runner_stops_although_redis_does_not_answer(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    until_through(&test, test.redis(), "bull").await;

    test.redis().freeze();
    stop.cancel();

    test.until("it has ended", async || {
        test.clock.forward(Duration::from_millis(200));
        running.is_finished()
    })
    .await;
}

async fn a_redis_that_comes_back_with_an_old_copy_is_noticed(test: TestDb) {
    let mut test = test.looking_up_after(Duration::from_secs(24 * 3600));
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    test.add(&Note::new("first")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    test.until("Redis is marked", async || test.redis().ask(&["get", "bull:test.default:carmel"]).len() > 9)
        .await;
    test.redis().ask(&["save"]);

    let second = test.add(&Note::new("second")).await;
    test.until("it waits", async || test.redis().ask(&["llen", "bull:test.default:wait"]).trim() == "1")
        .await;
    test.redis_mut().kill();
    test.redis_mut().restart();
    test.until("it is done", async || {
        gate.open.notify_waiters();
        test.state(second).await == State::Done
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["first", "second"]);
}

async fn a_redis_that_evicts_is_not_relied_on(test: TestDb) {
    let redis = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let evicting = Bullmq::at(&redis.url()).unwrap();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let runner = test.runner(&notes).through(Dispatch::Bullmq(evicting.clone()));
    let running = tokio::spawn(runner.run(stop.clone()));

    let refused = evicting.check(&World::real()).await.unwrap_err();
    let id = test.add(&Note::new("a")).await;
    until_done(&test, id).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!((&*refused.code, refused.is_transient()), ("queue_evicts", false));
    assert!(refused.message.contains("allkeys-lru") && refused.message.contains("noeviction"), "{refused}");
    let through = test.redis().url();
    assert_eq!(Bullmq::at(&through).unwrap().check(&World::real()).await, Ok(()));
}

async fn a_full_redis_is_as_good_as_none(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    until_through(&test, test.redis(), "bull").await;

    test.redis().ask(&["config", "set", "maxmemory", "1"]);
    let meanwhile = test.add(&Note::new("meanwhile")).await;
    until_done(&test, meanwhile).await;
    test.redis().ask(&["config", "set", "maxmemory", "0"]);
    until_through(&test, test.redis(), "bull").await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.iter().filter(|label| *label == "meanwhile").count(), 1);
}

async fn a_job_that_redis_refused_for_a_moment_is_handed_over_again(test: TestDb) {
    let test = test.looking_up_after(Duration::from_secs(24 * 3600));
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    until_through(&test, test.redis(), "bull").await;

    test.redis().ask(&["config", "set", "maxmemory", "1"]);
    let id = test.add(&Note::new("refused")).await;
    test.until("it is refused", async || test.redis().ask(&["info", "errorstats"]).contains("OOM")).await;
    test.redis().ask(&["config", "set", "maxmemory", "0"]);
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();
}

async fn when_sentinels_make_another_master_jobs_go_through_that_one(test: TestDb) {
    let mut sentinel = Sentinel::start();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let watched = Dispatch::Bullmq(Bullmq::at(&sentinel.url()).unwrap());
    let running = tokio::spawn(test.runner(&notes).through(watched).run(stop.clone()));
    until_through(&test, &sentinel.master, "bull").await;

    sentinel.master.kill();
    let meanwhile = test.add(&Note::new("meanwhile")).await;
    until_done(&test, meanwhile).await;
    until_through(&test, &sentinel.replica, "bull").await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.iter().filter(|label| *label == "meanwhile").count(), 1);
    assert_eq!(test.pending().await, 0);
}

async fn jobs_go_through_a_cluster(test: TestDb) {
    let cluster = Cluster::start();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let spread = Dispatch::Bullmq(Bullmq::at(&cluster.url()).unwrap());
    let running = tokio::spawn(test.runner(&notes).through(spread).run(stop.clone()));

    until_through(&test, cluster.node(), "{bull}").await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.pending().await, 0);
}
