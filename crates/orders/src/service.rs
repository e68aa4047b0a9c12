//! What can be done with orders: ask, decide, save.

mod change;
mod place;
mod placings;

pub use change::{Actor, Decision};
pub use place::Purchase;
pub use placings::Placings;

use contracts::orders::{GetOrder, OrderInShort};
use db::Engine;
use kernel::{Error, OrderId, Result, UserId};

use crate::{
    Orders,
    model::{Details, Order},
    store::{self, Wanted},
};

impl Orders {
    /// An order with all that hangs on it, for `reader`: his own, or any for
    /// staff (nobody named).
    pub async fn details(&self, id: OrderId, reader: Option<UserId>) -> Result<Details> {
        // On PostgreSQL those who ask at once are answered from one picture; SQLite answers each where he asks.
        let details: Result<_> = match self.db.engine() {
            Engine::Postgres => self.shown.look(id).await,
            Engine::Sqlite => db::snapshot!(self.db, async |tx| { store::details(tx, id).await }),
        };
        let own = |details: &Details| reader.is_none_or(|reader| reader == details.order.customer);
        details?.filter(own).ok_or_else(|| no_such_order(id))
    }

    /// Orders, the newest first.
    pub async fn list(&self, wanted: Wanted) -> Result<Vec<Order>> {
        db::read_near!(self.db, async |tx| { store::list(tx, wanted).await })
    }
}

#[jobs::async_trait]
impl contracts::orders::Orders for Orders {
    async fn order(&self, ask: GetOrder) -> Result<OrderInShort> {
        let found: Result<_> = db::read!(self.db, async |tx| {
            let Some(order) = store::find(tx, ask.id).await? else {
                return Ok(None);
            };
            let lines = store::lines(tx, ask.id, order.currency()).await?;
            Ok(Some((order, lines)))
        });
        let (order, lines) = found?.ok_or_else(|| no_such_order(ask.id))?;
        let Order { id, number, customer, state, total, .. } = order;
        Ok(OrderInShort { id, number, customer, state, lines, total })
    }
}

/// What is said of an order that is not there, and of somebody else's.
fn no_such_order(id: OrderId) -> Error {
    Error::not_found("no_such_order", format!("there is no order {id}"))
}
