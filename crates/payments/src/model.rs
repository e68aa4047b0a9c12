//! The rules of payments; no database, no clock.

use std::time::Duration;

use contracts::payments::{PaymentState, Screened, Verdict};
use kernel::{AttemptId, Currency, Money, OrderId, PaymentId, Time, UserId, uuid, words};
use sha2::{Digest, Sha256};

words! {
    /// What a provider is asked to do.
    pub enum AttemptKind {
        /// Promise the money.
        Authorise = "authorise",
        /// Hand it over.
        Capture = "capture",
        /// Give the promise back.
        Void = "void",
        /// Pay the money back.
        Refund = "refund",
    }
}

words! {
    /// What is known of an attempt.
    pub enum AttemptState {
        /// The provider may or may not have done it.
        Pending = "pending",
        /// It did.
        Done = "done",
        /// It refused, for good.
        Declined = "declined",
    }
}

/// One intent towards the provider. Its key goes with every retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The provider's idempotency key.
    pub key: AttemptId,
    /// For which order.
    pub order_id: OrderId,
    /// To do what.
    pub kind: AttemptKind,
    /// What is known of it.
    pub state: AttemptState,
    /// How much it is about.
    pub amount: i64,
    /// In which currency.
    pub currency: Currency,
    /// The provider's token of the card, to authorise with.
    pub token: String,
    /// What the provider calls the charge, once it is there.
    pub reference: Option<String>,
    /// Why it was declined.
    pub code: Option<String>,
    /// When it was saved, before the provider heard of it.
    pub started_at: Time,
    /// When its outcome was saved.
    pub ended_at: Option<Time>,
}

db::from_row!(Attempt {
    key,
    order_id,
    kind,
    state,
    amount,
    currency,
    token,
    reference,
    code,
    started_at,
    ended_at
});

/// The key of an intent: the same whenever the same is wanted of the same order.
/// A shop that has forgotten what it asked for, restored from a backup, asks
/// under the same key again, and the provider does nothing twice.
pub fn key(order: OrderId, kind: AttemptKind) -> AttemptId {
    let hash = Sha256::new().chain_update(order.uuid().as_bytes()).chain_update(kind.to_string()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    AttemptId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

impl Attempt {
    /// How much it is about.
    pub fn money(&self) -> Money {
        Money::new(self.amount, self.currency)
    }

    /// Why it was declined, in the provider's words.
    pub fn declined(&self) -> String {
        self.code.clone().unwrap_or_default()
    }

    /// The next intent of the same order, about the same charge.
    pub fn next(&self, kind: AttemptKind, now: Time) -> Attempt {
        Attempt {
            key: key(self.order_id, kind),
            kind,
            state: AttemptState::Pending,
            code: None,
            started_at: now,
            ended_at: None,
            ..self.clone()
        }
    }
}

/// The payment of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Which.
    pub id: PaymentId,
    /// For which order: it has no other.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: UserId,
    /// Where it stands.
    pub state: PaymentState,
    /// How much was to be paid.
    pub amount: i64,
    /// In which currency.
    pub currency: Currency,
    /// How much was taken.
    pub captured: i64,
    /// How much of it was paid back.
    pub refunded: i64,
    /// Counts the changes.
    pub version: i64,
}

db::from_row!(Payment { id, order_id, customer_id, state, amount, currency, captured, refunded, version });

impl Payment {
    /// Whether the provider has something to do for it before it is paid.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, PaymentState::Pending | PaymentState::Authorised)
    }

    /// So much of its currency.
    pub fn money(&self, amount: i64) -> Money {
        Money::new(amount, self.currency)
    }
}

/// How much of this amount is captured and refunded when a payment stands there.
pub fn amounts_in(state: PaymentState, amount: i64) -> (i64, i64) {
    match state {
        PaymentState::Captured => (amount, 0),
        PaymentState::Refunded => (amount, amount),
        PaymentState::Pending | PaymentState::Authorised | PaymentState::Voided | PaymentState::Declined => {
            (0, 0)
        }
    }
}

/// The arrow along which an attempt's outcome moves its payment. These are all there are.
pub fn arrow(kind: AttemptKind, outcome: AttemptState) -> Option<(PaymentState, PaymentState)> {
    use PaymentState::{Authorised, Captured, Declined, Pending, Refunded, Voided};
    match (kind, outcome) {
        (AttemptKind::Authorise, AttemptState::Done) => Some((Pending, Authorised)),
        (AttemptKind::Authorise, AttemptState::Declined) => Some((Pending, Declined)),
        (AttemptKind::Capture, AttemptState::Done) => Some((Authorised, Captured)),
        (AttemptKind::Void, AttemptState::Done) => Some((Authorised, Voided)),
        (AttemptKind::Refund, AttemptState::Done) => Some((Captured, Refunded)),
        // A refused capture, void or refund leaves the payment where it stands.
        (AttemptKind::Capture | AttemptKind::Void | AttemptKind::Refund, AttemptState::Declined)
        | (_, AttemptState::Pending) => None,
    }
}

words! {
    /// Where money can be.
    pub enum Account {
        /// With the provider, who owes it to the shop.
        Provider = "provider",
        /// Earned.
        Sales = "sales",
        /// Paid back.
        Refunds = "refunds",
    }
}

