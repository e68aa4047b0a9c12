//! Customers and products, made through the front door.

use load::Ask;
use serde_json::{Value, json};

use crate::{
    asking::{ask, ask_all},
    shop::Plan,
    stacks::{Kind, Stack},
};

/// What a shop was filled with.
pub struct Filled {
    /// Those who buy.
    pub customers: Vec<Customer>,
    /// What they buy.
    pub products: Vec<Product>,
    /// The token of somebody who may see everything, if there are tokens.
    pub staff: String,
}

/// Somebody who buys.
pub struct Customer {
    /// As the shop names them.
    pub id: String,
    /// What they sign in with.
    pub email: String,
    /// Where their account is.
    pub path: String,
    /// Proof that it is them, if the shop asks for any.
    pub token: String,
}

impl Customer {
    /// Whom a server shows that knows nobody.
    fn nobody() -> Customer {
        Customer { id: "1".into(), email: String::new(), path: "/users/1".into(), token: String::new() }
    }
}

/// Something to buy.
pub struct Product {
    /// What it is ordered by.
    pub sku: String,
    /// Where it is.
    pub path: String,
}

/// Everybody's.
pub const PASSWORD: &str = "correct horse battery staple";
/// At once while filling: not measured, and kind to password hashing.
const AT_ONCE: usize = 16;

/// Fills an empty shop.
pub async fn fill(plan: &Plan, stack: &Stack<'_>) -> Filled {
    match stack.kind {
        Kind::Embedded | Kind::Postgres => fill_carmel(plan, stack).await,
        Kind::Bare => {
            Filled { customers: vec![Customer::nobody()], products: Vec::new(), staff: String::new() }
        }
        _ => fill_express(plan, stack).await,
    }
}

async fn fill_carmel(plan: &Plan, stack: &Stack<'_>) -> Filled {
    let address = stack.address();
    let (email, password) = stack.administrator();
    let staff = sign_in(stack, &email, &password).await;

    let emails: Vec<String> = (0..plan.customers).map(|n| format!("buyer-{n}@example.com")).collect();
    let sign_up = |email: &String| {
        Ask::post("/users", json!({ "name": "Buyer", "email": email, "password": PASSWORD }).to_string())
    };
    ask_all(address, AT_ONCE, emails.iter().map(sign_up).collect()).await;
    let sign_in =
        |email: &String| Ask::post("/login", json!({ "email": email, "password": PASSWORD }).to_string());
    let signed_in = ask_all(address, AT_ONCE, emails.iter().map(sign_in).collect()).await;
    let customers = emails.iter().zip(&signed_in).map(|(email, answer)| {
        let (id, token) = (text(&answer["user"]["id"]), text(&answer["access_token"]));
        Customer { path: format!("/users/{id}"), email: email.clone(), id, token }
    });

    let skus: Vec<String> = (0..plan.products).map(|n| format!("bench-{n}")).collect();
    let product = |sku: &String| {
        let variant = json!({ "sku": sku, "price": { "amount": 1200, "currency": "EUR" } });
        Ask::post("/products", json!({ "name": sku, "variants": [variant] }).to_string()).signed(&staff)
    };
    let made = ask_all(address, AT_ONCE, skus.iter().map(product).collect()).await;
    let stock = |sku: &String| {
        let movement = json!({ "quantity": 10_000_000, "reason": "received" });
        Ask::post(&format!("/stock/{sku}/movements"), movement.to_string()).signed(&staff)
    };
    ask_all(address, AT_ONCE, skus.iter().map(stock).collect()).await;
    let products = skus.iter().zip(&made).map(|(sku, product)| Product {
        sku: sku.clone(),
        path: format!("/products/{}", text(&product["id"])),
    });
    Filled { customers: customers.collect(), products: products.collect(), staff }
}

async fn sign_in(stack: &Stack<'_>, email: &str, password: &str) -> String {
    let body = json!({ "email": email, "password": password }).to_string();
    let (status, answer) = ask(stack.address(), Ask::post("/login", body)).await;
    assert_eq!(status, 200, "{answer}");
    text(&answer["access_token"])
}

async fn fill_express(plan: &Plan, stack: &Stack<'_>) -> Filled {
    let address = stack.address();
    let user = |n| json!({ "name": "Buyer", "email": format!("buyer-{n}@example.com") }).to_string();
    let users = (0..plan.customers).map(|n| Ask::post("/users", user(n))).collect();
    let customers = ask_all(address, AT_ONCE, users).await.into_iter().map(|user| {
        let id = text(&user["id"]);
        Customer { path: format!("/users/{id}"), email: text(&user["email"]), id, token: String::new() }
    });
    let customers = customers.collect();
    let skus: Vec<String> = (0..plan.products).map(|n| format!("bench-{n}")).collect();
    let product =
        |sku: &String| Ask::post("/products", json!({ "sku": sku, "name": sku, "price": 1200 }).to_string());
    let made = ask_all(address, AT_ONCE, skus.iter().map(product).collect()).await;
    let products = skus.iter().zip(&made).map(|(sku, product)| Product {
        sku: sku.clone(),
        path: format!("/products/{}", text(&product["id"])),
    });
    Filled { customers, products: products.collect(), staff: String::new() }
}

/// Text, or a number as text: `pg` gives a BIGINT as text already.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
