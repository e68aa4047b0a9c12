//! Takes BullMQ jobs and does the work of the rows they stand for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bullmq::{RateLimiterOptions, Worker, WorkerOptions, worker::IntoProcessor};
use db::{Db, Gather};
use futures::{StreamExt, stream::FuturesUnordered};
use kernel::{Error, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{Crew, Outcome},
    bullmq::{
        Link, Turn,
        external::{self, Foreign},
        hand_over,
        link::kept,
        queue_name,
    },
    claim::Claimed,
    queue::Queue,
    rounds::{Bell, Ending},
};

/// How long an idle worker waits for a BullMQ job before it looks whether it
/// is to stop.
const IDLE: Duration = Duration::from_secs(1);
/// Before it is tried again to reach Redis or the database.
const RETRY: Duration = Duration::from_millis(500);
/// When a row that could not be begun is looked at again.
const PUT_OFF: Duration = Duration::from_secs(1);
/// How long Redis may take to let a worker go that has nothing under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// A worker that stops waits for the work under way, in effect for ever.
const ALL_DAY: Duration = Duration::from_secs(24 * 3600);

/// Works one queue.
#[derive(Clone)]
pub(crate) struct Taker {
    pub service: &'static str,
    pub link: Arc<Link>,
    pub queue: Arc<Queue>,
    pub crew: Arc<Crew>,
    pub bell: Arc<Bell>,
    pub leases: Gather<Turn, Option<Claimed>>,
}

impl Taker {
    /// Leases rows, those that are asked for at once together.
    pub fn leases(db: &Db) -> Gather<Turn, Option<Claimed>> {
        let of = db.clone();
        Gather::new(db.world(), 256, move |turns: Vec<Turn>| {
            let db = of.clone();
            Box::pin(async move { lease(&db, turns).await })
        })
    }

