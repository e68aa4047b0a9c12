//! Screening an order for fraud.

use contracts::payments::{Screen, Screened};
use kernel::{Error, Result};

use super::Payments;
use crate::{model::VELOCITY_SPAN, store};

impl Payments {
    /// Scores an order. The first answer stays.
    pub async fn screen(&self, ask: &Screen) -> Result<Screened> {
        let rules = &self.settings.rules;
        // More than that are refused all the same.
        let most = rules.orders_per_hour.saturating_mul(rules.deny_factor).saturating_add(1);
        let now = self.db.world().now();
        db::write!(self.db, async |tx| {
            tx.repeatable();
            // Two orders of one customer are counted one after the other.
            store::lock_shopper(tx, ask.customer).await?;
            let others = store::count_screened(tx, ask.customer, now - VELOCITY_SPAN, most).await?;
            let found = rules.judge(ask.total, others, &ask.token);
            if store::insert_screening(tx, ask, &found, now).await? {
                return Ok(found);
            }
            // It was screened before, by whichever rules held then.
            let first = store::find_screening(tx, ask.order).await?;
            first.ok_or_else(|| Error::internal(format!("the screening of {} is gone", ask.order)))
        })
    }
}
