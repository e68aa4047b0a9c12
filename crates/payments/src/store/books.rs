//! The books: ledger, refunds, screenings, and the webhooks that were heard.

use std::collections::{BTreeMap, BTreeSet};

use contracts::payments::{Screen, Screened};
use db::{FromRow, Row, Tx, many, query, values};
use kernel::{AttemptId, Currency, OrderId, RefundId, Result, Time, UserId};

use crate::model::{Account, Attempt};

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which attempt it belongs to.
    pub attempt_key: AttemptId,
    /// Where the money went, or came from below zero.
    pub account: Account,
    /// How much.
    pub amount: i64,
    /// In which currency.
    pub currency: Currency,
    /// When.
    pub booked_at: Time,
}

db::from_row!(Entry { attempt_key, account, amount, currency, booked_at });

/// One refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRow {
    /// Which.
    pub id: RefundId,
    /// How much.
    pub amount: i64,
    /// In which currency.
    pub currency: Currency,
    /// When.
    pub refunded_at: Time,
}

db::from_row!(RefundRow { id, amount, currency, refunded_at });

/// Books entries, each with its counterparts.
pub async fn book(tx: &mut Tx, entries: &[(&Attempt, Account, i64)], now: Time) -> Result<()> {
    let insert = many(
        "INSERT INTO ledger (order_id, attempt_key, account, amount, currency, booked_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO ledger (order_id, attempt_key, account, amount, currency, booked_at)
         SELECT * FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::BIGINT[], $5::TEXT[], $6::BIGINT[])",
    );
    let rows = insert.rows(entries, |(attempt, account, amount)| {
        values![attempt.order_id, attempt.key, *account, *amount, attempt.currency, now]
    });
    rows.execute_later(tx).await
}

/// The entries of an order.
pub async fn ledger(tx: &mut Tx, order: OrderId) -> Result<Vec<Entry>> {
    query(
        "SELECT attempt_key, account, amount, currency, booked_at FROM ledger
         WHERE order_id = $1 ORDER BY booked_at, attempt_key, account LIMIT 1000",
    )
    .bind(order)
    .fetch_all(tx)
    .await
}

/// What the ledger says is with the provider, of each order of a range that it
/// has entries of.
pub async fn owed_between(tx: &mut Tx, range: (OrderId, OrderId)) -> Result<Vec<(OrderId, i64)>> {
    query(
        "SELECT order_id, CAST(SUM(CASE WHEN account = $3 THEN amount ELSE 0 END) AS BIGINT) FROM ledger
         WHERE order_id > $1 AND order_id <= $2 GROUP BY order_id ORDER BY order_id LIMIT 1000000",
    )
    .bind(range.0)
    .bind(range.1)
    .bind(Account::Provider)
    .fetch_all(tx)
    .await
}

/// What was paid back, of each order of a range of which something was.
pub async fn refunded_between(tx: &mut Tx, range: (OrderId, OrderId)) -> Result<Vec<(OrderId, i64)>> {
    query(
        "SELECT order_id, CAST(SUM(amount) AS BIGINT) FROM refunds
         WHERE order_id > $1 AND order_id <= $2 GROUP BY order_id ORDER BY order_id LIMIT 1000000",
    )
    .bind(range.0)
    .bind(range.1)
    .fetch_all(tx)
    .await
}

/// Orders of a range that the provider is being asked about.
pub async fn unsettled_between(tx: &mut Tx, range: (OrderId, OrderId)) -> Result<Vec<(OrderId,)>> {
    query(
        "SELECT order_id FROM attempts WHERE order_id > $1 AND order_id <= $2 AND state = 'pending'
         ORDER BY order_id LIMIT 1000000",
    )
    .bind(range.0)
    .bind(range.1)
    .fetch_all(tx)
    .await
}

