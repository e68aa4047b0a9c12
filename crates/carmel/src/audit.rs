//! `carmel audit`: looks at every invariant of a shop, service by service and
//! then across them.
//!
//! Services are read one after the other while the shop may be running, so
//! what looks broken across two of them is looked at again, a little later,
//! before it is called a breach.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use contracts::{
    orders::OrderState,
    payments::{Payment, PaymentState},
};
use inventory::HoldState;
use kernel::{OrderId, Result};
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
        report.looked_at.push(format!("{service}: its own rules, its jobs, its events"));
    }
    let orders = across(shop, &mut found).await?;
    report.looked_at.push(format!("orders against payments and stock: {orders} orders"));
    Ok(found)
}

/// Each order against its payment and its stock; returns how many there were.
/// All three are read page by page in the order of the orders' ids.
async fn across(shop: &Shop, found: &mut BTreeSet<String>) -> Result<usize> {
    let (orders, payments, inventory) =
        (shop.database("orders"), shop.database("payments"), shop.database("inventory"));
    let (mut of_payments, mut of_stock) = (Beside::default(), Beside::default());
    let (mut count, mut after) = (0, None::<OrderId>);
    loop {
        let facts = orders::facts(&orders, after).await?;
        let Some(last) = facts.last() else { return Ok(count) };
        after = Some(last.order);
        count += facts.len();
        for fact in &facts {
            let payment = of_payments
                .of(fact.order, async |after| {
                    let page = payments::facts(&payments, after).await?;
                    Ok(page.into_iter().map(|payment| (payment.order, payment)).collect())
                })
                .await?;
            let stock = of_stock
                .of(fact.order, async |after| {
                    let page = inventory::facts(&inventory, after).await?;
                    Ok(page.into_iter().map(|stock| (stock.order, stock)).collect())
                })
                .await?;
            let wrong =
                wrong_money(fact, payment.as_ref()).into_iter().chain(wrong_stock(fact, stock.as_ref()));
            found.extend(wrong.map(|wrong| format!("{}: {wrong}", fact.order)));
        }
    }
}

/// What another service knows of each order, read beside the orders.
struct Beside<T> {
    read: VecDeque<(OrderId, T)>,
    after: Option<OrderId>,
    ended: bool,
}

impl<T> Default for Beside<T> {
    fn default() -> Beside<T> {
        Beside { read: VecDeque::new(), after: None, ended: false }
    }
}

impl<T> Beside<T> {
    /// What is known of this order; to be asked for in the order of the ids.
    async fn of(
        &mut self,
        order: OrderId,
        page: impl AsyncFn(Option<OrderId>) -> Result<Vec<(OrderId, T)>>,
    ) -> Result<Option<T>> {
        loop {
            match self.read.front() {
                Some((id, _)) if *id < order => drop(self.read.pop_front()),
                Some((id, _)) if *id > order => return Ok(None),
                Some(_) => return Ok(self.read.pop_front().map(|(_, known)| known)),
                None if self.ended => return Ok(None),
                None => {
                    self.read = page(self.after).await?.into();
                    self.after = self.read.back().map(|(id, _)| *id);
                    self.ended = self.read.is_empty();
                }
            }
        }
    }
}

/// What an order and its payment say that cannot both be true.
fn wrong_money(fact: &Fact, payment: Option<&Payment>) -> Option<String> {
    use OrderState::*;
    let kept = payment.map_or(0, |payment| payment.captured.amount - payment.refunded.amount);
    let paid = payment.is_some_and(|payment| payment.captured == fact.total) && kept == fact.total.amount;
    match fact.state {
        Confirmed | Shipped | Delivered if !paid => {
            Some(format!("is {}, costs {}, and {kept} of it is kept", fact.state, fact.total))
        }
        Placed | Held | InReview | Cancelled | Refunded if kept != 0 => {
            Some(format!("is {} and {kept} of its money is kept", fact.state))
        }
        Cancelled if payment.is_some_and(|payment| payment.state == PaymentState::Authorised) => {
            Some("is cancelled and its money is still promised".into())
        }
        _ => None,
    }
}

