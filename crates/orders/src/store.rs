//! The SQL of orders; every function takes the transaction.

mod find;
mod steps;

pub use find::*;
pub use steps::*;

use std::collections::HashSet;

use contracts::orders::{OrderLine, OrderState};
use db::{Migration, Tx, many, query, values};
use kernel::{Error, JobId, OrderId, Result, Time};

use crate::model::{Entry, Order, may_move};

/// The tables of orders.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "orders_1",
    sql: "
        CREATE TABLE orders (
            id UUID NOT NULL PRIMARY KEY,
            number TEXT NOT NULL UNIQUE,
            customer_id UUID NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('placed', 'held', 'in_review', 'authorised', 'committed', 'confirmed',
                'shipped', 'delivered', 'cancelling', 'cancelled', 'refunding', 'refunded')),
            reason TEXT,
            total BIGINT NOT NULL CHECK (total >= 0),
            currency TEXT NOT NULL,
            address TEXT NOT NULL,
            token TEXT NOT NULL,
            approved_by UUID,
            screening TEXT,
            carrier TEXT,
            tracking TEXT,
            shipped_at BIGINT,
            job_id UUID,
            version BIGINT NOT NULL CHECK (version > 0),
            placed_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL
        );
        CREATE INDEX orders_of_customer ON orders (customer_id, id);
        CREATE INDEX orders_in_state ON orders (state, id);
        CREATE INDEX orders_moving ON orders (updated_at, id)
            WHERE state IN ('placed', 'held', 'in_review', 'authorised', 'committed', 'cancelling', 'refunding');
        CREATE TABLE order_lines (
            order_id UUID NOT NULL REFERENCES orders (id),
            line BIGINT NOT NULL,
            sku TEXT NOT NULL,
            name TEXT NOT NULL,
            quantity BIGINT NOT NULL CHECK (quantity > 0),
            price BIGINT NOT NULL CHECK (price >= 0),
            PRIMARY KEY (order_id, line),
            UNIQUE (order_id, sku)
        );
        CREATE TABLE order_steps (
            order_id UUID NOT NULL REFERENCES orders (id),
            step TEXT NOT NULL,
            attempt BIGINT NOT NULL CHECK (attempt > 0),
            state TEXT NOT NULL CHECK (state IN ('started', 'done', 'failed', 'refused', 'undone')),
            started_at BIGINT NOT NULL,
            ended_at BIGINT,
            error TEXT,
            detail TEXT,
            version BIGINT NOT NULL,
            PRIMARY KEY (order_id, step, attempt)
        );
        CREATE TABLE order_history (
            order_id UUID NOT NULL REFERENCES orders (id),
            version BIGINT NOT NULL,
            state TEXT NOT NULL,
            reason TEXT,
            actor UUID,
            at BIGINT NOT NULL,
            PRIMARY KEY (order_id, version)
        );
    ",
}];

/// Saves new orders. Returns those whose number was free.
pub async fn insert(tx: &mut Tx, orders: &[&Order]) -> Result<HashSet<OrderId>> {
    let insert = many(
        "INSERT INTO orders (id, number, customer_id, state, total, currency, address, token, job_id, version,
                             placed_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
         ON CONFLICT (number) DO NOTHING RETURNING id",
        "INSERT INTO orders (id, number, customer_id, state, total, currency, address, token, job_id, version,
                             placed_at, updated_at)
         SELECT id, number, customer_id, state, total, currency, address, token, job_id, version, placed_at, placed_at
         FROM unnest($1::UUID[], $2::TEXT[], $3::UUID[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[], $8::TEXT[],
                     $9::UUID[], $10::BIGINT[], $11::BIGINT[])
              AS given (id, number, customer_id, state, total, currency, address, token, job_id, version, placed_at)
         ON CONFLICT (number) DO NOTHING RETURNING id",
    );
    let addresses: Result<Vec<String>> =
        orders.iter().map(|order| serde_json::to_string(&order.address).map_err(Error::internal)).collect();
    let rows = insert.rows(orders.iter().zip(addresses?), |(order, address)| {
        values![
            order.id,
            order.number.as_str(),
            order.customer,
            order.state,
            order.total.amount,
            order.currency(),
            address,
            order.token.as_str(),
            order.job,
            order.version,
            order.placed_at,
        ]
    });
    let inserted: Vec<(OrderId,)> = rows.fetch_all(tx).await?;
    Ok(inserted.into_iter().map(|(id,)| id).collect())
}

