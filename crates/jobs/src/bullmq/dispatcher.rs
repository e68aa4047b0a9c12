//! A runner's rounds in a fleet: hands over what is ready, while others take,
//! hear and watch.

use std::sync::Arc;

use futures::future::join_all;
use kernel::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::{
    bullmq::{Hearer, Link, Taker, Turn, Watch, hand_over},
    claim::{Claimed, Want},
    queue::Queue,
    rounds::{BATCH, Rounds, report_buried},
};

impl Rounds<'_> {
    /// Hands over, and works what is handed over, until `stop` is cancelled and
    /// what is under way has ended.
    pub(crate) async fn through_bullmq(&self, link: &Arc<Link>, stop: &CancellationToken) {
        let leases = Taker::leases(&self.runner.db);
        let taker = |queue: &Arc<Queue>| Taker {
            service: self.runner.service,
            link: link.clone(),
            queue: queue.clone(),
            crew: self.crew.clone(),
            bell: self.bell.clone(),
            leases: leases.clone(),
        };
        let hearer = Hearer {
            service: self.runner.service,
            link: link.clone(),
            crew: self.crew.clone(),
            bell: self.bell.clone(),
        };
        let watch = |queue| Watch { db: &self.runner.db, link, queue, bell: &self.bell, hearer: &hearer };
        let (elsewhere, here): (Vec<_>, Vec<_>) = self.queues.iter().partition(|queue| queue.elsewhere);
        let take = join_all(here.into_iter().map(|queue| taker(queue).run(stop.clone())));
        let hear = join_all(elsewhere.into_iter().map(|queue| hearer.forever(queue.name)));
        let watch = join_all(self.queues.iter().map(|queue| async move { watch(queue).forever().await }));
        tokio::select! {
            _ = async { tokio::join!(self.look_until(stop), take) } => {}
            _ = async { tokio::join!(hear, watch) } => {} // never ends
        }
    }

    /// Hands over a batch of each queue; with `chores`, first does what is to
    /// be done now and then. Returns the queues that may have more.
    pub(crate) async fn hand_over(&self, link: &Link, chores: bool) -> Result<Vec<Arc<Queue>>> {
        if chores {
            let buried = db::write!(self.runner.db, async |tx| { self.chores(tx).await })?;
            buried.into_iter().for_each(report_buried);
        }
        if link.is_away() {
            return Ok(Vec::new()); // the bell rings when it is back
        }
        let wants: Vec<Want> = self.queues.iter().map(|queue| queue.want(BATCH)).collect();
        let picked: Vec<Vec<Claimed>> = db::write!(self.runner.db, async |tx| {
            let mut picked = Vec::new();
            for want in &wants {
                picked.push(hand_over::pick(tx, want).await?);
            }
            Ok::<_, Error>(picked)
        })?;
        for (number, queue) in self.queues.iter().enumerate() {
            if let Err(error) = self.hand_to(link, queue, &picked[number]).await {
                self.take_back(picked[number..].concat()).await?;
                return Err(error);
            }
        }
        let full = self.queues.iter().zip(&picked).filter(|(_, jobs)| jobs.len() >= BATCH);
        Ok(full.map(|(queue, _)| queue.clone()).collect())
    }

    async fn hand_to(&self, link: &Link, queue: &Queue, jobs: &[Claimed]) -> Result<()> {
        if jobs.is_empty() { Ok(()) } else { link.hand_over(queue.name, jobs).await }
    }

    async fn take_back(&self, jobs: Vec<Claimed>) -> Result<()> {
        let turns: Vec<Turn> = jobs.iter().map(|job| Turn { id: job.id, token: job.token + 1 }).collect();
        db::write!(self.runner.db, async |tx| { hand_over::take_back(tx, &turns).await })
    }
}
