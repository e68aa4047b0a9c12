//! What inventory does later: give back what was held for too long.

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

/// Does the jobs of this service: a sweep every minute.
pub fn runner(service: &Inventory) -> Result<Runner> {
    let sweeper = Arc::new(Sweeper(service.clone()));
    Runner::new("inventory", service.db.clone()).worker::<Expire>(sweeper).schedule(
        "inventory.expire",
        "* * * * *",
        Expire {},
    )
}
