//! The tables of payments. Every function is one statement.

mod books;

use contracts::payments::PaymentState;
use db::{Migration, Tx, query};
use kernel::{AttemptId, OrderId, Result, Time, uuid::Uuid};

use crate::model::{Attempt, AttemptState, Payment, amounts_in};

pub use books::*;

/// The tables of this service alone.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "payments_1",
    sql: "
        CREATE TABLE gates (
            order_id UUID NOT NULL PRIMARY KEY,
            undone BOOLEAN NOT NULL,
            turns BIGINT NOT NULL
        );
        CREATE TABLE payments (
            order_id UUID NOT NULL PRIMARY KEY,
            id UUID NOT NULL UNIQUE,
            customer_id UUID NOT NULL,
            state TEXT NOT NULL,
            amount BIGINT NOT NULL CHECK (amount >= 0),
            currency TEXT NOT NULL,
            captured BIGINT NOT NULL,
            refunded BIGINT NOT NULL CHECK (refunded >= 0),
            version BIGINT NOT NULL,
            changed_at BIGINT NOT NULL,
            CHECK (refunded <= captured),
            CHECK (captured <= amount)
        );
        CREATE INDEX payments_promised ON payments (changed_at) WHERE state = 'authorised';
        CREATE TABLE attempts (
            order_id UUID NOT NULL,
            kind TEXT NOT NULL,
            key UUID NOT NULL UNIQUE,
            state TEXT NOT NULL,
            amount BIGINT NOT NULL,
            currency TEXT NOT NULL,
            token TEXT NOT NULL,
            reference TEXT,
            code TEXT,
            started_at BIGINT NOT NULL,
            ended_at BIGINT,
            PRIMARY KEY (order_id, kind)
        );
        CREATE INDEX attempts_pending ON attempts (started_at) WHERE state = 'pending';
        CREATE TABLE refunds (
            order_id UUID NOT NULL,
            id UUID NOT NULL,
            attempt_key UUID NOT NULL UNIQUE,
            amount BIGINT NOT NULL CHECK (amount > 0),
            currency TEXT NOT NULL,
            refunded_at BIGINT NOT NULL,
            PRIMARY KEY (order_id, id)
        );
        CREATE TABLE ledger (
            order_id UUID NOT NULL,
            attempt_key UUID NOT NULL,
            account TEXT NOT NULL,
            amount BIGINT NOT NULL CHECK (amount <> 0),
            currency TEXT NOT NULL,
            booked_at BIGINT NOT NULL,
            PRIMARY KEY (order_id, attempt_key, account)
        );
        CREATE TABLE shoppers (
            customer_id UUID NOT NULL PRIMARY KEY,
            turns BIGINT NOT NULL
        );
        CREATE TABLE screenings (
            order_id UUID NOT NULL PRIMARY KEY,
            customer_id UUID NOT NULL,
            amount BIGINT NOT NULL,
            currency TEXT NOT NULL,
            verdict TEXT NOT NULL,
            reason TEXT NOT NULL,
            screened_at BIGINT NOT NULL
        );
        CREATE INDEX screenings_of_customer ON screenings (customer_id, screened_at);
        CREATE TABLE webhooks_heard (
            id TEXT NOT NULL PRIMARY KEY,
            heard_at BIGINT NOT NULL
        );
        CREATE INDEX webhooks_heard_at ON webhooks_heard (heard_at)",
}];

/// The gate of an order, locked until the transaction ends: what is read of
/// the order stays true until then.
pub struct Gate {
    /// Whether the order was undone.
    pub undone: bool,
    /// How often it was locked before; at nought nothing is there behind it.
    pub turns: i64,
}

db::from_row!(Gate { undone, turns });

/// Locks the gate of an order, and makes it when there is none.
pub async fn lock_gate(tx: &mut Tx, order: OrderId) -> Result<Gate> {
    query(
        "INSERT INTO gates (order_id, undone, turns) VALUES ($1, $2, 0)
         ON CONFLICT (order_id) DO UPDATE SET turns = gates.turns + 1
         RETURNING undone, turns",
    )
    .bind(order)
    .bind(false)
    .fetch_one(tx)
    .await
}

/// Leaves the mark of an undo on a gate that is locked.
pub async fn mark_undone(tx: &mut Tx, order: OrderId) -> Result<()> {
    query("UPDATE gates SET undone = $2 WHERE order_id = $1").bind(order).bind(true).execute(tx).await?;
    Ok(())
}

