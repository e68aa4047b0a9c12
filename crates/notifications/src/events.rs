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
        let Some(occasion) = Occasion::of(&event.topic) else {
            return Err(Error::internal(format!("{} is no occasion for a mail", event.topic)));
        };
        let OrderEvent { order, reason, .. } = event.payload()?;
        let tell = Tell { order, occasion, reason };
        let options = ::jobs::Options { traceparent: event.traceparent.clone(), ..Default::default() };
        ::jobs::add_with(tx, &tell, options).await?;
        Ok(())
    }
}

/// Whoever of this service listens to others.
pub fn consumers(service: &Notifications) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Mail(service.clone()))]
}
