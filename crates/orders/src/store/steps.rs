//! What is recorded of the saga's steps.

use db::{Tx, query};
use kernel::{OrderId, Result, Time};

use crate::model::{Attempt, Step, StepState};

/// Records that an attempt began. `version` is the order's after it, by which
/// attempts are put in order.
pub async fn start_step(tx: &mut Tx, id: OrderId, attempt: &Attempt, version: i64) -> Result<()> {
    query(
        "INSERT INTO order_steps (order_id, step, attempt, state, started_at, version)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(attempt.step)
    .bind(attempt.attempt)
    .bind(attempt.state)
    .bind(attempt.started_at)
    .bind(version)
    .execute(tx)
    .await?;
    Ok(())
}

/// Records how the attempt that is under way ended.
pub async fn end_step(tx: &mut Tx, id: OrderId, attempt: &Attempt) -> Result<()> {
    query(
        "UPDATE order_steps SET state = $4, ended_at = $5, error = $6, detail = $7
         WHERE order_id = $1 AND step = $2 AND attempt = $3",
    )
    .bind(id)
    .bind(attempt.step)
    .bind(attempt.attempt)
    .bind(attempt.state)
    .bind(attempt.ended_at)
    .bind(attempt.error.as_deref())
    .bind(attempt.detail.as_deref())
    .execute(tx)
    .await?;
    Ok(())
}

/// Records that whatever a step did is undone.
pub async fn mark_undone(tx: &mut Tx, id: OrderId, step: Step, at: Time) -> Result<()> {
    query(
        "UPDATE order_steps SET state = $3, ended_at = COALESCE(ended_at, $4)
         WHERE order_id = $1 AND step = $2 AND state IN ('started', 'done', 'failed')",
    )
    .bind(id)
    .bind(step)
    .bind(StepState::Undone)
    .bind(at)
    .execute(tx)
    .await?;
    Ok(())
}
