//! A provider to try things with. It behaves like a real one: it keeps its own
//! books in its own transactions, does once what is asked twice with one key,
//! is slow, declines, takes the money without saying so, and announces what it
//! did late, twice or before it answers. The card's token says how.

pub mod http;
mod store;
mod token;

use std::time::Duration;

use async_trait::async_trait;
use db::{Db, Gather, Tx};
use kernel::{AttemptId, Error, EventId, Money, OrderId, Result};

use crate::{
    jobs::Announce,
    model::AttemptKind,
    provider::{Change, Charge, Outcome, Provider},
    webhook::Notice,
};

pub use store::{ChargeState, MIGRATIONS, SandboxCharge};
pub(crate) use store::{any_charge, charges_between};
use token::Behaviour;

/// How the sandbox behaves, besides what the tokens say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it takes to answer.
    pub latency: Duration,
    /// How much longer `tok_slow` takes.
    pub slow: Duration,
    /// How late `tok_webhook_late` is announced.
    pub late: Duration,
    /// Which outcomes are announced by a webhook.
    pub announce: Announcing,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            latency: Duration::ZERO,
            slow: Duration::from_secs(2),
            late: Duration::from_secs(30),
            announce: Announcing::Asked,
        }
    }
}

/// Which outcomes the sandbox announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcing {
    /// None: nobody carries webhooks.
    None,
    /// Those of `tok_timeout` and of `tok_webhook_…`.
    Asked,
    /// All.
    All,
}

/// The most calls that it takes together.
const MOST: usize = 64;

/// The sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    db: Db,
    settings: Settings,
    charges: Gather<Charge, Outcome>,
    changes: Gather<(AttemptKind, Change), (Outcome, Behaviour)>,
}

impl Sandbox {
    /// With its books in this database.
    pub fn new(db: Db, settings: Settings) -> Sandbox {
        let (charging, changing) = (settings.clone(), settings.clone());
        let charges = Gather::writing(&db, MOST, move |tx, charges: &[Charge]| {
            let settings = charging.clone();
            Box::pin(async move {
                tx.repeatable();
                Ok(store::authorise(tx, charges, &settings).await?.into_iter().map(Ok).collect())
            })
        });
        let changes = Gather::writing(&db, MOST, move |tx, changes: &[(AttemptKind, Change)]| {
            let settings = changing.clone();
            Box::pin(async move {
                tx.repeatable();
                Ok(store::change(tx, changes, &settings).await?.into_iter().map(Ok).collect())
            })
        });
        let charges = charges.one_of_each(|charge: &Charge| charge.order);
        let changes = changes.one_of_each(|(_, change): &(AttemptKind, Change)| change.reference.clone());
        Sandbox { db, settings, charges, changes }
    }

    /// Where its books are.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Every charge of an order.
    pub async fn charges_of(&self, order: OrderId) -> Result<Vec<SandboxCharge>> {
        db::read!(self.db, async |tx| { store::charges_of(tx, order).await })
    }

    async fn change(&self, kind: AttemptKind, change: &Change) -> Outcome {
        match self.changes.call((kind, change.clone())).await {
            Ok((outcome, behaviour)) => self.answer(outcome, behaviour, kind).await,
            Err(error) => Outcome::Unknown { why: error.chain() },
        }
    }

    /// Answers as slowly, or as little, as the token wants.
    async fn answer(&self, outcome: Outcome, behaviour: Behaviour, kind: AttemptKind) -> Outcome {
        let world = self.db.world();
        let wait = match behaviour {
            Behaviour::Slow => self.settings.latency + self.settings.slow,
            Behaviour::WebhookEarly => self.settings.latency + Duration::from_millis(500),
            _ => self.settings.latency,
        };
        if !wait.is_zero() {
            world.sleep(wait).await;
        }
        if behaviour == Behaviour::Timeout && kind == AttemptKind::Authorise {
            return Outcome::Unknown { why: "the sandbox keeps its answer to itself".into() };
        }
        outcome
    }
}

#[async_trait]
impl Provider for Sandbox {
    async fn authorise(&self, charge: &Charge) -> Outcome {
        match self.charges.call(charge.clone()).await {
            Ok(outcome) => self.answer(outcome, Behaviour::of(&charge.token), AttemptKind::Authorise).await,
            Err(error) => Outcome::Unknown { why: error.chain() },
        }
    }

    async fn capture(&self, change: &Change) -> Outcome {
        self.change(AttemptKind::Capture, change).await
    }

    async fn void(&self, change: &Change) -> Outcome {
        self.change(AttemptKind::Void, change).await
    }

    async fn refund(&self, change: &Change) -> Outcome {
        self.change(AttemptKind::Refund, change).await
    }

    async fn find(&self, key: AttemptId) -> Result<Option<Outcome>> {
        db::read!(self.db, async |tx| { store::find_call(tx, key).await })
    }
}

/// Announces an outcome as the token wants, in the transaction that made it.
async fn announce(
    tx: &mut Tx,
    settings: &Settings,
    behaviour: Behaviour,
    (kind, key, amount): (AttemptKind, AttemptId, Money),
    outcome: &Outcome,
) -> Result<()> {
    let (times, delay) = match behaviour {
        _ if settings.announce == Announcing::None => (0, Duration::ZERO),
        Behaviour::WebhookTwice => (2, Duration::ZERO),
        Behaviour::WebhookLate => (1, settings.late),
        Behaviour::Timeout => (1, settings.late),
        Behaviour::WebhookEarly => (1, Duration::ZERO),
        _ if settings.announce == Announcing::All => (1, Duration::ZERO),
        _ => (0, Duration::ZERO),
    };
    if times == 0 {
        return Ok(());
    }
    let body = serde_json::to_string(&Notice { kind, key, amount, outcome: outcome.clone() });
    let webhook = Announce { id: EventId::new(tx.world()).to_string(), body: body.map_err(Error::internal)? };
    for _ in 0..times {
        jobs::add_with(tx, &webhook, jobs::Options { delay, ..jobs::Options::default() }).await?;
    }
    Ok(())
}
