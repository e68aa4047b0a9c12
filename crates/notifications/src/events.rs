//! What notifications does when an order got somewhere: it puts the mail about
//! it into the queue.

use std::sync::Arc;

use async_trait::async_trait;
use bus::{Consumer, Envelope};
use contracts::orders::OrderEvent;
use db::{Db, Tx};
use kernel::{Error, Result};

use crate::{Notifications, Occasion, Tell};

struct Mail(Notifications);

#[async_trait]
impl Consumer for Mail {
    fn name(&self) -> &'static str {
        "notifications.mail"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["orders.confirmed", "orders.shipped", "orders.cancelled", "orders.refunded"]
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    async fn hear(&self, tx: &mut Tx, event: &Envelope) -> Result<()> {
        self.hear_all(tx, &[event]).await
    }

    async fn hear_all(&self, tx: &mut Tx, events: &[&Envelope]) -> Result<()> {
        let mut jobs = Vec::with_capacity(events.len());
        for event in events {
            let Some(occasion) = Occasion::of(&event.topic) else {
                return Err(Error::internal(format!("{} is no occasion for a mail", event.topic)));
            };
            let OrderEvent { order, reason, .. } = event.payload()?;
            let options = ::jobs::Options { traceparent: event.traceparent.clone(), ..Default::default() };
            jobs.push((Tell { order, occasion, reason }, options));
        }
        ::jobs::add_many_with(tx, jobs.iter().map(|(tell, options)| (tell, options.clone()))).await?;
        Ok(())
    }
}

/// Whoever of this service listens to others.
pub fn consumers(service: &Notifications) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Mail(service.clone()))]
}
