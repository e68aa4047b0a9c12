//! The same for many rows at once. Each has two forms, because each engine
//! takes a list in its own way: an array on PostgreSQL, JSON on SQLite.

use std::collections::{BTreeMap, BTreeSet};

use contracts::inventory::Line;
use db::{Tx, query_for};
use kernel::{Error, OrderId, Result, Sku, Time, Value};

use crate::model::{HoldState, MAIN, Stock};

/// Locks the rows of these orders, in their order, and makes those that are
/// missing; returns the orders that are new.
pub async fn claim_new(
    tx: &mut Tx,
    orders: &BTreeSet<OrderId>,
    expires_at: Time,
) -> Result<BTreeSet<OrderId>> {
    let rows: Vec<(OrderId, i64)> = query_for(
        "INSERT INTO holds (order_id, state, undone, expires_at, turns)
         SELECT unhex(value), $2, $3, $4, 0 FROM json_each($1) WHERE TRUE
         ON CONFLICT (order_id) DO UPDATE SET turns = holds.turns + 1
         RETURNING order_id, turns",
        "INSERT INTO holds (order_id, state, undone, expires_at, turns)
         SELECT id, $2, $3, $4, 0 FROM unnest($1::uuid[]) AS wanted (id) ORDER BY id
         ON CONFLICT (order_id) DO UPDATE SET turns = holds.turns + 1
         RETURNING order_id, turns",
    )
    .bind(ids(orders))
    .bind(HoldState::Open)
    .bind(false)
    .bind(expires_at)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().filter(|(_, turns)| *turns == 0).map(|(order, _)| order).collect())
}

/// Removes the rows of orders that [`claim_new`] made in this transaction.
pub async fn unclaim(tx: &mut Tx, orders: &[OrderId]) -> Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    query_for(
        "DELETE FROM holds WHERE order_id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM holds WHERE order_id = ANY($1::uuid[])",
    )
    .bind(ids(orders))
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks the stock of these SKUs, in their order, and returns it; on SQLite
/// nobody else can write anyway.
pub async fn lock_stock(tx: &mut Tx, skus: &BTreeSet<Sku>) -> Result<Vec<Stock>> {
    query_for(
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku IN (SELECT value FROM json_each($1)) AND location = $2 ORDER BY sku",
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku = ANY($1::text[]) AND location = $2 ORDER BY sku FOR UPDATE",
    )
    .bind(texts(skus))
    .bind(MAIN)
    .fetch_all(tx)
    .await
}

/// Holds so many of each SKU, whose rows are locked and have so many.
pub async fn take_all(tx: &mut Tx, taken: &BTreeMap<Sku, i64>) -> Result<Vec<Stock>> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let stocks: Vec<Stock> = query_for(
        "UPDATE stock SET held = stock.held + wanted.quantity, version = stock.version + 1
         FROM (SELECT value AS sku, json_extract($2, '$[' || key || ']') AS quantity FROM json_each($1)) AS wanted
         WHERE stock.sku = wanted.sku AND stock.location = $3
           AND stock.held + wanted.quantity <= stock.on_hand
         RETURNING sku, on_hand, held, version",
        "UPDATE stock SET held = stock.held + wanted.quantity, version = stock.version + 1
         FROM unnest($1::text[], $2::bigint[]) AS wanted (sku, quantity)
         WHERE stock.sku = wanted.sku AND stock.location = $3
           AND stock.held + wanted.quantity <= stock.on_hand
         RETURNING stock.sku AS sku, on_hand, held, version",
    )
    .bind(texts(taken.keys()))
    .bind(Value::Ints(taken.values().copied().collect()))
    .bind(MAIN)
    .fetch_all(tx)
    .await?;
    if stocks.len() == taken.len() {
        return Ok(stocks);
    }
    let message = format!(
        "of {} locked rows of stock {} had less than was seen",
        taken.len(),
        taken.len() - stocks.len()
    );
    Err(Error::internal(message))
}

/// Writes down what orders hold.
pub async fn insert_lines(tx: &mut Tx, lines: &[(OrderId, Line)]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    query_for(
        "INSERT INTO hold_lines (order_id, sku, quantity)
         SELECT unhex(value), json_extract($2, '$[' || key || ']'), json_extract($3, '$[' || key || ']')
         FROM json_each($1)",
        "INSERT INTO hold_lines (order_id, sku, quantity)
         SELECT order_id, sku, quantity
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS held (order_id, sku, quantity)",
    )
    .bind(ids(lines.iter().map(|(order, _)| order)))
    .bind(texts(lines.iter().map(|(_, line)| &line.sku)))
    .bind(Value::Ints(lines.iter().map(|(_, line)| line.quantity.into()).collect()))
    .execute(tx)
    .await?;
    Ok(())
}

fn ids<'a>(orders: impl IntoIterator<Item = &'a OrderId>) -> Value {
    Value::Uuids(orders.into_iter().map(|order| order.uuid()).collect())
}

fn texts<'a>(skus: impl IntoIterator<Item = &'a Sku>) -> Value {
    Value::Texts(skus.into_iter().map(Sku::to_string).collect())
}
