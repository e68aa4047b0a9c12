//! What a shop does in the background: it relays events and works on jobs.

use std::{sync::Arc, time::Duration};

use bus::Consumer;
use kernel::{BoxFuture, Result, Task};
use tokio_util::sync::CancellationToken;
use web::telemetry::{Trace, within};

use super::{Shop, minutes};
use crate::part::Part;

/// How often a gateway asks each address of a service whether it is ready.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

impl Shop {
    /// Starts what runs in the background: relays of events and workers of
    /// jobs. They end when `stop` is cancelled and running work is finished.
    pub fn start(&self, stop: &CancellationToken) -> Result<Workers> {
        let mut tasks = Vec::new();
        if let Some(orders) = self.orders.clone() {
            tasks.push(self.world.spawn(async move {
                // What stood still while nobody was here goes on at once, not at the next sweep.
                if let Err(error) = orders.sweep().await {
                    tracing::warn!(
                        error = error.chain(),
                        "orders that stand still were not looked for; the next sweep does"
                    );
                }
            }));
        }
        for (service, db) in &self.databases {
            let (bus, service, db, stop) = (self.bus.clone(), *service, db.clone(), stop.clone());
            tasks.push(self.world.spawn(async move { bus.relay(service, db, stop).await }));
        }
        for (service, db) in &self.databases {
            let (service, db, stop) = (*service, db.clone(), stop.clone());
            let keep = minutes(self.config.idempotency.keep_minutes);
            tasks.push(self.world.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = web::idempotency::sweep(service, &db, keep) => {}
                }
            }));
        }
        let (bus, hearing) = (self.bus.clone(), stop.clone());
        tasks.push(self.world.spawn(async move { bus.consume(hearing).await }));
        if self.parts.has(Part::Gateway) {
            let care = self.care().run(self.world.clone(), stop.clone());
            tasks.push(self.world.spawn(care));
        }
        for runner in self.runners()? {
            let stop = stop.clone();
            tasks.push(self.world.spawn(async move { runner.run(stop).await }));
        }
        tasks.push(self.drain_at(stop));
        Ok(Workers(tasks))
    }

    /// What a gateway looks after.
    fn care(&self) -> gateway::Care {
        gateway::Care {
            pools: self.pools.iter().map(|(_, pool)| pool.clone()).collect(),
            every: HEALTH_EVERY,
            maintenance: self.maintenance.clone(),
            maintenance_file: self.config.data.folder.join("maintenance"),
        }
    }

    /// When `stop` is cancelled this process is not ready any more, and nobody
    /// waits here for an order to be settled.
    pub fn drain_at(&self, stop: &CancellationToken) -> Task {
        let (health, orders, draining) = (self.health.clone(), self.orders.clone(), stop.clone());
        self.world.spawn(async move {
            draining.cancelled().await;
            health.drain();
            if let Some(orders) = orders {
                orders.drain();
            }
        })
    }

    /// Does all background work that is due now, and what that makes due, until
    /// nothing is left: for tests and for commands that end.
    pub async fn settle(&self) -> Result<()> {
        let runners = self.runners()?;
        loop {
            let mut done = 0;
            for (service, db) in &self.databases {
                done += self.bus.relay_once(service, db).await?;
            }
            done += self.bus.tell_again().await?;
            for runner in &runners {
                done += runner.run_due().await?;
            }
            if done == 0 {
                return Ok(());
            }
        }
    }

    /// Who of this process hears what is announced.
    pub fn consumers(&self) -> Vec<Arc<dyn Consumer>> {
        let consumers = [
            self.users.as_ref().map(users::consumers),
            self.catalog.as_ref().map(catalog::consumers),
            self.inventory.as_ref().map(inventory::consumers),
            self.orders.as_ref().map(orders::consumers),
            self.payments.as_ref().map(payments::consumers),
            self.notifications.as_ref().map(notifications::consumers),
        ];
        consumers.into_iter().flatten().flatten().collect()
    }

    /// Who works on the jobs of this process.
    pub fn runners(&self) -> Result<Vec<jobs::Runner>> {
        let runners = [
            self.users.as_ref().map(|users| Ok(users::runner(users))),
            self.inventory.as_ref().map(inventory::runner),
            self.orders.as_ref().map(orders::runner),
            self.payments.as_ref().map(payments::runner),
            self.notifications.as_ref().map(|notifications| Ok(notifications::runner(notifications))),
        ];
        let keep = minutes(self.config.jobs.keep_minutes);
        let most = self.config.jobs.concurrency as usize;
        let world = self.world.clone();
        let dispatch = self.config.dispatch()?;
        // A job belongs to the trace of the request that caused it.
        let traced =
            move |traceparent: Option<&str>, work: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
                match traceparent.and_then(Trace::parse) {
                    Some(cause) => Box::pin(within(cause.next(&world), work)),
                    None => work,
                }
            };
        let set_up = |runner: Result<jobs::Runner>| {
            Ok(runner?.keep(keep).usual_concurrency(most).around(traced.clone()).through(dispatch.clone()))
        };
        runners.into_iter().flatten().map(set_up).collect()
    }
}

/// What runs in the background.
pub struct Workers(Vec<Task>);

impl Workers {
    /// Waits until all of it has ended.
    pub async fn join(self) {
        for task in self.0 {
            task.join().await;
        }
    }
}
