//! What is done later: removing what is over.

use std::sync::Arc;

use ::jobs::{Failure, Job, Run, Runner, Worker};
use kernel::Result;
use serde::{Deserialize, Serialize};

use crate::Catalog;

/// Who works for this service.
pub fn runner(service: &Catalog) -> Runner {
    let runner = Runner::new("catalog", service.db.clone()).worker(Arc::new(Purger(service.clone())));
    runner.schedule("catalog.purge", "27 3 * * *", Purge {}).expect("a cron expression that a test parses")
}

/// Removes idempotency keys past their time.
#[derive(Serialize, Deserialize)]
pub struct Purge {}

impl Job for Purge {
    const NAME: &'static str = "catalog.purge";

    fn unique(&self) -> Option<String> {
        Some(String::new())
    }
}

struct Purger(Catalog);

#[::jobs::async_trait]
impl Worker<Purge> for Purger {
    async fn run(&self, _: Purge, _: &Run) -> Result<(), Failure> {
        let answers = web::idempotency::purge(&self.0.db).await?;
        tracing::info!(answers, "what is over was removed");
        Ok(())
    }
}
