//! What can be done with stock.

use std::time::Duration;

use contracts::inventory::{self as contract, Held, Level, Levels};
use db::Db;
use kernel::{Error, OrderId, Result, Sku};
use web::{Answer, IdempotencyKey, List, Page};

use crate::{
    CommitError, HoldError, MoveError,
    batch::{Holds, Sales},
    model::{Lines, MOST_MOVED, Movement, Reason, Stock},
    order, store,
};

/// How many holds a sweep gives back in one transaction.
const SWEPT_AT_ONCE: i64 = 50;
/// How many SKUs a bulk delivery books in one transaction.
const RECEIVED_AT_ONCE: usize = 100;

/// What inventory needs to start.
pub struct Needs {
    /// Where its tables are.
    pub db: Db,
    /// How it behaves.
    pub settings: Settings,
}

/// How inventory behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long stock is held for an order that does not pay.
    pub hold_for: Duration,
    /// The most holds, or sales, that are gathered into one transaction; with 1 each goes alone.
    pub gather_most: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { hold_for: Duration::from_secs(15 * 60), gather_most: 64 }
    }
}

/// Inventory. Cheap to clone.
#[derive(Clone)]
pub struct Inventory {
    pub(crate) db: Db,
    holds: Holds,
    sales: Sales,
}

impl Inventory {
    /// With these needs.
    pub fn new(needs: Needs) -> Inventory {
        let holds = Holds::new(&needs.db, needs.settings.gather_most, needs.settings.hold_for);
        let sales = Sales::new(&needs.db, needs.settings.gather_most);
        Inventory { db: needs.db, holds, sales }
    }

    /// Holds every line for an order, or none. What others hold past its time
    /// is given back first where it is in the way.
    pub async fn hold(&self, order: OrderId, lines: Lines) -> Result<Held, HoldError> {
        match self.hold_now(order, lines.clone()).await {
            Err(HoldError::OutOfStock { sku }) if self.make_room(&sku).await? => {
                self.hold_now(order, lines).await
            }
            outcome => outcome,
        }
    }

    async fn hold_now(&self, order: OrderId, lines: Lines) -> Result<Held, HoldError> {
        if self.db.world().planted("stock_is_read_before_it_is_changed") {
            return self.hold_by_an_earlier_look(order, lines).await;
        }
        let expires_at = self.holds.hold(order, lines).await?;
        Ok(Held { expires_at })
    }

    /// The planted fault of a decision that is taken from an earlier look.
    async fn hold_by_an_earlier_look(&self, order: OrderId, lines: Lines) -> Result<Held, HoldError> {
        let skus: Vec<Sku> = lines.iter().map(|line| line.sku.clone()).collect();
        let seen: Result<Vec<Stock>> = db::read!(self.db, async |tx| { store::find_all(tx, &skus).await });
        let seen = seen?;
        let held = self.holds.hold(order, lines).await?;
        let changed: Result<()> = db::write!(self.db, async |tx| {
            for line in store::lines(tx, order).await? {
                let before = seen.iter().find(|stock| stock.sku == line.sku).map_or(0, |stock| stock.held);
                store::overwrite_held(tx, &line.sku, before + i64::from(line.quantity)).await?;
            }
            Ok(())
        });
        changed?;
        Ok(Held { expires_at: held })
    }

    /// Gives back what is held for an order, or puts back what it bought, and
    /// refuses to hold for it again.
    pub async fn release(&self, order: OrderId) -> Result<()> {
        db::write!(self.db, async |tx| {
            tx.repeatable();
            order::undo(tx, order).await
        })
    }

    /// Turns what is held into a sale.
    pub async fn commit(&self, order: OrderId) -> Result<(), CommitError> {
        match self.sales.commit(order).await {
            Err(CommitError::OutOfStock { sku }) if self.make_room(&sku).await? => {
                self.sales.commit(order).await
            }
            outcome => outcome,
        }
    }

    /// Gives back what is held past its time; says whether some of a SKU is
    /// free now. It looks at the stock and does not count its own: another
    /// sweep may have given back what was in the way a moment before.
    async fn make_room(&self, sku: &Sku) -> Result<bool> {
        self.give_back_expired().await?;
        let found: Result<Option<Stock>> = db::read!(self.db, async |tx| { store::find(tx, sku).await });
        Ok(found?.is_some_and(|stock| stock.available() > 0))
    }

    /// Gives back what is held past its time; returns of how many orders. When
    /// it ends, whatever was past its time when it began is given back, sold
    /// or held anew, by this sweep or by somebody else.
    pub async fn give_back_expired(&self) -> Result<usize> {
        let mut given_back = 0;
        loop {
            let now = self.db.world().now();
            let overdue: Result<bool> = db::read!(self.db, async |tx| { store::any_overdue(tx, now).await });
            if !overdue? {
                return Ok(given_back);
            }
            let swept: Result<usize> = db::write!(self.db, async |tx| {
                let orders = store::expire(tx, now, SWEPT_AT_ONCE).await?;
                order::give_back_expired(tx, &orders).await?;
                Ok(orders.len())
            });
            match swept? {
                // Others sold it or gave it back while this sweep waited for them.
                0 => return Ok(given_back),
                count => given_back += count,
            }
        }
    }