    /// Takes jobs until `stop` is cancelled and those under way have ended.
    pub async fn run(self, stop: CancellationToken) {
        let name = queue_name(self.service, self.queue.name);
        let mut closing = FuturesUnordered::new();
        while !stop.is_cancelled() {
            let mut moves = self.link.moves();
            let Some(worker) = self.begin(&name, &stop).await else { break };
            // Its events are kept in memory until somebody takes them.
            let events = async { while worker.next_event().await.is_some() {} };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = moves.changed() => {}
                () = events => {}
                () = async { while closing.next().await.is_some() {} std::future::pending().await } => {}
            }
            closing.push(self.close(worker));
        }
        while closing.next().await.is_some() {}
    }

    /// A worker, as soon as Redis answers.
    async fn begin(&self, name: &str, stop: &CancellationToken) -> Option<Worker> {
        let begun = async {
            loop {
                match self.worker(name, stop).await {
                    Ok(worker) => return worker,
                    Err(error) => {
                        tracing::warn!(service = self.service, queue = name, %error, "the queue's Redis is away");
                    }
                }
                self.crew.db.world().sleep(RETRY).await;
            }
        };
        tokio::select! {
            worker = begun => Some(worker),
            () = stop.cancelled() => None,
        }
    }

    /// Lets it end what it has begun. What is written in the database is safe:
    /// a Redis that does not answer is not waited for.
    async fn close(&self, worker: Worker) {
        let world = self.crew.db.world();
        let close = worker.close(u64::try_from(ALL_DAY.as_millis()).unwrap_or(u64::MAX));
        let close = async { tokio::join!(close, self.link.wake(self.queue.name)).0 };
        let patience = async {
            while self.queue.under_way() > 0 {
                world.sleep(RETRY).await;
            }
            world.sleep(PATIENCE).await;
        };
        tokio::select! {
            closed = close => if let Err(error) = closed {
                tracing::warn!(service = self.service, %error, "the worker was not closed");
            },
            () = patience => tracing::warn!(service = self.service, "the queue's Redis has not said goodbye"),
        }
    }

    async fn worker(&self, name: &str, stop: &CancellationToken) -> Result<Worker, bullmq::Error> {
        let address = &self.link.settings().address;
        let mut options = WorkerOptions::new()
            .connection(address.now().await?)
            .name(format!("{}-{}", self.service, std::process::id()))
            .concurrency(self.queue.most.max(1))
            .drain_delay(IDLE)
            .run_retry_delay(RETRY)
            .remove_on_complete(kept())
            .remove_on_fail(kept());
        options.prefix = address.prefix().to_owned();
        options.limiter =
            self.queue.per_second.map(|most| RateLimiterOptions { max: u64::from(most), duration: 1000 });
        // Who stalls is the database's business: BullMQ never gives a job up.
        options.max_stalled_count = u32::MAX >> 1;
        let (taker, stop) = (self.clone(), stop.clone());
        let processor = move |job: bullmq::Job, _| {
            let (taker, stop) = (taker.clone(), stop.clone());
            async move { taker.take(&job, &stop).await }
        };
        Worker::with_options(name, processor.into_processor(), options).await
    }

    async fn take(&self, job: &bullmq::Job, stop: &CancellationToken) -> Result<Value, bullmq::Error> {
        let Some(turn) = Turn::named(job.id()) else {
            return self.write_down(job, stop).await;
        };
        let Some(claimed) = self.lease(turn, stop).await? else {
            return Ok(json!({"outcome": "void"}));
        };
        self.queue.begun(1, self.crew.db.world().now());
        let mut ending = Ending { queue: self.queue.clone(), bell: self.bell.clone(), in_the_way: false };
        let ended = self.crew.clone().attempt(claimed).await;
        ending.in_the_way = ended.awaited;
        drop(ending);
        match ended.outcome {
            Outcome::Done => Ok(json!({"outcome": "done"})),
            Outcome::Later => Ok(json!({"outcome": "later"})),
            Outcome::Again | Outcome::Dead => Err(failed(ended.error)),
            Outcome::Lost => Err(failed("the lease was lost".to_owned())),
        }
    }

    async fn write_down(&self, job: &bullmq::Job, stop: &CancellationToken) -> Result<Value, bullmq::Error> {
        if !self.queue.external {
            return Err(failed(format!("{} takes no jobs from others", self.queue.name)));
        }
        let foreign = Foreign {
            queue: self.queue.name,
            id: job.id(),
            name: job.name(),
            data: job.data(),
            added_at_ms: job.timestamp(),
            priority: job.priority(),
        };
        loop {
            match external::write_down(&self.crew, &foreign).await {
                Ok(id) => return Ok(json!({"job": id})),
                Err(error) if !error.is_transient() => return Err(failed(error.chain())),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "job from elsewhere was not written down")
                }
            }
            self.rest(stop).await?;
        }
    }

    /// The lease of the row, unless its turn is over. While the database is
    /// away the BullMQ job stays with this worker.
    async fn lease(&self, turn: Turn, stop: &CancellationToken) -> Result<Option<Claimed>, bullmq::Error> {
        loop {
            match self.leases.call(turn).await {
                Ok(claimed) => return Ok(claimed),
                Err(error) => tracing::warn!(job.id = %turn.id, error = error.chain(), "job was not leased"),
            }
            self.rest(stop).await?;
        }
    }

    async fn rest(&self, stop: &CancellationToken) -> Result<(), bullmq::Error> {
        tokio::select! {
            () = stop.cancelled() => Err(failed("the worker has stopped".to_owned())),
            () = self.crew.db.world().sleep(RETRY) => Ok(()),
        }
    }
}

async fn lease(db: &Db, turns: Vec<Turn>) -> Result<Vec<Result<Option<Claimed>>>> {
    let leased = db::write!(db, async |tx| {
        let leased = hand_over::lease(tx, &turns).await?;
        if leased.len() < turns.len() {
            let until = tx.world().now() + PUT_OFF;
            hand_over::put_off(tx, &turns, until).await?;
        }
        Ok::<_, Error>(leased)
    })?;
    let by_turn = |job: Claimed| (Turn { id: job.id, token: job.token }, job);
    let mut leased: HashMap<Turn, Claimed> = leased.into_iter().map(by_turn).collect();
    Ok(turns.iter().map(|turn| Ok(leased.remove(turn))).collect())
}

fn failed(why: String) -> bullmq::Error {
    bullmq::Error::ProcessingError(why)
}