/// Saves a payment that is to be asked for.
pub async fn insert_payment(tx: &mut Tx, payment: &Payment, now: Time) -> Result<()> {
    query(
        "INSERT INTO payments
             (order_id, id, customer_id, state, amount, currency, captured, refunded, version, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(payment.order_id)
    .bind(payment.id)
    .bind(payment.customer_id)
    .bind(payment.state)
    .bind(payment.amount)
    .bind(payment.currency)
    .bind(payment.captured)
    .bind(payment.refunded)
    .bind(payment.version)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// The payment of an order.
pub async fn find_payment(tx: &mut Tx, order: OrderId) -> Result<Option<Payment>> {
    query(
        "SELECT id, order_id, customer_id, state, amount, currency, captured, refunded, version
         FROM payments WHERE order_id = $1",
    )
    .bind(order)
    .fetch_optional(tx)
    .await
}

/// The payments of the orders behind this one, in their order.
pub async fn payments_after(tx: &mut Tx, after: OrderId, limit: i64) -> Result<Vec<Payment>> {
    query(
        "SELECT id, order_id, customer_id, state, amount, currency, captured, refunded, version
         FROM payments WHERE order_id > $1 ORDER BY order_id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Moves the payment of an attempt along an arrow, with the amounts that belong
/// to its end. Returns it as it is then, or nothing if it did not stand at the
/// beginning or is about another amount.
pub async fn advance(
    tx: &mut Tx,
    attempt: &Attempt,
    (from, to): (PaymentState, PaymentState),
    now: Time,
) -> Result<Option<Payment>> {
    let (captured, refunded) = amounts_in(to, attempt.amount);
    query(
        "UPDATE payments
         SET state = $3, captured = $4, refunded = $5, version = version + 1, changed_at = $6
         WHERE order_id = $1 AND state = $2 AND amount = $7
         RETURNING id, order_id, customer_id, state, amount, currency, captured, refunded, version",
    )
    .bind(attempt.order_id)
    .bind(from)
    .bind(to)
    .bind(captured)
    .bind(refunded)
    .bind(now)
    .bind(attempt.amount)
    .fetch_optional(tx)
    .await
}

/// Saves an attempt before the provider hears of it.
pub async fn insert_attempt(tx: &mut Tx, attempt: &Attempt) -> Result<()> {
    query(
        "INSERT INTO attempts
             (order_id, kind, key, state, amount, currency, token, reference, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(attempt.order_id)
    .bind(attempt.kind)
    .bind(attempt.key)
    .bind(attempt.state)
    .bind(attempt.amount)
    .bind(attempt.currency)
    .bind(&attempt.token)
    .bind(attempt.reference.clone())
    .bind(attempt.started_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// The attempt with this key.
pub async fn attempt_by_key(tx: &mut Tx, key: AttemptId) -> Result<Option<Attempt>> {
    query(
        "SELECT key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at
         FROM attempts WHERE key = $1",
    )
    .bind(key)
    .fetch_optional(tx)
    .await
}

/// Everything that the provider was asked for an order, in order.
pub async fn attempts(tx: &mut Tx, order: OrderId) -> Result<Vec<Attempt>> {
    query(
        "SELECT key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at
         FROM attempts WHERE order_id = $1 ORDER BY started_at, kind LIMIT 100",
    )
    .bind(order)
    .fetch_all(tx)
    .await
}

/// Before all attempts.
pub const OLDEST_ATTEMPT: (Time, AttemptId) = (Time::from_micros(0), AttemptId::from_uuid(Uuid::nil()));
/// Before all orders.
pub const OLDEST_ORDER: (Time, OrderId) = (Time::from_micros(0), OrderId::from_uuid(Uuid::nil()));

/// Attempts whose outcome nobody has saved since then, oldest first, behind
/// this one.
pub async fn attempts_pending(
    tx: &mut Tx,
    before: Time,
    after: (Time, AttemptId),
    limit: i64,
) -> Result<Vec<Attempt>> {
    query(
        "SELECT key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at
         FROM attempts WHERE state = 'pending' AND started_at <= $1 AND (started_at, key) > ($2, $3)
         ORDER BY started_at, key LIMIT $4",
    )
    .bind(before)
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Saves an attempt's outcome, unless it has one. Returns the attempt as it is
/// then, or nothing if it had one.
pub async fn end_attempt(
    tx: &mut Tx,
    key: AttemptId,
    state: AttemptState,
    told: &str,
    now: Time,
) -> Result<Option<Attempt>> {
    let (reference, code) = match state {
        AttemptState::Done => (Some(told), None),
        AttemptState::Declined | AttemptState::Pending => (None, Some(told)),
    };
    query(
        "UPDATE attempts
         SET state = $2, reference = COALESCE($3, reference), code = $4, ended_at = $5
         WHERE key = $1 AND state = 'pending'
         RETURNING key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at",
    )
    .bind(key)
    .bind(state)
    .bind(reference)
    .bind(code)
    .bind(now)
    .fetch_optional(tx)
    .await
}

/// Orders that were undone although their money is still promised, since then,
/// oldest first, behind this one.
pub async fn undone_but_promised(
    tx: &mut Tx,
    before: Time,
    after: (Time, OrderId),
    limit: i64,
) -> Result<Vec<(Time, OrderId)>> {
    query(
        "SELECT p.changed_at, p.order_id FROM payments p JOIN gates g ON g.order_id = p.order_id
         WHERE p.state = 'authorised' AND p.changed_at <= $1 AND (p.changed_at, p.order_id) > ($2, $3)
           AND g.undone = TRUE
         ORDER BY p.changed_at, p.order_id LIMIT $4",
    )
    .bind(before)
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(tx)
    .await
}
