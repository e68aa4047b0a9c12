//! The connection to the Redis that holds the queues, and whether it can be
//! relied on.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bullmq::{
    BulkJob, JobOptions, JobState, Queue, QueueOptions,
    options::RedisConnectionOptions,
    redis_connection::RedisConnection,
    types::{KeepJobs, RemoveOnFinish},
};
use kernel::{Error, Result, Time, World};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    bullmq::{Bullmq, Turn, queue_name},
    claim::Claimed,
};

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Once it has been away for so long, the runners claim in the database: a
/// restart goes by unnoticed, an outage delays jobs by a few seconds.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// How many finished BullMQ jobs of a queue are kept for people to look at.
const KEPT: usize = 1000;

/// Connects when it is first needed; the connection then mends itself, as long
/// as the master stays the same.
pub(crate) struct Link {
    service: &'static str,
    settings: Bullmq,
    world: World,
    connected: tokio::sync::Mutex<Option<Connected>>,
    /// Since when Redis cannot be relied on, if it cannot.
    away_since: Mutex<Option<Time>>,
    /// How often the master has changed.
    moves: watch::Sender<u32>,
}

/// One connection for all queues.
struct Connected {
    to: RedisConnectionOptions,
    connection: RedisConnection,
    queues: HashMap<&'static str, Queue>,
}

/// What a Redis says of itself.
pub(crate) struct Health {
    /// What this run of the server calls itself.
    pub run: String,
    /// Whether [`Link::remember`] was called on this run, and it has not been
    /// emptied since.
    pub remembers: bool,
}

impl Link {
    pub fn new(service: &'static str, settings: Bullmq, world: &World) -> Link {
        let (away_since, moves) = (Mutex::new(None), watch::Sender::new(0));
        Link { service, settings, world: world.clone(), connected: Default::default(), away_since, moves }
    }

    pub fn settings(&self) -> &Bullmq {
        &self.settings
    }

    /// Changes when the master does.
    pub fn moves(&self) -> watch::Receiver<u32> {
        self.moves.subscribe()
    }

    /// Looks whether the sentinels have another master now; then everything is
    /// connected to that one anew.
    pub async fn follow(&self) {
        let mut connected = self.connected.lock().await;
        let Some(old) = connected.as_ref() else { return };
        let master = self.world.timeout(PATIENCE, self.settings.address.now()).await;
        if let Some(Ok(master)) = master
            && (&master.url, &master.cluster_nodes) != (&old.to.url, &old.to.cluster_nodes)
        {
            tracing::warn!(service = self.service, "the queue's Redis has another master");
            *connected = None;
            self.moves.send_modify(|moves| *moves += 1);
        }
    }

    pub fn is_away(&self) -> bool {
        self.away_since().is_some()
    }

    /// Whether jobs are to come to their workers without it.
    pub fn is_given_up(&self) -> bool {
        self.away_since().is_some_and(|since| self.world.steady().since(since) >= GIVEN_UP)
    }

