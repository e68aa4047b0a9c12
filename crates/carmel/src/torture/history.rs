//! What the customers and the staff of a shop asked, and what was answered:
//! the client's side of the truth.

use std::collections::BTreeMap;

/// All that was asked and answered.
#[derive(Debug, Default)]
pub struct History {
    /// Orders that were asked for, by their key.
    pub purchases: BTreeMap<String, Purchase>,
    /// Orders that were to be cancelled or paid back.
    pub changes: Vec<Change>,
    /// Deliveries, by their key.
    pub deliveries: BTreeMap<String, Delivery>,
    /// New prices, by their key.
    pub prices: BTreeMap<String, Price>,
    /// New accounts, by their address.
    pub accounts: BTreeMap<String, Fate<String>>,
    /// Orders that were seen, each with the state and version that were shown.
    pub sightings: Vec<Sighting>,
    /// What a reader saw that cannot be, in words.
    pub contradictions: Vec<String>,
}

/// What is known of something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<T> {
    /// It was done, and this was answered.
    Done(T),
    /// It was refused, with this code.
    Refused(String),
    /// Nobody knows: there was no answer.
    Unknown,
}

/// An order that was asked for, perhaps several times under one key.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Who asked.
    pub customer: String,
    /// What and how many.
    pub lines: BTreeMap<String, i64>,
    /// Each answer that was an order.
    pub answers: Vec<Placed>,
    /// What came of it.
    pub fate: Fate<()>,
}

/// An order as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// `ord_…`
    pub order: String,
    /// What it costs.
    pub total: i64,
}

/// What was to become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its customer does not want it.
    Cancel,
    /// Staff pay it back.
    Refund,
}

/// A change of an order that was asked for.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub deed: Deed,
    /// Of which order.
    pub order: String,
    /// What came of it.
    pub fate: Fate<()>,
}

/// Stock that was to be taken in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Of what.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// What came of it.
    pub fate: Fate<()>,
}

/// A price that was to be set.
#[derive(Clone, Debug)]
pub struct Price {
    /// Of what.
    pub variant: String,
    /// In cents; no other price of the run is the same.
    pub cents: i64,
    /// What came of it.
    pub fate: Fate<()>,
}

/// An order as somebody saw it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Which.
    pub order: String,
    /// Where it stood.
    pub state: String,
}

impl History {
    /// Takes in what another knows.
    pub fn merge(&mut self, other: History) {
        let History { purchases, changes, deliveries, prices, accounts, sightings, contradictions } = other;
        self.purchases.extend(purchases);
        self.changes.extend(changes);
        self.deliveries.extend(deliveries);
        self.prices.extend(prices);
        self.accounts.extend(accounts);
        self.sightings.extend(sightings);
        self.contradictions.extend(contradictions);
    }
}
