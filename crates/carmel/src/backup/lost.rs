//! What a restore into the past takes away: the orders and the payments that
//! the shop has now and the backup does not.

use std::collections::BTreeMap;

use contracts::payments::PaymentState;
use db::Db;
use kernel::{Currency, Money, OrderId, Result};

use crate::audit::across::{Beside, PAGE, money_after};

/// At most so many ids are named.
const NAMED: usize = 20;

/// What there is now and is not in a backup.
#[derive(Debug, Default)]
pub struct Lost {
    /// Orders that were placed since.
    placed: Named,
    /// Orders that stood elsewhere then.
    moved: Named,
    /// Payments that were begun, or went on, since.
    paid: Named,
    /// Money that was taken since, less what was paid back.
    kept: BTreeMap<Currency, i64>,
}

/// Orders, the first of them by their ids.
#[derive(Debug, Default)]
struct Named {
    count: usize,
    ids: Vec<OrderId>,
}

impl Named {
    fn add(&mut self, order: OrderId) {
        self.count += 1;
        if self.ids.len() < NAMED {
            self.ids.push(order);
        }
    }

    fn sentence(&self, what: &str) -> Option<String> {
        let ids: Vec<String> = self.ids.iter().map(OrderId::to_string).collect();
        let more = if self.count > ids.len() { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what}: {}{more}", self.count, ids.join(", ")))
    }
}

/// The databases of orders and of payments, now and in the backup.
pub struct Sides<'a> {
    pub orders: (&'a Db, &'a Db),
    pub payments: (&'a Db, &'a Db),
}

impl Lost {
    /// Compares them.
    pub async fn between(sides: Sides<'_>) -> Result<Lost> {
        let mut lost = Lost::default();
        lost.orders(sides.orders).await?;
        lost.payments(sides.payments).await?;
        Ok(lost)
    }

    /// In words; nothing when nothing is lost.
    pub fn sentences(&self) -> Vec<String> {
        let kept = self.kept.iter().filter(|(_, amount)| **amount != 0);
        let kept = kept.map(|(currency, amount)| {
            let money = Money::new(*amount, *currency);
            format!("{money} was taken since then and is unknown to the backup: the provider's books have it")
        });
        [
            self.placed.sentence("orders that were placed since then"),
            self.moved.sentence("orders that went on since then"),
            self.paid.sentence("payments, by their orders, that were made or went on since then"),
        ]
        .into_iter()
        .flatten()
        .chain(kept)
        .collect()
    }

    async fn orders(&mut self, (now, then): (&Db, &Db)) -> Result<()> {
        let (mut now, mut then) = (now.picture().await?, then.picture().await?);
        let mut of_then = Beside::default();
        let mut after = None;
        loop {
            let page = orders::facts(&mut now, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.order);
            for fact in &page {
                let before = of_then
                    .of(fact.order, async |after| {
                        let page = orders::facts(&mut then, after, PAGE).await?;
                        Ok(page.into_iter().map(|fact| (fact.order, fact.state)).collect())
                    })
                    .await?;
                match before {
                    None => self.placed.add(fact.order),
                    Some(state) if state != fact.state => self.moved.add(fact.order),
                    Some(_) => {}
                }
            }
        }
    }

    async fn payments(&mut self, (now, then): (&Db, &Db)) -> Result<()> {
        let (mut now, mut then) = (now.picture().await?, then.picture().await?);
        let mut of_then = Beside::default();
        let mut after = None;
        loop {
            let page = payments::facts(&mut now, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.order);
            for payment in &page {
                let before =
                    of_then.of(payment.order, async |after| money_after(&mut then, after, PAGE).await).await?;
                let known = before.as_ref().map_or(0, |before| before.captured.amount - before.refunded.amount);
                let kept = payment.captured.amount - payment.refunded.amount;
                *self.kept.entry(payment.captured.currency).or_default() += kept - known;
                let state: Option<PaymentState> = before.map(|before| before.state);
                if state != Some(payment.state) {
                    self.paid.add(payment.order);
                }
            }
        }
    }
}
