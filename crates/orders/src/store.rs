//! The SQL of orders; every function takes the transaction.

mod find;
mod steps;

pub use find::*;
pub use steps::*;

use contracts::orders::{OrderLine, OrderState};
use db::{Migration, Tx, query, query_for};
use kernel::{Error, JobId, OrderId, Result, Time, UserId, Value};

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

/// Saves a new order. Returns whether its number was free.
pub async fn insert(tx: &mut Tx, order: &Order) -> Result<bool> {
    let address = serde_json::to_string(&order.address).map_err(Error::internal)?;
    let inserted = query(
        "INSERT INTO orders (id, number, customer_id, state, total, currency, address, token, job_id, version,
                             placed_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
         ON CONFLICT (number) DO NOTHING",
    )
    .bind(order.id)
    .bind(&order.number)
    .bind(order.customer)
    .bind(order.state)
    .bind(order.total.amount)
    .bind(order.currency())
    .bind(address)
    .bind(&order.token)
    .bind(order.job)
    .bind(order.version)
    .bind(order.placed_at)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// Saves the lines of a new order. All in one statement, which is why it has
/// two forms: how many there are is only known when it runs.
pub async fn insert_lines(tx: &mut Tx, id: OrderId, lines: &[OrderLine]) -> Result<()> {
    let texts =
        |text: fn(&OrderLine) -> &str| Value::Texts(lines.iter().map(|line| text(line).to_owned()).collect());
    let ints = |int: fn(&OrderLine) -> i64| Value::Ints(lines.iter().map(int).collect());
    query_for(
        "INSERT INTO order_lines (order_id, line, sku, name, quantity, price)
         SELECT $1, sku.key + 1, sku.value, name.value, quantity.value, price.value
         FROM json_each($2) sku
         JOIN json_each($3) name ON name.key = sku.key
         JOIN json_each($4) quantity ON quantity.key = sku.key
         JOIN json_each($5) price ON price.key = sku.key",
        "INSERT INTO order_lines (order_id, line, sku, name, quantity, price)
         SELECT $1, given.line, given.sku, given.name, given.quantity, given.price
         FROM unnest($2::TEXT[], $3::TEXT[], $4::BIGINT[], $5::BIGINT[])
              WITH ORDINALITY AS given (sku, name, quantity, price, line)",
    )
    .bind(id)
    .bind(texts(|line| line.sku.as_str()))
    .bind(texts(|line| &line.name))
    .bind(ints(|line| line.quantity.into()))
    .bind(ints(|line| line.price.amount))
    .execute(tx)
    .await?;
    Ok(())
}

/// Changes an order that is still what the caller saw: its state and version
/// guard it. Returns whether it was; two who saw the same cannot both go on.
/// `order` is what it is to become: its version is one more than what was seen.
pub async fn advance(tx: &mut Tx, order: &Order, from: OrderState) -> Result<bool> {
    if order.state != from && !may_move(from, order.state) {
        let message = format!("{} cannot move from {from} to {}", order.id, order.state);
        return Err(Error::internal(message));
    }
    if tx.world().planted("order_moves_past_others") {
        query("UPDATE orders SET state = $2, version = $3 WHERE id = $1")
            .bind(order.id)
            .bind(from)
            .bind(order.version - 1)
            .execute(tx)
            .await?;
    }
    let advanced = query(
        "UPDATE orders SET state = $4, reason = $5, approved_by = $6, screening = $7, carrier = $8, tracking = $9,
                shipped_at = $10, version = version + 1, updated_at = $11
         WHERE id = $1 AND state = $2 AND version = $3",
    )
    .bind(order.id)
    .bind(from)
    .bind(order.version - 1)
    .bind(order.state)
    .bind(order.reason.as_deref())
    .bind(order.approved_by)
    .bind(order.screening.as_deref())
    .bind(order.carrier.as_deref())
    .bind(order.tracking.as_deref())
    .bind(order.shipped_at)
    .bind(order.updated_at)
    .execute(tx)
    .await?;
    Ok(advanced == 1)
}

/// Notes which job was added for an order last.
pub async fn set_job(tx: &mut Tx, id: OrderId, job: JobId) -> Result<()> {
    query("UPDATE orders SET job_id = $2 WHERE id = $1").bind(id).bind(job).execute(tx).await?;
    Ok(())
}

/// Notes where an order came to stand, by whom.
pub async fn add_history(tx: &mut Tx, order: &Order, actor: Option<UserId>) -> Result<Entry> {
    let (version, state, reason, at) = (order.version, order.state, order.reason.clone(), order.updated_at);
    query(
        "INSERT INTO order_history (order_id, version, state, reason, actor, at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(order.id)
    .bind(version)
    .bind(state)
    .bind(reason.as_deref())
    .bind(actor)
    .bind(at)
    .execute(tx)
    .await?;
    Ok(Entry { version, state, reason, actor, at })
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
