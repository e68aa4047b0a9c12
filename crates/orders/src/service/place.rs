//! Placing an order, and waiting until it is settled.

use std::{pin::pin, time::Duration};

use contracts::{
    catalog::Prices,
    orders::{OrderLine, OrderState},
};
use db::Tx;
use kernel::{Error, Money, OrderId, Result, UserId};
use web::{Answer, IdempotencyKey};

use crate::{
    Orders,
    jobs::Fulfil,
    model::{Address, Basket, Details, Order, PlaceError, Standing, Step, is_settled, number},
    store,
};

/// How often whoever waits looks again although nobody woke him: the order may
/// be fulfilled by another process.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What somebody wants to buy, how it is paid and where it goes to.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// What.
    pub basket: Basket,
    /// The provider's token of the card.
    pub token: String,
    /// Where to.
    pub address: Address,
}

impl Orders {
    /// Places an order: prices the basket, then saves the order together with
    /// the job that will fulfil it and the event that tells the other services.
    pub async fn place(
        &self,
        customer: UserId,
        key: &IdempotencyKey,
        purchase: Purchase,
    ) -> Result<Answer<Details>, PlaceError> {
        // Before anything is asked that may have changed since.
        if let Some(before) = web::idempotency::find(&self.db, key).await? {
            return Ok(before);
        }
        let prices = self.catalog.prices(Prices { skus: purchase.basket.skus() }).await?;
        let (lines, total) = purchase.basket.priced(&prices)?;
        let order = self.placed(customer, purchase, total);
        let traceparent = web::telemetry::traceparent();
        web::once!(self.db, key, async |tx| {
            let details = insert(tx, order.clone(), lines.clone(), traceparent.clone()).await?;
            Ok::<_, PlaceError>(details)
        })
    }

    fn placed(&self, customer: UserId, purchase: Purchase, total: Money) -> Order {
        let world = self.db.world();
        let now = world.now();
        Order {
            id: OrderId::new(world),
            number: number(world.random()),
            customer,
            state: OrderState::Placed,
            reason: None,
            total,
            address: purchase.address,
            token: purchase.token,
            approved_by: None,
            screening: None,
            carrier: None,
            tracking: None,
            shipped_at: None,
            job: None,
            version: Order::PLACED,
            placed_at: now,
            updated_at: now,
        }
    }

    /// The order as it stands when it is settled, or when the wait is over or
    /// nobody is to [wait any more](Orders::drain).
    pub async fn settled(&self, id: OrderId, wait: Duration) -> Result<Details> {
        let world = self.db.world();
        let until = world.now() + wait;
        let waiter = self.waiting.for_order(id);
        loop {
            let mut woken = pin!(waiter.bell.notified());
            // Whoever rings after this look is heard.
            woken.as_mut().enable();
            let state: Result<_> = db::read!(self.db, async |tx| { store::state(tx, id).await });
            let left = until.since(world.now());
            if left.is_zero() || self.waiting.is_drained() || state?.is_none_or(is_settled) {
                return self.details(id, None).await;
            }
            world.timeout(left.min(LOOK_AGAIN), woken).await;
        }
    }
}

/// Saves a new order with its lines, its job, its first step as begun, and the
/// news of it.
async fn insert(
    tx: &mut Tx,
    mut order: Order,
    lines: Vec<OrderLine>,
    traceparent: Option<String>,
) -> Result<Details> {
    let job = Fulfil { order: order.id };
    let options = jobs::Options { traceparent: traceparent.clone(), ..jobs::Options::default() };
    order.job = Some(jobs::add_with(tx, &job, options).await?);
    let mut tries = 8;
    while !store::insert(tx, &order).await? {
        tries -= 1;
        if tries == 0 {
            return Err(Error::unavailable("no_number_free", "no number was free for the order"));
        }
        order.number = number(tx.world().random());
    }
    store::insert_lines(tx, order.id, &lines).await?;
    // The first step begins with the order: that spares the saga a transaction.
    let mut standing: Standing = order.standing(Vec::new());
    let hold = standing.begin(Step::Hold, order.placed_at);
    store::start_step(tx, order.id, &hold, order.version).await?;
    let entry = store::add_history(tx, &order, Some(order.customer)).await?;
    bus::outbox::add_traced(tx, &order.event(), traceparent).await?;
    Ok(Details { order, lines, steps: vec![hold], history: vec![entry] })
}
