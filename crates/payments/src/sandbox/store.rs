//! The sandbox's own books: nobody else reads them but the audit.

use std::collections::{BTreeMap, BTreeSet};

use db::{Migration, Tx, many, query, values};
use kernel::{AttemptId, Currency, Money, OrderId, Result, words};

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

/// Promises money, once per key, none of which is there twice.
pub(super) async fn authorise(tx: &mut Tx, charges: &[Charge], settings: &Settings) -> Result<Vec<Outcome>> {
    let call = |charge: &Charge| Call {
        key: charge.key,
        kind: AttemptKind::Authorise,
        reference: format!("ch_{}", charge.key.uuid().simple()),
        code: Behaviour::of(&charge.token).decline(),
    };
    let calls: Vec<Call> = charges.iter().map(call).collect();
    let new = insert_calls(tx, &calls).await?;
    let promised =
        charges.iter().zip(&calls).filter(|(_, call)| new.contains(&call.key) && call.code.is_none());
    insert_charges(tx, promised).await?;
    let mut outcomes = Vec::with_capacity(charges.len());
    for (charge, call) in charges.iter().zip(calls) {
        if !new.contains(&call.key) {
            outcomes.push(find_call(tx, call.key).await?.unwrap_or_else(lost));
            continue;
        }
        let outcome = outcome(call.reference, call.code.map(str::to_owned));
        let what = (AttemptKind::Authorise, charge.key, charge.amount);
        announce(tx, settings, Behaviour::of(&charge.token), what, &outcome).await?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Goes on with charges, once per key; no charge is there twice.
pub(super) async fn change(
    tx: &mut Tx,
    changes: &[(AttemptKind, Change)],
    settings: &Settings,
) -> Result<Vec<(Outcome, Behaviour)>> {
    let tokens = find_tokens(tx, changes.iter().map(|(_, change)| change.reference.as_str())).await?;
    let behaviour = |change: &Change| {
        tokens.get(&change.reference).map_or(Behaviour::Unknown, |token| Behaviour::of(token))
    };
    let call = |(kind, change): &(AttemptKind, Change)| {
        let (key, kind, reference) = (change.key, *kind, change.reference.clone());
        let refused = kind == AttemptKind::Capture && behaviour(change) == Behaviour::CaptureRefused;
        Call { key, kind, reference, code: refused.then_some("capture_refused") }
    };
    let calls: Vec<Call> = changes.iter().map(call).collect();
    let new = insert_calls(tx, &calls).await?;
    let moves = calls.iter().filter(|call| new.contains(&call.key) && call.code.is_none());
    let advanced = advance(tx, moves).await?;
    let mut outcomes = Vec::with_capacity(changes.len());
    for ((kind, change), call) in changes.iter().zip(calls) {
        let behaviour = behaviour(change);
        if !new.contains(&call.key) {
            outcomes.push((find_call(tx, call.key).await?.unwrap_or_else(lost), behaviour));
            continue;
        }
        let code = match call.code {
            None if !advanced.contains(&call.reference) => {
                decline(tx, call.key, "not_in_that_state").await?;
                Some("not_in_that_state")
            }
            code => code,
        };
        let outcome = outcome(call.reference, code.map(str::to_owned));
        announce(tx, settings, behaviour, (*kind, change.key, change.amount), &outcome).await?;
        outcomes.push((outcome, behaviour));
    }
    Ok(outcomes)
}

/// What the sandbox is asked, and why it declines, if it does.
struct Call {
    key: AttemptId,
    kind: AttemptKind,
    reference: String,
    code: Option<&'static str>,
}

/// Writes calls down; returns those that were not there before.
async fn insert_calls(tx: &mut Tx, calls: &[Call]) -> Result<BTreeSet<AttemptId>> {
    let insert = many(
        "INSERT INTO sandbox_calls (key, kind, reference, code, called_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO NOTHING RETURNING key",
        "INSERT INTO sandbox_calls (key, kind, reference, code, called_at)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[])
         ON CONFLICT (key) DO NOTHING RETURNING key",
    );
    let now = tx.world().now();
    let rows =
        insert.rows(calls, |call| values![call.key, call.kind, call.reference.as_str(), call.code, now]);
    Ok(rows.fetch_all::<(AttemptId,)>(tx).await?.into_iter().map(|(key,)| key).collect())
}

async fn insert_charges<'a>(
    tx: &mut Tx,
    charges: impl Iterator<Item = (&'a Charge, &'a Call)>,
) -> Result<()> {
    let insert = many(
        "INSERT INTO sandbox_charges (order_id, reference, token, state, amount, currency)
         VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO sandbox_charges (order_id, reference, token, state, amount, currency)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[], $6::TEXT[])",
    );
    let rows = insert.rows(charges, |(charge, call)| {
        let (reference, token) = (call.reference.as_str(), charge.token.as_str());
        let Money { amount, currency } = charge.amount;
        values![charge.order, reference, token, ChargeState::Authorised, amount, currency]
    });
    rows.execute_later(tx).await
}

/// The cards of these charges.
async fn find_tokens<'a>(
    tx: &mut Tx,
    references: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>> {
    let find = many(
        "SELECT reference, token FROM sandbox_charges WHERE reference = $1",
        "SELECT reference, token FROM sandbox_charges WHERE reference = ANY ($1::TEXT[])",
    );
    let rows = find.rows(references, |reference| values![reference]);
    Ok(rows.fetch_all::<(String, String)>(tx).await?.into_iter().collect())
}

/// Moves the charges of calls; returns those that stood where the call finds them.
async fn advance<'a>(tx: &mut Tx, calls: impl Iterator<Item = &'a Call>) -> Result<BTreeSet<String>> {
    let update = many(
        "UPDATE sandbox_charges SET state = $3 WHERE reference = $1 AND state = $2 RETURNING reference",
        "UPDATE sandbox_charges SET state = given.later
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS given (reference, earlier, later)
         WHERE sandbox_charges.reference = given.reference AND sandbox_charges.state = given.earlier
         RETURNING sandbox_charges.reference",
    );
    let rows = update.rows(calls, |call| {
        let (from, to) = match call.kind {
            AttemptKind::Capture => (ChargeState::Authorised, ChargeState::Captured),
            AttemptKind::Refund => (ChargeState::Captured, ChargeState::Refunded),
            AttemptKind::Authorise | AttemptKind::Void => (ChargeState::Authorised, ChargeState::Voided),
        };
        values![call.reference.as_str(), from, to]
    });
    Ok(rows.fetch_all::<(String,)>(tx).await?.into_iter().map(|(reference,)| reference).collect())
}

async fn decline(tx: &mut Tx, key: AttemptId, code: &str) -> Result<()> {
    query("UPDATE sandbox_calls SET code = $2 WHERE key = $1").bind(key).bind(code).execute(tx).await?;
    Ok(())
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
