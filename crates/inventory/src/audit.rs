//! Whether the books of inventory are right, and what they say of each order.

use std::{collections::HashMap, time::Duration};

use contracts::{Deed, inventory::Line};
use db::{Db, Tx, query};
use kernel::{OrderId, Result, Sku, Time, uuid::Uuid};

use crate::{
    model::{HoldState, Reason, Stock},
    store,
};

/// How many SKUs are looked at in one go.
const AT_ONCE: i64 = 500;
/// How many orders are.
const ORDERS: i64 = 10_000;
/// How many breaches of one kind are told of: the first hundred say enough.
const MOST_TOLD: usize = 100;
/// How long a hold may be open past its time: the sweep comes every minute.
const LONGEST_OVERDUE: Duration = Duration::from_secs(300);
/// Before all others.
const NO_ORDER: OrderId = OrderId::from_uuid(Uuid::nil());

/// Every breach of what must always be true of stock, each a sentence.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?).await
}

/// The same, seen in a picture of the database.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    let mut found = stock(tx).await?;
    let before = tx.world().now() - LONGEST_OVERDUE;
    let overdue = store::overdue(tx, before, MOST_TOLD as i64).await?;
    found.extend(
        overdue
            .into_iter()
            .map(|(order, until)| format!("the hold of {order} is open, but ended at {until}")),
    );
    let stockless = store::without_stock(tx, MOST_TOLD as i64).await?;
    found.extend(stockless.into_iter().map(|(sku,)| format!("{sku} has movements, but no stock")));
    found.extend(moved(tx).await?);
    Ok(found)
}

/// Open holds that are past their time, at most a hundred.
pub async fn overdue(tx: &mut Tx) -> Result<Vec<OrderId>> {
    let before = tx.world().now();
    let overdue = store::overdue(tx, before, MOST_TOLD as i64).await?;
    Ok(overdue.into_iter().map(|(order, _)| order).collect())
}

/// Each SKU against its movements and its open holds.
async fn stock(tx: &mut Tx) -> Result<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let stocks = store::list(tx, &after, AT_ONCE).await?;
        let Some(last) = stocks.last() else { return Ok(found) };
        let until = last.sku.to_string();
        let mut open: HashMap<Sku, i64> = store::open_holds(tx, &after, &until).await?.into_iter().collect();
        let mut moved: HashMap<Sku, i64> =
            store::moved_between(tx, &after, &until).await?.into_iter().collect();
        let announced: HashMap<Sku, i64> =
            store::announced_between(tx, &after, &until).await?.into_iter().collect();
        for stock in stocks {
            if let Some(last) = announced.get(&stock.sku).filter(|last| **last != stock.version) {
                let Stock { sku, version, .. } = &stock;
                found.push(format!("{sku} has version {version}, and the last one it announced is {last}"));
            }
            let (moved, open) = (moved.remove(&stock.sku).unwrap_or(0), open.remove(&stock.sku).unwrap_or(0));
            found.extend(Checked { stock, moved, open }.breaches());
        }
        found.extend(
            open.into_iter().map(|(sku, open)| format!("{open} of {sku} are held, which has no stock")),
        );
        after = until;
    }
}

/// Each order against its movements.
async fn moved(tx: &mut Tx) -> Result<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), NO_ORDER);
    while found.len() < MOST_TOLD {
        let Some(last) = store::last_of_page(tx, after, ORDERS).await? else { break };
        let wrong = store::wrongly_moved(tx, after, last).await?;
        found.extend(wrong.into_iter().map(|(order, sku, quantity, moved)| {
            format!("{order} asked for {quantity} of {sku}, but its movements add up to {moved}")
        }));
        after = last;
    }
    Ok(found)
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

/// The orders behind the given one in the order of their ids, at most so many,
/// as the audit of the whole shop needs them; none at the end.
pub async fn facts(tx: &mut Tx, after: Option<OrderId>, most: i64) -> Result<Vec<Fact>> {
    let after = after.unwrap_or(NO_ORDER);
    let states = store::states_after(tx, after, most).await?;
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
        if *on_hand < 0 {
            breaches.push(format!("{on_hand} of {sku} are on hand"));
        }
        if *held < 0 || held > on_hand {
            breaches.push(format!("{held} of {sku} are held of {on_hand} on hand"));
        }
        breaches
    }
}

/// The movements of stock since then.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let moved: Vec<(Sku, String, i64, i64, Reason, Time)> = query(
        "SELECT sku, location, version, quantity, reason, moved_at FROM movements WHERE moved_at >= $1",
    )
    .bind(since)
    .fetch_all(tx)
    .await?;
    let movement = Deed::of("movements of stock");
    let told = moved.into_iter().map(|(sku, location, version, quantity, reason, at)| {
        movement(at, format!("{sku} in {location}: {quantity:+} {reason} (version {version})"))
    });
    Ok(told.collect())
}
