//! What payments does later: ask after what nobody came back for, give back
//! what was promised too late, and carry the sandbox's webhooks.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderMap;
use jobs::{Failure, Job, Run, Runner, Worker};
use kernel::{Error, OrderId, Result};
use serde::{Deserialize, Serialize};

use crate::{Payments, sandbox::Sandbox, webhook::Secret};

/// Asks after attempts that have been without an outcome for too long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recover {}

impl Job for Recover {
    const NAME: &'static str = "payments.recover";

    fn unique(&self) -> Option<String> {
        Some("all".into())
    }
}

/// Gives back what is promised to an order that was undone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Undo {
    /// Which.
    pub order: OrderId,
}

impl Job for Undo {
    const NAME: &'static str = "payments.undo";

    fn unique(&self) -> Option<String> {
        Some(self.order.to_string())
    }
}

/// Carries a webhook of the sandbox to the shop. The same id may be carried
/// twice: that is what a provider does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The webhook's id.
    pub id: String,
    /// Its body, as it is signed.
    pub body: String,
}

impl Job for Announce {
    const NAME: &'static str = "payments.sandbox_webhook";
}

struct Works(Payments);

#[async_trait]
impl Worker<Recover> for Works {
    async fn run(&self, _: Recover, _: &Run) -> Result<(), Failure> {
        let recovered = self.0.recover().await?;
        if recovered > 0 {
            tracing::info!(attempts = recovered, "learnt of outcomes that nobody came back for");
        }
        Ok(())
    }
}

#[async_trait]
impl Worker<Undo> for Works {
    async fn run(&self, job: Undo, _: &Run) -> Result<(), Failure> {
        match self.0.void(job.order).await {
            // What is captured was not promised too late.
            Ok(()) | Err(crate::VoidError::AlreadyCaptured { .. }) => Ok(()),
            Err(error) => Err(Failure::from(Error::from(error))),
        }
    }
}

#[async_trait]
impl Worker<Announce> for Works {
    async fn run(&self, job: Announce, _: &Run) -> Result<(), Failure> {
        let headers = self.0.secret.sign(&job.id, self.0.db.world().now(), &job.body)?;
        Ok(self.0.hear(&headers, job.body.as_bytes()).await?)
    }
}

/// Does the jobs of this service.
pub fn runner(service: &Payments) -> Result<Runner> {
    let works = Arc::new(Works(service.clone()));
    let runner = Runner::new("payments", service.db.clone())
        .worker::<Recover>(works.clone())
        .worker::<Undo>(works.clone())
        .schedule("payments.recover", "* * * * *", Recover {})?;
    Ok(if service.sandbox.is_some() { runner.worker::<Announce>(works) } else { runner })
}

/// Carries the webhooks of a sandbox that runs on its own to a shop's address.
struct Carrier {
    sandbox: Sandbox,
    url: String,
    secret: Secret,
    http: reqwest::Client,
}

#[async_trait]
impl Worker<Announce> for Carrier {
    async fn run(&self, job: Announce, _: &Run) -> Result<(), Failure> {
        let world = self.sandbox.db().world();
        let headers: HeaderMap = self.secret.sign(&job.id, world.now(), &job.body)?;
        let sending = self
            .http
            .post(&self.url)
            .headers(headers)
            .header("content-type", "application/json")
            .body(job.body)
            .send();
        let sent = world.timeout(Duration::from_secs(10), sending).await;
        let unheard = |why: String| {
            Failure::Retry(
                Error::unavailable("webhook_unheard", "the shop did not take the webhook").because(why),
            )
        };
        match sent {
            Some(Ok(response)) if response.status().is_success() => Ok(()),
            Some(Ok(response)) => Err(unheard(response.status().to_string())),
            Some(Err(error)) => Err(unheard(error.to_string())),
            None => Err(unheard("no answer in time".into())),
        }
    }
}

/// Carries the webhooks of a sandbox that runs on its own to the shop at this
/// address, such as `http://127.0.0.1:3000/payments/webhooks/sandbox`.
pub fn sandbox_runner(sandbox: &Sandbox, url: &str, secret: Secret) -> Runner {
    let carrier =
        Carrier { sandbox: sandbox.clone(), url: url.to_owned(), secret, http: reqwest::Client::new() };
    Runner::new("sandbox", sandbox.db().clone()).worker::<Announce>(Arc::new(carrier))
}
