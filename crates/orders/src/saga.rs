//! The saga: takes an order from step to step, forwards until it is confirmed
//! or back until it is cancelled or refunded.
//!
//! A step is recorded as begun before another service is asked and as ended
//! after it answered. One transaction records the end, moves the order, tells
//! the news and begins the next step, guarded by the version that was seen: of
//! two who work on one order, or of a worker and a customer who cancels, one
//! goes on and the other looks again. What was asked in vain meanwhile is
//! harmless: each step has one effect per order, and what was begun is undone
//! on the way back.

mod ask;
mod record;

use contracts::orders::OrderLine;
use jobs::{Failure, Run};
use kernel::{Error, OrderId, Result};

use crate::{
    Orders,
    model::{self, Next, Order, Standing, Step, StepState},
};
use record::Change;

pub(crate) use record::Records;

impl Orders {
    /// Takes an order as far as it goes now.
    pub(crate) async fn fulfil(&self, id: OrderId, run: &Run) -> Result<(), Failure> {
        let mut own_beginnings = false;
        loop {
            let mut saga = Saga::read(self, id, run).await?;
            saga.own_beginnings |= own_beginnings;
            loop {
                match saga.turn().await? {
                    Turn::On => {}
                    Turn::Moved => {
                        // Look again. Whoever moved it began no step.
                        own_beginnings = saga.own_beginnings;
                        break;
                    }
                    Turn::Over => return Ok(()),
                }
            }
        }
    }
}

/// An order on its way, as this worker last saw it.
struct Saga<'a> {
    orders: &'a Orders,
    run: &'a Run,
    order: Order,
    lines: Vec<OrderLine>,
    standing: Standing,
    /// Whether an attempt that is recorded as begun may be gone on with: this
    /// worker began it, or the order is as it was placed and was never worked
    /// on. If not, whoever began it may be frozen with the ask on its way, and
    /// a refusal of this worker's ask says nothing about that one: it is
    /// recorded as failed first, so that it is undone on the way back.
    own_beginnings: bool,
}

/// What a turn has led to.
enum Turn {
    /// There is more to do.
    On,
    /// Somebody else moved the order.
    Moved,
    /// There is nothing more to do now.
    Over,
}

impl<'a> Saga<'a> {
    async fn read(orders: &'a Orders, id: OrderId, run: &'a Run) -> Result<Saga<'a>, Failure> {
        let found = orders.looks.look(id).await;
        let missing = || Failure::Fatal(Error::not_found("no_such_order", format!("there is no order {id}")));
        let (order, lines, steps) = found.map_err(Failure::Retry)?.ok_or_else(missing)?;
        let standing = order.standing(steps);
        // Each new job begins with a first attempt, but all except that of the
        // placed order come with a new version.
        let own_beginnings = run.attempt == 1 && order.version == Order::PLACED;
        Ok(Saga { orders, run, order, lines, standing, own_beginnings })
    }

    /// Does the next thing and records it.
    async fn turn(&mut self) -> Result<Turn, Failure> {
        match self.standing.next() {
            Next::Rest => {
                self.orders.waiting.wake(self.order.id, self.order.state);
                Ok(Turn::Over)
            }
            Next::Move(to) => {
                let mut change = self.change();
                change.standing.state = to;
                self.save(change).await
            }
            Next::Take(step) if !self.is_begun(step) => self.begin(step).await,
            Next::Take(step) => self.take(step).await,
        }
    }

    fn is_begun(&self, step: Step) -> bool {
        let started = |attempt: &model::Attempt| attempt.state == StepState::Started;
        self.own_beginnings && self.standing.latest(step).is_some_and(started)
    }

    async fn begin(&mut self, step: Step) -> Result<Turn, Failure> {
        let mut change = self.change();
        let gone = |attempt: &&model::Attempt| attempt.state == StepState::Started;
        if self.standing.latest(step).filter(gone).is_some() {
            let error = Error::unavailable("interrupted", "whoever began it is gone");
            change.standing.fail(step);
            change.end(step, Some((&error.code, &error.message)));
        }
        change.begin(step);
        let turn = self.save(change).await?;
        self.own_beginnings |= matches!(turn, Turn::On);
        Ok(turn)
    }

    async fn take(&mut self, step: Step) -> Result<Turn, Failure> {
        self.reached(step, "begun");
        let answer = match self.ask(step).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(step, error).await,
        };
        self.reached(step, "answered");
        let mut change = self.change();
        change.standing.end(step, &answer.outcome);
        if let model::Outcome::Refused(reason) = &answer.outcome {
            change.order.reason = Some(reason.clone());
        }
        if answer.screening.is_some() {
            change.order.screening = answer.screening;
        }
        change.end(step, answer.refusal.as_ref().map(|error| (&*error.code, &*error.message)));
        if let Next::Take(next) = change.standing.next() {
            change.begin(next);
        }
        let turn = self.save(change).await?;
        self.reached(step, "recorded");
        Ok(turn)
    }

    /// Names the point (`orders.hold.answered`) where a test may let the
    /// process die.
    fn reached(&self, step: Step, point: &str) {
        self.orders.db.world().reached(&format!("orders.{step}.{point}"));
    }

    /// Records that an attempt failed for now, and says when to try again.
    async fn failed(&mut self, step: Step, error: Error) -> Result<Turn, Failure> {
        let mut change = self.change();
        change.standing.fail(step);
        change.end(step, Some((&error.code, &error.message)));
        match self.save(change).await? {
            Turn::Moved => Ok(Turn::Moved),
            Turn::On | Turn::Over => Err(Failure::from(error)),
        }
    }

    fn change(&self) -> Change {
        Change::new(&self.order, &self.standing, self.orders.db.world().now())
    }
}
