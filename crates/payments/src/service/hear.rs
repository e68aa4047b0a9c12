//! What the provider tells without being asked, and what nobody came back for.

use http::HeaderMap;
use kernel::{Error, OrderId, Result};

use super::{Payments, settle};
use crate::{jobs::Undo, model::Attempt, store, webhook::Notice};

/// How many attempts or orders one pass of the sweep looks at.
const AT_ONCE: i64 = 100;

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
            let settled = settle::save(tx, &attempt, Some(&notice.outcome)).await?;
            if settled.undone {
                // What was promised to an order that was undone is given back.
                jobs::add(tx, &Undo { order: attempt.order_id }).await?;
            }
            Ok(())
        })
    }

    /// Asks after what has been without an outcome for too long, and gives back
    /// what is promised to orders that were undone; returns how many of either.
    /// What cannot be learnt now is left for the next pass.
    pub async fn recover(&self) -> Result<usize> {
        let before = self.db.world().now() - self.settings.recover_after;
        let pending: Result<Vec<Attempt>> =
            db::read!(self.db, async |tx| { store::attempts_pending(tx, before, AT_ONCE).await });
        let mut recovered = 0;
        for attempt in pending? {
            match self.settle(&attempt, false).await {
                Ok(_) => recovered += 1,
                Err(error) => {
                    tracing::warn!(order.id = %attempt.order_id, kind = %attempt.kind, error = error.chain(), "an attempt stays without an outcome")
                }
            }
        }
        let promised: Result<Vec<OrderId>> =
            db::read!(self.db, async |tx| { store::undone_but_promised(tx, before, AT_ONCE).await });
        for order in promised? {
            match self.void(order).await.map_err(Error::from) {
                Ok(()) => recovered += 1,
                Err(error) => {
                    tracing::warn!(order.id = %order, error = error.chain(), "a promise could not be given back")
                }
            }
        }
        let forget: Result<u64> = db::write!(self.db, async |tx| {
            store::forget_webhooks(tx, before - crate::webhook::KEPT).await
        });
        forget?;
        Ok(recovered)
    }
}
