//! The same for many rows at once.

use std::collections::{BTreeMap, BTreeSet};

use contracts::inventory::Line;
use db::{Tx, many, values};
use kernel::{Error, OrderId, Result, Sku, Time};

use crate::model::{HoldState, MAIN, Movement, Reason, Stock};

/// Locks the rows of these orders, in their order, and makes those that are
/// missing; returns the orders that are new.
pub async fn claim_new(
    tx: &mut Tx,
    orders: &BTreeSet<OrderId>,
    expires_at: Time,
) -> Result<BTreeSet<OrderId>> {
    let claim = many(
        "INSERT INTO holds (order_id, state, undone, expires_at, turns) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (order_id) DO UPDATE SET turns = holds.turns + 1
         RETURNING order_id, turns",
        "INSERT INTO holds (order_id, state, undone, expires_at, turns)
         SELECT order_id, state, undone, expires_at, 0
         FROM unnest($1::UUID[], $2::TEXT[], $3::BOOLEAN[], $4::BIGINT[]) AS wanted (order_id, state, undone, expires_at)
         ORDER BY order_id
         ON CONFLICT (order_id) DO UPDATE SET turns = holds.turns + 1
         RETURNING order_id, turns",
    );
    let rows: Vec<(OrderId, i64)> =
        claim.rows(orders, |order| values![*order, HoldState::Open, false, expires_at]).fetch_all(tx).await?;
    Ok(rows.into_iter().filter(|(_, turns)| *turns == 0).map(|(order, _)| order).collect())
}

/// Removes the rows of orders that [`claim_new`] made in this transaction.
pub async fn unclaim(tx: &mut Tx, orders: &[OrderId]) -> Result<()> {
    let delete =
        many("DELETE FROM holds WHERE order_id = $1", "DELETE FROM holds WHERE order_id = ANY ($1::UUID[])");
    delete.rows(orders, |order| values![*order]).execute_later(tx).await
}

/// Locks the stock of these SKUs, in their order, and returns it; on SQLite
/// nobody else can write anyway.
pub async fn lock_stock(tx: &mut Tx, skus: &BTreeSet<Sku>) -> Result<Vec<Stock>> {
    let lock = many(
        "SELECT sku, on_hand, held, version FROM stock WHERE sku = $1 AND location = 'main'",
        "SELECT sku, on_hand, held, version FROM stock
         WHERE sku = ANY ($1::TEXT[]) AND location = 'main' ORDER BY sku FOR UPDATE",
    );
    lock.rows(skus, |sku| values![sku]).fetch_all(tx).await
}

/// Holds so many of each SKU, whose rows are locked and have so many.
pub async fn take_all(tx: &mut Tx, taken: &BTreeMap<Sku, i64>) -> Result<Vec<Stock>> {
    let take = many(
        "UPDATE stock SET held = held + $2, version = version + 1
         WHERE sku = $1 AND location = 'main' AND held + $2 <= on_hand
         RETURNING sku, on_hand, held, version",
        "UPDATE stock SET held = stock.held + wanted.quantity, version = stock.version + 1
         FROM unnest($1::TEXT[], $2::BIGINT[]) AS wanted (sku, quantity)
         WHERE stock.sku = wanted.sku AND stock.location = 'main'
           AND stock.held + wanted.quantity <= stock.on_hand
         RETURNING stock.sku AS sku, on_hand, held, version",
    );
    let stocks = take.rows(taken, |(sku, quantity)| values![sku, *quantity]).fetch_all(tx).await?;
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
    let sell = many(
        "UPDATE holds SET state = $3, turns = turns + 1
         WHERE order_id = $1 AND state = $2 AND undone = FALSE RETURNING order_id",
        "UPDATE holds SET state = given.later, turns = turns + 1
         FROM (SELECT locked.order_id, earlier, later FROM holds locked
               JOIN unnest($1::UUID[], $2::TEXT[], $3::TEXT[]) AS wanted (order_id, earlier, later)
                 ON wanted.order_id = locked.order_id
               ORDER BY locked.order_id FOR UPDATE OF locked) AS given
         WHERE holds.order_id = given.order_id AND holds.state = given.earlier AND holds.undone = FALSE
         RETURNING holds.order_id",
    );
    let rows: Vec<(OrderId,)> =
        sell.rows(orders, |order| values![*order, HoldState::Open, HoldState::Sold]).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(order,)| order).collect())
}

/// What these orders hold or held: whose, of what, how many.
pub async fn lines_of(tx: &mut Tx, orders: &BTreeSet<OrderId>) -> Result<Vec<(OrderId, Sku, i64)>> {
    let find = many(
        "SELECT order_id, sku, quantity FROM hold_lines WHERE order_id = $1 ORDER BY sku",
        "SELECT order_id, sku, quantity FROM hold_lines WHERE order_id = ANY ($1::UUID[]) ORDER BY sku, order_id",
    );
    find.rows(orders, |order| values![*order]).fetch_all(tx).await
}

/// Sells what these orders hold of each SKU, whose rows are locked; each sale
/// counts as one change.
pub async fn sell_all_held(tx: &mut Tx, by_sku: &BTreeMap<Sku, Vec<(OrderId, i64)>>) -> Result<Vec<Stock>> {
    let sell = many(
        "UPDATE stock SET on_hand = on_hand - $2, held = held - $2, version = version + $3
         WHERE sku = $1 AND location = 'main' RETURNING sku, on_hand, held, version",
        "UPDATE stock SET on_hand = stock.on_hand - sold.quantity, held = stock.held - sold.quantity,
                          version = stock.version + sold.times
         FROM unnest($1::TEXT[], $2::BIGINT[], $3::BIGINT[]) AS sold (sku, quantity, times)
         WHERE stock.sku = sold.sku AND stock.location = 'main'
         RETURNING stock.sku AS sku, on_hand, held, version",
    );
    let rows = sell.rows(by_sku, |(sku, sales)| {
        let quantity: i64 = sales.iter().map(|(_, quantity)| quantity).sum();
        values![sku, quantity, sales.len() as i64]
    });
    let stocks = rows.fetch_all(tx).await?;
    all_of(stocks, by_sku.len())
}

/// Writes the movements of sales down, beside the change of `stock` that they are about.
pub async fn insert_sales(tx: &mut Tx, sales: &[(OrderId, Movement)], now: Time) -> Result<()> {
    let insert = many(
        "INSERT INTO movements (sku, location, version, quantity, reason, note, order_id, moved_at)
         VALUES ($1, $2, $3, $4, $5, '', $6, $7)",
        "INSERT INTO movements (sku, location, version, quantity, reason, note, order_id, moved_at)
         SELECT sku, location, version, quantity, reason, '', order_id, now
         FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[], $5::TEXT[], $6::UUID[], $7::BIGINT[])
              AS sold (sku, location, version, quantity, reason, order_id, now)",
    );
    let rows = insert.rows(sales, |(order, sale)| {
        values![&sale.sku, MAIN, sale.version, sale.quantity, Reason::Sold, *order, now]
    });
    rows.execute_later(tx).await
}

/// Writes down what orders hold.
pub async fn insert_lines(tx: &mut Tx, lines: &[(OrderId, Line)]) -> Result<()> {
    let insert = many(
        "INSERT INTO hold_lines (order_id, sku, quantity) VALUES ($1, $2, $3)",
        "INSERT INTO hold_lines (order_id, sku, quantity)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[])",
    );
    insert.rows(lines, |(order, line)| values![*order, &line.sku, line.quantity]).execute_later(tx).await
}
