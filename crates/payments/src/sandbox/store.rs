//! The sandbox's own books: nobody else reads them but the audit.

use db::{Migration, Tx, query};
use kernel::{AttemptId, Currency, OrderId, Result, words};

use super::{Settings, announce, token::Behaviour};
use crate::{
    model::AttemptKind,
    provider::{Change, Charge, Outcome},
};

/// The tables of the sandbox.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "sandbox_1",
    sql: "
        CREATE TABLE sandbox_charges (
            order_id UUID NOT NULL,
            reference TEXT NOT NULL UNIQUE,
            token TEXT NOT NULL,
            state TEXT NOT NULL,
            amount BIGINT NOT NULL,
            currency TEXT NOT NULL,
            PRIMARY KEY (order_id, reference)
        );
        CREATE TABLE sandbox_calls (
            key UUID NOT NULL PRIMARY KEY,
            kind TEXT NOT NULL,
            reference TEXT NOT NULL,
            code TEXT,
            called_at BIGINT NOT NULL
        )",
}];

words! {
    /// Where a charge stands with the sandbox.
    pub enum ChargeState {
        /// Promised.
        Authorised = "authorised",
        /// Taken.
        Captured = "captured",
        /// Given back.
        Voided = "voided",
        /// Paid back.
        Refunded = "refunded",
    }
}

/// A charge in the sandbox's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxCharge {
    /// For which order.
    pub order_id: OrderId,
    /// What the sandbox calls it.
    pub reference: String,
    /// Of which card.
    pub token: String,
    /// Where it stands.
    pub state: ChargeState,
    /// How much.
    pub amount: i64,
    /// In which currency.
    pub currency: Currency,
}

db::from_row!(SandboxCharge { order_id, reference, token, state, amount, currency });

/// Promises money, once per key.
pub(super) async fn authorise(tx: &mut Tx, charge: &Charge, settings: &Settings) -> Result<Outcome> {
    let behaviour = Behaviour::of(&charge.token);
    let reference = format!("ch_{}", charge.key.uuid().simple());
    let code = behaviour.decline();
    if !insert_call(tx, (charge.key, AttemptKind::Authorise), &reference, code).await? {
        return Ok(find_call(tx, charge.key).await?.unwrap_or_else(lost));
    }
    if code.is_none() {
        query(
            "INSERT INTO sandbox_charges (order_id, reference, token, state, amount, currency)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(charge.order)
        .bind(reference.as_str())
        .bind(&charge.token)
        .bind(ChargeState::Authorised)
        .bind(charge.amount.amount)
        .bind(charge.amount.currency)
        .execute(tx)
        .await?;
    }
    let outcome = outcome(reference, code.map(str::to_owned));
    announce(tx, settings, behaviour, (AttemptKind::Authorise, charge.key, charge.amount), &outcome).await?;
    Ok(outcome)
}

/// Goes on with a charge, once per key.
pub(super) async fn change(
    tx: &mut Tx,
    kind: AttemptKind,
    change: &Change,
    settings: &Settings,
) -> Result<(Outcome, Behaviour)> {
    let charge: Option<SandboxCharge> = query(
        "SELECT order_id, reference, token, state, amount, currency FROM sandbox_charges WHERE reference = $1",
    )
    .bind(&change.reference)
    .fetch_optional(tx)
    .await?;
    let behaviour = charge.map_or(Behaviour::Unknown, |charge| Behaviour::of(&charge.token));
    if !insert_call(tx, (change.key, kind), &change.reference, None).await? {
        return Ok((find_call(tx, change.key).await?.unwrap_or_else(lost), behaviour));
    }
    let (from, to) = match kind {
        AttemptKind::Capture => (ChargeState::Authorised, ChargeState::Captured),
        AttemptKind::Refund => (ChargeState::Captured, ChargeState::Refunded),
        AttemptKind::Authorise | AttemptKind::Void => (ChargeState::Authorised, ChargeState::Voided),
    };
    let refused = kind == AttemptKind::Capture && behaviour == Behaviour::CaptureRefused;
    let code = if refused {
        Some("capture_refused")
    } else if !advance(tx, &change.reference, from, to).await? {
        Some("not_in_that_state")
    } else {
        None
    };
    if let Some(code) = code {
        query("UPDATE sandbox_calls SET code = $2 WHERE key = $1")
            .bind(change.key)
            .bind(code)
            .execute(tx)
            .await?;
    }
    let outcome = outcome(change.reference.clone(), code.map(str::to_owned));
    announce(tx, settings, behaviour, (kind, change.key, change.amount), &outcome).await?;
    Ok((outcome, behaviour))
}

async fn insert_call(
    tx: &mut Tx,
    (key, kind): (AttemptId, AttemptKind),
    reference: &str,
    code: Option<&str>,
) -> Result<bool> {
    let now = tx.world().now();
    let inserted = query(
        "INSERT INTO sandbox_calls (key, kind, reference, code, called_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(key)
    .bind(kind)
    .bind(reference)
    .bind(code)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

async fn advance(tx: &mut Tx, reference: &str, from: ChargeState, to: ChargeState) -> Result<bool> {
    let moved = query("UPDATE sandbox_charges SET state = $3 WHERE reference = $1 AND state = $2")
        .bind(reference)
        .bind(from)
        .bind(to)
        .execute(tx)
        .await?;
    Ok(moved == 1)
}

/// What the sandbox answered to this key, if it was ever asked with it.
pub(super) async fn find_call(tx: &mut Tx, key: AttemptId) -> Result<Option<Outcome>> {
    let call: Option<(String, Option<String>)> =
        query("SELECT reference, code FROM sandbox_calls WHERE key = $1")
            .bind(key)
            .fetch_optional(tx)
            .await?;
    Ok(call.map(|(reference, code)| outcome(reference, code)))
}

fn outcome(reference: String, code: Option<String>) -> Outcome {
    code.map_or(Outcome::Done { reference }, |code| Outcome::Declined { code })
}

fn lost() -> Outcome {
    Outcome::Unknown { why: "the sandbox lost a call".into() }
}

/// Every charge of an order.
pub(crate) async fn charges_of(tx: &mut Tx, order: OrderId) -> Result<Vec<SandboxCharge>> {
    query(
        "SELECT order_id, reference, token, state, amount, currency FROM sandbox_charges
         WHERE order_id = $1 ORDER BY reference LIMIT 100",
    )
    .bind(order)
    .fetch_all(tx)
    .await
}

/// The charges of a range of orders, in their order: whose, where each stands,
/// and how much it is.
pub(crate) async fn charges_between(
    tx: &mut Tx,
    range: (OrderId, OrderId),
) -> Result<Vec<(OrderId, ChargeState, i64)>> {
    query(
        "SELECT order_id, state, amount FROM sandbox_charges WHERE order_id > $1 AND order_id <= $2
         ORDER BY order_id, reference LIMIT 1000000",
    )
    .bind(range.0)
    .bind(range.1)
    .fetch_all(tx)
    .await
}

/// Whether the sandbox has any books here.
pub(crate) async fn any_charge(tx: &mut Tx) -> Result<bool> {
    let any: Option<(String,)> =
        query("SELECT reference FROM sandbox_charges LIMIT 1").fetch_optional(tx).await?;
    Ok(any.is_some())
}
