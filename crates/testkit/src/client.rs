//! Somebody who talks to a running shop over HTTP, as its customers do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{
    Method,
    header::{COOKIE, HeaderMap, SET_COOKIE},
};
use serde_json::{Value, json};

/// What every customer of these tests has as a password.
pub const PASSWORD: &str = "correct horse battery staple";

/// A shop at an address. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    http: reqwest::Client,
    url: String,
}

/// Somebody in a shop, signed in or not. Cheap to clone.
#[derive(Clone)]
pub struct Person {
    shop: Shop,
    /// `usr_…`, once signed in.
    pub id: String,
    /// The address they signed up with.
    pub email: String,
    token: Option<String>,
    /// What the shop asked to be reminded of, as a browser does it.
    cookies: Cookies,
}

type Cookies = Arc<Mutex<BTreeMap<String, String>>>;

/// What the shop answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its text if it is no JSON.
    pub body: Value,
}

/// An order to place: one of each named SKU unless told otherwise.
#[derive(Clone, Debug)]
pub struct Basket {
    /// What and how many.
    pub lines: Vec<(String, u32)>,
    /// How it is paid; `tok_success` succeeds.
    pub token: String,
    /// The idempotency key; a fresh one unless told otherwise.
    pub key: String,
    /// `Prefer: wait=N`, in seconds.
    pub wait: Option<u32>,
}

impl Basket {
    /// These, paid with a good card, under a fresh key.
    pub fn of(lines: &[(&str, u32)]) -> Basket {
        Basket {
            lines: lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity)).collect(),
            token: "tok_success".into(),
            key: fresh("key"),
            wait: None,
        }
    }

    /// Paid with another token of the sandbox.
    pub fn paid_with(mut self, token: &str) -> Basket {
        self.token = token.into();
        self
    }

    /// Under this key.
    pub fn under(mut self, key: &str) -> Basket {
        self.key = key.into();
        self
    }

    /// Waiting up to so many seconds until it is settled.
    pub fn waiting(mut self, seconds: u32) -> Basket {
        self.wait = Some(seconds);
        self
    }

    fn body(&self) -> Value {
        let lines = self.lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity }));
        json!({
            "lines": lines.collect::<Vec<_>>(),
            "payment": { "token": self.token },
            "address": {
                "name": "Ann Example", "line1": "1 Harbour Street",
                "city": "Hamburg", "postal_code": "20095", "country": "DE",
            },
        })
    }
}

impl Shop {
    /// The shop at this base URL.
    pub fn at(url: impl Into<String>) -> Shop {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Shop { http, url: url.into() }
    }

    /// Somebody who has not signed in.
    pub fn visitor(&self) -> Person {
        Person {
            shop: self.clone(),
            id: String::new(),
            email: String::new(),
            token: None,
            cookies: Cookies::default(),
        }
    }

    /// Somebody new, signed up and signed in.
    pub async fn customer(&self) -> Person {
        let email = format!("{}@example.com", fresh("customer"));
        let body = json!({ "name": "Ann", "email": email, "password": PASSWORD });
        self.visitor().post("/users", body).await.expect(201);
        self.sign_in(&email, PASSWORD).await
    }

    /// Signs in: a customer, staff or an administrator.
    pub async fn sign_in(&self, email: &str, password: &str) -> Person {
        let visitor = self.visitor();
        let answer =
            visitor.post("/login", json!({ "email": email, "password": password })).await.expect(200);
        Person {
            id: answer["user"]["id"].as_str().unwrap_or_default().to_owned(),
            email: email.to_owned(),
            token: Some(answer["access_token"].as_str().unwrap().to_owned()),
            ..visitor
        }
    }

    /// Somebody who holds this token.
    pub fn bearer(&self, token: &str) -> Person {
        Person { token: Some(token.to_owned()), ..self.visitor() }
    }

    /// How many of a SKU are for sale.
    pub async fn available(&self, sku: &str) -> i64 {
        let stock = self.visitor().get(&format!("/stock/{sku}")).await.expect(200);
        stock["available"].as_i64().unwrap()
    }
}

impl Person {
    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// `POST`
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// `PATCH`
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, &[], Some(body)).await
    }

    /// Any call, with headers.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// Any call to a shop that may just be dying.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.shop.http.request(method, format!("{}{path}", self.shop.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(cookies) = self.cookies() {
            request = request.header(COOKIE, cookies);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        self.keep_cookies(&headers);
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    fn cookies(&self) -> Option<String> {
        let cookies = self.cookies.lock().unwrap();
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep_cookies(&self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
        }
    }

    /// Places an order.
    pub async fn place(&self, basket: &Basket) -> Answer {
        self.try_place(basket).await.unwrap_or_else(|error| panic!("POST /orders: {error:?}"))
    }

    /// Places an order in a shop that may just be dying.
    pub async fn try_place(&self, basket: &Basket) -> reqwest::Result<Answer> {
        let wait = basket.wait.map(|seconds| format!("wait={seconds}"));
        let mut headers = vec![("idempotency-key", basket.key.as_str())];
        headers.extend(wait.as_deref().map(|wait| ("prefer", wait)));
        self.try_send(Method::POST, "/orders", &headers, Some(basket.body())).await
    }

    /// Orders these with a good card and waits until it is settled; returns
    /// the order.
    pub async fn order(&self, lines: &[(&str, u32)]) -> Value {
        let placed = self.place(&Basket::of(lines)).await.expect(202);
        self.settled(placed["id"].as_str().unwrap()).await
    }

    /// Waits until an order is settled (confirmed, cancelled, in review), at
    /// most 30 seconds; returns it.
    pub async fn settled(&self, order: &str) -> Value {
        self.until(order, &["confirmed", "cancelled", "in_review"]).await
    }

    /// Waits until an order stands in one of these states, at most 30 seconds.
    pub async fn until(&self, order: &str, states: &[&str]) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = self.get(&format!("/orders/{order}")).await.expect(200);
            if states.iter().any(|state| seen["state"] == *state) {
                return seen;
            }
            assert!(Instant::now() < until, "{order} does not get to {states:?}: {seen:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As staff: makes a product of one variant at this price in cents, with
    /// so many in stock. Returns the product.
    pub async fn sell(&self, sku: &str, cents: i64, count: i64) -> Value {
        let variant = json!({ "sku": sku, "price": { "amount": cents, "currency": "EUR" } });
        let product = json!({ "name": sku, "variants": [variant] });
        let product = self.post("/products", product).await.expect(201);
        if count > 0 {
            self.receive(sku, count).await;
        }
        product
    }

    /// As staff: takes more of a SKU into stock.
    pub async fn receive(&self, sku: &str, count: i64) {
        let movement = json!({ "quantity": count, "reason": "received" });
        self.post(&format!("/stock/{sku}/movements"), movement).await.expect(201);
    }
}

impl Answer {
    /// The body; panics unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The stable code of a problem, or nothing.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A name that no other test uses.
pub fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let micros = kernel::World::real().now().micros();
    format!("{what}-{micros}-{}-{count}", std::process::id())
}
