//! Adding, running, failing, waiting, ordering.

use std::{
    sync::{LazyLock, atomic::Ordering},
    time::Duration,
};

use jobs::{Options, State};
use kernel::{Error, JobId, Result};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    both_ways,
    world::{Gate, Note, Notes, TestDb, save_effect},
};

both_ways!(
    a_clock_that_is_set_back_stops_no_runner,
    a_job_from_a_clock_that_was_ahead_is_done_at_once,
    many_are_added_together_and_those_of_one_key_once,
    a_job_added_in_a_rolled_back_transaction_never_runs,
    a_job_that_failed_is_tried_again_and_done,
    a_job_is_dead_after_its_last_attempt_and_a_person_repeats_it,
    a_delayed_job_waits_for_its_time,
    lower_priority_numbers_run_first,
    a_paused_queue_stands_still_until_it_is_resumed,
    a_stopped_runner_finishes_what_is_under_way_and_begins_nothing,
    concurrency_is_kept_by_queue,
    finished_jobs_are_swept_after_a_while,
    a_job_of_an_unknown_kind_is_left_alone,
    what_could_run_and_waits_is_measured,
);

async fn many_are_added_together_and_those_of_one_key_once(test: TestDb) {
    let notes = Notes::new(&test.db);
    let mut given: Vec<Note> = (0..600).map(|number| Note::new(&format!("number {number}"))).collect();
    for at in [0, 300, 599] {
        given[at].key = Some("one".to_owned());
    }

    let ids: Result<Vec<JobId>> = db::write!(test.db, async |tx| { jobs::add_many(tx, &given).await });

    let ids = ids.unwrap();
    assert_eq!((ids.len(), ids[0], ids[0]), (600, ids[300], ids[599]));
    assert_eq!(test.pending().await, 598);
    test.work(test.runner(&notes)).await;
    assert_eq!((notes.asked(), test.pending().await), (598, 0));
    let first = test.job(ids[1]).await;
    assert_eq!((first.state, first.attempt, first.queue.as_str()), (State::Done, 1, "default"));
}

async fn a_job_added_in_a_rolled_back_transaction_never_runs(test: TestDb) {
    let notes = Notes::new(&test.db);
    let refused: Result<JobId> = db::write!(test.db, async |tx| {
        jobs::add(tx, &Note::new("never")).await?;
        Err(Error::conflict("changed_my_mind", "changed my mind"))
    });

    test.work(test.runner(&notes)).await;

    assert_eq!(refused.unwrap_err().code, "changed_my_mind");
    assert_eq!((notes.asked(), test.pending().await), (0, 0));
}

async fn a_job_that_failed_is_tried_again_and_done(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = || test.runner(&notes);
    let id = test.add(&Note { fails: 2, ..Note::new("a") }).await;

    test.work(runner()).await;
    let failed = test.job(id).await;
    assert_eq!((failed.state, failed.attempt), (State::Waiting, 1));
    assert!(failed.last_error.unwrap().contains("the paper is out"));
    test.work(runner()).await;
    assert_eq!(notes.asked(), 1, "it waits");
    for _ in 0..2 {
        test.clock.forward(Duration::from_secs(300));
        test.work(runner()).await;
    }

    let done = test.job(id).await;
    assert_eq!((done.state, done.attempt, done.progress), (State::Done, 3, 100));
    assert!(done.finished_at.is_some());
    assert_eq!(test.effects().await, ["a"]);
}

