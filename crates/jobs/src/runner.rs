//! Runs what is due.

use std::{sync::Arc, time::Duration};

use db::Db;
use kernel::Result;
use tokio_util::sync::CancellationToken;

use crate::{Job, Worker};

/// Runs the jobs of one service's database.
pub struct Runner {
    service: &'static str,
    db: Db,
}

impl Runner {
    /// Without workers yet: it runs what [`Runner::worker`] adds.
    pub fn new(service: &'static str, db: Db) -> Runner {
        Runner { service, db }
    }

    /// Adds who does one kind of job.
    pub fn worker<J: Job>(self, worker: Arc<impl Worker<J>>) -> Self {
        let _ = worker;
        self
    }

    /// How many jobs of a queue this runner has under way at once (64 unless told).
    pub fn concurrency(self, queue: &'static str, most: usize) -> Self {
        let _ = (queue, most);
        self
    }

    /// How many jobs of a queue this runner begins per second (no limit unless told).
    pub fn rate(self, queue: &'static str, per_second: u32) -> Self {
        let _ = (queue, per_second);
        self
    }

    /// Adds a job again and again.
    pub fn schedule<J: Job>(self, name: &'static str, cron: &str, job: J) -> Result<Self> {
        let _ = (name, cron, job);
        Ok(self)
    }

    /// How long finished jobs are kept (7 days unless told).
    pub fn keep(self, span: Duration) -> Self {
        let _ = span;
        self
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let _ = (stop, self.service, self.db);
        todo!()
    }

    /// Runs everything that is due now.
    pub async fn run_due(&self) -> Result<usize> {
        todo!()
    }
}
