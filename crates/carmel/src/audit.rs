//! `carmel audit`: looks at every invariant of a shop, service by service and
//! then across them.
//!
//! Services are read one after the other while the shop may be running, so
//! what looks broken across two of them is looked at again, a little later,
//! before it is called a breach.

use std::{collections::BTreeSet, time::Duration};

use contracts::{
    orders::OrderState,
    payments::{GetPayment, Payment, PaymentState, Payments},
};
use kernel::{Kind, OrderId, Result};
use orders::Fact;
use serde::Serialize;

use crate::shop::Shop;

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was looked at, each with how much of it there was.
    pub looked_at: Vec<String>,
    /// Breaches, each a sentence with its ids.
    pub breaches: Vec<String>,
}

/// How long a suspect is given to become well by itself, and how often.
const SECOND_LOOK: Duration = Duration::from_millis(500);
const LOOKS: usize = 4;

/// Looks at everything.
pub async fn audit(shop: &Shop) -> Result<Report> {
    let mut report = Report::default();
    let mut suspects = look(shop, &mut report).await?;
    for _ in 1..LOOKS {
        if suspects.is_empty() {
            break;
        }
        shop.world().sleep(SECOND_LOOK).await;
        let still = look(shop, &mut Report::default()).await?;
        suspects = suspects.intersection(&still).cloned().collect();
    }
    report.breaches = suspects.into_iter().collect();
    Ok(report)
}

async fn look(shop: &Shop, report: &mut Report) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (service, db) in &shop.databases {
        let own = match *service {
            "users" => users::audit(db).await?,
            "catalog" => catalog::audit(db).await?,
            "inventory" => inventory::audit(db).await?,
            "orders" => orders::audit(db).await?,
            "payments" => payments::audit(db).await?,
            _ => notifications::audit(db).await?,
        };
        let (jobs, events) = (jobs::audit(db).await?, bus::audit(db).await?);
        let all = own.into_iter().chain(jobs).chain(events);
        found.extend(all.map(|breach| format!("{service}: {breach}")));
        report
            .looked_at
            .push(format!("{service}: its own rules, its jobs, its events"));
    }
    let orders = across(shop, &mut found).await?;
    report
        .looked_at
        .push(format!("orders against payments: {orders} orders"));
    Ok(found)
}

/// Each order against its payment; returns how many there were.
async fn across(shop: &Shop, found: &mut BTreeSet<String>) -> Result<usize> {
    let db = shop.database("orders");
    let (mut count, mut after) = (0, None::<OrderId>);
    loop {
        let facts = orders::facts(&db, after).await?;
        let Some(last) = facts.last() else {
            return Ok(count);
        };
        after = Some(last.order);
        count += facts.len();
        for fact in &facts {
            let payment = match Payments::payment(&shop.payments, GetPayment { order: fact.order }).await {
                Ok(payment) => Some(payment),
                Err(error) if error.kind == Kind::NotFound => None,
                Err(error) => return Err(error),
            };
            found
                .extend(disagreement(fact, payment.as_ref()).map(|wrong| format!("{}: {wrong}", fact.order)));
        }
    }
}

/// What an order and its payment say that cannot both be true.
fn disagreement(fact: &Fact, payment: Option<&Payment>) -> Option<String> {
    use OrderState::*;
    let kept = payment.map_or(0, |payment| payment.captured.amount - payment.refunded.amount);
    let total = fact.total.amount;
    match fact.state {
        Confirmed | Shipped | Delivered
            if payment.is_none_or(|payment| payment.captured != fact.total) || kept != total =>
        {
            Some(format!(
                "is {}, costs {}, and {kept} of it is kept",
                fact.state, fact.total
            ))
        }
        Cancelled | Refunded if kept != 0 => {
            Some(format!("is {} and {kept} of its money is kept", fact.state))
        }
        Cancelled if payment.is_some_and(|payment| payment.state == PaymentState::Authorised) => {
            Some("is cancelled and its money is still promised".into())
        }
        Placed | Held | InReview if kept != 0 => {
            Some(format!("is {} and {kept} of its money is kept", fact.state))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Currency, Money, PaymentId, World};

    use super::*;

    #[test]
    fn an_order_and_its_payment_agree_or_are_found() {
        let world = World::real();
        let euro = |amount| Money::new(amount, Currency::EUR);
        let order = OrderId::new(&world);
        let payment = |state, captured, refunded| Payment {
            id: PaymentId::new(&world),
            order,
            state,
            amount: euro(100),
            captured: euro(captured),
            refunded: euro(refunded),
        };
        for (state, payment, agrees) in [
            (
                OrderState::Confirmed,
                Some(payment(PaymentState::Captured, 100, 0)),
                true,
            ),
            (
                OrderState::Confirmed,
                Some(payment(PaymentState::Captured, 99, 0)),
                false,
            ),
            (
                OrderState::Confirmed,
                Some(payment(PaymentState::Authorised, 0, 0)),
                false,
            ),
            (
                OrderState::Confirmed,
                Some(payment(PaymentState::Refunded, 100, 100)),
                false,
            ),
            (OrderState::Confirmed, None, false),
            (OrderState::Cancelled, None, true),
            (
                OrderState::Cancelled,
                Some(payment(PaymentState::Voided, 0, 0)),
                true,
            ),
            (
                OrderState::Cancelled,
                Some(payment(PaymentState::Refunded, 100, 100)),
                true,
            ),
            (
                OrderState::Cancelled,
                Some(payment(PaymentState::Authorised, 0, 0)),
                false,
            ),
            (
                OrderState::Cancelled,
                Some(payment(PaymentState::Captured, 100, 0)),
                false,
            ),
            (
                OrderState::Refunded,
                Some(payment(PaymentState::Captured, 100, 0)),
                false,
            ),
            (
                OrderState::Refunded,
                Some(payment(PaymentState::Refunded, 100, 100)),
                true,
            ),
            (OrderState::Placed, None, true),
            (
                OrderState::Placed,
                Some(payment(PaymentState::Captured, 100, 0)),
                false,
            ),
        ] {
            let fact = Fact {
                order,
                state,
                total: euro(100),
                shipped: false,
                lines: Vec::new(),
            };
            assert_eq!(
                disagreement(&fact, payment.as_ref()).is_none(),
                agrees,
                "{state} {payment:?}"
            );
        }
    }
}
