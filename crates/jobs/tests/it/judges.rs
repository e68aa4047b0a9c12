//! BullMQ's own client and Bull Board, on Node, judge our queues.

use std::sync::{Arc, atomic::Ordering};

use jobs::{Job, Policy, State};
use kernel::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    node,
    world::{Gate, Note, Notes, TestDb},
};

/// What a script of `tests/node` says, a JSON value a line.
async fn script(name: &'static str, words: &[&str]) -> Vec<Value> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || node::script(name).args(words).output().unwrap());
    let done = run.await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_bullmq_sees_what_waits_and_what_is_done() {
    let test = TestDb::sqlite().await.through_bullmq();
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    let done = test.add(&Note::new("done")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let waits = test.add(&Note::new("waits")).await;
    gate.open.notify_waiters();
    test.until("the next runs", async || gate.arrived.load(Ordering::SeqCst) == 2).await;

    let seen = script("client.js", &["see", &test.redis().url(), "test.default"]).await;
    gate.open.notify_waiters();
    test.until("all is done", async || test.pending().await == 0).await;
    stop.cancel();
    running.await.unwrap();

    let of = |id: JobId| seen.iter().find(|job| job["id"] == format!("{id}-1")).unwrap();
    assert_eq!(
        (&of(done)["state"], &of(done)["returnvalue"]["outcome"]),
        (&"completed".into(), &"done".into())
    );
    assert_eq!((&of(waits)["state"], &of(waits)["name"]), (&"active".into(), &"test.note".into()));
    assert_eq!(of(waits)["data"]["payload"]["label"], "waits");
    assert_eq!(of(waits)["data"]["job"], waits.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_bullmq_adds_a_job_and_we_do_it() {
    let test = TestDb::sqlite().await.through_bullmq();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).external("default").run(stop.clone()));

    let data = serde_json::to_string(&Note::new("from Node")).unwrap();
    let answer = script("client.js", &["add", &test.redis().url(), "test.default", "test.note", &data]).await;
    let id: JobId = answer[0]["job"].as_str().unwrap().parse().unwrap();
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["from Node"]);
}

/// A job of a queue of its own, worked elsewhere.
#[derive(Serialize, Deserialize)]
pub struct Parcel {
    pub to: String,
}

impl Job for Parcel {
    const NAME: &'static str = "test.parcel";
    const QUEUE: &'static str = "parcels";
    fn policy() -> Policy {
        Policy { first_wait: std::time::Duration::from_millis(1), ..Policy::default() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_bullmq_works_our_jobs_and_what_it_throws_is_tried_again() {
    let test = TestDb::sqlite().await.through_bullmq();
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner_named("test").elsewhere::<Parcel>().run(stop.clone()));
    let ids = [test.add(&Parcel { to: "Ann".into() }).await, test.add(&Parcel { to: "Bob".into() }).await];

    let tries = script("client.js", &["work", &test.redis().url(), "test.parcels", "2"]).await;
    test.until("both are done", async || test.pending().await == 0).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(tries.len(), 4, "each once in vain: {tries:?}");
    for (id, to) in ids.into_iter().zip(["Ann", "Bob"]) {
        let job = test.job(id).await;
        assert_eq!((job.state, job.attempt), (State::Done, 2));
        assert!(job.last_error.unwrap().contains("the van is full"));
        assert_eq!(tries.iter().filter(|tried| tried["payload"]["to"] == to).count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bull_board_shows_our_jobs() {
    let test = TestDb::sqlite().await.through_bullmq();
    let notes = Notes::new(&test.db);
    let id = test.add(&Note::new("shown")).await;
    test.work(test.runner(&notes)).await;

    let shown = script("board.js", &[&test.redis().url(), "test.default"]).await;

    let queue = &shown[0]["queues"][0];
    assert_eq!(
        (&queue["name"], &queue["counts"]["completed"]),
        (&"test.default".into(), &1.into()),
        "{queue}"
    );
    let job = &queue["jobs"][0];
    assert_eq!((&job["id"], &job["name"]), (&format!("{id}-1").into(), &"test.note".into()), "{job}");
    assert_eq!(job["data"]["payload"]["label"], "shown");
}
