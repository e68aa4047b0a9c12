//! What is done later: removing what is over.

use std::sync::Arc;

use ::jobs::{Failure, Job, Run, Runner, Worker};
use kernel::Result;
use serde::{Deserialize, Serialize};

use crate::{Users, store};

/// Who works for this service.
pub fn runner(service: &Users) -> Runner {
    let runner = Runner::new("users", service.db.clone()).worker(Arc::new(Purger(service.clone())));
    runner.schedule("users.purge", "17 3 * * *", Purge {}).expect("a cron expression that a test parses")
}

/// Removes sessions and keys that are over.
#[derive(Serialize, Deserialize)]
pub struct Purge {}

impl Job for Purge {
    const NAME: &'static str = "users.purge";

    fn unique(&self) -> Option<String> {
        Some(String::new())
    }
}

const AT_ONCE: i64 = 500;

struct Purger(Users);

#[::jobs::async_trait]
impl Worker<Purge> for Purger {
    async fn run(&self, _: Purge, _: &Run) -> Result<(), Failure> {
        let Users { db, settings, .. } = &self.0;
        let (now, kept) = (db.world().now(), settings.ended_kept);
        let mut removed = 0;
        loop {
            let some: Result<usize> =
                db::write!(db, async |tx| { store::purge_sessions(tx, now - kept, AT_ONCE).await });
            let some = some?;
            removed += some;
            if some < AT_ONCE as usize {
                break;
            }
        }
        let keys: Result<u64> =
            db::write!(db, async |tx| { store::purge_keys(tx, now - self.0.keys_kept() - kept).await });
        tracing::info!(sessions = removed, keys = keys?, "what is over was removed");
        Ok(())
    }
}
