//! Recording turns of the saga, those of many orders together: of each order
//! all of its turn or nothing.

use std::sync::Arc;

use contracts::orders::OrderState;
use db::{Db, Gather, Tx};
use jobs::{Failure, Run};
use kernel::{Result, Time, UserId};

use super::{Saga, Turn};
use crate::{
    model::{Attempt, Next, Order, Standing, Step},
    store,
};

/// What a turn changes.
#[derive(Clone)]
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

    fn has_moved(&self) -> bool {
        self.order.state != self.from
    }

    fn is_over(&self) -> bool {
        self.standing.next() == Next::Rest
    }

    /// The person because of whom the order moved: one that is held again
    /// after a review goes on because of whoever approved it.
    fn actor(&self) -> Option<UserId> {
        let approved = (self.from, self.order.state) == (OrderState::InReview, OrderState::Held);
        self.order.approved_by.filter(|_| approved)
    }
}

/// Gathers what is to be recorded. Cheap to clone.
#[derive(Clone)]
pub struct Records(Gather<Record, bool>);

/// A change, the attempt at the job that made it and the trace of that.
#[derive(Clone)]
struct Record {
    change: Arc<Change>,
    run: Run,
    traceparent: Option<String>,
}

impl Records {
    /// At most `most` in one transaction.
    pub fn new(db: &Db, most: usize) -> Records {
        let gather = Gather::writing(db, most, |tx, records| Box::pin(record(tx, records)));
        Records(gather.one_of_each(|record: &Record| record.change.order.id))
    }
}

/// Records each change whose worker still holds its job and whose order is
/// still as it was seen, no order twice. Returns of each whether the order was.
async fn record(tx: &mut Tx, records: &[Record]) -> Result<Vec<Result<bool>>> {
    let runs: Vec<&Run> = records.iter().map(|record| &record.run).collect();
    let held = Run::fence_all(tx, &runs).await?;
    let holds = |record: &&Record| held.contains(&record.run.id);
    let moves = records.iter().filter(holds).map(|record| (&record.change.order, record.change.from));
    let advanced = store::advance_all(tx, &moves.collect::<Vec<_>>()).await?;
    let has_advanced = |record: &&Record| advanced.contains(&record.change.order.id);
    save(tx, &records.iter().filter(has_advanced).collect::<Vec<_>>()).await?;
    let answer = |record: &Record| match holds(&record) {
        true => Ok(has_advanced(&record)),
        false => Err(record.run.lease_lost()),
    };
    Ok(records.iter().map(answer).collect())
}

/// What hangs on orders that were just advanced: steps, history, news, and the
/// end of the job where nothing is left to do.
async fn save(tx: &mut Tx, records: &[&Record]) -> Result<()> {
    let changes = || records.iter().map(|record| &*record.change);
    let ended: Vec<_> = changes().filter_map(|change| Some((change, change.ended.as_ref()?))).collect();
    let mut begun: Vec<_> = changes().filter_map(|change| Some((change, change.begun.as_ref()?))).collect();
    if tx.world().planted("step_begins_unrecorded") {
        begun = ended.clone();
    }
    let begun: Vec<_> =
        begun.iter().map(|(change, begun)| (change.order.id, *begun, change.order.version)).collect();
    let undone = |(change, ended): &(&Change, &Attempt)| Some((change.order.id, ended.undone()?, change.now));
    let undone: Vec<_> = ended.iter().filter_map(undone).collect();
    let ended: Vec<_> = ended.iter().map(|(change, ended)| (change.order.id, *ended)).collect();
    store::start_steps(tx, &begun).await?;
    store::end_steps(tx, &ended).await?;
    store::mark_undone(tx, &undone).await?;

    let moved: Vec<&&Record> = records.iter().filter(|record| record.change.has_moved()).collect();
    let history: Vec<_> = moved
        .iter()
        .map(|record| (record.change.order.id, record.change.order.entry(record.change.actor())))
        .collect();
    store::add_history(tx, &history).await?;
    if !tx.world().planted("event_outside_its_transaction") {
        let events: Vec<_> = moved.iter().map(|record| record.change.order.event()).collect();
        let traces = moved.iter().map(|record| record.traceparent.clone());
        bus::outbox::add_many(tx, events.iter().zip(traces)).await?;
    }
    let over: Vec<&Run> =
        records.iter().filter(|record| record.change.is_over()).map(|record| &record.run).collect();
    Run::finish_all(tx, &over).await
}

impl Saga<'_> {
    /// Saves a change and goes on from it, unless somebody else moved the order.
    pub async fn save(&mut self, mut change: Change) -> Result<Turn, Failure> {
        change.order.state = change.standing.state;
        let orders = self.orders;
        let change = Arc::new(change);
        let record = Record {
            change: change.clone(),
            run: self.run.clone(),
            traceparent: web::telemetry::traceparent(),
        };
        if !orders.records.0.call(record).await.map_err(Failure::Retry)? {
            return Ok(Turn::Moved);
        }
        if change.has_moved() && orders.db.world().planted("event_outside_its_transaction") {
            let told: Result<_> =
                db::write!(orders.db, async |tx| { bus::outbox::add(tx, &change.order.event()).await });
            told.map_err(Failure::Retry)?;
        }
        self.tell(&change);
        let turn = if change.is_over() { Turn::Over } else { Turn::On };
        let change = Arc::unwrap_or_clone(change);
        (self.order, self.standing) = (change.order, change.standing);
        Ok(turn)
    }

    fn tell(&self, change: &Change) {
        let order = &change.order;
        if let Some(ended) = change.ended.as_ref().filter(|ended| ended.error.is_some()) {
            let (step, attempt, state) = (ended.step, ended.attempt, ended.state);
            let (error, detail) = (ended.error.as_deref(), ended.detail.as_deref());
            tracing::info!(order.id = %order.id, %step, attempt, %state, error, detail, "a step did not succeed");
        }
        if change.has_moved() {
            tracing::info!(order.id = %order.id, state = %order.state, reason = order.reason.as_deref(), "order moved");
            self.orders.waiting.wake(order.id, order.state);
        }
    }
}
