//! Who uses the shop meanwhile: customers who buy the same few things, and
//! staff. Each remembers what was answered.

mod buyer;
mod staff;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Method;
use serde_json::{Value, json};

pub use self::{buyer::Buyer, staff::Staff};

use super::{
    client::{Ask, Door, Person, Said},
    history::{Change, Deed, Fate, History, Placed},
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

/// A text of an answer, or nothing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
