//! Those who buy, and what there is.

use kernel::Result;
use load::Ask;
use serde_json::{Value, json};

use super::{
    Options,
    stage::{PASSWORD, Stage},
};

/// Customers and products of a shop, and who owns it.
pub struct Crowd {
    /// Those who buy.
    pub customers: Vec<Customer>,
    /// What they buy.
    pub products: Vec<Product>,
    /// The token of the owner.
    pub owner: String,
}

/// Somebody with an account.
pub struct Customer {
    /// `usr_…`
    pub id: String,
    /// Proof that it is them.
    pub token: String,
}

/// Something to buy.
pub struct Product {
    /// `prd_…`
    pub id: String,
    /// What it is ordered by.
    pub sku: String,
}

/// At once while the shop is filled, which is not measured.
const AT_ONCE: usize = 16;
/// More of each than anybody buys here.
const PLENTY: u64 = 10_000_000;

/// Makes them all through the front door.
pub async fn gather(stage: &Stage, options: &Options) -> Result<Crowd> {
    let owner = stage.owner().await?;
    let emails: Vec<String> = (0..options.customers).map(|n| format!("buyer-{n}@example.com")).collect();
    let of_each = |make: &dyn Fn(&String) -> Ask| emails.iter().map(make).collect::<Vec<_>>();
    let sign_up = |email: &String| {
        Ask::post("/users", json!({ "name": "Buyer", "email": email, "password": PASSWORD }).to_string())
    };
    stage.must_all(AT_ONCE, of_each(&sign_up)).await?;
    let sign_in =
        |email: &String| Ask::post("/login", json!({ "email": email, "password": PASSWORD }).to_string());
    let signed_in = stage.must_all(AT_ONCE, of_each(&sign_in)).await?;
    let customers = signed_in
        .iter()
        .map(|answer| Customer { id: text(&answer["user"]["id"]), token: text(&answer["access_token"]) });

    let skus: Vec<String> = (0..options.products).map(|n| format!("bench-{n}")).collect();
    let products = put_up(stage, &owner, &skus, PLENTY).await?;
    Ok(Crowd { customers: customers.collect(), products, owner })
}

/// Puts these up for sale, so many of each.
pub async fn put_up(stage: &Stage, owner: &str, skus: &[String], quantity: u64) -> Result<Vec<Product>> {
    let product = |sku: &String| {
        let variant = json!({ "sku": sku, "price": { "amount": 1200, "currency": "EUR" } });
        Ask::post("/products", json!({ "name": sku, "variants": [variant] }).to_string()).signed(owner)
    };
    let made = stage.must_all(AT_ONCE, skus.iter().map(product).collect()).await?;
    let stock = |sku: &String| {
        let movement = json!({ "quantity": quantity, "reason": "received" });
        Ask::post(&format!("/stock/{sku}/movements"), movement.to_string()).signed(owner)
    };
    stage.must_all(AT_ONCE, skus.iter().map(stock).collect()).await?;
    Ok(skus
        .iter()
        .zip(&made)
        .map(|(sku, made)| Product { id: text(&made["id"]), sku: sku.clone() })
        .collect())
}

/// One of this, paid with a card that is good, under a key of its own.
pub fn order(stage: &Stage, customer: &Customer, sku: &str) -> Ask {
    let body = json!({
        "lines": [{ "sku": sku, "quantity": 1 }],
        "payment": { "token": "tok_success" },
        "address": {
            "name": "Ann Example", "line1": "1 Harbour Street",
            "city": "Hamburg", "postal_code": "20095", "country": "DE",
        },
    });
    let key = stage.world.uuid_v7().simple().to_string();
    Ask::post("/orders", body.to_string()).signed(&customer.token).keyed(&key)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
