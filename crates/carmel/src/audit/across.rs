//! Each order against its payment and its stock, which other services keep.

use std::collections::{BTreeMap, VecDeque};

use contracts::{
    orders::OrderState,
    payments::{Payment, PaymentState},
};
use db::Tx;
use inventory::HoldState;
use kernel::{OrderId, Result, uuid::Uuid};
use orders::Fact;

use super::{MOST, pictures::Pictures};

/// How many orders are read at once.
pub const PAGE: i64 = 10_000;

/// Orders about which the services do not agree, with what is wrong.
pub type Suspects = BTreeMap<OrderId, Vec<String>>;

/// Looks at every order, page by page in the order of their ids; returns how
/// many there are, too.
pub async fn all(pictures: &mut Pictures) -> Result<(usize, Suspects)> {
    let Pictures { orders, payments, inventory, .. } = pictures;
    let (mut of_payments, mut of_stock) = (Beside::default(), Beside::default());
    let (mut count, mut after, mut suspects) = (0, None::<OrderId>, Suspects::new());
    while suspects.len() < MOST {
        let facts = orders::facts(orders, after, PAGE).await?;
        let last = facts.last().map(|fact| fact.order);
        for fact in &facts {
            let payment =
                of_payments.of(fact.order, async |after| money_after(payments, after, PAGE).await).await?;
            let stock =
                of_stock.of(fact.order, async |after| stock_after(inventory, after, PAGE).await).await?;
            note(&mut suspects, fact.order, wrong(fact, payment.as_ref(), stock.as_ref()));
        }
        count += facts.len();
        // Behind the last order there may be payments and stock of none.
        if last.is_none() {
            of_payments.of(NOBODY, async |after| money_after(payments, after, PAGE).await).await?;
            of_stock.of(NOBODY, async |after| stock_after(inventory, after, PAGE).await).await?;
        }
        let (money, stock) = (of_payments.strangers(), of_stock.strangers());
        money.iter().for_each(|payment| note(&mut suspects, payment.order, money_of_none(payment)));
        stock.iter().for_each(|stock| note(&mut suspects, stock.order, stock_of_none(stock)));
        if last.is_none() {
            break;
        }
        after = last;
    }
    Ok((count, suspects))
}

/// Looks at these orders only; what is still wrong with them in the same way.
pub async fn again(pictures: &mut Pictures, suspects: &Suspects) -> Result<Suspects> {
    let Pictures { orders, payments, inventory, .. } = pictures;
    let mut still = Suspects::new();
    for (order, before) in suspects {
        let behind = Some(OrderId::from_uuid(Uuid::from_u128(order.uuid().as_u128().saturating_sub(1))));
        let fact = orders::facts(orders, behind, 1).await?.pop().filter(|fact| fact.order == *order);
        let payment =
            payments::facts(payments, behind, 1).await?.pop().filter(|payment| payment.order == *order);
        let stock = inventory::facts(inventory, behind, 1).await?.pop().filter(|stock| stock.order == *order);
        let now: Vec<String> = match fact {
            Some(fact) => wrong(&fact, payment.as_ref(), stock.as_ref()).collect(),
            None => {
                let money = payment.as_ref().and_then(money_of_none);
                money.into_iter().chain(stock.as_ref().and_then(stock_of_none)).collect()
            }
        };
        note(&mut still, *order, now.into_iter().filter(|wrong| before.contains(wrong)));
    }
    Ok(still)
}

fn note(suspects: &mut Suspects, order: OrderId, wrong: impl IntoIterator<Item = String>) {
    let mut wrong = wrong.into_iter().peekable();
    if wrong.peek().is_some() {
        suspects.entry(order).or_default().extend(wrong);
    }
}

const NOBODY: OrderId = OrderId::from_uuid(Uuid::max());

pub async fn money_after(tx: &mut Tx, after: Option<OrderId>, most: i64) -> Result<Vec<(OrderId, Payment)>> {
    let page = payments::facts(tx, after, most).await?;
    Ok(page.into_iter().map(|payment| (payment.order, payment)).collect())
}

async fn stock_after(
    tx: &mut Tx,
    after: Option<OrderId>,
    most: i64,
) -> Result<Vec<(OrderId, inventory::Fact)>> {
    let page = inventory::facts(tx, after, most).await?;
    Ok(page.into_iter().map(|stock| (stock.order, stock)).collect())
}

/// What another service knows of each order, read beside the orders.
pub struct Beside<T> {
    read: VecDeque<(OrderId, T)>,
    /// What was stepped over: it is of no order.
    strangers: Vec<T>,
    after: Option<OrderId>,
    ended: bool,
}

impl<T> Default for Beside<T> {
    fn default() -> Beside<T> {
        Beside { read: VecDeque::new(), strangers: Vec::new(), after: None, ended: false }
    }
}

impl<T> Beside<T> {
    /// What is known of this order; to be asked for in the order of the ids.
    pub async fn of(
        &mut self,
        order: OrderId,
        mut page: impl AsyncFnMut(Option<OrderId>) -> Result<Vec<(OrderId, T)>>,
    ) -> Result<Option<T>> {
        loop {
            match self.read.front() {
                Some((id, _)) if *id < order => {
                    self.strangers.extend(self.read.pop_front().map(|(_, known)| known));
                }
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

    fn strangers(&mut self) -> Vec<T> {
        std::mem::take(&mut self.strangers)
    }
}

fn wrong(
    fact: &Fact,
    payment: Option<&Payment>,
    stock: Option<&inventory::Fact>,
) -> impl Iterator<Item = String> + use<> {
    wrong_money(fact, payment).into_iter().chain(wrong_stock(fact, stock))
}

/// What is wrong with a payment of an order that is not there.
fn money_of_none(payment: &Payment) -> Option<String> {
    Some(format!("has the {} payment {}, and there is no such order", payment.state, payment.id))
}

/// What is wrong with stock of an order that is not there.
fn stock_of_none(stock: &inventory::Fact) -> Option<String> {
    let takes = matches!(stock.state, HoldState::Open | HoldState::Sold);
    takes.then(|| format!("has stock that is {}, and there is no such order", stock.state))
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
    let ordered: BTreeMap<_, _> = fact.lines.iter().map(|(sku, quantity)| (sku, *quantity)).collect();
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
            let fact = Fact { order, state, total: price, shipped, lines: vec![(sku.clone(), 2)] };
            assert_eq!(wrong_stock(&fact, stock.as_ref()).is_none(), agrees, "{state} {stock:?}");
        }
    }
}
