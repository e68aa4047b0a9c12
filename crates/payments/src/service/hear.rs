//! What the provider tells without being asked, and what nobody came back for.

use futures::future::join_all;
use http::HeaderMap;
use kernel::{Error, Kind, OrderId, Result, Time};

use super::{Payments, settle};
use crate::{jobs::Undo, model::Attempt, store, webhook::Notice};

/// How many attempts or orders the sweep reads at once.
const AT_ONCE: i64 = 96;
/// How many of them the provider is asked about side by side.
const SIDE_BY_SIDE: usize = 8;

impl Payments {
    /// Hears a webhook: checks its signature, and saves what it tells of an
    /// attempt that has no outcome yet. Hearing twice is harmless.
    pub async fn hear(&self, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let now = self.db.world().now();
        let id = self.secret.verify(headers, body, now)?;
        let notice: Notice = serde_json::from_slice(body).map_err(|error| {
            Error::invalid("invalid_webhook", format!("the webhook cannot be read: {error}"))
        })?;
        db::write!(self.db, async |tx| {
            tx.repeatable();
            if !store::hear(tx, id, now).await? {
                return Ok(());
            }
            let Some(attempt) = store::attempt_by_key(tx, notice.key).await? else {
                tracing::warn!(webhook.id = id, attempt.key = %notice.key, "a webhook tells of an attempt that is not ours");
                return Ok(());
            };
            if attempt.kind != notice.kind || attempt.money() != notice.amount {
                let message = format!("the webhook tells of {}, but not what was asked", notice.key);
                return Err(Error::invalid("webhook_mismatch", message));
            }
            let order = attempt.order_id;
            let settled = settle::save(tx, &[(attempt, Some(notice.outcome.clone()))]).await?;
            if settled.iter().any(|settled| settled.undone) {
                // What was promised to an order that was undone is given back.
                jobs::add(tx, &Undo { order }).await?;
            }
            Ok(())
        })
    }

    /// Asks after what has been without an outcome for too long, and gives back
    /// what is promised to orders that were undone; returns how many of either.
    /// What cannot be learnt now is left for the next pass, and a pass ends
    /// where the provider cannot be reached.
    pub async fn recover(&self) -> Result<usize> {
        let before = self.db.world().now() - self.settings.recover_after;
        let recovered = self.recover_attempts(before).await? + self.recover_promises(before).await?;
        let forget: Result<u64> = db::write!(self.db, async |tx| {
            store::forget_webhooks(tx, before - crate::webhook::KEPT).await
        });
        forget?;
        Ok(recovered)
    }

    async fn recover_attempts(&self, before: Time) -> Result<usize> {
        let (mut recovered, mut after) = (0, store::OLDEST_ATTEMPT);
        loop {
            let page: Result<Vec<Attempt>> =
                db::read!(self.db, async |tx| { store::attempts_pending(tx, before, after, AT_ONCE).await });
            let page = page?;
            let Some(last) = page.last() else { return Ok(recovered) };
            after = (last.started_at, last.key);
            for some in page.chunks(SIDE_BY_SIDE) {
                let asked = join_all(some.iter().map(|attempt| self.recover_attempt(attempt))).await;
                recovered += asked.iter().filter(|outcome| outcome.is_ok()).count();
                if nobody_was_reached(&asked) {
                    return Ok(recovered);
                }
            }
        }
    }

    async fn recover_promises(&self, before: Time) -> Result<usize> {
        let (mut recovered, mut after) = (0, store::OLDEST_ORDER);
        loop {
            let page: Result<Vec<(Time, OrderId)>> = db::read!(self.db, async |tx| {
                store::undone_but_promised(tx, before, after, AT_ONCE).await
            });
            let page = page?;
            let Some(last) = page.last() else { return Ok(recovered) };
            after = *last;
            for some in page.chunks(SIDE_BY_SIDE) {
                let asked = join_all(some.iter().map(|(_, order)| self.recover_promise(*order))).await;
                recovered += asked.iter().filter(|outcome| outcome.is_ok()).count();
                if nobody_was_reached(&asked) {
                    return Ok(recovered);
                }
            }
        }
    }

    async fn recover_attempt(&self, attempt: &Attempt) -> Result<()> {
        let settled = self.settle(attempt, false).await.map(drop);
        settled.inspect_err(|error| {
            tracing::warn!(order.id = %attempt.order_id, kind = %attempt.kind, error = error.chain(), "an attempt stays without an outcome")
        })
    }

    async fn recover_promise(&self, order: OrderId) -> Result<()> {
        let given_back = self.void(order).await.map_err(Error::from);
        given_back.inspect_err(|error| {
            tracing::warn!(order.id = %order, error = error.chain(), "a promise could not be given back")
        })
    }
}

/// Whether the provider is away, so that asking on costs time and brings
/// nothing. One that fails alone does not say so, or it would be in the way of
/// all behind it for ever.
fn nobody_was_reached(outcomes: &[Result<()>]) -> bool {
    let away = |error: &Error| matches!(error.kind, Kind::Unavailable | Kind::TimedOut);
    outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(away))
}
