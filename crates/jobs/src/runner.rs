//! Runs what is due.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use db::Db;
use kernel::{BoxFuture, Result};
use tokio_util::sync::CancellationToken;

use crate::{
    Dispatch, Job, Worker,
    attempt::{Around, Kind},
    rounds::Rounds,
    schedule::{self, Schedule},
    sweep,
};

/// Runs the jobs of one service's database.
pub struct Runner {
    pub(crate) service: &'static str,
    pub(crate) db: Db,
    pub(crate) kinds: HashMap<&'static str, Kind>,
    pub(crate) usual_concurrency: usize,
    pub(crate) concurrency: HashMap<&'static str, usize>,
    pub(crate) rates: HashMap<&'static str, u32>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) around: Option<Around>,
    pub(crate) dispatch: Dispatch,
    pub(crate) external: HashSet<&'static str>,
    keep: Duration,
}

impl Runner {
    /// One that knows no kind of job yet: it runs what [`Runner::worker`] adds.
    pub fn new(service: &'static str, db: Db) -> Runner {
        Runner {
            service,
            db,
            kinds: HashMap::new(),
            usual_concurrency: 64,
            concurrency: HashMap::new(),
            rates: HashMap::new(),
            schedules: Vec::new(),
            around: None,
            dispatch: Dispatch::Database,
            external: HashSet::new(),
            keep: Duration::from_secs(7 * 24 * 3600),
        }
    }

    /// Adds who does a kind of job.
    pub fn worker<J: Job>(mut self, worker: Arc<impl Worker<J>>) -> Self {
        self.kinds.insert(J::NAME, Kind::new(worker));
        self
    }

    /// How many jobs of each queue this runner has under way at once, where
    /// [`Runner::concurrency`] does not say: 64 unless told.
    pub fn usual_concurrency(mut self, most: usize) -> Self {
        self.usual_concurrency = most;
        self
    }

    /// How many jobs of this queue this runner has under way at once.
    pub fn concurrency(mut self, queue: &'static str, most: usize) -> Self {
        self.concurrency.insert(queue, most);
        self
    }

    /// How many jobs of a queue this runner begins per second: any number
    /// unless told.
    pub fn rate(mut self, queue: &'static str, per_second: u32) -> Self {
        self.rates.insert(queue, per_second);
        self
    }

    /// Adds that job at each slot of a cron expression (minute, hour, day,
    /// month, weekday; UTC), once whoever notices the slot. Slots that were
    /// missed while no runner was there are made up for by one job. Fails with
    /// `cron_invalid`.
    pub fn schedule<J: Job>(mut self, name: &'static str, cron: &str, job: J) -> Result<Self> {
        self.schedules.push(Schedule::new(name, cron, &job)?);
        Ok(self)
    }

    /// The names of its schedules.
    pub fn schedules(&self) -> impl Iterator<Item = &'static str> {
        self.schedules.iter().map(Schedule::name)
    }

    /// How long a finished job can be found: 7 days unless told. Dead letters
    /// stay until somebody repeats them.
    pub fn keep(mut self, span: Duration) -> Self {
        self.keep = span;
        self
    }

    /// Puts something around the work on each job, which is handed the job's
    /// `traceparent`: so that what the worker does belongs to its trace.
    pub fn around<F>(mut self, around: F) -> Self
    where
        F: Fn(Option<&str>, BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    {
        self.around = Some(Arc::new(around));
        self
    }

    /// How jobs come to their workers: through the database unless told.
    pub fn through(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// Lets others add jobs to this queue of BullMQ's: by the name of a kind
    /// that is worked here, with what the kind serializes to as data. Each is
    /// written to the database first; BullMQ then says `completed` and returns
    /// the id of the job that does the work.
    pub fn external(mut self, queue: &'static str) -> Self {
        self.external.insert(queue);
        self
    }

    /// Leaves this kind of job, and every other of its queue, to workers that
    /// know BullMQ and nothing of this crate. Such a worker works on
    /// `data.payload`; when it returns the job is done, and when it throws that
    /// was a failed attempt. It may be handed the same job again.
    pub fn elsewhere<J: Job>(mut self) -> Self {
        self.kinds.insert(J::NAME, Kind::elsewhere::<J>());
        self
    }

    /// Runs jobs until `stop` is cancelled. Then begins no more and ends when
    /// those under way have.
    pub async fn run(self, stop: CancellationToken) {
        let rounds = Rounds::new(&self);
        let queues: Vec<&'static str> = rounds.queues.iter().map(|queue| queue.name).collect();
        // Leases are renewed while running work is finished, too.
        tokio::select! {
            biased;
            () = rounds.until(&stop) => {}
            () = rounds.crew.leases.renew(self.service, &self.db) => {}
            () = sweep::forever(self.service, &self.db, &queues, self.keep) => {}
        }
    }

    /// Runs what is due now, and what that makes due, then returns how many
    /// attempts were made. What fails is not tried again before its time.
    pub async fn run_due(&self) -> Result<usize> {
        let rounds = Rounds::new(self);
        db::write!(self.db, async |tx| { schedule::register(tx, &self.schedules).await })?;
        let all = async {
            let mut made = 0;
            loop {
                let (claimed, _) = rounds.claim(true).await?;
                if claimed.is_empty() {
                    return Ok(made);
                }
                made += claimed.len();
                let attempts = claimed.into_iter().map(|(queue, job)| rounds.begun(queue, job));
                futures::future::join_all(attempts).await;
            }
        };
        tokio::select! {
            biased;
            made = all => made,
            () = rounds.crew.leases.renew(self.service, &self.db) => Ok(0), // never ends
        }
    }
}
