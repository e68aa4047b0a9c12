//! Medusa, asked as its storefronts ask.

use load::{Answer, Ask, Broken, Connection};
use serde_json::{Value, json};

use super::{
    Plan,
    node::{Ground, Node, failed},
    shop::another,
};
use crate::asking::ask_all;

/// A shop on Medusa that was filled.
pub struct Medusa {
    /// Its processes.
    pub node: Node,
    tokens: Vec<String>,
    variants: Vec<String>,
    key: String,
    region: String,
    shipping: String,
}

const PROGRAM: &str = "node_modules/@medusajs/cli/cli.js";

impl Medusa {
    /// A server and a worker, on PostgreSQL and Redis.
    pub async fn start(plan: &Plan) -> Medusa {
        let mut ground = Ground::with_servers(&plan.medusa);
        ground.set("PRODUCTS", plan.products);
        ground.run(&[PROGRAM, "db:migrate"]);
        ground.run(&[PROGRAM, "exec", "seed.js"]);
        let start = |mode: &str| {
            ground.start("medusa", |ground, port| {
                let port = port.to_string();
                let mut command = ground.command(&[PROGRAM, "start", "--host", "127.0.0.1", "--port", &port]);
                command.env("WORKER_MODE", mode);
                command
            })
        };
        let (worker, server) = (start("worker"), start("server"));
        let filled = ground.filled();
        let variants = filled["variants"].as_array().into_iter().flatten().map(text).collect();
        let mut medusa = Medusa {
            tokens: Vec::new(),
            variants,
            key: text(&filled["key"]),
            region: text(&filled["region"]),
            shipping: text(&filled["shipping"]),
            node: Node::new(server, Some(worker), ground),
        };
        medusa.tokens = medusa.customers(plan.customers).await;
        medusa
    }

    /// Makes customers; returns the token of each.
    async fn customers(&self, customers: usize) -> Vec<String> {
        const AT_ONCE: usize = 8;
        let emails: Vec<String> = (0..customers).map(|n| format!("buyer-{n}@example.com")).collect();
        let who = |email: &String| json!({ "email": email, "password": "correct horse" });
        let register = |email| self.post("/auth/customer/emailpass/register", who(email));
        let registered = ask_all(self.node.address(), AT_ONCE, emails.iter().map(register).collect()).await;
        let customer = |(email, registered): (&String, &Value)| {
            let body = json!({ "email": email, "first_name": "Ann", "last_name": "Example" });
            self.post("/store/customers", body).signed(&text(&registered["token"]))
        };
        let made = emails.iter().zip(&registered).map(customer).collect();
        ask_all(self.node.address(), AT_ONCE, made).await;
        let sign_in = |email| self.post("/auth/customer/emailpass", who(email));
        let signed_in = ask_all(self.node.address(), AT_ONCE, emails.iter().map(sign_in).collect()).await;
        signed_in.iter().map(|answer| text(&answer["token"])).collect()
    }

    /// The newest twenty products, with their variants and prices.
    pub fn page(&self) -> Ask {
        let fields =
            "id,handle,title,description,variants.id,variants.sku,variants.title,*variants.calculated_price";
        let path =
            format!("/store/products?limit=20&order=-created_at&region_id={}&fields={fields}", self.region);
        Ask::get(&path).with("x-publishable-api-key", &self.key)
    }

    /// A visitor puts a first thing into a cart.
    pub async fn add_to_new_cart(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        let variant = &self.variants[number as usize % self.variants.len()];
        let cart = json!({ "region_id": self.region, "items": [{ "variant_id": variant, "quantity": 1 }] });
        connection.send(self.post("/store/carts", cart)).await
    }

    /// A customer buys one thing.
    pub async fn place_order(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        let token = &self.tokens[number as usize % self.tokens.len()];
        let variant = &self.variants[another(number, self.tokens.len(), self.variants.len())];
        let mut send = async |path: &str, body| connection.send(self.post(path, body).signed(token)).await;

        let cart = json!({
            "region_id": self.region,
            "items": [{ "variant_id": variant, "quantity": 1 }],
            "shipping_address": {
                "first_name": "Ann", "last_name": "Example", "address_1": "1 Harbour Street",
                "city": "Hamburg", "postal_code": "20095", "country_code": "de",
            },
        });
        let answer = send("/store/carts", cart).await?;
        let Some(cart) = id(&answer, "cart") else { return Ok(answer) };

        let shipping = json!({ "option_id": self.shipping });
        let answer = send(&format!("/store/carts/{cart}/shipping-methods"), shipping).await?;
        if !answer.is_done() {
            return Ok(answer);
        }
        let answer = send("/store/payment-collections", json!({ "cart_id": cart })).await?;
        let Some(payment) = id(&answer, "payment_collection") else { return Ok(answer) };

        let provider = json!({ "provider_id": "pp_system_default" });
        let answer =
            send(&format!("/store/payment-collections/{payment}/payment-sessions"), provider).await?;
        if !answer.is_done() {
            return Ok(answer);
        }
        let answer = send(&format!("/store/carts/{cart}/complete"), json!({})).await?;
        // It answers 200 with the cart when that could not be completed.
        let why = answer.json()["error"]["message"].as_str().map(failed);
        Ok(why.filter(|_| answer.is_done()).unwrap_or(answer))
    }

    fn post(&self, path: &str, body: Value) -> Ask {
        Ask::post(path, body.to_string()).with("x-publishable-api-key", &self.key)
    }
}

/// The id of what was made.
fn id(answer: &Answer, what: &str) -> Option<String> {
    answer.json()[what]["id"].as_str().map(str::to_owned)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
