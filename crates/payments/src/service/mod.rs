//! What can be done with payments.

mod authorise;
mod capture;
mod hear;
mod refund;
mod screen;
mod settle;
mod void;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use contracts::payments as contract;
use db::{Db, Gather};
use kernel::{Error, OrderId, Result, Time};

use crate::{
    CaptureError,
    model::{Attempt, AttemptKind, AttemptState, Payment, Rules},
    provider::{HttpProvider, Provider},
    sandbox::{self, Sandbox},
    store,
    webhook::Secret,
};

/// What payments needs to start.
pub struct Needs {
    /// Where its tables are.
    pub db: Db,
    /// How it behaves.
    pub settings: Settings,
    /// Who moves the money; nothing for the sandbox of the settings.
    pub provider: Option<Arc<dyn Provider>>,
}

/// How payments behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the provider may take to answer.
    pub provider_timeout: Duration,
    /// How old an attempt without an outcome is when the sweep asks after it.
    pub recover_after: Duration,
    /// When an order is reviewed or not sold.
    pub rules: Rules,
    /// The address of a sandbox that runs on its own; nothing for the one in this process.
    pub sandbox_url: Option<String>,
    /// What a sandbox on its own signs its webhooks with: `whsec_…`.
    pub webhook_secret: Option<String>,
    /// How the sandbox in this process behaves.
    pub sandbox: sandbox::Settings,
    /// The most orders that are gathered into one transaction; with 1 each goes alone.
    pub gather_most: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            provider_timeout: Duration::from_secs(10),
            recover_after: Duration::from_secs(60),
            rules: Rules::default(),
            sandbox_url: None,
            webhook_secret: None,
            sandbox: sandbox::Settings::default(),
            gather_most: 64,
        }
    }
}

/// Payments. Cheap to clone.
#[derive(Clone)]
pub struct Payments {
    pub(crate) db: Db,
    pub(crate) settings: Arc<Settings>,
    pub(crate) secret: Secret,
    /// The sandbox of this process, if that is the provider.
    pub(crate) sandbox: Option<Sandbox>,
    provider: Arc<dyn Provider>,
    screenings: Gather<contract::Screen, contract::Screened>,
    intents: Gather<contract::Authorise, authorise::Intent>,
    captures: Gather<OrderId, Result<capture::Next, CaptureError>>,
    outcomes: Gather<settle::Told, settle::Settled>,
}

impl Payments {
    /// With these needs; fails when the webhook secret is none.
    pub fn new(needs: Needs) -> Result<Payments> {
        let Needs { db, settings, provider } = needs;
        let secret = match &settings.webhook_secret {
            Some(text) => Secret::parse(text).map_err(|why| Error::invalid("invalid_webhook_secret", why))?,
            // Nobody else signs or checks: the sandbox is here.
            None => Secret::new(db.world().random()),
        };
        let (sandbox, provider) = match (provider, &settings.sandbox_url) {
            (Some(provider), _) => (None, provider),
            (None, Some(url)) => (None, Arc::new(HttpProvider::new(url)) as Arc<dyn Provider>),
            (None, None) => {
                let sandbox = Sandbox::new(db.clone(), settings.sandbox.clone());
                (Some(sandbox.clone()), Arc::new(sandbox) as Arc<dyn Provider>)
            }
        };
        let most = settings.gather_most;
        Ok(Payments {
            screenings: screen::gather(&db, &settings.rules, most),
            intents: authorise::gather(&db, most),
            captures: capture::gather(&db, most),
            outcomes: settle::gather(&db, most),
            db,
            settings: Arc::new(settings),
            secret,
            sandbox,
            provider,
        })
    }

    /// The payment of an order.
    pub async fn payment(&self, order: OrderId) -> Result<Payment> {
        let found: Result<Option<Payment>> =
            db::read!(self.db, async |tx| { store::find_payment(tx, order).await });
        found?.ok_or_else(|| no_payment(order))
    }