async fn a_job_is_dead_after_its_last_attempt_and_a_person_repeats_it(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = || test.runner(&notes);
    let id = test.add(&Note { fails: 3, ..Note::new("a") }).await;

    for _ in 0..5 {
        test.work(runner()).await;
        test.clock.forward(Duration::from_secs(300));
    }

    let dead: Result<Vec<_>> = db::read!(test.db, async |tx| { jobs::dead(tx, 10).await });
    let dead = dead.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].id, dead[0].state, dead[0].attempt), (id, State::Dead, 3));
    assert_eq!((notes.asked(), test.pending().await), (3, 0));
    let findings = jobs::audit(&test.db).await.unwrap();
    assert!(findings.len() == 1 && findings[0].starts_with(&format!("dead letter: {id}")), "{findings:?}");

    // The paper is back: only the first attempt after the repetition still fails.
    let again: Result<()> = db::write!(test.db, async |tx| {
        jobs::retry(tx, id).await?;
        db::query("UPDATE jobs SET payload = $2 WHERE id = $1")
            .bind(id)
            .bind(serde_json::to_string(&Note { fails: 1, ..Note::new("a") }).unwrap())
            .execute(tx)
            .await?;
        Ok(())
    });
    again.unwrap();
    test.work(runner()).await;
    test.clock.forward(Duration::from_secs(300));
    test.work(runner()).await;

    assert_eq!(test.state(id).await, State::Done);
    assert_eq!(jobs::audit(&test.db).await, Ok(vec![]));
    let alive: Result<()> = db::write!(test.db, async |tx| { jobs::retry(tx, id).await });
    assert_eq!(alive.unwrap_err().code, "job_not_dead");
}

async fn a_delayed_job_waits_for_its_time(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = || test.runner(&notes);
    let hour = Duration::from_secs(3600);
    test.add_with(&Note::new("delayed"), Options { delay: hour, ..Options::default() }).await;
    let at = Some(test.db.world().now() + 2 * hour);
    test.add_with(&Note::new("at"), Options { at, ..Options::default() }).await;

    test.work(runner()).await;
    assert!(test.effects().await.is_empty());
    test.clock.forward(hour);
    test.work(runner()).await;
    assert_eq!(test.effects().await, ["delayed"]);
    test.clock.forward(hour);
    test.work(runner()).await;

    assert_eq!(test.effects().await, ["delayed", "at"]);
}

async fn lower_priority_numbers_run_first(test: TestDb) {
    let notes = Notes::new(&test.db);
    for (label, priority) in [("usual", 0), ("last", 9), ("first", -5), ("usual too", 0)] {
        test.add_with(&Note::new(label), Options { priority, ..Options::default() }).await;
    }

    test.work(test.runner(&notes).concurrency("default", 1)).await;

    assert_eq!(test.effects().await, ["first", "usual", "usual too", "last"]);
}

async fn a_paused_queue_stands_still_until_it_is_resumed(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = || test.runner(&notes);
    test.add(&Note::new("a")).await;

    let paused: Result<Vec<String>> = db::write!(test.db, async |tx| {
        jobs::pause(tx, "default").await?;
        jobs::paused(tx).await
    });
    assert_eq!(paused, Ok(vec!["default".to_owned()]));
    test.work(runner()).await;
    assert_eq!(notes.asked(), 0);
    let resumed: Result<()> = db::write!(test.db, async |tx| { jobs::resume(tx, "default").await });
    resumed.unwrap();
    test.work(runner()).await;

    assert_eq!(notes.asked(), 1);
}

async fn a_stopped_runner_finishes_what_is_under_way_and_begins_nothing(test: TestDb) {
    let gate = std::sync::Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let under_way = test.add(&Note::new("under way")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    stop.cancel();
    tokio::task::yield_now().await;
    let late = test.add(&Note::new("late")).await;
    assert!(!running.is_finished(), "work is under way");
    gate.open.notify_waiters();
    running.await.unwrap();

    assert_eq!(test.state(under_way).await, State::Done);
    assert_eq!(test.state(late).await, State::Waiting);
}

async fn concurrency_is_kept_by_queue(test: TestDb) {
    let gate = std::sync::Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 3).run(stop.clone()));
    for _ in 0..7 {
        test.add(&Note::new("a")).await;
    }

    for arrived in [3, 6, 7] {
        test.until("as many as allowed run", async || gate.arrived.load(Ordering::SeqCst) == arrived).await;
        let states: Result<(i64,)> = db::read!(test.db, async |tx| {
            db::query("SELECT COUNT(*) FROM jobs WHERE state = 'running'").fetch_one(tx).await
        });
        assert!(states.unwrap().0 <= 3);
        gate.open.notify_waiters();
    }
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.len(), 7);
}

