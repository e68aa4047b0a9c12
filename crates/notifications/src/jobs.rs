//! What notifications does later: write the mail about an order, send a mail.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jobs::{Failure, Job, Policy, Run, Runner, Worker};
use kernel::{MessageId, OrderId};
use serde::{Deserialize, Serialize};

use crate::{Notifications, Occasion};

/// Writes the mail about an order and queues it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tell {
    /// Which order.
    pub order: OrderId,
    /// What became of it.
    pub occasion: Occasion,
    /// Why, when it was cancelled.
    pub reason: Option<String>,
}

impl Job for Tell {
    const NAME: &'static str = "notifications.tell";

    fn unique(&self) -> Option<String> {
        Some(format!("{}:{}", self.order, self.occasion))
    }
}

#[async_trait]
impl Worker<Tell> for Notifications {
    async fn run(&self, job: Tell, run: &Run) -> Result<(), Failure> {
        Ok(self.tell(job, run).await?)
    }
}

/// Sends a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// Which.
    pub message: MessageId,
}

impl Job for Deliver {
    const NAME: &'static str = "notifications.deliver";
    const QUEUE: &'static str = "mail";

    /// A mail server may be away for a day: about 30 hours of trying.
    fn policy() -> Policy {
        Policy {
            attempts: 40,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(3600),
            lease: Duration::from_secs(60),
        }
    }

    fn unique(&self) -> Option<String> {
        Some(self.message.to_string())
    }
}

#[async_trait]
impl Worker<Deliver> for Notifications {
    async fn run(&self, job: Deliver, run: &Run) -> Result<(), Failure> {
        Ok(self.deliver(job.message, run).await?)
    }
}

/// Does the jobs of this service.
pub fn runner(service: &Notifications) -> Runner {
    let worker = Arc::new(service.clone());
    Runner::new("notifications", service.db.clone())
        .worker::<Tell>(worker.clone())
        .worker::<Deliver>(worker)
        // As many connections as a small mail server likes from one customer.
        .concurrency(Deliver::QUEUE, 8)
}
