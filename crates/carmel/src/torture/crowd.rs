//! Who uses the shop meanwhile: customers who buy the same few things, and
//! staff. Each remembers what was answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Door, Person, Said},
    history::{Change, Deed, Delivery, Fate, History, Placed, Price, Purchase, Sighting},
};

/// What everybody wants and there is little of.
pub const HOT: &str = "hot";
/// So many other things are for sale.
pub const ORDINARY: usize = 4;
/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// So often something is asked again at once when there was no answer; what is
/// still open then is asked again at the end.
const AT_ONCE: usize = 2;
const AT_LAST: usize = 400;

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

/// What all who use the shop share.
pub struct Crowd {
    pub door: Arc<Door>,
    /// Nothing new is asked for any more.
    stop: AtomicBool,
    /// Orders that were answered; staff pay some of them back.
    placed: Mutex<Vec<String>>,
    /// How the provider was told to behave, and how often.
    pub cards: Mutex<BTreeMap<&'static str, u64>>,
}

impl Crowd {
    /// At this door.
    pub fn new(door: Arc<Door>) -> Crowd {
        Crowd { door, stop: AtomicBool::new(false), placed: Mutex::default(), cards: Mutex::default() }
    }

    /// Lets everybody ask for nothing new.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The SKU of an ordinary thing.
pub fn ordinary(at: usize) -> String {
    format!("mug-{at}")
}

/// Where in the history the answer to a request belongs.
#[derive(Clone, Debug)]
enum Place {
    Purchase(String),
    Change(usize),
    Delivery(String),
    Price(String),
    Account(String),
}

/// Somebody who asks, and remembers.
struct Asker {
    person: Person,
    history: History,
    /// What has no answer yet.
    open: Vec<(Ask, Place)>,
}

impl Asker {
    fn new(person: Person) -> Asker {
        Asker { person, history: History::default(), open: Vec::new() }
    }

    fn fresh(&self, what: &str) -> String {
        self.person.door.fresh(what)
    }

    /// Asks for a change and remembers what was answered.
    async fn change(&mut self, ask: Ask, place: Place) -> Said {
        let said = self.person.insist(&ask, AT_ONCE, false).await;
        self.note(&place, &said);
        if let Said::Unknown = said {
            self.open.push((ask, place));
        }
        said
    }

    /// Asks again for all that has no answer yet.
    async fn resolve(&mut self) {
        for (ask, place) in std::mem::take(&mut self.open) {
            let said = self.person.insist(&ask, AT_LAST, true).await;
            self.note(&place, &said);
        }
    }

    fn note(&mut self, place: &Place, said: &Said) {
        let history = &mut self.history;
        let fate = match said {
            Said::Done(..) => Fate::Done(()),
            Said::Refused(code) => Fate::Refused(code.clone()),
            Said::Unknown => Fate::Unknown,
        };
        match place {
            Place::Purchase(key) => {
                let Some(purchase) = history.purchases.get_mut(key) else { return };
                if let Said::Done(order, _) = said {
                    purchase.answers.push(Placed {
                        order: text(&order["id"]),
                        total: order["total"]["amount"].as_i64().unwrap_or_default(),
                    });
                }
                // Asked again without an answer it is still what it was answered to be.
                if fate != Fate::Unknown || purchase.answers.is_empty() {
                    purchase.fate = fate;
                }
            }
            Place::Change(at) => history.changes[*at].fate = fate,
            Place::Delivery(key) => {
                if let Some(delivery) = history.deliveries.get_mut(key) {
                    delivery.fate = fate;
                }
            }
            Place::Price(key) => {
                if let Some(price) = history.prices.get_mut(key) {
                    price.fate = fate;
                }
            }
            Place::Account(email) => {
                let fate = match said {
                    Said::Done(account, _) => Fate::Done(text(&account["id"])),
                    Said::Refused(code) => Fate::Refused(code.clone()),
                    Said::Unknown => Fate::Unknown,
                };
                history.accounts.insert(email.clone(), fate);
            }
        }
    }

    /// Cancels an order, or pays it back.
    async fn order(&mut self, deed: Deed, order: &str) -> Said {
        let (kind, verb) = match deed {
            Deed::Cancel => ("cancel", "cancel"),
            Deed::Refund => ("refund", "refund"),
        };
        let key = self.fresh(verb);
        let path = format!("/orders/{order}/{verb}");
        self.history.changes.push(Change { deed, order: order.to_owned(), fate: Fate::Unknown });
        let place = Place::Change(self.history.changes.len() - 1);
        self.change(Ask::change(kind, Method::POST, path, &key, json!({})), place).await
    }
}

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

