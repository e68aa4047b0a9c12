//! What each step asks of other services, and what their answers mean.

use contracts::{
    inventory::{Commit, Hold, Line, Release, Restock},
    payments::{Authorise, Capture, Refund, Screen, Verdict, Void},
};
use kernel::{Error, Kind, Result};

use super::Saga;
use crate::model::{Outcome, Step, refusal};

/// What a step was answered.
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// The refusal in full, if it was one.
    pub refusal: Option<Error>,
    /// What screening found, in words for staff.
    pub screening: Option<String>,
}

impl Saga<'_> {
    /// Asks for a step. An error means that its outcome is not known, or that
    /// it is none that anybody foresaw; a foreseen refusal is an answer.
    pub async fn ask(&self, step: Step) -> Result<Answer> {
        let (inventory, payments) = (&self.orders.inventory, &self.orders.payments);
        let order = self.order.id;
        let done = match step {
            Step::Screen => return self.screen().await,
            Step::Hold => inventory.hold(Hold { order, lines: self.wanted() }).await.map(drop),
            Step::Authorise => self.authorise().await,
            Step::Commit => inventory.commit(Commit { order }).await,
            Step::Capture => payments.capture(Capture { order }).await.map(drop),
            Step::Release => inventory.release(Release { order }).await,
            Step::Void => self.void().await,
            Step::Restock => inventory.restock(Restock { order }).await,
            Step::Refund => payments.refund(Refund { order }).await.map(drop),
        };
        match done {
            Ok(()) => Ok(Answer { outcome: Outcome::Done, refusal: None, screening: None }),
            Err(error) => match refusal(step, &error.code).filter(|_| error.kind == Kind::Conflict) {
                Some(reason) => Ok(Answer {
                    outcome: Outcome::Refused(reason.into()),
                    refusal: Some(error),
                    screening: None,
                }),
                None => Err(error),
            },
        }
    }

    async fn screen(&self) -> Result<Answer> {
        let order = &self.order;
        let (id, customer, total, token) = (order.id, order.customer, order.total, order.token.clone());
        let screened = self.orders.payments.screen(Screen { order: id, customer, total, token }).await?;
        let (outcome, refusal) = match screened.verdict {
            Verdict::Approve => (Outcome::Done, None),
            Verdict::Review => (Outcome::Review, None),
            Verdict::Deny => {
                (Outcome::Refused("denied".into()), Some(Error::conflict("denied", screened.reason.as_str())))
            }
        };
        Ok(Answer { outcome, refusal, screening: Some(screened.reason) })
    }

    async fn authorise(&self) -> Result<()> {
        let order = &self.order;
        let (id, customer, total, token) = (order.id, order.customer, order.total, order.token.clone());
        self.orders.payments.authorise(Authorise { order: id, customer, total, token }).await.map(drop)
    }

    /// Gives the promise back. If the money is captured after all (a capture
    /// that came late, between the refund that found nothing and this), it is
    /// paid back: then there is no promise any more.
    async fn void(&self) -> Result<()> {
        let order = self.order.id;
        match self.orders.payments.void(Void { order }).await {
            Err(error) if error.code == "already_captured" => {
                self.orders.payments.refund(Refund { order }).await.map(drop)
            }
            answer => answer,
        }
    }

    fn wanted(&self) -> Vec<Line> {
        let wanted =
            |line: &contracts::orders::OrderLine| Line { sku: line.sku.clone(), quantity: line.quantity };
        self.lines.iter().map(wanted).collect()
    }
}