    /// Makes BullMQ jobs of these. One that is there already stays as it is.
    pub async fn hand_over(&self, queue: &'static str, jobs: &[Claimed]) -> Result<()> {
        // Each of the urgent ones goes to the head: so the most urgent goes last.
        let (mut urgent, usual): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.priority < 0);
        urgent.reverse();
        let jobs = urgent.into_iter().chain(usual).map(bullmq_job).collect();
        self.ask(async { self.queue(queue).await?.add_bulk(jobs).await }).await?;
        Ok(())
    }

    /// The BullMQ job of this turn.
    pub async fn state(&self, queue: &'static str, turn: Turn) -> Result<JobState> {
        self.ask(async { self.queue(queue).await?.get_job_state(&turn.to_string()).await }).await
    }

    /// Why the BullMQ job of this turn failed, if it is there.
    pub async fn failed_reason(&self, queue: &'static str, turn: Turn) -> Result<Option<String>> {
        let job = self.ask(async { self.queue(queue).await?.get_job(&turn.to_string()).await }).await?;
        Ok(job.map(|job| job.failed_reason().to_owned()))
    }

    /// Makes BullMQ's pause of this queue what the database says.
    pub async fn pause(&self, queue: &'static str, paused: bool) -> Result<()> {
        self.ask(async {
            let queue = self.queue(queue).await?;
            match (queue.is_paused().await?, paused) {
                (false, true) => queue.pause().await,
                (true, false) => queue.resume().await,
                _ => Ok(()),
            }
        })
        .await
    }

    /// What the Redis of that queue says of itself. Fails with `queue_evicts`
    /// when it may throw away what it was given.
    pub async fn health(&self, queue: &'static str) -> Result<Health> {
        let health = self
            .ask(async {
                let queue = self.queue(queue).await?;
                health(queue.connection(), &mark(&queue)).await
            })
            .await?;
        let mut away_since = self.away_since();
        match &health {
            // Only this says that it is back: one that is full answers, too.
            Ok(_) => *away_since = None,
            Err(_) => {
                away_since.get_or_insert(self.world.steady());
            }
        }
        health
    }

    /// Leaves a mark that is lost with everything else, and that another run
    /// of the server does not take for its own.
    pub async fn remember(&self, queue: &'static str, run: &str) -> Result<()> {
        self.ask(async {
            let queue = self.queue(queue).await?;
            queue.connection().cmd(redis::cmd("SET").arg(mark(&queue)).arg(run)).await
        })
        .await
    }

    /// Wakes a worker that waits for a job of that queue, as BullMQ does when
    /// it has one.
    pub async fn wake(&self, queue: &'static str) -> Result<()> {
        self.ask(async {
            let queue = self.queue(queue).await?;
            queue.connection().cmd(redis::cmd("ZADD").arg(queue.keys().marker()).arg(0).arg("0")).await
        })
        .await
    }

    async fn queue(&self, name: &'static str) -> Result<Queue, bullmq::Error> {
        let mut connected = self.connected.lock().await;
        if connected.is_none() {
            let to = self.settings.address.now().await?;
            let connection = RedisConnection::new_managed_only(&to).await?;
            *connected = Some(Connected { to, connection, queues: HashMap::new() });
            // The master may have changed again since the workers were told; they ask anew.
            self.moves.send_if_modified(|moves| {
                let have_moved = *moves > 0;
                *moves += u32::from(have_moved);
                have_moved
            });
        }
        let connected = connected.as_mut().expect("it was made above");
        if let Some(queue) = connected.queues.get(name) {
            return Ok(queue.clone());
        }
        let options =
            QueueOptions { prefix: self.settings.address.prefix().to_owned(), ..QueueOptions::default() };
        let full_name = queue_name(self.service, name);
        let queue = Queue::with_connection(&full_name, connected.connection.clone(), options).await?;
        connected.queues.insert(name, queue.clone());
        Ok(queue)
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, bullmq::Error>>) -> Result<T> {
        let answer = match self.world.timeout(PATIENCE, question).await {
            Some(answer) => answer.map_err(|error| error.to_string()),
            None => Err(format!("no answer in {PATIENCE:?}")),
        };
        answer.map_err(|cause| {
            self.away_since().get_or_insert(self.world.steady());
            away(cause)
        })
    }

    fn away_since(&self) -> MutexGuard<'_, Option<Time>> {
        self.away_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Bullmq::check`].
pub(crate) async fn check(settings: &Bullmq, world: &World) -> Result<()> {
    let asked = world.timeout(PATIENCE, async {
        let connection = RedisConnection::new_managed_only(&settings.address.now().await?).await?;
        health(&connection, &format!("{}:carmel", settings.address.prefix())).await
    });
    match asked.await {
        Some(Ok(health)) => health.map(drop),
        Some(Err(error)) => Err(away(error.to_string())),
        None => Err(away(format!("no answer in {PATIENCE:?}"))),
    }
}

fn away(cause: String) -> Error {
    Error::unavailable("queue_away", "the queue's Redis does not answer").because(cause)
}

/// Finished BullMQ jobs are kept for people only.
pub(crate) fn kept() -> RemoveOnFinish {
    RemoveOnFinish::Options(KeepJobs { age: None, count: Some(KEPT), limit: None })
}

/// The key of the mark, beside those of the queue.
fn mark(queue: &Queue) -> String {
    queue.keys().get("carmel")
}

/// Writes the mark again as it is: a replica refuses that, and so does a server
/// whose memory or disk is full.
const ASK: &str = "
    local mark = redis.call('GET', KEYS[1]) or ''
    redis.call('SET', KEYS[1], mark)
    return {mark, redis.call('INFO')}";

/// What the Redis that has this key says of itself, and what the key holds: the
/// run of the server that was to be remembered.
async fn health(connection: &RedisConnection, key: &str) -> Result<Result<Health>, bullmq::Error> {
    let mut ask = redis::cmd("EVAL");
    ask.arg(ASK).arg(1).arg(key);
    let (marked, info): (String, String) = connection.cmd(&mut ask).await?;
    let said = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    Ok(match said("maxmemory_policy").as_str() {
        "noeviction" => Ok(Health { remembers: marked == said("run_id"), run: said("run_id") }),
        policy => Err(Error::invalid(
            "queue_evicts",
            format!(
                "the queue's Redis has maxmemory-policy {policy} and may throw jobs away; \
                 set it to noeviction, and give the cache a Redis of its own"
            ),
        )),
    })
}

fn bullmq_job(job: &Claimed) -> BulkJob {
    let turn = Turn { id: job.id, token: job.token + 1 };
    let mut options = JobOptions {
        job_id: Some(turn.to_string()),
        remove_on_complete: Some(kept()),
        remove_on_fail: Some(kept()),
        ..JobOptions::default()
    };
    order(job.priority, &mut options);
    BulkJob::with_options(job.name.as_str(), data(job), options)
}

/// What whoever looks at the BullMQ job sees.
fn data(job: &Claimed) -> Value {
    let payload = serde_json::from_str(&job.payload).unwrap_or_else(|_| Value::from(job.payload.as_str()));
    json!({
        "job": job.id,
        "attempt": job.attempt + 1,
        "attempts": job.attempts,
        "added_at": job.added_at,
        "traceparent": job.traceparent,
        "payload": payload,
    })
}

/// BullMQ knows no priority below the usual one (0): what is more urgent goes
/// to the head of the queue.
fn order(priority: i64, options: &mut JobOptions) {
    const LOWEST: i64 = (1 << 21) - 1;
    match priority {
        0 => {}
        1.. => options.priority = u32::try_from(priority.min(LOWEST)).ok(),
        _ => options.lifo = Some(true),
    }
}
