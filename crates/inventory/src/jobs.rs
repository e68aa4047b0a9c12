//! What inventory does later: give back what was held for too long, and forget
//! answers that nobody asks for any more.

use std::sync::Arc;

use async_trait::async_trait;
use jobs::{Failure, Job, Run, Runner, Worker};
use kernel::Result;
use serde::{Deserialize, Serialize};

use crate::Inventory;

/// Gives back what is held past its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Expire {}

impl Job for Expire {
    const NAME: &'static str = "inventory.expire";

    fn unique(&self) -> Option<String> {
        Some("all".into())
    }
}

struct Sweeper(Inventory);

#[async_trait]
impl Worker<Expire> for Sweeper {
    async fn run(&self, _: Expire, _: &Run) -> Result<(), Failure> {
        let given_back = self.0.give_back_expired().await?;
        if given_back > 0 {
            tracing::info!(orders = given_back, "gave back stock that was held for too long");
        }
        Ok(())
    }
}

/// Removes idempotency keys past their time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Purge {}

impl Job for Purge {
    const NAME: &'static str = "inventory.purge";

    fn unique(&self) -> Option<String> {
        Some("all".into())
    }
}

#[async_trait]
impl Worker<Purge> for Sweeper {
    async fn run(&self, _: Purge, _: &Run) -> Result<(), Failure> {
        let answers = web::idempotency::purge(&self.0.db).await?;
        tracing::info!(answers, "what is over was removed");
        Ok(())
    }
}

/// Does the jobs of this service: a sweep every minute, a purge every night.
pub fn runner(service: &Inventory) -> Result<Runner> {
    let sweeper = Arc::new(Sweeper(service.clone()));
    Runner::new("inventory", service.db.clone())
        .worker::<Expire>(sweeper.clone())
        .worker::<Purge>(sweeper)
        .schedule("inventory.expire", "* * * * *", Expire {})?
        .schedule("inventory.purge", "37 3 * * *", Purge {})
}
