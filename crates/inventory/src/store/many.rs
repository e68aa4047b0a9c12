//! The same for many rows at once. Each has two forms, because each engine
//! takes a list in its own way: an array on PostgreSQL, JSON on SQLite.

use std::collections::{BTreeMap, BTreeSet};

use contracts::inventory::Line;
use db::{Tx, query_for};
use kernel::{Error, OrderId, Result, Sku, Time, Value};

use crate::model::{HoldState, MAIN, Movement, Reason, Stock};

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
    all_of(stocks, taken.len())
}

/// All of the rows that were locked, or the fault that one had less than was seen.
fn all_of(stocks: Vec<Stock>, locked: usize) -> Result<Vec<Stock>> {
    if stocks.len() == locked {
        return Ok(stocks);
    }
    let message =
        format!("of {locked} locked rows of stock {} had less than was seen", locked - stocks.len());
    Err(Error::internal(message))
}

/// Locks the rows of these orders, in their order, and moves those that are
/// open to sold; returns which.
pub async fn sell_all(tx: &mut Tx, orders: &BTreeSet<OrderId>) -> Result<BTreeSet<OrderId>> {
    let rows: Vec<(OrderId,)> = query_for(
        "UPDATE holds SET state = $3, turns = turns + 1
         WHERE order_id IN (SELECT unhex(value) FROM json_each($1)) AND state = $2 AND undone = FALSE
         RETURNING order_id",
        "UPDATE holds SET state = $3, turns = turns + 1
         WHERE order_id IN (SELECT order_id FROM holds WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE)
           AND state = $2 AND undone = FALSE
         RETURNING order_id",
    )
    .bind(ids(orders))
    .bind(HoldState::Open)
    .bind(HoldState::Sold)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(order,)| order).collect())
}

/// What these orders hold or held: whose, of what, how many.
pub async fn lines_of(tx: &mut Tx, orders: &BTreeSet<OrderId>) -> Result<Vec<(OrderId, Sku, i64)>> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    query_for(
        "SELECT order_id, sku, quantity FROM hold_lines
         WHERE order_id IN (SELECT unhex(value) FROM json_each($1)) ORDER BY sku, order_id",
        "SELECT order_id, sku, quantity FROM hold_lines
         WHERE order_id = ANY($1::uuid[]) ORDER BY sku, order_id",
    )
    .bind(ids(orders))
    .fetch_all(tx)
    .await
}

/// Sells what these orders hold of each SKU, whose rows are locked; each sale
/// counts as one change.
pub async fn sell_all_held(tx: &mut Tx, by_sku: &BTreeMap<Sku, Vec<(OrderId, i64)>>) -> Result<Vec<Stock>> {
    if by_sku.is_empty() {
        return Ok(Vec::new());
    }
    let quantity = |sales: &Vec<(OrderId, i64)>| sales.iter().map(|(_, quantity)| quantity).sum();
    let stocks: Vec<Stock> = query_for(
        "UPDATE stock SET on_hand = stock.on_hand - sold.quantity, held = stock.held - sold.quantity,
                          version = stock.version + sold.times
         FROM (SELECT value AS sku, json_extract($2, '$[' || key || ']') AS quantity,
                      json_extract($3, '$[' || key || ']') AS times FROM json_each($1)) AS sold
         WHERE stock.sku = sold.sku AND stock.location = $4
         RETURNING sku, on_hand, held, version",
        "UPDATE stock SET on_hand = stock.on_hand - sold.quantity, held = stock.held - sold.quantity,
                          version = stock.version + sold.times
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS sold (sku, quantity, times)
         WHERE stock.sku = sold.sku AND stock.location = $4
         RETURNING stock.sku AS sku, on_hand, held, version",
    )
    .bind(texts(by_sku.keys()))
    .bind(Value::Ints(by_sku.values().map(quantity).collect()))
    .bind(Value::Ints(by_sku.values().map(|sales| sales.len() as i64).collect()))
    .bind(MAIN)
    .fetch_all(tx)
    .await?;
    all_of(stocks, by_sku.len())
}

/// Writes the movements of sales down, beside the change of `stock` that they are about.
pub async fn insert_sales(tx: &mut Tx, sales: &[(OrderId, Movement)], now: Time) -> Result<()> {
    if sales.is_empty() {
        return Ok(());
    }
    query_for(
        "INSERT INTO movements (sku, location, version, quantity, reason, note, order_id, moved_at)
         SELECT json_extract($2, '$[' || key || ']'), $5, json_extract($3, '$[' || key || ']'),
                json_extract($4, '$[' || key || ']'), $6, '', unhex(value), $7
         FROM json_each($1)",
        "INSERT INTO movements (sku, location, version, quantity, reason, note, order_id, moved_at)
         SELECT sku, $5, version, quantity, $6, '', order_id, $7
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[])
             AS sold (order_id, sku, version, quantity)",
    )
    .bind(ids(sales.iter().map(|(order, _)| order)))
    .bind(texts(sales.iter().map(|(_, movement)| &movement.sku)))
    .bind(Value::Ints(sales.iter().map(|(_, movement)| movement.version).collect()))
    .bind(Value::Ints(sales.iter().map(|(_, movement)| movement.quantity).collect()))
    .bind(MAIN)
    .bind(Reason::Sold)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
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