/// Writes down that money was paid back.
pub async fn insert_refund(tx: &mut Tx, id: RefundId, attempt: &Attempt, now: Time) -> Result<()> {
    query(
        "INSERT INTO refunds (order_id, id, attempt_key, amount, currency, refunded_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(attempt.order_id)
    .bind(id)
    .bind(attempt.key)
    .bind(attempt.amount)
    .bind(attempt.currency)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// What was paid back of an order.
pub async fn refunds(tx: &mut Tx, order: OrderId) -> Result<Vec<RefundRow>> {
    query("SELECT id, amount, currency, refunded_at FROM refunds WHERE order_id = $1 ORDER BY id LIMIT 1000")
        .bind(order)
        .fetch_all(tx)
        .await
}

/// Locks customers, none of them twice, so that the orders of each are counted
/// one after the other.
pub async fn lock_shoppers(tx: &mut Tx, customers: &BTreeSet<UserId>) -> Result<()> {
    let lock = many(
        "INSERT INTO shoppers (customer_id, turns) VALUES ($1, 0)
         ON CONFLICT (customer_id) DO UPDATE SET turns = shoppers.turns + 1",
        "INSERT INTO shoppers (customer_id, turns) SELECT customer_id, 0 FROM unnest($1::UUID[]) AS given (customer_id)
         ON CONFLICT (customer_id) DO UPDATE SET turns = shoppers.turns + 1",
    );
    lock.rows(customers, |customer| values![*customer]).execute_later(tx).await
}

/// What was found of these orders before.
pub async fn find_screenings(
    tx: &mut Tx,
    orders: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Screened>> {
    struct Found(OrderId, Screened);
    impl FromRow for Found {
        fn from_row(row: &Row<'_>) -> Result<Found> {
            let screened = Screened { verdict: row.get("verdict")?, reason: row.get("reason")? };
            Ok(Found(row.get("order_id")?, screened))
        }
    }
    let find = many(
        "SELECT order_id, verdict, reason FROM screenings WHERE order_id = $1",
        "SELECT order_id, verdict, reason FROM screenings WHERE order_id = ANY ($1::UUID[])",
    );
    let found: Vec<Found> = find.rows(orders, |order| values![order]).fetch_all(tx).await?;
    Ok(found.into_iter().map(|Found(order, screened)| (order, screened)).collect())
}

/// How many orders of each customer were screened since then, counted up to `most`.
pub async fn count_screened(
    tx: &mut Tx,
    customers: &BTreeSet<UserId>,
    since: Time,
    most: i64,
) -> Result<BTreeMap<UserId, i64>> {
    let count = many(
        "SELECT $1, COUNT(*) FROM (
             SELECT order_id FROM screenings WHERE customer_id = $1 AND screened_at > $2 LIMIT $3) AS counted",
        "SELECT given.customer_id, counted.count
         FROM unnest($1::UUID[], $2::BIGINT[], $3::BIGINT[]) AS given (customer_id, since, most) CROSS JOIN LATERAL (
             SELECT CAST(COUNT(*) AS BIGINT) AS count FROM (
                 SELECT order_id FROM screenings
                 WHERE screenings.customer_id = given.customer_id AND screened_at > given.since
                 LIMIT given.most) AS found) AS counted",
    );
    let rows = count.rows(customers, |customer| values![*customer, since, most]);
    Ok(rows.fetch_all::<(UserId, i64)>(tx).await?.into_iter().collect())
}

/// Saves what was found of orders of which nothing had been found.
pub async fn insert_screenings(tx: &mut Tx, found: &[(&Screen, &Screened)], now: Time) -> Result<()> {
    let insert = many(
        "INSERT INTO screenings (order_id, customer_id, amount, currency, verdict, reason, screened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        "INSERT INTO screenings (order_id, customer_id, amount, currency, verdict, reason, screened_at)
         SELECT * FROM unnest($1::UUID[], $2::UUID[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[])",
    );
    let rows = insert.rows(found, |(ask, found)| {
        let (amount, currency) = (ask.total.amount, ask.total.currency);
        values![ask.order, ask.customer, amount, currency, found.verdict, found.reason.as_str(), now]
    });
    rows.execute_later(tx).await
}

/// Writes down that a webhook was heard; returns whether it is the first time.
pub async fn hear(tx: &mut Tx, id: &str, now: Time) -> Result<bool> {
    let heard =
        query("INSERT INTO webhooks_heard (id, heard_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(now)
            .execute(tx)
            .await?;
    Ok(heard == 1)
}

/// Forgets webhooks heard before then: a signature that old is refused anyway.
pub async fn forget_webhooks(tx: &mut Tx, before: Time) -> Result<u64> {
    query("DELETE FROM webhooks_heard WHERE heard_at < $1").bind(before).execute(tx).await
}
