//! Whether the books of inventory are right, and what they say of each order.

use std::collections::HashMap;

use contracts::inventory::Line;
use db::Db;
use kernel::{OrderId, Result, Sku, uuid::Uuid};

use crate::{
    model::{HoldState, Stock},
    store,
};

/// How many SKUs or orders are looked at in one picture.
const AT_ONCE: i64 = 500;
/// How many wrong sales are told of: the first hundred say enough.
const MOST_TOLD: i64 = 100;

/// Every breach of what must always be true of stock, each a sentence.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut after = String::new();
    loop {
        let page: Result<Vec<Checked>> = db::snapshot!(db, async |tx| {
            let stocks = store::list(tx, &after, AT_ONCE).await?;
            let until = stocks.last().map_or_else(String::new, |stock| stock.sku.to_string());
            let mut open: HashMap<Sku, i64> =
                store::open_holds(tx, &after, &until).await?.into_iter().collect();
            let mut page = Vec::with_capacity(stocks.len());
            for stock in stocks {
                let (moved, open) =
                    (store::moved(tx, &stock.sku).await?, open.remove(&stock.sku).unwrap_or(0));
                page.push(Checked { stock, moved, open });
            }
            Ok(page)
        });
        let page = page?;
        let Some(last) = page.last() else { break };
        after = last.stock.sku.to_string();
        breaches.extend(page.iter().flat_map(Checked::breaches));
    }
    let wrong: Result<Vec<(OrderId, Sku, i64, i64)>> =
        db::snapshot!(db, async |tx| { store::wrongly_moved(tx, MOST_TOLD).await });
    breaches.extend(wrong?.into_iter().map(|(order, sku, quantity, moved)| {
        format!("{order} asked for {quantity} of {sku}, but its movements add up to {moved}")
    }));
    Ok(breaches)
}

/// What inventory says of an order, for whoever compares it with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which.
    pub order: OrderId,
    /// What became of its stock.
    pub state: HoldState,
    /// What it holds, held or bought; nothing when nothing was ever held.
    pub lines: Vec<Line>,
}

/// The orders behind the given one in the order of their ids, at most 500, as
/// the audit of the whole shop needs them; none at the end.
pub async fn facts(db: &Db, after: Option<OrderId>) -> Result<Vec<Fact>> {
    let after = after.unwrap_or(OrderId::from_uuid(Uuid::nil()));
    db::snapshot!(db, async |tx| {
        let states = store::states_after(tx, after, AT_ONCE).await?;
        let Some((last, _)) = states.last() else { return Ok(Vec::new()) };
        let mut lines = store::lines_between(tx, after, *last).await?.into_iter().peekable();
        let mut facts = Vec::with_capacity(states.len());
        for (order, state) in states {
            let mut own = Vec::new();
            while let Some((_, sku, quantity)) = lines.next_if(|(of, ..)| *of == order) {
                own.push(Line { sku, quantity });
            }
            facts.push(Fact { order, state, lines: own });
        }
        Ok(facts)
    })
}

struct Checked {
    stock: Stock,
    moved: i64,
    open: i64,
}

impl Checked {
    fn breaches(&self) -> Vec<String> {
        let Stock { sku, on_hand, held, .. } = &self.stock;
        let mut breaches = Vec::new();
        if *on_hand != self.moved {
            breaches
                .push(format!("{on_hand} of {sku} are on hand, but its movements add up to {}", self.moved));
        }
        if *held != self.open {
            breaches.push(format!("{held} of {sku} are held, but its open holds add up to {}", self.open));
        }
        if *held < 0 || held > on_hand {
            breaches.push(format!("{held} of {sku} are held of {on_hand} on hand"));
        }
        breaches
    }
}
