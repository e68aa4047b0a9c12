//! Saving new orders, many at once: each with its lines, its job, its first
//! step as begun, the news of it and the answer to its key, or nothing of it.

use std::sync::Arc;

use contracts::orders::OrderLine;
use db::{Db, Gather, Tx};
use kernel::{Error, Result};
use web::{Answer, IdempotencyKey, idempotency};

use crate::{
    jobs::Fulfil,
    model::{Details, Order, Step, number},
    store,
};

/// How often a number is drawn for an order.
const DRAWS: u32 = 8;

/// Gathers orders that are to be placed. Cheap to clone.
#[derive(Clone)]
pub struct Placings(Gather<Arc<Placing>, Answer<Details>>);

struct Placing {
    key: IdempotencyKey,
    order: Order,
    lines: Vec<OrderLine>,
    traceparent: Option<String>,
}

impl Placings {
    /// At most `most` in one transaction.
    pub fn new(db: &Db, most: usize) -> Placings {
        Placings(Gather::writing(db, most, |tx, placings| Box::pin(place(tx, placings))))
    }

    /// Saves it, once per key.
    pub async fn place(
        &self,
        key: IdempotencyKey,
        order: Order,
        lines: Vec<OrderLine>,
    ) -> Result<Answer<Details>> {
        let traceparent = web::telemetry::traceparent();
        self.0.call(Arc::new(Placing { key, order, lines, traceparent })).await
    }
}

/// Saves those whose key is new, and answers the others as they were answered before.
async fn place(tx: &mut Tx, placings: &[Arc<Placing>]) -> Result<Vec<Result<Answer<Details>>>> {
    let keys: Vec<&IdempotencyKey> = placings.iter().map(|placing| &placing.key).collect();
    let new = idempotency::claim_all(tx, &keys).await?;
    let claimed: Vec<&Placing> =
        placings.iter().zip(&new).filter(|(_, new)| **new).map(|(placing, _)| &**placing).collect();
    let placed = insert(tx, &claimed).await?;
    let answers: Vec<_> = claimed.iter().map(|placing| &placing.key).zip(&placed).collect();
    idempotency::answer_all(tx, &answers).await?;
    let mut placed = placed.into_iter();
    let mut outcomes = Vec::with_capacity(placings.len());
    for (key, new) in keys.into_iter().zip(new) {
        outcomes.push(match if new { placed.next() } else { None } {
            Some(details) => Ok(Answer::first(details)),
            None => idempotency::again(tx, key).await,
        });
    }
    Ok(outcomes)
}

async fn insert(tx: &mut Tx, placings: &[&Placing]) -> Result<Vec<Details>> {
    let mut orders: Vec<Order> = placings.iter().map(|placing| placing.order.clone()).collect();
    let fulfil: Vec<Fulfil> = orders.iter().map(|order| Fulfil { order: order.id }).collect();
    let options = placings.iter().map(|placing| jobs::Options {
        traceparent: placing.traceparent.clone(),
        ..jobs::Options::default()
    });
    let added = jobs::add_many_with(tx, fulfil.iter().zip(options)).await?;
    orders.iter_mut().zip(added).for_each(|(order, job)| order.job = Some(job));
    insert_orders(tx, &mut orders).await?;
    store::insert_lines(tx, placings.iter().map(|placing| (placing.order.id, &*placing.lines))).await?;
    let details = |(order, placing): (Order, &&Placing)| {
        // The first step begins with the order: that spares the saga a transaction.
        let hold = order.standing(Vec::new()).begin(Step::Hold, order.placed_at);
        let entry = order.entry(Some(order.customer));
        Details { order, lines: placing.lines.clone(), steps: vec![hold], history: vec![entry] }
    };
    let placed: Vec<Details> = orders.into_iter().zip(placings).map(details).collect();
    let steps: Vec<_> =
        placed.iter().map(|placed| (placed.order.id, &placed.steps[0], placed.order.version)).collect();
    store::start_steps(tx, &steps).await?;
    let history: Vec<_> = placed.iter().map(|placed| (placed.order.id, placed.history[0].clone())).collect();
    store::add_history(tx, &history).await?;
    let events: Vec<_> = placed.iter().map(|placed| placed.order.event()).collect();
    let traces = placings.iter().map(|placing| placing.traceparent.clone());
    bus::outbox::add_many(tx, events.iter().zip(traces)).await?;
    Ok(placed)
}

/// Saves the rows of orders; one whose number is taken gets another.
async fn insert_orders(tx: &mut Tx, orders: &mut [Order]) -> Result<()> {
    let mut left: Vec<&mut Order> = orders.iter_mut().collect();
    for _ in 0..DRAWS {
        let rows: Vec<&Order> = left.iter().map(|order| &**order).collect();
        let inserted = store::insert(tx, &rows).await?;
        left.retain(|order| !inserted.contains(&order.id));
        if left.is_empty() {
            return Ok(());
        }
        left.iter_mut().for_each(|order| order.number = number(tx.world().random()));
    }
    Err(Error::unavailable("no_number_free", "no number was free for the order"))
}