    /// Moves stock in or out of the shop's hands, once per key.
    pub async fn move_stock(
        &self,
        key: Option<&IdempotencyKey>,
        sku: &Sku,
        quantity: i64,
        reason: Reason,
        note: &str,
    ) -> Result<Answer<Movement>, MoveError> {
        let now = self.db.world().now();
        web::once!(self.db, key, async |tx| {
            let stock = if quantity > 0 {
                store::put(tx, sku, quantity).await?
            } else {
                match store::withdraw(tx, sku, -quantity).await? {
                    Some(stock) => stock,
                    None => return Err(why_not_withdrawn(store::find(tx, sku).await?, sku)),
                }
            };
            let movement = Movement { note: note.to_owned(), ..Movement::to(&stock, quantity, reason, now) };
            store::insert_movement(tx, &movement, None).await?;
            order::announce(tx, &stock).await?;
            Ok(movement)
        })
    }

    /// Books a delivery of many SKUs, a hundred per transaction.
    pub async fn receive(&self, delivery: &[(Sku, i64)], note: &str) -> Result<()> {
        if let Some((sku, quantity)) =
            delivery.iter().find(|(_, quantity)| !(1..=MOST_MOVED).contains(quantity))
        {
            return Err(Error::invalid(
                "invalid_quantity",
                format!("{quantity} of {sku} cannot be received"),
            ));
        }
        let mut delivery = delivery.to_vec();
        delivery.sort(); // Everybody locks the rows of stock in this order.
        for part in delivery.chunks(RECEIVED_AT_ONCE) {
            let now = self.db.world().now();
            let booked: Result<()> = db::write!(self.db, async |tx| {
                for (sku, quantity) in part {
                    let stock = store::put(tx, sku, *quantity).await?;
                    let movement = Movement {
                        note: note.to_owned(),
                        ..Movement::to(&stock, *quantity, Reason::Received, now)
                    };
                    store::insert_movement(tx, &movement, None).await?;
                    order::announce(tx, &stock).await?;
                }
                Ok(())
            });
            booked?;
        }
        Ok(())
    }

    /// How much there is of a SKU.
    pub async fn stock(&self, sku: &Sku) -> Result<Stock> {
        let found: Result<Option<Stock>> = db::read!(self.db, async |tx| { store::find(tx, sku).await });
        found?.ok_or_else(|| MoveError::NoSuchStock { sku: sku.clone() }.into())
    }

    /// A page of all stock, in the order of the SKUs.
    pub async fn list(&self, page: &Page) -> Result<List<Stock>> {
        let after = page.keys()?.map_or("", |[sku]| sku);
        let rows: Result<Vec<Stock>> =
            db::read_near!(self.db, async |tx| { store::list(tx, after, page.limit + 1).await });
        Ok(List::page(rows?, page, |stock| web::Cursor::of(&[&stock.sku])))
    }

    /// A page of a SKU's movements, latest first.
    pub async fn movements(&self, sku: &Sku, page: &Page) -> Result<List<Movement>> {
        let before: i64 = page.after.as_ref().map_or(Ok(i64::MAX), |cursor| cursor.key(0))?;
        let rows: Result<Vec<Movement>> =
            db::read_near!(self.db, async |tx| { store::movements(tx, sku, before, page.limit + 1).await });
        Ok(List::page(rows?, page, |movement| web::Cursor::of(&[movement.version])))
    }

    /// How much there is of each; those without stock are left out.
    pub async fn levels(&self, skus: &[Sku]) -> Result<Vec<Level>> {
        if skus.len() > 100 {
            return Err(Error::invalid_field(
                "/skus",
                format!("at most 100 SKUs at once, not {}", skus.len()),
            ));
        }
        let rows: Result<Vec<Stock>> = db::read!(self.db, async |tx| { store::find_all(tx, skus).await });
        Ok(rows?.iter().map(Stock::level).collect())
    }
}

fn why_not_withdrawn(found: Option<Stock>, sku: &Sku) -> MoveError {
    let sku = sku.clone();
    match found {
        Some(stock) => MoveError::Held { sku, available: stock.available() },
        None => MoveError::NoSuchStock { sku },
    }
}

#[async_trait::async_trait]
impl contract::Inventory for Inventory {
    async fn hold(&self, ask: contract::Hold) -> Result<Held> {
        Ok(Inventory::hold(self, ask.order, Lines::new(ask.lines)?).await?)
    }

    async fn release(&self, ask: contract::Release) -> Result<()> {
        Inventory::release(self, ask.order).await
    }

    async fn commit(&self, ask: contract::Commit) -> Result<()> {
        Ok(Inventory::commit(self, ask.order).await?)
    }

    async fn restock(&self, ask: contract::Restock) -> Result<()> {
        // The same as a release: each undoes whatever it finds.
        Inventory::release(self, ask.order).await
    }

    async fn levels(&self, ask: Levels) -> Result<Vec<Level>> {
        Inventory::levels(self, &ask.skus).await
    }
}
