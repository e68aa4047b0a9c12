//! Who buys and works in the simulated shop, and what they were answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    chance::Chance,
    log,
    network::Net,
    plan::{Act, Visit},
    shelf::{SHELF, Template},
};

/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often anybody asks again who got no answer.
const TRIES: usize = 5;

/// Everybody, and what they know. Cheap to clone.
#[derive(Clone)]
pub struct People {
    net: Net,
    template: Arc<Template>,
    began: Instant,
    /// What was asked and answered so far.
    pub book: Arc<Mutex<Book>>,
}

/// What everybody remembers.
#[derive(Default)]
pub struct Book {
    /// By its number.
    pub purchases: BTreeMap<usize, Purchase>,
    /// What was taken into stock, by its key: of what, how many, and whether it was answered.
    pub receipts: BTreeMap<String, (usize, i64, bool)>,
    /// Promises that were broken to somebody's face.
    pub breaches: Vec<String>,
    /// How many requests were made.
    pub asked: u64,
    /// How many of them had no clear answer.
    pub unclear: u64,
    /// A number that another course of things would make another.
    pub trace: u64,
}

/// What somebody wanted to buy.
#[derive(Clone)]
pub struct Purchase {
    /// The number of the buyer.
    pub who: usize,
    /// What was asked for.
    pub body: Value,
    /// Of what and how many.
    pub lines: Vec<(usize, u32)>,
    /// How it is paid.
    pub card: &'static str,
    /// What the order was called in each answer: one name, if all is well.
    pub ids: BTreeSet<String>,
    /// Why there is no order.
    pub refused: Option<String>,
    /// Whether anybody wanted it to be undone.
    pub undo: bool,
}

/// An answer that leaves no doubt.
pub type Clear = (u16, Value);

impl People {
    /// Who have asked for nothing yet.
    pub fn new(net: &Net, template: &Arc<Template>, began: Instant) -> People {
        People { net: net.clone(), template: template.clone(), began, book: Arc::default() }
    }