/// What an outcome does to the books: entries that add up to nothing.
pub fn entries(kind: AttemptKind, amount: i64) -> Vec<(Account, i64)> {
    match kind {
        AttemptKind::Capture => vec![(Account::Provider, amount), (Account::Sales, -amount)],
        AttemptKind::Refund => vec![(Account::Provider, -amount), (Account::Refunds, amount)],
        AttemptKind::Authorise | AttemptKind::Void => Vec::new(),
    }
}

/// When an order is looked at by a person, or not sold at all.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Above so many whole units of its currency an order is reviewed.
    pub review_above: i64,
    /// After so many orders of a customer within the hour the next is reviewed.
    pub orders_per_hour: i64,
    /// So many times either limit is not sold.
    pub deny_factor: i64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { review_above: 2_000, orders_per_hour: 20, deny_factor: 5 }
    }
}

/// How far back a customer's orders are counted.
pub const VELOCITY_SPAN: Duration = Duration::from_secs(3600);

impl Rules {
    /// Judges an order of a customer who placed `before` others within the hour.
    pub fn judge(&self, total: Money, before: i64, token: &str) -> Screened {
        let limit = self.review_above.saturating_mul(10_i64.pow(total.currency.digits()));
        let say = |verdict, reason: String| Screened { verdict, reason };
        let over = |value: i64, limit: i64| match value {
            value if value > limit.saturating_mul(self.deny_factor) => Some(Verdict::Deny),
            value if value > limit => Some(Verdict::Review),
            _ => None,
        };
        let amount =
            over(total.amount, limit).map(|verdict| say(verdict, format!("{total} is much for one order")));
        let velocity = over(before + 1, self.orders_per_hour)
            .map(|verdict| say(verdict, format!("{} orders of this customer within an hour", before + 1)));
        let sandbox = (token == "tok_review")
            .then(|| say(Verdict::Review, "the sandbox token asks for a review".into()));
        let found = [amount, velocity, sandbox].into_iter().flatten();
        // `Deny` is the last word of `Verdict`: the gravest finding counts.
        found
            .max_by_key(|found| found.verdict)
            .unwrap_or_else(|| say(Verdict::Approve, "nothing speaks against it".into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn screening_follows_from_amount_velocity_and_token() {
        let rules = Rules { review_above: 100, orders_per_hour: 3, deny_factor: 5 };
        for (amount, currency, before, token, verdict) in [
            (10_000, "EUR", 0, "tok_success", Verdict::Approve),
            (10_001, "EUR", 0, "tok_success", Verdict::Review),
            (50_000, "EUR", 0, "tok_success", Verdict::Review),
            (50_001, "EUR", 0, "tok_success", Verdict::Deny),
            (101, "JPY", 0, "tok_success", Verdict::Review),
            (100_001, "KWD", 0, "tok_success", Verdict::Review),
            (1, "EUR", 2, "tok_success", Verdict::Approve),
            (1, "EUR", 3, "tok_success", Verdict::Review),
            (1, "EUR", 15, "tok_success", Verdict::Deny),
            (1, "EUR", 0, "tok_review", Verdict::Review),
            (50_001, "EUR", 0, "tok_review", Verdict::Deny),
            (i64::MAX, "EUR", 0, "tok_success", Verdict::Deny),
        ] {
            let found = rules.judge(Money::new(amount, currency.parse().unwrap()), before, token);
            assert_eq!(
                found.verdict, verdict,
                "{amount} {currency} after {before} with {token}: {}",
                found.reason
            );
        }
    }

    #[test]
    fn every_entry_of_the_books_has_its_counterpart() {
        for kind in AttemptKind::ALL {
            assert_eq!(entries(*kind, 1200).iter().map(|(_, amount)| amount).sum::<i64>(), 0, "{kind}");
        }
    }

    #[test]
    fn no_arrow_leaves_an_end_or_skips_the_promise() {
        let ends = [PaymentState::Declined, PaymentState::Voided, PaymentState::Refunded];
        let arrows = AttemptKind::ALL
            .iter()
            .flat_map(|kind| AttemptState::ALL.iter().filter_map(|to| arrow(*kind, *to)));
        let arrows: Vec<_> = arrows.collect();

        assert_eq!(arrows.len(), 5);
        assert!(arrows.iter().all(|(from, to)| !ends.contains(from) && from != to));
        assert!(!arrows.contains(&(PaymentState::Pending, PaymentState::Captured)));
    }

    proptest! {
        /// The books say what the payment says, whatever is tried and however it ends.
        #[test]
        fn the_ledger_follows_the_arrows(
            amount in 1..=i64::MAX,
            tried in prop::collection::vec((prop::sample::select(AttemptKind::ALL), prop::sample::select(AttemptState::ALL)), 0..20),
        ) {
            let mut state = PaymentState::Pending;
            let mut books = Vec::new();
            for (kind, outcome) in tried {
                if let Some((from, to)) = arrow(kind, outcome)
                    && from == state
                {
                    state = to;
                    if outcome == AttemptState::Done {
                        books.extend(entries(kind, amount));
                    }
                }
                let (captured, refunded) = amounts_in(state, amount);
                let owed: i64 = books.iter().filter(|(at, _)| *at == Account::Provider).map(|(_, sum)| sum).sum();
                prop_assert_eq!(owed, captured - refunded);
                prop_assert_eq!(books.iter().map(|(_, sum)| i128::from(*sum)).sum::<i128>(), 0);
            }
        }
    }
}
