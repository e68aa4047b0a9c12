//! Holding for and selling to many orders at once. Two hundred buyers of one
//! SKU would queue for its row, one commit behind the other; gathered, they
//! share one transaction, and what is scarce is dealt out in the order of
//! arrival.
//!
//! Nothing here decides otherwise than [`order::hold`] and [`order::commit`]
//! would for the same orders one after the other; a test compares the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use db::{Db, Gather, Tx};
use kernel::{OrderId, Result, Sku, Time};

use crate::{
    CommitError, HoldError,
    model::{Lines, Movement, Reason, Stock, deal},
    order, store,
};

/// Gathers holds. Cheap to clone.
#[derive(Clone)]
pub struct Holds(Gather<Ask, Result<Time, HoldError>>);

/// One order's wish.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose.
    pub order: OrderId,
    /// For what.
    pub lines: Lines,
}

impl Holds {
    /// At most `most` at once, each lasting `hold_for`.
    pub fn new(db: &Db, most: usize, hold_for: Duration) -> Holds {
        let world = db.world().clone();
        let db = db.clone();
        Holds(Gather::new(&world, most, move |asks| {
            let db = db.clone();
            Box::pin(async move { Ok(hold_all(&db, asks, hold_for).await?.into_iter().map(Ok).collect()) })
        }))
    }

    /// Holds every line for an order, or none; returns when the hold ends.
    pub async fn hold(&self, order: OrderId, lines: Lines) -> Result<Time, HoldError> {
        self.0.call(Ask { order, lines }).await?
    }
}

/// What an order is told, or nothing when it has to go alone.
type Answer = Option<Result<Time, HoldError>>;

/// Holds for each order all of its lines or none, and answers each.
pub async fn hold_all(db: &Db, asks: Vec<Ask>, hold_for: Duration) -> Result<Vec<Result<Time, HoldError>>> {
    let until = db.world().now() + hold_for;
    let mut answers: Vec<Answer> = Vec::new();
    if asks.len() > 1 {
        let together: Result<Vec<Answer>> = db::write!(db, async |tx| {
            tx.repeatable();
            hold_new(tx, &asks, until).await
        });
        answers = together?;
    }
    answers.resize_with(asks.len(), || None);
    let mut settled = Vec::with_capacity(asks.len());
    for (ask, answer) in asks.iter().zip(answers) {
        // Those who go alone: the only one, and whoever was here before.
        settled.push(match answer {
            Some(answer) => answer,
            None => db::write!(db, async |tx| {
                tx.repeatable();
                order::hold(tx, ask.order, &ask.lines, until).await
            }),
        });
    }
    Ok(settled)
}

/// Holds for the orders that are new here; leaves the others unanswered and untouched.
async fn hold_new(tx: &mut Tx, asks: &[Ask], until: Time) -> Result<Vec<Answer>> {
    let orders: BTreeSet<OrderId> = asks.iter().map(|ask| ask.order).collect();
    let mut new = store::claim_new(tx, &orders, until).await?;
    // Of two asks of one order the second finds what the first left.
    let firsts: Vec<bool> = asks.iter().map(|ask| new.remove(&ask.order)).collect();
    let dealt: Vec<&Ask> =
        asks.iter().zip(&firsts).filter(|(_, first)| **first).map(|(ask, _)| ask).collect();

    let skus: BTreeSet<Sku> =
        dealt.iter().flat_map(|ask| ask.lines.iter()).map(|line| line.sku.clone()).collect();
    let mut free: BTreeMap<Sku, i64> = store::lock_stock(tx, &skus)
        .await?
        .into_iter()
        .map(|stock| (stock.sku.clone(), stock.available()))
        .collect();
    let outcomes = deal(&mut free, dealt.iter().map(|ask| &ask.lines));

    let (mut taken, mut lines, mut refused) = (BTreeMap::<Sku, i64>::new(), Vec::new(), Vec::new());
    for (ask, outcome) in dealt.iter().zip(&outcomes) {
        match outcome {
            Ok(()) => lines.extend(ask.lines.iter().map(|line| (ask.order, line.clone()))),
            Err(_) => refused.push(ask.order),
        }
    }
    for (_, line) in &lines {
        *taken.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
    }
    store::insert_lines(tx, &lines).await?;
    store::unclaim(tx, &refused).await?;
    let stocks = store::take_all(tx, &taken).await?;
    order::announce_all(tx, &stocks).await?;

    let mut outcomes = outcomes.into_iter();
    let answer = |first: bool| {
        let outcome = if first { outcomes.next()? } else { return None };
        Some(outcome.map(|()| until).map_err(|sku| HoldError::OutOfStock { sku }))
    };
    Ok(firsts.into_iter().map(answer).collect())
}

/// Gathers sales. Cheap to clone.
#[derive(Clone)]
pub struct Sales(Gather<OrderId, Result<(), CommitError>>);

impl Sales {
    /// At most `most` at once.
    pub fn new(db: &Db, most: usize) -> Sales {
        let world = db.world().clone();
        let db = db.clone();
        Sales(Gather::new(&world, most, move |orders| {
            let db = db.clone();
            Box::pin(async move { Ok(commit_all(&db, &orders).await?.into_iter().map(Ok).collect()) })
        }))
    }

    /// Turns what an order holds into a sale.
    pub async fn commit(&self, order: OrderId) -> Result<(), CommitError> {
        self.0.call(order).await?
    }
}

/// Turns into a sale what each order holds, and answers each.
pub async fn commit_all(db: &Db, orders: &[OrderId]) -> Result<Vec<Result<(), CommitError>>> {
    let mut sold = BTreeSet::new();
    if orders.len() > 1 {
        let together: Result<BTreeSet<OrderId>> = db::write!(db, async |tx| {
            tx.repeatable();
            sell_open(tx, orders).await
        });
        sold = together?;
    }
    let mut settled = Vec::with_capacity(orders.len());
    for order in orders {
        // Those who go alone: the only one, and whoever holds nothing that is open.
        settled.push(match sold.remove(order) {
            true => Ok(()),
            false => db::write!(db, async |tx| {
                tx.repeatable();
                order::commit(tx, *order).await
            }),
        });
    }
    Ok(settled)
}

/// Sells to the orders whose holds are open and returns them; leaves the others untouched.
async fn sell_open(tx: &mut Tx, orders: &[OrderId]) -> Result<BTreeSet<OrderId>> {
    let sold = store::sell_all(tx, &orders.iter().copied().collect()).await?;
    let mut by_sku: BTreeMap<Sku, Vec<(OrderId, i64)>> = BTreeMap::new();
    for (order, sku, quantity) in store::lines_of(tx, &sold).await? {
        by_sku.entry(sku).or_default().push((order, quantity));
    }
    store::lock_stock(tx, &by_sku.keys().cloned().collect()).await?;
    let now = tx.world().now();
    let mut sales = Vec::new();
    let stocks = store::sell_all_held(tx, &by_sku).await?;
    order::announce_all(tx, &stocks).await?;
    for stock in stocks {
        // Each sale is a movement of its own, with the version it would have led to alone.
        let mut then = stock;
        for (order, quantity) in by_sku.get(&then.sku).into_iter().flatten().rev() {
            sales.push((*order, Movement::to(&then, -quantity, Reason::Sold, now)));
            then = Stock { version: then.version - 1, ..then };
        }
    }
    store::insert_sales(tx, &sales, now).await?;
    Ok(sold)
}
