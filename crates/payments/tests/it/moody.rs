//! A provider in a mood: the sandbox, behind a line that may break before or
//! after it hears, or stay silent for a while.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use kernel::{AttemptId, Error, Result};
use payments::{
    provider::{Change, Charge, Outcome, Provider},
    sandbox::Sandbox,
};
use tokio::sync::Semaphore;

/// What happens to the next ask.
#[derive(Clone)]
pub enum Mood {
    /// It never reaches the provider.
    Lost,
    /// The provider does it, and the line breaks before the answer; nobody can ask after it either.
    Unanswered,
    /// The provider does it, and the answer never ends: whoever asked dies waiting.
    Hanging,
    /// It reaches the provider only when a permit is given.
    Delayed(Arc<Semaphore>),
    /// The provider does it, but the answer waits for a permit.
    AnsweredLate(Arc<Semaphore>),
}

#[derive(Clone)]
pub struct Moody {
    sandbox: Sandbox,
    next: Arc<Mutex<Option<Mood>>>,
    deaf: Arc<Mutex<bool>>,
    pub asks: Arc<AtomicUsize>,
}

impl Moody {
    pub fn new(sandbox: Sandbox) -> Moody {
        Moody { sandbox, next: Arc::default(), deaf: Arc::default(), asks: Arc::default() }
    }

    /// The next ask meets this mood, those after it none.
    pub fn be(&self, mood: Mood) {
        *self.next.lock().unwrap() = Some(mood);
    }

    /// Whether the provider can be asked after anything.
    pub fn be_deaf(&self, deaf: bool) {
        *self.deaf.lock().unwrap() = deaf;
    }

    async fn meet(&self, ask: impl Future<Output = Outcome>) -> Outcome {
        self.asks.fetch_add(1, Ordering::SeqCst);
        let mood = self.next.lock().unwrap().take();
        let unknown = || Outcome::Unknown { why: "the line broke".into() };
        match mood {
            None => ask.await,
            Some(Mood::Lost) => unknown(),
            Some(Mood::Unanswered) => {
                ask.await;
                self.be_deaf(true);
                unknown()
            }
            Some(Mood::Hanging) => {
                ask.await;
                std::future::pending().await
            }
            Some(Mood::Delayed(permit)) => {
                permit.acquire().await.unwrap().forget();
                ask.await
            }
            Some(Mood::AnsweredLate(permit)) => {
                let outcome = ask.await;
                permit.acquire().await.unwrap().forget();
                outcome
            }
        }
    }
}

#[async_trait]
impl Provider for Moody {
    async fn authorise(&self, charge: &Charge) -> Outcome {
        self.meet(self.sandbox.authorise(charge)).await
    }

    async fn capture(&self, change: &Change) -> Outcome {
        self.meet(self.sandbox.capture(change)).await
    }

    async fn void(&self, change: &Change) -> Outcome {
        self.meet(self.sandbox.void(change)).await
    }

    async fn refund(&self, change: &Change) -> Outcome {
        self.meet(self.sandbox.refund(change)).await
    }

    async fn find(&self, key: AttemptId) -> Result<Option<Outcome>> {
        if *self.deaf.lock().unwrap() {
            return Err(Error::unavailable("provider_unreachable", "the provider cannot be reached"));
        }
        self.sandbox.find(key).await
    }
}