/// What an order and its stock say that cannot both be true.
fn wrong_stock(fact: &Fact, stock: Option<&inventory::Fact>) -> Option<String> {
    use OrderState::*;
    let state = stock.map_or(HoldState::Nothing, |stock| stock.state);
    let is_right = match fact.state {
        Committed | Confirmed | Shipped | Delivered => {
            state == HoldState::Sold && stock.is_some_and(|stock| sold(fact, stock))
        }
        Cancelled => !matches!(state, HoldState::Open | HoldState::Sold),
        Refunded if fact.shipped => state == HoldState::Sold,
        Refunded => state == HoldState::Restocked,
        _ => true,
    };
    (!is_right).then(|| format!("is {} and its stock is {state}, or of other things", fact.state))
}

/// Whether what was sold is what was ordered.
fn sold(fact: &Fact, stock: &inventory::Fact) -> bool {
    let ordered: BTreeMap<_, _> = fact.lines.iter().map(|line| (&line.sku, line.quantity)).collect();
    let sold: BTreeMap<_, _> = stock.lines.iter().map(|line| (&line.sku, line.quantity)).collect();
    ordered == sold
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
            (OrderState::Confirmed, Some(payment(PaymentState::Captured, 100, 0)), true),
            (OrderState::Confirmed, Some(payment(PaymentState::Captured, 99, 0)), false),
            (OrderState::Confirmed, Some(payment(PaymentState::Authorised, 0, 0)), false),
            (OrderState::Confirmed, Some(payment(PaymentState::Refunded, 100, 100)), false),
            (OrderState::Confirmed, None, false),
            (OrderState::Cancelled, None, true),
            (OrderState::Cancelled, Some(payment(PaymentState::Voided, 0, 0)), true),
            (OrderState::Cancelled, Some(payment(PaymentState::Refunded, 100, 100)), true),
            (OrderState::Cancelled, Some(payment(PaymentState::Authorised, 0, 0)), false),
            (OrderState::Cancelled, Some(payment(PaymentState::Captured, 100, 0)), false),
            (OrderState::Refunded, Some(payment(PaymentState::Captured, 100, 0)), false),
            (OrderState::Refunded, Some(payment(PaymentState::Refunded, 100, 100)), true),
            (OrderState::Placed, None, true),
            (OrderState::Placed, Some(payment(PaymentState::Captured, 100, 0)), false),
        ] {
            let fact = Fact { order, state, total: euro(100), shipped: false, lines: Vec::new() };
            assert_eq!(wrong_money(&fact, payment.as_ref()).is_none(), agrees, "{state} {payment:?}");
        }
    }

    #[test]
    fn an_order_and_its_stock_agree_or_are_found() {
        let world = World::real();
        let order = OrderId::new(&world);
        let sku: kernel::Sku = "mug".parse().unwrap();
        let stock = |state, quantity| inventory::Fact {
            order,
            state,
            lines: vec![contracts::inventory::Line { sku: sku.clone(), quantity }],
        };
        for (state, shipped, stock, agrees) in [
            (OrderState::Confirmed, false, Some(stock(HoldState::Sold, 2)), true),
            (OrderState::Confirmed, false, Some(stock(HoldState::Sold, 1)), false),
            (OrderState::Confirmed, false, Some(stock(HoldState::Released, 2)), false),
            (OrderState::Confirmed, false, None, false),
            (OrderState::Cancelled, false, None, true),
            (OrderState::Cancelled, false, Some(stock(HoldState::Expired, 2)), true),
            (OrderState::Cancelled, false, Some(stock(HoldState::Open, 2)), false),
            (OrderState::Cancelled, false, Some(stock(HoldState::Sold, 2)), false),
            (OrderState::Refunded, true, Some(stock(HoldState::Sold, 2)), true),
            (OrderState::Refunded, false, Some(stock(HoldState::Sold, 2)), false),
            (OrderState::Refunded, false, Some(stock(HoldState::Restocked, 2)), true),
            (OrderState::Held, false, Some(stock(HoldState::Open, 2)), true),
        ] {
            let price = Money::new(100, Currency::EUR);
            let line =
                contracts::orders::OrderLine { sku: sku.clone(), name: "Mug".into(), quantity: 2, price };
            let fact = Fact { order, state, total: price, shipped, lines: vec![line] };
            assert_eq!(wrong_stock(&fact, stock.as_ref()).is_none(), agrees, "{state} {stock:?}");
        }
    }
}
