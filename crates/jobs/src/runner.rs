//! Runs what is due.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use db::Db;
use kernel::{BoxFuture, JobId, Result, Time};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Job, Worker,
    attempt::{Around, Crew, Kind},
    claim::{self, Claimed, Want},
    queue::{Queue, Rate},
    schedule::{self, Schedule},
    store, sweep,
};

/// How often a runner looks for what other processes have added.
const POLL: Duration = Duration::from_secs(1);
/// The most that one look claims from a queue.
const BATCH: usize = 256;

/// Runs the jobs of one service's database.
pub struct Runner {
    service: &'static str,
    db: Db,
    kinds: HashMap<&'static str, Kind>,
    usual_concurrency: usize,
    concurrency: HashMap<&'static str, usize>,
    rates: HashMap<&'static str, u32>,
    schedules: Vec<Schedule>,
    keep: Duration,
    around: Option<Around>,
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
            keep: Duration::from_secs(7 * 24 * 3600),
            around: None,
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

    /// Runs jobs until `stop` is cancelled. Then begins no more and ends when
    /// those under way have.
    pub async fn run(self, stop: CancellationToken) {
        let rounds = Rounds::new(&self);
        let queues: Vec<&'static str> = rounds.queues.iter().map(|queue| queue.name).collect();
        // Leases are renewed while running work is finished, too.
        tokio::select! {
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
            made = all => made,
            () = rounds.crew.leases.renew(self.service, &self.db) => Ok(0), // never ends
        }
    }
}

/// The rounds a runner makes: look, begin, wait.
struct Rounds<'a> {
    runner: &'a Runner,
    crew: Arc<Crew>,
    queues: Vec<Arc<Queue>>,
    bell: Arc<Bell>,
}

/// Rung when an attempt has ended and somebody waits for that.
#[derive(Default)]
struct Bell {
    /// Whether more is to be done than there is room for.
    wanted: AtomicBool,
    rung: Notify,
}

/// A claimed job and the queue it counts in.
type Begun = (Arc<Queue>, Claimed);

/// Says that an attempt has ended, however it did.
struct Ending {
    queue: Arc<Queue>,
    bell: Arc<Bell>,
    /// Whether another job waits under its key, which was in the way until now.
    in_the_way: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.queue.ended();
        if self.in_the_way || self.bell.wanted.load(Ordering::SeqCst) {
            self.bell.rung.notify_one();
        }
    }
}

