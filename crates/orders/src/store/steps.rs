//! What is recorded of the saga's steps, of many orders at once.

use db::{Tx, many, values};
use kernel::{OrderId, Result, Time};

use crate::model::{Attempt, Step, StepState};

/// Records that attempts began, each with the order's version after it, by
/// which attempts are put in order.
pub async fn start_steps(tx: &mut Tx, begun: &[(OrderId, &Attempt, i64)]) -> Result<()> {
    let insert = many(
        "INSERT INTO order_steps (order_id, step, attempt, state, started_at, version)
         VALUES ($1, $2, $3, $4, $5, $6)",
        "INSERT INTO order_steps (order_id, step, attempt, state, started_at, version)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::BIGINT[], $6::BIGINT[])",
    );
    let rows = insert.rows(begun, |(id, attempt, version)| {
        values![*id, attempt.step, attempt.attempt, attempt.state, attempt.started_at, *version]
    });
    rows.execute_later(tx).await
}

/// Records how the attempts that were under way ended.
pub async fn end_steps(tx: &mut Tx, ended: &[(OrderId, &Attempt)]) -> Result<()> {
    let update = many(
        "UPDATE order_steps SET state = $4, ended_at = $5, error = $6, detail = $7
         WHERE order_id = $1 AND step = $2 AND attempt = $3",
        "UPDATE order_steps
         SET state = given.state, ended_at = given.ended_at, error = given.error, detail = given.detail
         FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[])
              AS given (order_id, step, attempt, state, ended_at, error, detail)
         WHERE order_steps.order_id = given.order_id AND order_steps.step = given.step
           AND order_steps.attempt = given.attempt",
    );
    let rows = update.rows(ended, |(id, attempt)| {
        let (error, detail) = (attempt.error.as_deref(), attempt.detail.as_deref());
        values![*id, attempt.step, attempt.attempt, attempt.state, attempt.ended_at, error, detail]
    });
    rows.execute_later(tx).await
}

/// Records that whatever these steps did is undone.
pub async fn mark_undone(tx: &mut Tx, undone: &[(OrderId, Step, Time)]) -> Result<()> {
    let update = many(
        "UPDATE order_steps SET state = $3, ended_at = COALESCE(ended_at, $4)
         WHERE order_id = $1 AND step = $2 AND state IN ('started', 'done', 'failed')",
        "UPDATE order_steps SET state = given.state, ended_at = COALESCE(ended_at, given.at)
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::BIGINT[]) AS given (order_id, step, state, at)
         WHERE order_steps.order_id = given.order_id AND order_steps.step = given.step
           AND order_steps.state IN ('started', 'done', 'failed')",
    );
    let rows = update.rows(undone, |(id, step, at)| values![*id, *step, StepState::Undone, *at]);
    rows.execute_later(tx).await
}
