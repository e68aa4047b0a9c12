//! Placing an order, and waiting until it is settled.

use std::{pin::pin, time::Duration};

use contracts::{catalog::Prices, orders::OrderState};
use kernel::{Money, OrderId, Result, UserId};
use web::{Answer, IdempotencyKey};

use crate::{
    Orders,
    model::{Address, Basket, Details, Order, PlaceError, is_settled, number},
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
        Ok(self.placings.place(key.clone(), order, lines).await?)
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
