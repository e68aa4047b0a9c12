//! What orders do later: fulfil, sweep.

use std::{sync::Arc, time::Duration};

use jobs::{Failure, Job, Policy, Run, Runner, Worker, async_trait};
use kernel::{OrderId, Result, Time, uuid::Uuid};
use serde::{Deserialize, Serialize};
use web::telemetry::Trace;

use crate::{Orders, store};

/// Takes an order as far as it goes: `orders.fulfil`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fulfil {
    /// Which.
    pub order: OrderId,
}

impl Job for Fulfil {
    const NAME: &'static str = "orders.fulfil";
    const QUEUE: &'static str = "fulfil";

    /// Another service may be away for a day, and no step does harm when it is
    /// repeated: one to two days of trying. The longest wait is also how long
    /// an order may stand still when all is well again.
    fn policy() -> Policy {
        Policy {
            attempts: 600,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
            lease: Duration::from_secs(30),
        }
    }

    fn unique(&self) -> Option<String> {
        Some(self.order.to_string())
    }
}

/// Puts back the job of orders that stand still: `orders.sweep`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sweep {}

impl Job for Sweep {
    const NAME: &'static str = "orders.sweep";
    fn unique(&self) -> Option<String> {
        Some("sweep".into())
    }
}

/// Who does the work of this service.
pub fn runner(service: &Orders) -> Result<Runner> {
    let worker = Arc::new(service.clone());
    let world = service.db.world().clone();
    Runner::new("orders", service.db.clone())
        .worker::<Fulfil>(worker.clone())
        .worker::<Sweep>(worker)
        .around(move |traceparent, work| match traceparent.and_then(Trace::parse) {
            Some(trace) => Box::pin(web::telemetry::within(trace.next(&world), work)),
            None => work,
        })
        .schedule("orders.sweep", "* * * * *", Sweep {})
}

#[async_trait]
impl Worker<Fulfil> for Orders {
    async fn run(&self, job: Fulfil, run: &Run) -> Result<(), Failure> {
        self.fulfil(job.order, run).await
    }
}

#[async_trait]
impl Worker<Sweep> for Orders {
    async fn run(&self, _: Sweep, _: &Run) -> Result<(), Failure> {
        self.sweep().await.map(drop).map_err(Failure::Retry)
    }
}

impl Orders {
    /// Finds orders that should be moving, have not for a while and have no
    /// job, and puts their job back; returns how many. To be called once at the
    /// start, too. An order whose job is a dead letter is left to a person.
    pub async fn sweep(&self) -> Result<usize> {
        let since = self.db.world().now() - self.settings.still_after;
        let (mut after, mut found) = ((Time::from_micros(i64::MIN), OrderId::from_uuid(Uuid::nil())), 0);
        loop {
            let still: Result<Vec<_>> =
                db::read!(self.db, async |tx| { store::still(tx, since, after).await });
            let still = still?;
            let Some((at, last, _)) = still.last() else {
                return Ok(found);
            };
            after = (*at, *last);
            for (_, order, seen) in still {
                let restarted: Result<bool> =
                    db::write!(self.db, async |tx| { restart(tx, order, seen).await });
                if restarted? {
                    tracing::warn!(order.id = %order, "an order stood still; its job was put back");
                    found += 1;
                }
            }
        }
    }
}

/// Puts back the job of an order that is still as it was seen. The order is
/// locked before the job is added, as by all who change an order and add its
/// job: the other way round two of them could wait for each other.
async fn restart(tx: &mut db::Tx, id: OrderId, seen: i64) -> Result<bool> {
    if !store::begin_anew(tx, id, seen).await? {
        return Ok(false);
    }
    let job = jobs::add(tx, &Fulfil { order: id }).await?;
    store::set_job(tx, id, job).await?;
    Ok(true)
}
