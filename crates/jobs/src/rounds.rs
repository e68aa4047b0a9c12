//! The rounds a runner makes: look, begin, wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use db::Tx;
use kernel::{JobId, Result, Time};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Dispatch, Runner,
    attempt::{Crew, Kind},
    bullmq::Link,
    claim::{self, Claimed, Want},
    queue::{Queue, Rate},
    schedule, store,
};

/// How often a runner looks for what other processes have added.
const POLL: Duration = Duration::from_secs(1);
/// The most that one look claims from a queue.
pub(crate) const BATCH: usize = 256;

/// The rounds a runner makes: look, begin, wait.
pub(crate) struct Rounds<'a> {
    pub runner: &'a Runner,
    pub crew: Arc<Crew>,
    pub queues: Vec<Arc<Queue>>,
    pub bell: Arc<Bell>,
    link: Option<Arc<Link>>,
}

/// Rung when an attempt has ended and somebody waits for that.
#[derive(Default)]
pub(crate) struct Bell {
    /// Whether more is to be done than there is room for.
    wanted: AtomicBool,
    rung: Notify,
}

impl Bell {
    pub fn ring(&self) {
        self.rung.notify_one();
    }
}

/// A claimed job and the queue it counts in.
type Begun = (Arc<Queue>, Claimed);

/// Says that an attempt has ended, however it did.
pub(crate) struct Ending {
    pub queue: Arc<Queue>,
    pub bell: Arc<Bell>,
    /// Whether another job waits under its key, which was in the way until now.
    pub in_the_way: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.queue.ended();
        if self.in_the_way || self.bell.wanted.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

impl<'a> Rounds<'a> {
    pub fn new(runner: &'a Runner) -> Rounds<'a> {
        let mut kinds: BTreeMap<&'static str, Vec<&Kind>> = BTreeMap::new();
        for kind in runner.kinds.values() {
            kinds.entry(kind.queue).or_default().push(kind);
        }
        let queues = kinds.into_iter().map(|(name, kinds)| {
            let most = runner.concurrency.get(name).copied().unwrap_or(runner.usual_concurrency);
            let names: Vec<&'static str> = kinds.iter().map(|kind| kind.name).collect();
            let mut queue = Queue::new(name, most, &names);
            queue.per_second = runner.rates.get(name).copied();
            queue.rate = queue.per_second.map(Rate::per_second);
            queue.external = runner.external.contains(name);
            queue.elsewhere = kinds.iter().any(|kind| kind.elsewhere);
            Arc::new(queue)
        });
        let crew = Crew::new(&runner.db, runner.kinds.clone(), runner.around.clone());
        let link = match &runner.dispatch {
            Dispatch::Database => None,
            Dispatch::Bullmq(settings) => {
                Some(Arc::new(Link::new(runner.service, settings.clone(), runner.db.world())))
            }
        };
        Rounds { runner, crew: Arc::new(crew), queues: queues.collect(), bell: Arc::default(), link }
    }

    /// Makes rounds until `stop` is cancelled and what is under way has ended.
    pub async fn until(&self, stop: &CancellationToken) {
        match &self.link {
            None => self.look_until(stop).await,
            Some(link) => self.through_bullmq(link, stop).await,
        }
    }

    pub async fn look_until(&self, stop: &CancellationToken) {
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
                        biased;
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
        if chores && !self.is_due().await? {
            return Ok(Vec::new());
        }
        if let Some(link) = self.link.as_ref().filter(|link| !link.is_given_up()) {
            return self.hand_over(link, chores).await;
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

    /// Whether there is anything to do, asked without a writer's lock: a shop at
    /// rest changes nothing.
    async fn is_due(&self) -> Result<bool> {
        let schedules = &self.runner.schedules;
        db::read!(self.runner.db, async |tx| {
            Ok(claim::is_due(tx).await? || schedule::is_put_off(tx, schedules).await?)
        })
    }

    /// Claims what there is room for; with `chores`, first does what is to be
    /// done now and then, so that what that makes due is claimed at once.
    /// Says, too, which queues may have more.
    pub async fn claim(&self, chores: bool) -> Result<(Vec<Begun>, Vec<Arc<Queue>>)> {
        let now = self.runner.db.world().now();
        let wants: Vec<Want> =
            self.queues.iter().map(|queue| queue.want(queue.room(now).min(BATCH))).collect();
        let (claimed, buried) = db::write!(self.runner.db, async |tx| {
            let buried = if chores { self.chores(tx).await? } else { Vec::new() };
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
        // One that had no room may have more, too: whoever ends in it must ring.
        let filled = wants.iter().zip(&claimed).map(|(want, jobs)| jobs.len() as i64 >= want.limit);
        let full = self.queues.iter().zip(filled).filter(|(queue, filled)| *filled && !queue.elsewhere);
        let full = full.map(|(queue, _)| queue.clone()).collect();
        let begun = self.queues.iter().zip(claimed).flat_map(|(queue, jobs)| {
            queue.begun(jobs.len(), now);
            jobs.into_iter().map(|job| (queue.clone(), job))
        });
        Ok((begun.collect(), full))
    }

    /// What is to be done now and then. Returns the jobs that were given up.
    pub async fn chores(&self, tx: &mut Tx) -> Result<Vec<Buried>> {
        schedule::add_due(tx, &self.runner.schedules).await?;
        claim::make_ready(tx).await?;
        claim::shorten(tx).await?;
        self.crew.leases.renew_ended(tx).await?; // nobody takes over, or gives up, what he is at work on
        claim::bury_lost(tx).await
    }

    pub fn begun(&self, queue: Arc<Queue>, job: Claimed) -> impl Future<Output = ()> + Send + use<> {
        let (crew, bell) = (self.crew.clone(), self.bell.clone());
        let mut ending = Ending { queue, bell, in_the_way: false };
        async move {
            ending.in_the_way = crew.attempt(job).await.awaited;
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

/// A job that was given up: which, its kind and its queue.
pub(crate) type Buried = (JobId, String, String);

pub(crate) fn report_buried((id, name, queue): Buried) {
    tracing::error!(job.id = %id, job.name = name, "job is a dead letter: its worker was lost in the last attempt");
    metrics::counter!("jobs_dead_total", "queue" => queue, "name" => name).increment(1);
}
