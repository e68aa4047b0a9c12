//! Payments: promises, captures and refunds of one payment per order.

use std::collections::{HashMap, HashSet};

use contracts::payments::{
    Authorise, Authorised, Capture, Captured, GetPayment, Payment, PaymentState, Payments, Refund, Refunded,
    Screen, Screened, Verdict, Void,
};
use kernel::{Error, Money, OrderId, PaymentId, Result, World};

use super::Wire;

#[derive(Default)]
pub struct Books {
    pub payments: HashMap<OrderId, Payment>,
    /// How often money was truly taken.
    pub captures: HashMap<OrderId, usize>,
    /// How often money was truly given back.
    pub refunds: HashMap<OrderId, usize>,
    tokens: HashMap<OrderId, String>,
    undone: HashSet<OrderId>,
}

impl Books {
    /// What the shop has of an order's money.
    pub fn kept(&self, order: OrderId) -> i64 {
        self.payments.get(&order).map_or(0, |payment| payment.captured.amount - payment.refunded.amount)
    }

    /// Whether money is promised to the shop.
    pub fn promised(&self, order: OrderId) -> bool {
        self.payments.get(&order).is_some_and(|payment| payment.state == PaymentState::Authorised)
    }
}

pub struct Bank {
    pub wire: Wire<Books>,
    world: World,
}

impl Bank {
    pub fn new(world: &World) -> Bank {
        Bank { wire: Wire::new(Books::default()), world: world.clone() }
    }
}

fn no_payment(order: OrderId) -> Error {
    Error::not_found("no_payment", format!("{order} has no payment"))
}

#[rpc::async_trait]
impl Payments for Bank {
    async fn screen(&self, ask: Screen) -> Result<Screened> {
        let verdict = match ask.token.as_str() {
            "tok_review" => Verdict::Review,
            "tok_fraud" => Verdict::Deny,
            _ => Verdict::Approve,
        };
        self.wire
            .call("screen", move |_| Ok(Screened { verdict, reason: format!("rule for {verdict}") }))
            .await
    }

    async fn authorise(&self, ask: Authorise) -> Result<Authorised> {
        let id = PaymentId::new(&self.world);
        self.wire
            .call("authorise", move |books| {
                let Authorise { order, total, token, .. } = ask;
                if books.undone.contains(&order) {
                    return Err(Error::conflict("order_undone", format!("{order} was undone")));
                }
                match token.as_str() {
                    "tok_declined" => return Err(Error::conflict("card_declined", "the card was declined")),
                    "tok_insufficient_funds" => {
                        return Err(Error::conflict("insufficient_funds", "the card has not enough money"));
                    }
                    "tok_unknown" => return Err(Error::conflict("unknown_token", "there is no such token")),
                    _ => {}
                }
                let none = Money::zero(total.currency);
                let (state, amount, captured, refunded) = (PaymentState::Authorised, total, none, none);
                books.tokens.insert(order, token);
                let new = Payment { id, order, state, amount, captured, refunded };
                Ok(Authorised { payment: books.payments.entry(order).or_insert(new).id })
            })
            .await
    }

    async fn void(&self, Void { order }: Void) -> Result<()> {
        self.wire
            .call("void", move |books| {
                match books.payments.get_mut(&order) {
                    Some(payment) if payment.state == PaymentState::Captured => {
                        return Err(Error::conflict("already_captured", format!("{order} is captured")));
                    }
                    Some(payment) if payment.state == PaymentState::Authorised => {
                        payment.state = PaymentState::Voided
                    }
                    _ => {}
                }
                books.undone.insert(order);
                Ok(())
            })
            .await
    }

    async fn capture(&self, Capture { order }: Capture) -> Result<Captured> {
        self.wire
            .call("capture", move |books| {
                let refused = || Error::conflict("capture_refused", "the provider refused the capture");
                let payment = books.payments.get_mut(&order).ok_or_else(|| no_payment(order))?;
                if books.tokens[&order] == "tok_capture_refused" {
                    return Err(refused());
                }
                match payment.state {
                    PaymentState::Authorised => {
                        payment.state = PaymentState::Captured;
                        payment.captured = payment.amount;
                        *books.captures.entry(order).or_default() += 1;
                    }
                    PaymentState::Captured => {}
                    _ => return Err(refused()),
                }
                Ok(Captured { payment: payment.id, amount: payment.captured })
            })
            .await
    }

    async fn refund(&self, Refund { order }: Refund) -> Result<Refunded> {
        self.wire
            .call("refund", move |books| {
                let Some(payment) = books.payments.get_mut(&order) else {
                    return Ok(Refunded { amount: None });
                };
                if payment.state == PaymentState::Captured {
                    payment.state = PaymentState::Refunded;
                    payment.refunded = payment.captured;
                    *books.refunds.entry(order).or_default() += 1;
                }
                Ok(Refunded { amount: Some(payment.refunded).filter(|refunded| refunded.amount > 0) })
            })
            .await
    }

    async fn payment(&self, GetPayment { order }: GetPayment) -> Result<Payment> {
        let find =
            move |books: &mut Books| books.payments.get(&order).cloned().ok_or_else(|| no_payment(order));
        self.wire.call("payment", find).await
    }
}