async fn finished_jobs_are_swept_after_a_while(test: TestDb) {
    let notes = Notes::new(&test.db);
    let week = Duration::from_secs(7 * 24 * 3600);
    let old = test.add(&Note::new("old")).await;
    test.work(test.runner(&notes)).await;
    test.clock.forward(week + Duration::from_secs(1));
    let young = test.add(&Note::new("young")).await;
    test.work(test.runner(&notes)).await;

    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    test.until("the old one is gone", async || {
        test.clock.forward(Duration::from_secs(1)); // the next sweep comes nearer
        let found: Result<Option<_>> = db::read!(test.db, async |tx| { jobs::find(tx, old).await });
        found.unwrap().is_none()
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.state(young).await, State::Done);
}

async fn a_job_of_an_unknown_kind_is_left_alone(test: TestDb) {
    let notes = Notes::new(&test.db);
    let id = test.add(&Note::new("a")).await;
    let newer: Result<()> = db::write!(test.db, async |tx| {
        db::query("UPDATE jobs SET name = 'test.newer' WHERE id = $1").bind(id).execute(tx).await?;
        save_effect(tx, "the newer version's").await
    });
    newer.unwrap();

    test.work(test.runner(&notes)).await;

    assert_eq!(test.state(id).await, State::Waiting);
}

async fn a_clock_that_is_set_back_stops_no_runner(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let elsewhere = test.other_process().await;
    let running = tokio::spawn(test.runner_on(&elsewhere, &notes).run(stop.clone()));
    test.add(&Note::new("before")).await;
    test.until("the runner is up", async || notes.asked() == 1).await;

    test.clock.back(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_millis(1200)).await; // a turn with the new time
    test.add(&Note::new("after")).await;

    test.until("it runs", async || notes.asked() == 2).await;
    stop.cancel();
    running.await.unwrap();
}

async fn a_job_from_a_clock_that_was_ahead_is_done_at_once(test: TestDb) {
    let id = test.add(&Note::new("a")).await;
    test.clock.back(Duration::from_secs(600));
    let (notes, stop) = (Notes::new(&test.db), CancellationToken::new());
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));

    test.until("it is done", async || test.state(id).await == State::Done).await;

    stop.cancel();
    running.await.unwrap();
}

async fn what_could_run_and_waits_is_measured(test: TestDb) {
    static MEASURED: LazyLock<PrometheusHandle> =
        LazyLock::new(|| PrometheusBuilder::new().install_recorder().unwrap());
    LazyLock::force(&MEASURED);
    // The stories beside this one measure, too.
    let service: &'static str = Box::leak(format!("shop_{}", test.db.world().uuid_v7().simple()).into());
    let gate = std::sync::Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let runner = test.runner_named(service).worker::<Note>(notes.clone()).concurrency("default", 1);
    let running = tokio::spawn(runner.run(stop.clone()));
    for label in ["runs", "waits", "waits too"] {
        test.add(&Note::new(label)).await;
    }
    let hours = Options { delay: Duration::from_secs(24 * 3600), ..Options::default() };
    test.add_with(&Note::new("later"), hours).await;
    test.until("one runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    let line = format!("jobs_waiting{{service=\"{service}\",queue=\"default\"}} 2");
    test.until("the others are counted", async || {
        test.clock.forward(Duration::from_secs(1));
        MEASURED.render().lines().any(|measured| measured == line)
    })
    .await;
    test.until("all that can be is done", async || {
        gate.open.notify_waiters();
        test.pending().await == 1
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}
