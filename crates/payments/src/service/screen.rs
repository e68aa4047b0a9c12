//! Screening orders for fraud, many at once.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use contracts::payments::{Screen, Screened};
use db::{Db, Gather, Tx};
use kernel::{OrderId, Result, UserId};

use super::Payments;
use crate::{
    model::{Rules, VELOCITY_SPAN},
    store,
};

/// Gathers orders that are to be screened by these rules.
pub fn gather(db: &Db, rules: &Rules, most: usize) -> Gather<Screen, Screened> {
    let rules = rules.clone();
    Gather::writing(db, most, move |tx, asks| {
        let rules = rules.clone();
        Box::pin(async move { Ok(screen(tx, asks, &rules).await?.into_iter().map(Ok).collect()) })
    })
}

impl Payments {
    /// Scores an order. The first answer stays.
    pub async fn screen(&self, ask: &Screen) -> Result<Screened> {
        self.screenings.call(ask.clone()).await
    }
}

async fn screen(tx: &mut Tx, asks: &[Screen], rules: &Rules) -> Result<Vec<Screened>> {
    tx.repeatable();
    let now = tx.world().now();
    // Two orders of one customer are counted one after the other.
    let customers: BTreeSet<UserId> = asks.iter().map(|ask| ask.customer).collect();
    store::lock_shoppers(tx, &customers).await?;
    // What was screened before keeps the answer of whichever rules held then.
    let mut found = store::find_screenings(tx, asks.iter().map(|ask| ask.order)).await?;
    // More than that are refused all the same.
    let most = rules.orders_per_hour.saturating_mul(rules.deny_factor).saturating_add(1);
    let mut counts = store::count_screened(tx, &customers, now - VELOCITY_SPAN, most).await?;
    let mut new = Vec::new();
    for ask in asks {
        if let Entry::Vacant(place) = found.entry(ask.order) {
            let others = counts.entry(ask.customer).or_default();
            place.insert(rules.judge(ask.total, *others, &ask.token));
            *others += 1;
            new.push(ask);
        }
    }
    let new: Vec<_> = new.into_iter().map(|ask| (ask, &found[&ask.order])).collect();
    store::insert_screenings(tx, &new, now).await?;
    Ok(answers(asks, &found))
}

fn answers(asks: &[Screen], found: &BTreeMap<OrderId, Screened>) -> Vec<Screened> {
    asks.iter().map(|ask| found[&ask.order].clone()).collect()
}