    /// Everything that is known of the payment of an order.
    pub async fn books(&self, order: OrderId) -> Result<Books> {
        db::snapshot!(self.db, async |tx| {
            Ok(Books {
                payment: store::find_payment(tx, order).await?.ok_or_else(|| no_payment(order))?,
                attempts: store::attempts(tx, order).await?,
                ledger: store::ledger(tx, order).await?,
                refunds: store::refunds(tx, order).await?,
            })
        })
    }
}

fn no_payment(order: OrderId) -> Error {
    Error::not_found("no_payment", format!("{order} has no payment"))
}

/// Everything that is known of the payment of an order.
pub struct Books {
    /// The payment.
    pub payment: Payment,
    /// What the provider was asked.
    pub attempts: Vec<Attempt>,
    /// The entries of the ledger.
    pub ledger: Vec<store::Entry>,
    /// What was paid back.
    pub refunds: Vec<store::RefundRow>,
}

/// What was tried for an order whose gate is locked: each thing once.
struct Tried<'a> {
    order: OrderId,
    attempts: &'a [Attempt],
}

impl<'a> Tried<'a> {
    fn of(order: OrderId, tried: &'a BTreeMap<OrderId, Vec<Attempt>>) -> Tried<'a> {
        Tried { order, attempts: tried.get(&order).map_or(&[], Vec::as_slice) }
    }

    fn find(&self, kind: AttemptKind) -> Option<&'a Attempt> {
        self.attempts.iter().find(|attempt| attempt.kind == kind)
    }

    /// The attempt at one thing, while it has no outcome.
    fn pending(&self, kind: AttemptKind) -> Option<Attempt> {
        self.find(kind).filter(|attempt| attempt.state == AttemptState::Pending).cloned()
    }

    /// The attempt by which the money was promised.
    fn promise(&self) -> Result<&'a Attempt> {
        let found = self.find(AttemptKind::Authorise);
        found.ok_or_else(|| Error::internal(format!("the payment of {} has no attempt", self.order)))
    }

    /// The attempt at one thing: the one that is there, or a new one, to be
    /// saved before the provider hears of it. Says whether it is new.
    fn attempt(&self, kind: AttemptKind, now: Time) -> Result<(Attempt, bool)> {
        match self.find(kind) {
            Some(before) => Ok((before.clone(), false)),
            None => Ok((self.promise()?.next(kind, now), true)),
        }
    }

    /// The same, saved if it is new.
    async fn saved(&self, tx: &mut db::Tx, kind: AttemptKind) -> Result<(Attempt, bool)> {
        let (attempt, new) = self.attempt(kind, tx.world().now())?;
        if new {
            store::insert_attempts(tx, &[&attempt]).await?;
        }
        Ok((attempt, new))
    }
}

#[async_trait]
impl contract::Payments for Payments {
    async fn screen(&self, ask: contract::Screen) -> Result<contract::Screened> {
        Payments::screen(self, &ask).await
    }

    async fn authorise(&self, ask: contract::Authorise) -> Result<contract::Authorised> {
        Ok(Payments::authorise(self, &ask).await?)
    }

    async fn void(&self, ask: contract::Void) -> Result<()> {
        Ok(Payments::void(self, ask.order).await?)
    }

    async fn capture(&self, ask: contract::Capture) -> Result<contract::Captured> {
        let payment = Payments::capture(self, ask.order).await?;
        Ok(contract::Captured { payment: payment.id, amount: payment.money(payment.amount) })
    }

    async fn refund(&self, ask: contract::Refund) -> Result<contract::Refunded> {
        let payment = Payments::refund(self, ask.order).await?;
        Ok(contract::Refunded { amount: payment.map(|payment| payment.money(payment.refunded)) })
    }

    async fn payment(&self, ask: contract::GetPayment) -> Result<contract::Payment> {
        Ok(Payments::payment(self, ask.order).await?.into())
    }
}

impl From<Payment> for contract::Payment {
    fn from(payment: Payment) -> contract::Payment {
        contract::Payment {
            id: payment.id,
            order: payment.order_id,
            state: payment.state,
            amount: payment.money(payment.amount),
            captured: payment.money(payment.captured),
            refunded: payment.money(payment.refunded),
        }
    }
}