/// Saves the lines of new orders.
pub async fn insert_lines(tx: &mut Tx, lines: impl Iterator<Item = (OrderId, &[OrderLine])>) -> Result<()> {
    let insert = many(
        "INSERT INTO order_lines (order_id, line, sku, name, quantity, price) VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO order_lines (order_id, line, sku, name, quantity, price)
         SELECT * FROM unnest($1::UUID[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[], $6::BIGINT[])",
    );
    let lines = lines.flat_map(|(id, lines)| (1i64..).zip(lines).map(move |(place, line)| (id, place, line)));
    let rows = insert.rows(lines, |(id, place, line)| {
        values![id, place, &line.sku, line.name.as_str(), line.quantity, line.price.amount]
    });
    rows.execute_later(tx).await
}

/// Changes an order that is still what the caller saw: its state and version
/// guard it. Returns whether it was; two who saw the same cannot both go on.
/// `order` is what it is to become: its version is one more than what was seen.
pub async fn advance(tx: &mut Tx, order: &Order, from: OrderState) -> Result<bool> {
    Ok(!advance_all(tx, &[(order, from)]).await?.is_empty())
}

/// The same of many orders, none of them twice. Returns those that were.
pub async fn advance_all(tx: &mut Tx, moves: &[(&Order, OrderState)]) -> Result<HashSet<OrderId>> {
    for (order, from) in moves {
        if order.state != *from && !may_move(*from, order.state) {
            let message = format!("{} cannot move from {from} to {}", order.id, order.state);
            return Err(Error::internal(message));
        }
        if tx.world().planted("order_moves_past_others") {
            query("UPDATE orders SET state = $2, version = $3 WHERE id = $1")
                .bind(order.id)
                .bind(*from)
                .bind(order.version - 1)
                .execute(tx)
                .await?;
        }
    }
    let update = many(
        "UPDATE orders SET state = $4, reason = $5, approved_by = $6, screening = $7, carrier = $8, tracking = $9,
                shipped_at = $10, version = version + 1, updated_at = $11
         WHERE id = $1 AND state = $2 AND version = $3 RETURNING id",
        "UPDATE orders SET state = given.state, reason = given.reason, approved_by = given.approved_by,
                screening = given.screening, carrier = given.carrier, tracking = given.tracking,
                shipped_at = given.shipped_at, version = orders.version + 1, updated_at = given.updated_at
         FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::UUID[], $7::TEXT[],
                     $8::TEXT[], $9::TEXT[], $10::BIGINT[], $11::BIGINT[])
              AS given (id, seen_state, seen_version, state, reason, approved_by, screening, carrier, tracking,
                        shipped_at, updated_at)
         WHERE orders.id = given.id AND orders.state = given.seen_state AND orders.version = given.seen_version
         RETURNING orders.id",
    );
    let rows = update.rows(moves, |(order, from)| {
        values![
            order.id,
            *from,
            order.version - 1,
            order.state,
            order.reason.as_deref(),
            order.approved_by,
            order.screening.as_deref(),
            order.carrier.as_deref(),
            order.tracking.as_deref(),
            order.shipped_at,
            order.updated_at,
        ]
    });
    let advanced: Vec<(OrderId,)> = rows.fetch_all(tx).await?;
    Ok(advanced.into_iter().map(|(id,)| id).collect())
}

/// Notes which job was added for an order last.
pub async fn set_job(tx: &mut Tx, id: OrderId, job: JobId) -> Result<()> {
    query("UPDATE orders SET job_id = $2 WHERE id = $1").bind(id).bind(job).execute(tx).await?;
    Ok(())
}

/// Notes where orders came to stand.
pub async fn add_history(tx: &mut Tx, entries: &[(OrderId, Entry)]) -> Result<()> {
    let insert = many(
        "INSERT INTO order_history (order_id, version, state, reason, actor, at) VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO order_history (order_id, version, state, reason, actor, at)
         SELECT * FROM unnest($1::UUID[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::UUID[], $6::BIGINT[])",
    );
    let rows = insert.rows(entries, |(id, entry)| {
        values![*id, entry.version, entry.state, entry.reason.as_deref(), entry.actor, entry.at]
    });
    rows.execute_later(tx).await
}

/// Gives an order that is still what the caller saw a new version, for the job
/// that is added for it: that tells it from the one that the order was placed
/// with. Since when it stands still is left alone. Returns whether it was.
pub async fn begin_anew(tx: &mut Tx, id: OrderId, seen: i64) -> Result<bool> {
    let begun = query("UPDATE orders SET version = version + 1 WHERE id = $1 AND version = $2")
        .bind(id)
        .bind(seen)
        .execute(tx)
        .await?;
    Ok(begun == 1)
}

/// Orders that should be moving, have not changed since and have no job that
/// is unfinished or a dead letter, page by page: at most 100 behind the one
/// given, each with its version.
pub async fn still(tx: &mut Tx, since: Time, after: (Time, OrderId)) -> Result<Vec<(Time, OrderId, i64)>> {
    query(
        "SELECT updated_at, id, version FROM orders
         WHERE state IN ('placed', 'held', 'in_review', 'authorised', 'committed', 'cancelling', 'refunding')
           AND (state <> 'in_review' OR approved_by IS NOT NULL)
           AND updated_at < $1 AND (updated_at, id) > ($2, $3)
           AND NOT EXISTS (
               SELECT 1 FROM jobs WHERE jobs.id = orders.job_id AND jobs.state IN ('waiting', 'running', 'dead'))
         ORDER BY updated_at, id LIMIT 100",
    )
    .bind(since)
    .bind(after.0)
    .bind(after.1)
    .fetch_all(tx)
    .await
}
