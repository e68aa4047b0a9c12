//! Queues whose jobs are worked elsewhere: by a worker in another language,
//! which knows BullMQ and nothing of the rows.
//!
//! It takes the BullMQ job and works on `data.payload`. When it returns, the
//! row is done; when it throws, that was a failed attempt, to be tried again as
//! the job's policy says. It is BullMQ's lock that keeps others away meanwhile,
//! so it may be begun twice, as BullMQ itself says of all its workers.

use std::{sync::Arc, time::Duration};

use bullmq::{QueueEvent, QueueEvents, QueueEventsOptions};
use kernel::{Error, Kind, Result};

use crate::{
    Failure,
    attempt::Crew,
    bullmq::{Link, Turn, hand_over, queue_name},
    rounds::Bell,
};

const RETRY: Duration = Duration::from_millis(500);

/// Hears what came of the jobs of one service that are worked elsewhere.
pub(crate) struct Hearer {
    pub service: &'static str,
    pub link: Arc<Link>,
    pub crew: Arc<Crew>,
    pub bell: Arc<Bell>,
}

impl Hearer {
    /// Listens to BullMQ's events of that queue, for ever. What it misses is
    /// found when the queue is looked at.
    pub async fn forever(&self, queue: &'static str) {
        let name = queue_name(self.service, queue);
        loop {
            let mut moves = self.link.moves();
            match self.events(&name).await {
                Ok(events) => tokio::select! {
                    () = self.listen(&events) => {}
                    _ = moves.changed() => {}
                },
                Err(error) => tracing::warn!(queue = name, %error, "the queue's events are not heard"),
            }
            self.crew.db.world().sleep(RETRY).await;
        }
    }

    async fn events(&self, name: &str) -> Result<QueueEvents, bullmq::Error> {
        let address = &self.link.settings().address;
        let (connection, prefix) = (address.now().await?, address.prefix().to_owned());
        QueueEvents::with_options(
            name,
            QueueEventsOptions { connection, prefix, ..QueueEventsOptions::default() },
        )
        .await
    }

    async fn listen(&self, events: &QueueEvents) {
        while let Some(entry) = events.next_event().await {
            let (bullmq_id, answer) = match entry.event {
                QueueEvent::Completed { job_id, .. } => (job_id, Ok(())),
                QueueEvent::Failed { job_id, failed_reason, .. } => (job_id, Err(failed(failed_reason))),
                _ => continue,
            };
            let Some(turn) = Turn::named(&bullmq_id) else { continue };
            if let Err(error) = self.settle(turn, answer).await {
                tracing::warn!(job.id = %turn.id, error = error.chain(), "what came of the job was not recorded");
            }
        }
    }

    /// Records what came of a turn that is over, if nobody has.
    pub async fn look_up(&self, queue: &'static str, turn: Turn) -> Result<()> {
        match self.link.failed_reason(queue, turn).await? {
            Some(reason) if reason.is_empty() => self.settle(turn, Ok(())).await,
            Some(reason) => self.settle(turn, Err(failed(reason))).await,
            None => Ok(()),
        }
    }

    async fn settle(&self, turn: Turn, answer: Result<(), Failure>) -> Result<()> {
        let begun = db::write!(self.crew.db, async |tx| { hand_over::begin_late(tx, turn).await })?;
        if let Some(job) = begun
            && self.crew.heard(&job, answer).await
        {
            self.bell.ring();
        }
        Ok(())
    }
}

fn failed(reason: String) -> Failure {
    Failure::Retry(Error::new(Kind::Internal, "job_failed_elsewhere", reason))
}
