//! Recording a turn of the saga: all of it in one transaction, or none.

use contracts::orders::OrderState;
use jobs::Failure;
use kernel::{Result, Time};

use super::{Saga, Turn};
use crate::{
    model::{Attempt, Next, Order, Standing, Step},
    store,
};

/// What a turn changes.
pub struct Change {
    /// Where the order stood when it was seen.
    from: OrderState,
    now: Time,
    /// The order after it.
    pub order: Order,
    /// What the saga decides by, after it.
    pub standing: Standing,
    ended: Option<Attempt>,
    begun: Option<Attempt>,
}

impl Change {
    /// None yet.
    pub fn new(order: &Order, standing: &Standing, now: Time) -> Change {
        let mut order = order.clone();
        let from = order.state;
        order.version += 1;
        order.updated_at = now;
        Change { from, now, order, standing: standing.clone(), ended: None, begun: None }
    }

    /// The attempt that is under way has ended, for this reason if it failed.
    pub fn end(&mut self, step: Step, why: Option<(&str, &str)>) {
        if let Some(attempt) = self.standing.steps.iter_mut().rev().find(|attempt| attempt.step == step) {
            attempt.ended_at = Some(self.now);
            attempt.error = why.map(|(code, _)| code.to_owned());
            attempt.detail = why.map(|(_, message)| message.to_owned());
            self.ended = Some(attempt.clone());
        }
    }

    /// A step begins.
    pub fn begin(&mut self, step: Step) {
        self.begun = Some(self.standing.begin(step, self.now));
    }
}

impl Saga<'_> {
    /// Saves a change and goes on from it, unless somebody else moved the order.
    pub async fn save(&mut self, mut change: Change) -> Result<Turn, Failure> {
        change.order.state = change.standing.state;
        let over = change.standing.next() == Next::Rest;
        let moved = change.order.state != change.from;
        // An order that is held again after a review goes on because of that person.
        let approved = (change.from, change.order.state) == (OrderState::InReview, OrderState::Held);
        let actor = change.order.approved_by.filter(|_| approved);
        let traceparent = web::telemetry::traceparent();
        let (orders, run, seen) = (self.orders, self.run, &change);
        let saved: Result<bool> = db::write!(orders.db, async |tx| {
            let order = &seen.order;
            run.fence(tx).await?;
            if !store::advance(tx, order, seen.from).await? {
                return Ok(false);
            }
            let unrecorded = tx.world().planted("step_begins_unrecorded");
            if let Some(ended) = &seen.ended {
                if unrecorded {
                    store::start_step(tx, order.id, ended, order.version).await?;
                }
                store::end_step(tx, order.id, ended).await?;
                if let Some(undone) = ended.undone() {
                    store::mark_undone(tx, order.id, undone, seen.now).await?;
                }
            }
            if let Some(begun) = seen.begun.as_ref().filter(|_| !unrecorded) {
                store::start_step(tx, order.id, begun, order.version).await?;
            }
            if moved {
                store::add_history(tx, order, actor).await?;
                if !tx.world().planted("event_outside_its_transaction") {
                    bus::outbox::add_traced(tx, &order.event(), traceparent.clone()).await?;
                }
            }
            if over {
                run.finish(tx).await?;
            }
            Ok(true)
        });
        if !saved.map_err(Failure::Retry)? {
            return Ok(Turn::Moved);
        }
        if moved && orders.db.world().planted("event_outside_its_transaction") {
            let told: Result<_> =
                db::write!(orders.db, async |tx| { bus::outbox::add(tx, &seen.order.event()).await });
            told.map_err(Failure::Retry)?;
        }
        self.tell(&change, moved);
        (self.order, self.standing) = (change.order, change.standing);
        Ok(if over { Turn::Over } else { Turn::On })
    }

    fn tell(&self, change: &Change, moved: bool) {
        let order = &change.order;
        if let Some(ended) = change.ended.as_ref().filter(|ended| ended.error.is_some()) {
            let (step, attempt, state) = (ended.step, ended.attempt, ended.state);
            let (error, detail) = (ended.error.as_deref(), ended.detail.as_deref());
            tracing::info!(order.id = %order.id, %step, attempt, %state, error, detail, "a step did not succeed");
        }
        if moved {
            tracing::info!(order.id = %order.id, state = %order.state, reason = order.reason.as_deref(), "order moved");
            self.orders.waiting.wake(order.id, order.state);
        }
    }
}
