//! Looks every second whether Redis still has what was handed over to it, and
//! hands over again what it has lost.

use std::time::Duration;

use bullmq::JobState;
use db::Db;
use kernel::{Result, Time};

use crate::{
    bullmq::{Link, Turn, hand_over, heard::Hearer},
    queue::Queue,
    rounds::Bell,
    store,
};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// How many are looked up at once.
const BATCH: usize = 500;

/// Watches one queue.
pub(crate) struct Watch<'a> {
    pub db: &'a Db,
    pub link: &'a Link,
    pub queue: &'a Queue,
    pub bell: &'a Bell,
    pub hearer: &'a Hearer,
}

impl Watch<'_> {
    /// Watches for ever.
    pub async fn forever(&self) {
        loop {
            let was_away = self.link.is_away();
            match self.look().await {
                Ok(()) if was_away => {
                    tracing::info!(queue = self.queue.name, "the queue's Redis is back");
                    self.bell.ring();
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(
                        queue = self.queue.name,
                        error = error.chain(),
                        "the queue was not looked at"
                    );
                    self.link.follow().await;
                }
            }
            self.db.world().sleep(EVERY).await;
        }
    }

    async fn look(&self) -> Result<()> {
        let name = self.queue.name;
        let paused = db::read!(self.db, async |tx| { store::paused(tx).await })?;
        self.link.pause(name, paused.iter().any(|paused| paused == name)).await?;
        let now = self.db.world().now();
        let health = self.link.health(name).await?;
        if health.remembers {
            // Somebody may have removed a job, or a process have died between
            // the row and Redis.
            return self.look_up(now - self.link.settings().look_up_after).await;
        }
        // What it had before now may be gone.
        self.look_up(now).await?;
        self.link.remember(name, &health.run).await
    }

    /// Looks up what was handed over until then and not begun since.
    async fn look_up(&self, until: Time) -> Result<()> {
        loop {
            let turns = db::read!(self.db, async |tx| {
                hand_over::handed_until(tx, self.queue.name, until, BATCH).await
            })?;
            if turns.is_empty() {
                return Ok(());
            }
            let states = turns.iter().map(|turn| self.link.state(self.queue.name, *turn));
            let states: Vec<JobState> = futures::future::try_join_all(states).await?;
            let of = |wanted: fn(&JobState) -> bool| -> Vec<Turn> {
                turns.iter().zip(&states).filter(|(_, state)| wanted(state)).map(|(turn, _)| *turn).collect()
            };
            let lost = of(|state| *state == JobState::Unknown);
            let over = of(|state| matches!(state, JobState::Completed | JobState::Failed));
            if self.queue.elsewhere {
                for turn in &over {
                    self.hearer.look_up(self.queue.name, *turn).await?;
                }
            }
            db::write!(self.db, async |tx| {
                let now = tx.world().now();
                hand_over::take_back(tx, &lost).await?;
                hand_over::put_off(tx, &over, now).await?;
                hand_over::still_there(tx, &turns).await
            })?;
            if !lost.is_empty() || !over.is_empty() {
                let (lost, over) = (lost.len(), over.len());
                tracing::warn!(queue = self.queue.name, lost, over, "jobs are handed over again");
                self.bell.ring();
            }
        }
    }
}