impl<'a> Rounds<'a> {
    fn new(runner: &'a Runner) -> Rounds<'a> {
        let mut names: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for kind in runner.kinds.values() {
            names.entry(kind.queue).or_default().push(kind.name);
        }
        let queues = names.into_iter().map(|(queue, names)| {
            let most = runner.concurrency.get(queue).copied().unwrap_or(runner.usual_concurrency);
            let rate = runner.rates.get(queue).map(|per_second| Rate::per_second(*per_second));
            Arc::new(Queue::new(queue, most, &names, rate))
        });
        let crew = Crew::new(&runner.db, runner.kinds.clone(), runner.around.clone());
        Rounds { runner, crew: Arc::new(crew), queues: queues.collect(), bell: Arc::default() }
    }

    async fn until(&self, stop: &CancellationToken) {
        let world = self.runner.db.world();
        let signal = self.runner.db.signal(store::SIGNAL);
        let later = self.runner.db.signal(store::LATER);
        // Across all turns, so that none misses it.
        let put_off = later.notified();
        tokio::pin!(put_off);
        put_off.as_mut().enable();
        // Whether something may have to be looked at before the next chores.
        let mut soon = true;
        let mut registered = false;
        let mut chores_at = world.now();
        while !stop.is_cancelled() {
            // Listened to from before the look, so that nothing is missed between.
            let signalled = signal.notified();
            tokio::pin!(signalled);
            signalled.as_mut().enable();
            // A clock that was set back does not put the chores off.
            chores_at = chores_at.min(world.now() + POLL);
            let chores = world.now() >= chores_at;
            soon |= chores;
            if chores {
                chores_at = world.now() + world.jitter(POLL);
            }
            match self.look(chores, &mut registered).await {
                // Who ended before the bell was wanted did not ring it.
                Ok(full) if full.iter().any(|queue| queue.room(world.now()) > 0) => continue,
                Ok(full) if soon && full.len() < self.queues.len() => {
                    soon = false;
                    chores_at = self.sooner(chores_at).await;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        service = self.runner.service,
                        error = error.chain(),
                        "jobs were not claimed"
                    );
                    chores_at = world.now() + world.jitter(POLL);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = world.sleep(chores_at.since(world.now()).min(POLL)) => {}
                    }
                }
            }
            tokio::select! {
                biased;
                () = &mut put_off => {
                    put_off.set(later.notified());
                    put_off.as_mut().enable();
                    soon = true;
                }
                () = stop.cancelled() => {}
                () = &mut signalled => {}
                () = self.bell.rung.notified() => {}
                () = world.sleep(self.rest(chores_at)) => {}
            }
        }
        self.bell.wanted.store(true, Ordering::SeqCst);
        while self.queues.iter().any(|queue| queue.under_way() > 0) {
            self.bell.rung.notified().await;
        }
    }

    /// Claims and begins what there is room for. Returns the queues that may
    /// have more.
    async fn look(&self, chores: bool, registered: &mut bool) -> Result<Vec<Arc<Queue>>> {
        if !*registered {
            let schedules = &self.runner.schedules;
            db::write!(self.runner.db, async |tx| { schedule::register(tx, schedules).await })?;
            *registered = true;
        }
        let now = self.runner.db.world().now();
        if !chores && self.queues.iter().all(|queue| queue.room(now) == 0) {
            self.bell.wanted.store(true, Ordering::SeqCst);
            return Ok(self.queues.clone());
        }
        let (claimed, full) = self.claim(chores).await?;
        for (queue, job) in claimed {
            // It runs beside the others and says itself how it ended.
            drop(self.runner.db.world().spawn(self.begun(queue, job)));
        }
        self.bell.wanted.store(!full.is_empty(), Ordering::SeqCst);
        Ok(full)
    }

    /// Claims what there is room for; with `chores`, first does what is to be
    /// done now and then, so that what that makes due is claimed at once.
    /// Says, too, which queues may have more.
    async fn claim(&self, chores: bool) -> Result<(Vec<Begun>, Vec<Arc<Queue>>)> {
        let now = self.runner.db.world().now();
        let wants: Vec<Want> = self
            .queues
            .iter()
            .map(|queue| {
                let limit = queue.room(now).min(BATCH) as i64;
                Want { queue: queue.name, names: queue.names.clone(), limit }
            })
            .collect();
        let schedules = &self.runner.schedules;
        let (claimed, buried) = db::write!(self.runner.db, async |tx| {
            let mut buried = Vec::new();
            if chores {
                schedule::add_due(tx, schedules).await?;
                claim::make_ready(tx).await?;
                buried = claim::bury_lost(tx).await?;
            }
            let mut claimed = Vec::new();
            for mut want in wants.iter().cloned() {
                let mut jobs =
                    if chores && want.limit > 0 { claim::take_over(tx, &want).await? } else { Vec::new() };
                want.limit -= jobs.len() as i64;
                if want.limit > 0 {
                    jobs.extend(claim::claim(tx, &want).await?);
                }
                claimed.push(jobs);
            }
            Ok::<_, kernel::Error>((claimed, buried))
        })?;
        buried.into_iter().for_each(report_buried);
        let filled = wants.iter().zip(&claimed).map(|(want, jobs)| jobs.len() as i64 >= want.limit);
        let full =
            self.queues.iter().zip(filled).filter(|(_, filled)| *filled).map(|(queue, _)| queue.clone());
        let full = full.collect();
        let begun = self.queues.iter().zip(claimed).flat_map(|(queue, jobs)| {
            queue.begun(jobs.len(), now);
            jobs.into_iter().map(|job| (queue.clone(), job))
        });
        Ok((begun.collect(), full))
    }

    fn begun(&self, queue: Arc<Queue>, job: Claimed) -> impl Future<Output = ()> + Send + use<> {
        let (crew, bell) = (self.crew.clone(), self.bell.clone());
        let mut ending = Ending { queue, bell, in_the_way: false };
        async move {
            ending.in_the_way = crew.attempt(job).await;
            drop(ending);
        }
    }

    /// When to look again although nothing was heard of.
    async fn sooner(&self, at: Time) -> Time {
        let next = db::read!(self.runner.db, async |tx| { claim::next_at(tx).await });
        match next {
            // What is due already was seen by this look and is not ours.
            Ok(Some(next)) if next > self.runner.db.world().now() => at.min(next),
            Ok(_) => at,
            Err(error) => {
                tracing::debug!(error = error.chain(), "the next job was not looked up");
                at
            }
        }
    }

    /// How long to sleep when nothing is heard of: never longer than to the
    /// next poll, since the clock may have been set back a moment ago.
    fn rest(&self, chores_at: Time) -> Duration {
        let now = self.runner.db.world().now();
        let limited =
            self.queues.iter().filter_map(|queue| queue.rate.as_ref()).map(|rate| rate.next_at(now));
        let wake_at = limited.filter(|at| *at > now).fold(chores_at, Time::min);
        wake_at.since(now).min(POLL)
    }
}

fn report_buried((id, name, queue): (JobId, String, String)) {
    tracing::error!(job.id = %id, job.name = name, "job is a dead letter: its worker was lost in the last attempt");
    metrics::counter!("jobs_dead_total", "queue" => queue, "name" => name).increment(1);
}
