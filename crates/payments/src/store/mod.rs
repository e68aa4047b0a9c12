//! The tables of payments. Every function is one statement.

mod books;

use std::collections::{BTreeMap, BTreeSet};

use contracts::payments::PaymentState;
use db::{Migration, Tx, many, query, values};
use kernel::{AttemptId, Error, OrderId, Result, Time, uuid::Uuid};

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
    order_id: OrderId,
    /// Whether the order was undone.
    pub undone: bool,
    /// How often it was locked before; at nought nothing is there behind it.
    pub turns: i64,
}

db::from_row!(Gate { order_id, undone, turns });

/// Locks the gate of an order, and makes it when there is none.
pub async fn lock_gate(tx: &mut Tx, order: OrderId) -> Result<Gate> {
    let gate = lock_gates(tx, [order]).await?.remove(&order);
    gate.ok_or_else(|| Error::internal(format!("the gate of {order} was not locked")))
}

/// The same of many orders, none of them twice.
pub async fn lock_gates(
    tx: &mut Tx,
    orders: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Gate>> {
    let lock = many(
        "INSERT INTO gates (order_id, undone, turns) VALUES ($1, $2, 0)
         ON CONFLICT (order_id) DO UPDATE SET turns = gates.turns + 1
         RETURNING order_id, undone, turns",
        "INSERT INTO gates (order_id, undone, turns)
         SELECT order_id, undone, 0 FROM unnest($1::UUID[], $2::BOOLEAN[]) AS given (order_id, undone)
         ON CONFLICT (order_id) DO UPDATE SET turns = gates.turns + 1
         RETURNING order_id, undone, turns",
    );
    // Sorted, so that two who lock the same ones do not wait for each other in a ring.
    let orders: BTreeSet<OrderId> = orders.into_iter().collect();
    let gates: Vec<Gate> = lock.rows(orders, |order| values![order, false]).fetch_all(tx).await?;
    Ok(gates.into_iter().map(|gate| (gate.order_id, gate)).collect())
}

/// Leaves the mark of an undo on a gate that is locked.
pub async fn mark_undone(tx: &mut Tx, order: OrderId) -> Result<()> {
    query("UPDATE gates SET undone = $2 WHERE order_id = $1").bind(order).bind(true).execute(tx).await?;
    Ok(())
}

/// Saves payments that are to be asked for.
pub async fn insert_payments(tx: &mut Tx, payments: &[Payment], now: Time) -> Result<()> {
    let insert = many(
        "INSERT INTO payments
             (order_id, id, customer_id, state, amount, currency, captured, refunded, version, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        "INSERT INTO payments
             (order_id, id, customer_id, state, amount, currency, captured, refunded, version, changed_at)
         SELECT * FROM unnest($1::UUID[], $2::UUID[], $3::UUID[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::BIGINT[],
                              $8::BIGINT[], $9::BIGINT[], $10::BIGINT[])",
    );
    let rows = insert.rows(payments, |payment| {
        values![
            payment.order_id,
            payment.id,
            payment.customer_id,
            payment.state,
            payment.amount,
            payment.currency,
            payment.captured,
            payment.refunded,
            payment.version,
            now,
        ]
    });
    rows.execute_later(tx).await
}

/// The payments of these orders.
pub async fn find_payments(
    tx: &mut Tx,
    orders: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Payment>> {
    let find = many(
        "SELECT id, order_id, customer_id, state, amount, currency, captured, refunded, version
         FROM payments WHERE order_id = $1",
        "SELECT id, order_id, customer_id, state, amount, currency, captured, refunded, version
         FROM payments WHERE order_id = ANY ($1::UUID[])",
    );
    let found: Vec<Payment> = find.rows(orders, |order| values![order]).fetch_all(tx).await?;
    Ok(found.into_iter().map(|payment| (payment.order_id, payment)).collect())
}

/// The payment of an order.
pub async fn find_payment(tx: &mut Tx, order: OrderId) -> Result<Option<Payment>> {
    Ok(find_payments(tx, [order]).await?.remove(&order))
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

/// Moves the payments of attempts, each along its arrow, with the amounts that
/// belong to its end. Returns them as they are then; not those that did not
/// stand at the beginning or are about another amount.
pub async fn advance(
    tx: &mut Tx,
    moves: &[(&Attempt, (PaymentState, PaymentState))],
    now: Time,
) -> Result<BTreeMap<OrderId, Payment>> {
    let update = many(
        "UPDATE payments
         SET state = $3, captured = $4, refunded = $5, version = version + 1, changed_at = $6
         WHERE order_id = $1 AND state = $2 AND amount = $7
         RETURNING id, order_id, customer_id, state, amount, currency, captured, refunded, version",
        "UPDATE payments
         SET state = given.later, captured = given.captured, refunded = given.refunded,
             version = payments.version + 1, changed_at = given.now
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[])
              AS given (order_id, earlier, later, captured, refunded, now, amount)
         WHERE payments.order_id = given.order_id AND payments.state = given.earlier
           AND payments.amount = given.amount
         RETURNING id, payments.order_id AS order_id, customer_id, state, payments.amount AS amount, currency,
                   payments.captured AS captured, payments.refunded AS refunded, version",
    );
    let rows = update.rows(moves, |(attempt, (from, to))| {
        let (captured, refunded) = amounts_in(*to, attempt.amount);
        values![attempt.order_id, *from, *to, captured, refunded, now, attempt.amount]
    });
    let advanced: Vec<Payment> = rows.fetch_all(tx).await?;
    Ok(advanced.into_iter().map(|payment| (payment.order_id, payment)).collect())
}

/// Saves attempts before the provider hears of them.
pub async fn insert_attempts(tx: &mut Tx, attempts: &[&Attempt]) -> Result<()> {
    let insert = many(
        "INSERT INTO attempts
             (order_id, kind, key, state, amount, currency, token, reference, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        "INSERT INTO attempts
             (order_id, kind, key, state, amount, currency, token, reference, started_at)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::UUID[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[],
                              $8::TEXT[], $9::BIGINT[])",
    );
    let rows = insert.rows(attempts, |attempt| {
        values![
            attempt.order_id,
            attempt.kind,
            attempt.key,
            attempt.state,
            attempt.amount,
            attempt.currency,
            attempt.token.as_str(),
            attempt.reference.as_deref(),
            attempt.started_at,
        ]
    });
    rows.execute_later(tx).await
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
    Ok(attempts_of(tx, [order]).await?.remove(&order).unwrap_or_default())
}

/// The same of many orders.
pub async fn attempts_of(
    tx: &mut Tx,
    orders: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Vec<Attempt>>> {
    // An order has one attempt of each kind.
    let find = many(
        "SELECT key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at
         FROM attempts WHERE order_id = $1 ORDER BY started_at, kind LIMIT 100",
        "SELECT key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at
         FROM attempts WHERE order_id = ANY ($1::UUID[]) ORDER BY order_id, started_at, kind",
    );
    let mut found: BTreeMap<OrderId, Vec<Attempt>> = BTreeMap::new();
    for attempt in find.rows(orders, |order| values![order]).fetch_all::<Attempt>(tx).await? {
        found.entry(attempt.order_id).or_default().push(attempt);
    }
    Ok(found)
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

/// Saves the outcomes of attempts, unless they have one. Returns the attempts
/// as they are then; not those that had one.
pub async fn end_attempts(
    tx: &mut Tx,
    ended: &[(&Attempt, AttemptState, &str)],
    now: Time,
) -> Result<BTreeMap<AttemptId, Attempt>> {
    let update = many(
        "UPDATE attempts
         SET state = $3, reference = COALESCE($4, reference), code = $5, ended_at = $6
         WHERE order_id = $1 AND key = $2 AND state = $7
         RETURNING key, order_id, kind, state, amount, currency, token, reference, code, started_at, ended_at",
        "UPDATE attempts
         SET state = given.state, reference = COALESCE(given.reference, attempts.reference), code = given.code,
             ended_at = given.now
         FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::TEXT[])
              AS given (order_id, key, state, reference, code, now, before)
         WHERE attempts.order_id = given.order_id AND attempts.key = given.key AND attempts.state = given.before
         RETURNING attempts.key AS key, attempts.order_id AS order_id, kind, attempts.state AS state, amount, currency,
                   token, attempts.reference AS reference, attempts.code AS code, started_at, ended_at",
    );
    let rows = update.rows(ended, |(attempt, state, told)| {
        let (reference, code) = match state {
            AttemptState::Done => (Some(*told), None),
            AttemptState::Declined | AttemptState::Pending => (None, Some(*told)),
        };
        values![attempt.order_id, attempt.key, *state, reference, code, now, AttemptState::Pending]
    });
    let ended: Vec<Attempt> = rows.fetch_all(tx).await?;
    Ok(ended.into_iter().map(|attempt| (attempt.key, attempt)).collect())
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
