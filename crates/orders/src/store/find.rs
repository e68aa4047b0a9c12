//! Looking for orders.

use std::collections::{BTreeMap, BTreeSet};

use contracts::orders::{OrderLine, OrderState};
use db::{FromRow, Row, Tx, many, query, values};
use kernel::{Currency, Error, Money, OrderId, Result, UserId, uuid::Uuid};

use crate::model::{Attempt, Details, Entry, Order};

impl FromRow for Order {
    fn from_row(row: &Row<'_>) -> Result<Order> {
        let address: String = row.get("address")?;
        Ok(Order {
            id: row.get("id")?,
            number: row.get("number")?,
            customer: row.get("customer_id")?,
            state: row.get("state")?,
            reason: row.get("reason")?,
            total: Money::new(row.get("total")?, row.get("currency")?),
            address: serde_json::from_str(&address).map_err(Error::internal)?,
            token: row.get("token")?,
            approved_by: row.get("approved_by")?,
            screening: row.get("screening")?,
            carrier: row.get("carrier")?,
            tracking: row.get("tracking")?,
            shipped_at: row.get("shipped_at")?,
            job: row.get("job_id")?,
            version: row.get("version")?,
            placed_at: row.get("placed_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

/// The order of that id, without what hangs on it.
pub async fn find(tx: &mut Tx, id: OrderId) -> Result<Option<Order>> {
    query(
        "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening, carrier,
                tracking, shipped_at, job_id, version, placed_at, updated_at
         FROM orders WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// These orders, each with what was bought and what was tried (the latest
/// thousand): what the saga decides by.
pub async fn on_the_way(tx: &mut Tx, ids: &BTreeSet<OrderId>) -> Result<BTreeMap<OrderId, OnTheWay>> {
    let orders = many(
        "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening, carrier,
                tracking, shipped_at, job_id, version, placed_at, updated_at
         FROM orders WHERE id = $1",
        "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening, carrier,
                tracking, shipped_at, job_id, version, placed_at, updated_at
         FROM orders WHERE id = ANY ($1::UUID[])",
    );
    let lines = many(
        "SELECT order_id, sku, name, quantity, price FROM order_lines WHERE order_id = $1 ORDER BY line LIMIT 100",
        "SELECT order_id, sku, name, quantity, price FROM order_lines WHERE order_id = ANY ($1::UUID[])
         ORDER BY order_id, line",
    );
    let steps = many(
        "SELECT order_id, step, attempt, state, started_at, ended_at, error, detail FROM order_steps
         WHERE order_id = $1 ORDER BY version DESC, step DESC LIMIT 1000",
        "SELECT latest.* FROM unnest($1::UUID[]) AS given (id) CROSS JOIN LATERAL (
             SELECT order_id, step, attempt, state, started_at, ended_at, error, detail FROM order_steps
             WHERE order_id = given.id ORDER BY version DESC, step DESC LIMIT 1000) AS latest",
    );
    let id = |id: &OrderId| values![*id];
    let orders: Vec<Order> = orders.rows(ids, id).fetch_all(tx).await?;
    let mut found: BTreeMap<OrderId, OnTheWay> =
        orders.into_iter().map(|order| (order.id, (order, Vec::new(), Vec::new()))).collect();
    for Of(id, line) in lines.rows(ids, id).fetch_all::<Of<LineRow>>(tx).await? {
        if let Some((order, lines, _)) = found.get_mut(&id) {
            lines.push(line.line(order.currency()));
        }
    }
    for Of(id, step) in steps.rows(ids, id).fetch_all::<Of<Attempt>>(tx).await? {
        if let Some((_, _, steps)) = found.get_mut(&id) {
            steps.push(step);
        }
    }
    found.values_mut().for_each(|(_, _, steps)| steps.reverse());
    Ok(found)
}

/// An order with what was bought and what was tried, in the order it began.
pub type OnTheWay = (Order, Vec<OrderLine>, Vec<Attempt>);

/// A row of what belongs to an order.
struct Of<T>(OrderId, T);

impl<T: FromRow> FromRow for Of<T> {
    fn from_row(row: &Row<'_>) -> Result<Of<T>> {
        Ok(Of(row.get("order_id")?, T::from_row(row)?))
    }
}

/// The order of that id with all that hangs on it.
pub async fn details(tx: &mut Tx, id: OrderId) -> Result<Option<Details>> {
    Ok(all_details(tx, &BTreeSet::from([id])).await?.remove(&id))
}

/// These orders with all that hangs on them; one moves a dozen times at most.
pub async fn all_details(tx: &mut Tx, ids: &BTreeSet<OrderId>) -> Result<BTreeMap<OrderId, Details>> {
    let history = many(
        "SELECT order_id, version, state, reason, actor, at FROM order_history
         WHERE order_id = $1 ORDER BY version LIMIT 100",
        "SELECT order_id, version, state, reason, actor, at FROM order_history
         WHERE order_id = ANY ($1::UUID[]) ORDER BY order_id, version",
    );
    let found = on_the_way(tx, ids).await?.into_iter();
    let mut found: BTreeMap<OrderId, Details> = found
        .map(|(id, (order, lines, steps))| (id, Details { order, lines, steps, history: Vec::new() }))
        .collect();
    for Of(id, entry) in history.rows(ids, |id| values![*id]).fetch_all::<Of<Entry>>(tx).await? {
        if let Some(details) = found.get_mut(&id) {
            details.history.push(entry);
        }
    }
    Ok(found)
}

/// Where the order of that id stands.
pub async fn state(tx: &mut Tx, id: OrderId) -> Result<Option<OrderState>> {
    let found: Option<(OrderState,)> =
        query("SELECT state FROM orders WHERE id = $1").bind(id).fetch_optional(tx).await?;
    Ok(found.map(|(state,)| state))
}

/// What was bought; an order has at most 100 lines.
pub async fn lines(tx: &mut Tx, id: OrderId, currency: Currency) -> Result<Vec<OrderLine>> {
    let rows: Vec<LineRow> = query(
        "SELECT sku, name, quantity, price FROM order_lines WHERE order_id = $1 ORDER BY line LIMIT 100",
    )
    .bind(id)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| row.line(currency)).collect())
}

/// A row of `order_lines`: the currency is the order's.
struct LineRow {
    sku: kernel::Sku,
    name: String,
    quantity: u32,
    price: i64,
}

db::from_row!(LineRow { sku, name, quantity, price });

impl LineRow {
    /// As a line of an order in this currency.
    pub fn line(self, currency: Currency) -> OrderLine {
        let LineRow { sku, name, quantity, price } = self;
        OrderLine { sku, name, quantity, price: Money::new(price, currency) }
    }
}

/// Which orders a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Only this customer's.
    pub customer: Option<UserId>,
    /// Only those that stand there.
    pub state: Option<OrderState>,
    /// Only those placed before this one.
    pub before: Option<OrderId>,
    /// At most so many.
    pub limit: i64,
}

/// Orders, the newest first. One text per question, so that each has its index.
pub async fn list(tx: &mut Tx, wanted: Wanted) -> Result<Vec<Order>> {
    let before = wanted.before.unwrap_or(OrderId::from_uuid(Uuid::max()));
    let list = match (wanted.customer, wanted.state) {
        (None, None) => query(
            "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening,
                    carrier, tracking, shipped_at, job_id, version, placed_at, updated_at
             FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2",
        ),
        (Some(_), None) => query(
            "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening,
                    carrier, tracking, shipped_at, job_id, version, placed_at, updated_at
             FROM orders WHERE id < $1 AND customer_id = $3 ORDER BY id DESC LIMIT $2",
        ),
        (None, Some(_)) => query(
            "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening,
                    carrier, tracking, shipped_at, job_id, version, placed_at, updated_at
             FROM orders WHERE id < $1 AND state = $3 ORDER BY id DESC LIMIT $2",
        ),
        (Some(_), Some(_)) => query(
            "SELECT id, number, customer_id, state, reason, total, currency, address, token, approved_by, screening,
                    carrier, tracking, shipped_at, job_id, version, placed_at, updated_at
             FROM orders WHERE id < $1 AND customer_id = $3 AND state = $4 ORDER BY id DESC LIMIT $2",
        ),
    };
    let mut list = list.bind(before).bind(wanted.limit);
    if let Some(customer) = wanted.customer {
        list = list.bind(customer);
    }
    if let Some(state) = wanted.state {
        list = list.bind(state);
    }
    list.fetch_all(tx).await
}
