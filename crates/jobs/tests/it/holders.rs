//! Several hold the same job, or hold one that is not theirs.

use std::{
    process::Stdio,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bullmq::{BulkJob, JobOptions, QueueOptions, options::RedisConnectionOptions};
use db::{Db, Target};
use jobs::{Bullmq, Dispatch, Failure, Run, Runner, State, Worker};
use kernel::{Result, World};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
};
use tokio_util::sync::CancellationToken;

use crate::{
    through_bullmq,
    world::{Gate, Note, Notes, TestDb, save_effect},
};

through_bullmq!(
    after_a_flush_two_hold_one_bullmq_job_and_one_of_them_does_the_work,
    a_bullmq_job_that_is_not_the_rows_turn_begins_nothing,
    a_bullmq_job_that_somebody_repeats_does_not_shorten_the_wait,
    a_bullmq_job_that_somebody_removes_is_handed_over_again,
    a_turn_that_comes_while_its_key_is_busy_comes_again,
    a_pause_holds_although_somebody_resumes_the_queue_in_bullmq,
    a_job_from_elsewhere_that_comes_twice_is_written_down_once,
    a_queue_that_is_not_external_takes_no_job_from_elsewhere,
);

/// Makes BullMQ jobs of these names, at the head of the queue, as anybody can.
async fn forge(test: &TestDb, names: &[String]) {
    let queue = queue(test).await;
    for name in names {
        queue.remove(name).await.unwrap();
        let options = JobOptions { job_id: Some(name.clone()), lifo: Some(true), ..JobOptions::default() };
        let forged = BulkJob::with_options("test.note", serde_json::json!({}), options);
        queue.add_bulk(vec![forged]).await.unwrap();
    }
}

async fn queue(test: &TestDb) -> bullmq::Queue {
    let connection = RedisConnectionOptions::new().url(test.redis().url());
    let options = QueueOptions::new().connection(connection);
    bullmq::Queue::with_options("test.default", options).await.unwrap()
}

async fn until_over(test: &TestDb, names: &[String]) {
    test.until("BullMQ calls them completed", async || {
        let over = test.redis().ask(&["zrange", "bull:test.default:completed", "0", "-1"]);
        names.iter().all(|name| over.lines().any(|line| line == name))
    })
    .await;
}

async fn after_a_flush_two_hold_one_bullmq_job_and_one_of_them_does_the_work(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let (first, second) = (Notes::gated(&test.db, &gate), Notes::new(&test.db));
    let stop = CancellationToken::new();
    let one = tokio::spawn(test.runner(&first).concurrency("default", 1).run(stop.clone()));
    let id = test.add(&Note::new("once")).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    test.redis().flush();
    let name = format!("{id}-1");
    forge(&test, std::slice::from_ref(&name)).await;
    let other = test.other_process().await;
    let two = tokio::spawn(test.runner_on(&other, &second).run(stop.clone()));
    until_over(&test, &[name]).await;
    assert_eq!((test.state(id).await, second.asked()), (State::Running, 0));
    gate.open.notify_waiters();
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    one.await.unwrap();
    two.await.unwrap();

    assert_eq!(test.effects().await, ["once"]);
}

