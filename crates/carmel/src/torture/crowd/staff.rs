//! Staff: they pay back, take in and change prices.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;

use super::{
    super::{
        client::{Ask, Person, Said},
        history::{Deed, Delivery, Fate, History, Price, Sighting},
    },
    Asker, Crowd, HOT, ORDINARY, Place, ordinary, text,
};

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