    /// Asks once. Nothing if it is not clear whether it was done, or is not to be yet.
    pub async fn ask(&self, token: &str, method: &str, path: &str, key: &str, body: &Value) -> Option<Clear> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if method != "GET" {
            request = request.header("idempotency-key", key);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = timeout(PATIENCE, self.net.ask_anybody(request.body(body).unwrap())).await;
        let clear = answer.ok().and_then(Result::ok).filter(|answer| {
            let status = answer.status().as_u16();
            status < 500 && status != 429
        });
        let mut book = self.book.lock().unwrap();
        book.asked += 1;
        book.unclear += u64::from(clear.is_none());
        let status = clear.as_ref().map_or(0, |answer| u64::from(answer.status().as_u16()));
        let micros = self.began.elapsed().as_micros() as u64;
        book.trace = Chance::new(book.trace ^ micros.rotate_left(16) ^ status).bits();
        log::say(format_args!("{:?} {method} {path} {key} {status}", self.began.elapsed()));
        clear.map(|answer| {
            (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
        })
    }

    /// Asks again and again until the answer is clear, or one has had enough.
    async fn insist(&self, token: &str, method: &str, path: &str, key: &str, body: &Value) -> Option<Clear> {
        for failed in 0..TRIES {
            if let Some(answer) = self.ask(token, method, path, key, body).await {
                return Some(answer);
            }
            sleep(Duration::from_millis(100 << failed)).await;
        }
        None
    }

    /// Comes when it is time and does what one came for.
    pub async fn visit(self, number: usize, visit: Visit) {
        sleep(visit.at).await;
        let staff = self.template.staff[visit.who % self.template.staff.len()].clone();
        match visit.what {
            Act::Buy { order, lines, card, at_once } => {
                self.buys(visit.who, order, lines, card, at_once).await;
            }
            Act::Look => {
                let token = &self.template.buyers[visit.who];
                self.ask(token, "GET", "/orders", "", &Value::Null).await;
            }
            Act::Cancel { order } => {
                let token = self.template.buyers[visit.who].clone();
                self.undoes(order, "cancel", &[token]).await;
            }
            Act::Refund { order, at_once } => {
                self.is_confirmed(order).await;
                self.undoes(order, "refund", &self.template.staff[..at_once]).await;
            }
            Act::Ship { order } => {
                self.is_confirmed(order).await;
                self.decides(order, "ship", &staff, &json!({ "carrier": "post" })).await;
            }
            Act::Review { order, approve } => {
                let decision = if approve { "approve" } else { "deny" };
                self.decides(order, "review", &staff, &json!({ "decision": decision })).await;
                if !approve && let Some(purchase) = self.book.lock().unwrap().purchases.get_mut(&order) {
                    purchase.undo = true;
                }
            }
            Act::Receive { thing, count } => {
                let key = format!("receipt-{number}");
                self.book.lock().unwrap().receipts.insert(key.clone(), (thing, count, false));
                self.receives(&key).await;
            }
            Act::Price { thing, cents } => {
                let path = format!("/variants/{}", self.template.variants[thing]);
                let body = json!({ "price": { "amount": cents, "currency": "EUR" } });
                self.insist(&staff, "PATCH", &path, &format!("price-{number}"), &body).await;
            }
        }
    }

    async fn buys(
        &self,
        who: usize,
        order: usize,
        lines: Vec<(usize, u32)>,
        card: &'static str,
        at_once: usize,
    ) {
        let wanted: Vec<Value> =
            lines.iter().map(|(thing, count)| json!({ "sku": SHELF[*thing].0, "quantity": count })).collect();
        let address = json!({
            "name": "Ann", "line1": "1 Street", "city": "Hamburg", "postal_code": "20095", "country": "DE",
        });
        let body = json!({ "lines": wanted, "payment": { "token": card }, "address": address });
        let purchase = Purchase { who, body, lines, card, ids: BTreeSet::new(), refused: None, undo: false };
        self.book.lock().unwrap().purchases.insert(order, purchase);
        futures::future::join_all((0..at_once).map(|_| self.places(order))).await;
    }

    /// Sends a purchase until it is clear what came of it. Whoever has an order
    /// can look at it from then on.
    pub async fn places(&self, order: usize) {
        let purchase = self.book.lock().unwrap().purchases[&order].clone();
        let token = &self.template.buyers[purchase.who];
        let key = format!("purchase-{order}");
        let Some((status, answer)) = self.insist(token, "POST", "/orders", &key, &purchase.body).await else {
            return;
        };
        let Some(id) = answer["id"].as_str().filter(|_| status == 202).map(str::to_owned) else {
            let why = format!("{status} {}", answer["code"].as_str().unwrap_or_default());
            self.change(order, |purchase| purchase.refused = Some(why));
            return;
        };
        self.change(order, |purchase| _ = purchase.ids.insert(id.clone()));
        let looked = self.ask(token, "GET", &format!("/orders/{id}"), "", &Value::Null).await;
        if looked.is_some_and(|(status, _)| status == 404) {
            let breach = format!("{id} was answered with 202 and is not there for who placed it");
            self.book.lock().unwrap().breaches.push(breach);
        }
    }

    /// Asks for an order to be undone, each by his own key.
    async fn undoes(&self, order: usize, how: &str, tokens: &[String]) {
        let Some(id) = self.id_of(order).await else { return };
        self.change(order, |purchase| purchase.undo = true);
        let (path, key) = (format!("/orders/{id}/{how}"), format!("{how}-{order}"));
        let asks = tokens.iter().enumerate().map(async |(at, token)| {
            self.insist(token, "POST", &path, &format!("{key}-{at}"), &Value::Null).await
        });
        futures::future::join_all(asks).await;
    }

    async fn decides(&self, order: usize, what: &str, token: &str, body: &Value) {
        let Some(id) = self.id_of(order).await else { return };
        self.insist(token, "POST", &format!("/orders/{id}/{what}"), &format!("{what}-{order}"), body).await;
    }

    /// Takes something into stock, once however often it is asked for.
    pub async fn receives(&self, key: &str) {
        let (thing, count, _) = self.book.lock().unwrap().receipts[key];
        let path = format!("/stock/{}/movements", SHELF[thing].0);
        let body = json!({ "quantity": count, "reason": "received" });
        let staff = &self.template.staff[0];
        let answer = self.insist(staff, "POST", &path, key, &body).await;
        if answer.is_some_and(|(status, _)| status == 201) {
            self.book.lock().unwrap().receipts.get_mut(key).unwrap().2 = true;
        }
    }

    /// Waits a while until an order is confirmed.
    async fn is_confirmed(&self, order: usize) {
        let Some(id) = self.id_of(order).await else { return };
        for _ in 0..8 {
            let path = format!("/orders/{id}");
            let seen = self.ask(&self.template.staff[0], "GET", &path, "", &Value::Null).await;
            if seen.is_some_and(|(_, order)| order["state"] == "confirmed") {
                return;
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// What the shop calls an order, once its buyer knows.
    async fn id_of(&self, order: usize) -> Option<String> {
        for _ in 0..10 {
            let id = self.book.lock().unwrap().purchases.get(&order)?.ids.first().cloned();
            if id.is_some() {
                return id;
            }
            sleep(Duration::from_millis(200)).await;
        }
        None
    }

    fn change(&self, order: usize, how: impl FnOnce(&mut Purchase)) {
        how(self.book.lock().unwrap().purchases.get_mut(&order).unwrap());
    }
}