async fn a_bullmq_job_that_is_not_the_rows_turn_begins_nothing(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    test.add(&Note::new("first")).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let id = test.add(&Note::new("second")).await;
    test.until("it waits", async || test.redis().ask(&["llen", "bull:test.default:wait"]).trim() == "1")
        .await;

    forge(&test, &[format!("{id}-7")]).await;
    test.until("it is done", async || {
        gate.open.notify_waiters();
        test.state(id).await == State::Done
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["first", "second"]);
    assert_eq!(test.job(id).await.attempt, 1);
    let returned = test.redis().ask(&["hget", &format!("bull:test.default:{id}-1"), "returnvalue"]);
    assert!(returned.contains("done"), "its own turn was not disturbed: {returned}");
}

async fn a_bullmq_job_that_somebody_repeats_does_not_shorten_the_wait(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let id = test.add(&Note { fails: 1, ..Note::new("a") }).await;
    test.until("it has failed", async || test.job(id).await.last_error.is_some()).await;
    let failed = test.job(id).await;

    // The turn that is over, and the one that has not come.
    let names = [format!("{id}-1"), format!("{id}-2")];
    test.until("BullMQ has heard", async || {
        test.redis().ask(&["zrange", "bull:test.default:failed", "0", "-1"]).contains(&names[0])
    })
    .await;
    forge(&test, &names).await;
    until_over(&test, &names).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!((test.job(id).await, notes.asked()), (failed, 1));
}

async fn a_bullmq_job_that_somebody_removes_is_handed_over_again(test: TestDb) {
    let test = test.looking_up_after(Duration::ZERO);
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    test.add(&Note::new("first")).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let id = test.add(&Note::new("second")).await;
    let waiting = async || test.redis().ask(&["lrange", "bull:test.default:wait", "0", "-1"]);
    test.until("it waits", async || waiting().await.contains(&id.to_string())).await;

    assert!(queue(&test).await.remove(&format!("{id}-1")).await.unwrap());
    test.until("it waits again", async || waiting().await.contains(&id.to_string())).await;
    test.until("it is done", async || {
        gate.open.notify_waiters();
        test.state(id).await == State::Done
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["first", "second"]);
}

async fn a_turn_that_comes_while_its_key_is_busy_comes_again(test: TestDb) {
    let test = test.looking_up_after(Duration::from_secs(24 * 3600));
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    test.add(&Note::keyed("first", "k")).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let id = test.add(&Note::keyed("second", "k")).await;

    let turn = [format!("{id}-1")];
    forge(&test, &turn).await;
    until_over(&test, &turn).await;
    assert_eq!((test.state(id).await, gate.arrived.load(Ordering::SeqCst)), (State::Waiting, 1));
    test.until("it is done", async || {
        gate.open.notify_waiters();
        test.state(id).await == State::Done
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["first", "second"]);
}

async fn a_pause_holds_although_somebody_resumes_the_queue_in_bullmq(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let pause: Result<()> = db::write!(test.db, async |tx| { jobs::pause(tx, "default").await });
    pause.unwrap();
    let id = test.add(&Note::new("a")).await;
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let queue = queue(&test).await;

    let turn = format!("{id}-1");
    forge(&test, std::slice::from_ref(&turn)).await;
    test.until("BullMQ calls it completed", async || {
        queue.resume().await.unwrap();
        test.redis().ask(&["zrange", "bull:test.default:completed", "0", "-1"]).contains(&turn)
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!((test.state(id).await, notes.asked()), (State::Waiting, 0));
}

async fn add_as_a_stranger(test: &TestDb, note: &Note) {
    let options = JobOptions { job_id: Some("stranger".into()), ..JobOptions::default() };
    let job = BulkJob::with_options("test.note", note, options);
    queue(test).await.add_bulk(vec![job]).await.unwrap();
}

async fn a_job_from_elsewhere_that_comes_twice_is_written_down_once(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).external("default").run(stop.clone()));
    add_as_a_stranger(&test, &Note::new("once")).await;
    until_over(&test, &["stranger".to_owned()]).await;

    // Redis hands it out again, as after a stall.
    queue(&test).await.retry_jobs("completed", 10, None).await.unwrap();
    let tried = || test.redis().ask(&["hget", "bull:test.default:stranger", "ats"]);
    test.until("it was taken twice", async || tried().trim() == "2").await;
    until_over(&test, &["stranger".to_owned()]).await;
    test.until("all is done", async || test.pending().await == 0).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["once"]);
}

async fn a_queue_that_is_not_external_takes_no_job_from_elsewhere(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    add_as_a_stranger(&test, &Note::new("never")).await;

    let reason = || test.redis().ask(&["hget", "bull:test.default:stranger", "failedReason"]);
    test.until("it is refused", async || reason().contains("default takes no jobs from others")).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!((test.effects().await, test.pending().await), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_elsewhere_waits_for_a_database_that_is_away() {
    let mut server = testkit::postgres::Server::own(&[]);
    let test = TestDb::on(&server).await.through_bullmq();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).external("default").run(stop.clone()));
    test.until("the worker is there", async || {
        test.redis().ask(&["client", "list"]).contains("cmd=bzpopmin")
    })
    .await;

    server.kill();
    add_as_a_stranger(&test, &Note::new("once")).await;
    let tried = || test.redis().ask(&["hget", "bull:test.default:stranger", "ats"]);
    test.until("it was taken", async || tried().trim() == "1").await;
    tokio::time::sleep(Duration::from_millis(300)).await; // and tried in vain
    server.restart();
    until_over(&test, &["stranger".to_owned()]).await;
    test.until("all is done", async || test.pending().await == 0).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["once"]);
}

/// Holds its job until a file is there, and says what became of it.
struct Holder {
    db: Db,
    until: String,
}

/// A worker that is dropped says so.
struct Said(bool);

impl Drop for Said {
    fn drop(&mut self) {
        if !self.0 {
            println!("dropped");
        }
    }
}

#[async_trait]
impl Worker<Note> for Holder {
    async fn run(&self, note: Note, run: &Run) -> Result<(), Failure> {
        let mut said = Said(false);
        println!("holding {}", run.attempt);
        while !std::path::Path::new(&self.until).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let saved: Result<()> = db::write!(self.db, async |tx| {
            save_effect(tx, &note.label).await?;
            run.finish(tx).await
        });
        said.0 = true;
        match &saved {
            Ok(()) => println!("saved"),
            Err(error) => println!("refused {}", error.code),
        }
        Ok(saved?)
    }
}

/// The process that is frozen in the story below, which starts itself again.
async fn be_frozen(url: String) {
    let told = |name: &str| std::env::var(name).expect("the story says it");
    let target = Target::Postgres { url, schema: told("JOBS_SCHEMA"), connections: 6 };
    let db = Db::open(&target, &World::real()).await.unwrap();
    let holder = Arc::new(Holder { db: db.clone(), until: told("JOBS_UNTIL") });
    let dispatch = Dispatch::Bullmq(Bullmq::at(&told("JOBS_REDIS")).unwrap());
    let runner = Runner::new("test", db).worker::<Note>(holder).concurrency("default", 1).through(dispatch);
    runner.run(CancellationToken::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_frozen_past_its_lease_and_a_flush_leave_one_effect() {
    if let Ok(url) = std::env::var("JOBS_URL") {
        return be_frozen(url).await;
    }
    let test = TestDb::postgres().await.through_bullmq();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go on");
    let id = test.add(&Note::new("once")).await;
    let Target::Postgres { url, schema, .. } = test.target() else { unreachable!("it is on PostgreSQL") };
    // Killed by the kernel with this process, whatever becomes of it.
    let mut frozen = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "holders::a_process_frozen_past_its_lease_and_a_flush_leave_one_effect",
        ])
        .envs([("JOBS_URL", url), ("JOBS_SCHEMA", schema), ("JOBS_REDIS", &test.redis().url())])
        .env("JOBS_UNTIL", &file)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(frozen.stdout.take().unwrap()).lines();
    while line(&mut said).await != "holding 1" {}
    signal(&frozen, "STOP");
    test.redis().flush();
    test.clock.forward(Duration::from_secs(31));

    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    test.until("another has it", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    std::fs::write(&file, "").unwrap();
    signal(&frozen, "CONT"); // now both hold it
    let mut last = String::new();
    while !["saved", "refused", "dropped"].iter().any(|end| last.starts_with(end)) {
        last = line(&mut said).await;
    }
    gate.open.notify_waiters();
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();

    assert!(last == "refused lease_lost" || last == "dropped", "{last}");
    assert_eq!((test.effects().await, test.job(id).await.attempt), (vec!["once".to_owned()], 2));
}

/// What the frozen process says next.
async fn line(said: &mut Lines<BufReader<ChildStdout>>) -> String {
    let said = tokio::time::timeout(Duration::from_secs(120), said.next_line()).await;
    said.expect("it says something").unwrap().expect("it says what became of its job")
}

fn signal(process: &tokio::process::Child, name: &str) {
    let id = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}
