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
    deaf_to: Arc<Mutex<Vec<AttemptId>>>,
    pub asks: Arc<AtomicUsize>,
    /// How often it was asked after something.
    pub asks_after: Arc<AtomicUsize>,
    /// How many ask after something at this moment, and the most that ever did.
    crowd: Arc<Mutex<(usize, usize)>>,
}

impl Moody {
    pub fn new(sandbox: Sandbox) -> Moody {
        Moody {
            sandbox,
            next: Arc::default(),
            deaf: Arc::default(),
            deaf_to: Arc::default(),
            asks: Arc::default(),
            asks_after: Arc::default(),
            crowd: Arc::default(),
        }
    }

    /// The next ask meets this mood, those after it none.
    pub fn be(&self, mood: Mood) {
        *self.next.lock().unwrap() = Some(mood);
    }

    /// Whether the provider can be asked after anything.
    pub fn be_deaf(&self, deaf: bool) {
        *self.deaf.lock().unwrap() = deaf;
    }

    /// From now on it cannot be asked after this.
    pub fn be_deaf_to(&self, key: AttemptId) {
        self.deaf_to.lock().unwrap().push(key);
    }

    /// The most that ever asked after something at once.
    pub fn most_at_once(&self) -> usize {
        self.crowd.lock().unwrap().1
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
        self.asks_after.fetch_add(1, Ordering::SeqCst);
        {
            let mut crowd = self.crowd.lock().unwrap();
            crowd.0 += 1;
            crowd.1 = crowd.1.max(crowd.0);
        }
        tokio::task::yield_now().await;
        self.crowd.lock().unwrap().0 -= 1;
        if *self.deaf.lock().unwrap() || self.deaf_to.lock().unwrap().contains(&key) {
            return Err(Error::unavailable("provider_unreachable", "the provider cannot be reached"));
        }
        self.sandbox.find(key).await
    }
}
