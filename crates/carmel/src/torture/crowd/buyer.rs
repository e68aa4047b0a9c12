//! Customers: they buy, look, cancel, and ask for the same once more.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{
        client::{Ask, Person, Said},
        history::{Deed, Fate, History, Purchase, Sighting},
    },
    Asker, Crowd, HOT, ORDINARY, PASSWORD, Place, ordinary, text,
};

/// How the provider behaves: a card of the sandbox, and how many in a hundred
/// pay with it.
const CARDS: &[(u32, &str)] = &[
    (5, "tok_timeout"),
    (3, "tok_slow"),
    (4, "tok_declined"),
    (4, "tok_capture_refused"),
    (4, "tok_webhook_early"),
    (2, "tok_webhook_late"),
    (8, "tok_webhook_twice"),
];

/// Somebody who buys.
pub struct Buyer {
    crowd: Arc<Crowd>,
    asker: Asker,
    chance: StdRng,
    /// What he asked for and was answered, to be asked for again.
    bought: Vec<(Ask, String)>,
    /// His orders, in the order they were answered.
    orders: Vec<String>,
    /// The version of each order that he has seen.
    versions: BTreeMap<String, i64>,
}

impl Buyer {
    /// The one of this number.
    pub fn new(crowd: &Arc<Crowd>, seed: u64, at: usize) -> Buyer {
        let email = format!("buyer-{at}@example.com");
        Buyer {
            crowd: crowd.clone(),
            asker: Asker::new(Person::new(&crowd.door, &email, PASSWORD)),
            chance: StdRng::seed_from_u64(seed ^ (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            bought: Vec::new(),
            orders: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Signs up and in, before anything is hurt.
    pub async fn arrive(&mut self, at: usize) -> kernel::Result<()> {
        let email = format!("buyer-{at}@example.com");
        let visitor = Ask::get("browse", "/products");
        sign_up(&mut self.asker, &email).await;
        self.asker.person.must(&visitor).await.map(drop)
    }

    /// Buys, looks, cancels and asks again until nothing new is asked for.
    pub async fn shop(mut self) -> Buyer {
        while !self.crowd.is_over() {
            match self.chance.random_range(0..100) {
                0..52 => self.buy().await,
                52..62 => self.cancel().await,
                62..70 => self.ask_again().await,
                70..82 => self.look().await,
                82..92 => self.browse().await,
                92..95 => {
                    let email = format!("{}@example.com", self.asker.fresh("guest"));
                    sign_up(&mut self.asker, &email).await;
                }
                _ => self.list().await,
            }
            tokio::time::sleep(Duration::from_millis(self.chance.random_range(10..120))).await;
        }
        self
    }

    /// Asks again for all that was not answered; what he knows then.
    pub async fn go_home(mut self) -> History {
        self.asker.resolve().await;
        self.asker.history
    }

    async fn buy(&mut self) {
        let key = self.asker.fresh("order");
        let mut lines = BTreeMap::new();
        if self.chance.random_bool(0.4) {
            lines.insert(HOT.to_owned(), 1);
        }
        if lines.is_empty() || self.chance.random_bool(0.3) {
            lines.insert(ordinary(self.chance.random_range(0..ORDINARY)), self.chance.random_range(1..4));
        }
        let ask = Ask::change("buy", Method::POST, "/orders", &key, basket(&key, &lines, self.card()));
        let customer = self.asker.person.id.clone();
        let purchase = Purchase { customer, lines, answers: Vec::new(), fate: Fate::Unknown };
        self.asker.history.purchases.insert(key.clone(), purchase);
        if let Said::Done(order, _) = self.asker.change(ask.clone(), Place::Purchase(key.clone())).await {
            let id = text(&order["id"]);
            self.crowd.placed.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
            self.orders.push(id);
            self.bought.push((ask, key));
            if self.chance.random_bool(0.5) {
                self.list().await;
            }
        }
    }

    fn card(&mut self) -> &'static str {
        let mut left = self.chance.random_range(0..100);
        for (weight, card) in CARDS {
            if left < *weight {
                *self.crowd.cards.lock().unwrap_or_else(PoisonError::into_inner).entry(card).or_default() +=
                    1;
                return card;
            }
            left -= weight;
        }
        "tok_success"
    }

    /// One of his latest orders.
    fn recent(&mut self) -> Option<String> {
        let latest = &self.orders[self.orders.len().saturating_sub(6)..];
        (!latest.is_empty()).then(|| latest[self.chance.random_range(0..latest.len())].clone())
    }

    async fn cancel(&mut self) {
        if let Some(order) = self.recent() {
            self.asker.order(Deed::Cancel, &order).await;
        }
    }

    /// The same order once more, under its key.
    async fn ask_again(&mut self) {
        if self.bought.is_empty() {
            return;
        }
        let (ask, key) = self.bought[self.chance.random_range(0..self.bought.len())].clone();
        let again = Ask { kind: "the same key again", ..ask };
        let said = self.asker.person.insist(&again, 1, false).await;
        if let Said::Refused(code) = &said {
            self.contradicts(format!("the key {key} was answered with an order and now with {code}"));
        } else {
            self.asker.note(&Place::Purchase(key), &said);
        }
    }

    /// Looks at an order of his: it is there, and no older than he has seen it.
    async fn look(&mut self) {
        let Some(order) = self.recent() else { return };
        match self.asker.person.ask(&Ask::get("look at an order", format!("/orders/{order}"))).await {
            Said::Done(seen, _) => {
                let (version, state) = (seen["version"].as_i64().unwrap_or_default(), text(&seen["state"]));
                let known = self.versions.entry(order.clone()).or_default();
                let is_older = version < *known;
                let newest = std::mem::replace(known, version.max(*known));
                if is_older {
                    self.contradicts(format!("{order}: was seen in version {newest} and then in {version}"));
                }
                self.asker.history.sightings.push(Sighting { order, state });
            }
            Said::Refused(code) => self.contradicts(format!("{order}: was answered and then {code}")),
            Said::Unknown => {}
        }
    }

    /// Looks through his list until he finds what he bought last: on the first
    /// page, unless a clock that was behind has put it among older ones.
    async fn list(&mut self) {
        let Some(last) = self.orders.last().cloned() else { return };
        let mut path = "/orders?limit=100".to_owned();
        loop {
            let Said::Done(list, _) = self.asker.person.ask(&Ask::get("list orders", path)).await else {
                return;
            };
            if list["items"].as_array().into_iter().flatten().any(|order| order["id"] == last.as_str()) {
                return;
            }
            let Some(next) = list["next"].as_str() else { break };
            path = format!("/orders?limit=100&cursor={next}");
        }
        self.contradicts(format!("{last}: was answered and is not in its customer's list afterwards"));
    }

    async fn browse(&mut self) {
        self.asker.person.ask(&Ask::get("browse", "/products?limit=10")).await;
        let stock = self.asker.person.ask(&Ask::get("browse", format!("/stock/{HOT}"))).await;
        if let Said::Done(stock, _) = stock
            && stock["available"].as_i64().is_none_or(|available| available < 0)
        {
            self.contradicts(format!("{HOT}: {stock} are for sale"));
        }
    }

    fn contradicts(&mut self, what: String) {
        self.asker.history.contradictions.push(what);
    }
}

async fn sign_up(asker: &mut Asker, email: &str) {
    let key = asker.fresh("account");
    let body = json!({ "name": "Ann", "email": email, "password": PASSWORD });
    let ask = Ask::change("sign up", Method::POST, "/users", &key, body);
    asker.change(Ask { as_stranger: true, ..ask }, Place::Account(email.to_owned())).await;
}

/// An order under its key; the key is in the address, so that the shop can be
/// asked later what came of it.
fn basket(key: &str, lines: &BTreeMap<String, i64>, card: &str) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
    json!({
        "lines": lines,
        "payment": { "token": card },
        "address": {
            "name": key, "line1": "1 Harbour Street",
            "city": "Hamburg", "postal_code": "20095", "country": "DE",
        },
    })
}
