//! Reading orders, many at once, as they stand at one moment.

use std::collections::{BTreeMap, BTreeSet};

use db::{Db, Gather, Tx};
use kernel::{BoxFuture, OrderId, Result};

/// Gathers looks at orders. Cheap to clone.
#[derive(Clone)]
pub struct Looks<T>(Gather<OrderId, Option<T>>);

/// Reads those of these orders that there are.
type Read<T> = for<'a> fn(&'a mut Tx, &'a BTreeSet<OrderId>) -> BoxFuture<'a, Result<BTreeMap<OrderId, T>>>;

impl<T: Clone + Send + 'static> Looks<T> {
    /// At most `most` at once.
    pub fn new(db: &Db, most: usize, read: Read<T>) -> Looks<T> {
        let world = db.world().clone();
        let db = db.clone();
        Looks(Gather::new(&world, most, move |ids: Vec<OrderId>| {
            let db = db.clone();
            Box::pin(async move {
                // Two who work on one order may look at it at once.
                let each: BTreeSet<OrderId> = ids.iter().copied().collect();
                let found = db::snapshot!(db, async |tx| { read(tx, &each).await })?;
                Ok(ids.iter().map(|id| Ok(found.get(id).cloned())).collect())
            })
        }))
    }

    /// What is read of an order, or nothing if there is none.
    pub async fn look(&self, id: OrderId) -> Result<Option<T>> {
        self.0.call(id).await
    }
}

#[cfg(test)]
mod tests {
    use contracts::orders::{OrderLine, OrderState};
    use db::Engine;
    use kernel::{Currency, Money, UserId};

    use super::*;
    use crate::{
        model::{Address, Order},
        store,
    };

    /// As a worker does whose clock is ahead, and the one from whom it took the order.
    #[tokio::test]
    async fn two_who_look_at_one_order_at_once_see_each_line_once() {
        let files = testkit::TestDb::new(Engine::Sqlite);
        let db = files.open("orders", &crate::migrations()).await;
        let (world, now) = (db.world(), db.world().now());
        let address = Address {
            name: "Ann Example".into(),
            line1: "1 Harbour Street".into(),
            line2: None,
            city: "Hamburg".into(),
            postal_code: "20095".into(),
            country: "DE".into(),
        };
        let order = Order {
            id: OrderId::new(world),
            number: "C-00000001".into(),
            customer: UserId::new(world),
            state: OrderState::Placed,
            reason: None,
            total: Money::new(1_900, Currency::EUR),
            address,
            token: "tok_success".into(),
            approved_by: None,
            screening: None,
            carrier: None,
            tracking: None,
            shipped_at: None,
            job: None,
            version: Order::PLACED,
            placed_at: now,
            updated_at: now,
        };
        let line = |sku: &str, cents| OrderLine {
            sku: sku.parse().unwrap(),
            name: sku.into(),
            quantity: 1,
            price: Money::new(cents, Currency::EUR),
        };
        let lines = [line("mug", 1_200), line("cup", 700)];
        let saved: Result<()> = db::write!(db, async |tx| {
            store::insert(tx, &[&order]).await?;
            store::insert_lines(tx, std::iter::once((order.id, &lines[..]))).await
        });
        saved.unwrap();

        let looks = Looks::new(&db, 8, |tx, ids| Box::pin(store::on_the_way(tx, ids)));
        let (first, second) = tokio::join!(looks.look(order.id), looks.look(order.id));

        for seen in [first, second] {
            let (_, bought, _) = seen.unwrap().unwrap();
            assert_eq!(bought, lines);
        }
    }
}