    /// Looks at his list: what he bought last is in it.
    async fn list(&mut self) {
        let Some(last) = self.orders.last().cloned() else { return };
        let Said::Done(list, _) = self.asker.person.ask(&Ask::get("list orders", "/orders?limit=100")).await
        else {
            return;
        };
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        if !items.iter().any(|order| order["id"] == last.as_str()) {
            self.contradicts(format!("{last}: was answered and is not in its customer's list afterwards"));
        }
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

/// Two who work in the shop.
pub struct Staff {
    crowd: Arc<Crowd>,
    one: Asker,
    other: Asker,
    chance: StdRng,
    /// Product and variant of what is for sale.
    shelf: Vec<(String, String)>,
    /// What nobody knows the price of.
    unsure: Vec<String>,
    cents: i64,
}

impl Staff {
    /// These two.
    pub fn new(
        crowd: &Arc<Crowd>,
        seed: u64,
        (one, other): (Person, Person),
        shelf: Vec<(String, String)>,
    ) -> Staff {
        Staff {
            crowd: crowd.clone(),
            one: Asker::new(one),
            other: Asker::new(other),
            chance: StdRng::seed_from_u64(!seed),
            shelf,
            unsure: Vec::new(),
            cents: 2_000,
        }
    }

    /// Pay back, take in and change prices until nothing new is asked for.
    pub async fn work(mut self) -> Staff {
        while !self.crowd.is_over() {
            match self.chance.random_range(0..10) {
                0..4 => self.refund_at_once().await,
                4..8 => self.take_in().await,
                _ => self.change_price().await,
            }
            tokio::time::sleep(Duration::from_millis(self.chance.random_range(50..300))).await;
        }
        self
    }

    /// Ask again for all that was not answered; what they know then.
    pub async fn go_home(mut self) -> History {
        tokio::join!(self.one.resolve(), self.other.resolve());
        self.one.history.merge(self.other.history);
        self.one.history
    }

    /// Both pay the same order back at the same moment, each under a key of his own.
    async fn refund_at_once(&mut self) {
        let Some(order) = self.confirmed().await else { return };
        tokio::join!(self.one.order(Deed::Refund, &order), self.other.order(Deed::Refund, &order));
    }

    /// An order that was just seen confirmed, if one is found soon.
    async fn confirmed(&mut self) -> Option<String> {
        for _ in 0..5 {
            let order = {
                let placed = self.crowd.placed.lock().unwrap_or_else(PoisonError::into_inner);
                let at = self.chance.random_range(0..placed.len().max(1));
                placed.get(at)?.clone()
            };
            let look = Ask::get("look at an order", format!("/orders/{order}"));
            if let Said::Done(seen, _) = self.one.person.ask(&look).await {
                let state = text(&seen["state"]);
                self.one.history.sightings.push(Sighting { order: order.clone(), state: state.clone() });
                if state == "confirmed" {
                    return Some(order);
                }
            }
        }
        None
    }

    async fn take_in(&mut self) {
        let (sku, quantity) = match self.chance.random_bool(0.5) {
            true => (HOT.to_owned(), self.chance.random_range(1..5)),
            false => (ordinary(self.chance.random_range(0..ORDINARY)), self.chance.random_range(1..30)),
        };
        let key = self.one.fresh("delivery");
        let body = json!({ "quantity": quantity, "reason": "received", "note": key });
        let ask = Ask::change("restock", Method::POST, format!("/stock/{sku}/movements"), &key, body);
        self.one.history.deliveries.insert(key.clone(), Delivery { sku, quantity, fate: Fate::Unknown });
        self.one.change(ask, Place::Delivery(key)).await;
    }

    /// Changes a price and looks at it.
    async fn change_price(&mut self) {
        let (product, variant) = self.shelf[self.chance.random_range(0..self.shelf.len())].clone();
        self.cents += 1;
        let (cents, key) = (self.cents, self.one.fresh("price"));
        let body = json!({ "price": { "amount": cents, "currency": "EUR" } });
        let ask = Ask::change("price", Method::PATCH, format!("/variants/{variant}"), &key, body);
        let price = Price { variant: variant.clone(), cents, fate: Fate::Unknown };
        self.one.history.prices.insert(key.clone(), price);
        let before = self.one.person.door.unknown("price");
        let said = self.one.change(ask, Place::Price(key)).await;
        if self.one.person.door.unknown("price") != before {
            // One that was not answered may still be on its way, and come after a later one.
            self.unsure.push(variant);
        } else if let (Said::Done(..), false) = (said, self.unsure.contains(&variant)) {
            let look = Ask::get("look at a price", format!("/products/{product}"));
            if let Said::Done(seen, _) = self.one.person.ask(&look).await
                && seen["variants"][0]["price"]["amount"] != cents
            {
                let seen = &seen["variants"][0]["price"]["amount"];
                self.one
                    .history
                    .contradictions
                    .push(format!("{variant}: costs {cents}, as answered, and then {seen}"));
            }
        }
    }
}

/// A text of an answer, or nothing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
