//! Whether the books of inventory are right.

use std::collections::HashMap;

use db::Db;
use kernel::{OrderId, Result, Sku};

use crate::{model::Stock, store};

/// How many SKUs are looked at in one picture.
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
