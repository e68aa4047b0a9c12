//! Vendure, asked in GraphQL as its storefronts ask.

use load::{Answer, Ask, Broken, Connection};
use serde_json::{Value, json};

use super::{
    Plan,
    node::{Ground, Node, failed},
    shop::another,
};

/// A shop on Vendure that was filled.
pub struct Vendure {
    /// Its processes.
    pub node: Node,
    tokens: Vec<String>,
    variants: Vec<String>,
    shipping: String,
    payment: String,
}

/// What a storefront shows of a cart.
const CART: &str = "__typename ... on ErrorResult { errorCode message } \
    ... on Order { id code state totalWithTax lines { id quantity linePriceWithTax productVariant { id sku name } } }";

impl Vendure {
    /// A server and a worker, on PostgreSQL and Redis.
    pub fn start(plan: &Plan) -> Vendure {
        let ground = Ground::with_servers(&plan.vendure);
        Vendure::on(plan, ground, true)
    }

    /// One process, on SQLite.
    pub fn start_small(plan: &Plan) -> Vendure {
        Vendure::on(plan, Ground::alone(&plan.vendure), false)
    }

    fn on(plan: &Plan, mut ground: Ground, with_worker: bool) -> Vendure {
        ground.set("CUSTOMERS", plan.customers);
        ground.set("PRODUCTS", plan.products);
        ground.run(&["server.js", "prepare"]);
        let start = |does: &'static str| {
            ground.start("vendure", |ground, port| {
                let mut command = ground.command(&["server.js", does]);
                command.env("PORT", port.to_string());
                command
            })
        };
        let (worker, server) = (with_worker.then(|| start("work")), start("serve"));
        let filled = ground.filled();
        let texts = |name: &str| {
            let all = filled[name].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>()
        };
        let text = |name: &str| filled[name].as_str().unwrap_or_default().to_owned();
        Vendure {
            tokens: texts("tokens"),
            variants: texts("variants"),
            shipping: text("shipping"),
            payment: text("payment"),
            node: Node::new(server, worker, ground),
        }
    }

    /// The newest twenty products, with their variants and prices.
    pub fn page(&self) -> Ask {
        query(
            "{ products(options: { take: 20, sort: { createdAt: DESC } }) { items { id slug name description \
             variants { id sku name priceWithTax currencyCode } } } }",
            json!({}),
        )
    }

    /// Twenty products as its search index has them.
    pub fn searched_page(&self) -> Ask {
        query(
            "{ search(input: { take: 20, groupByProduct: true, sort: { name: ASC } }) { items { productId slug \
             productName description sku priceWithTax { ... on PriceRange { min max } } currencyCode } } }",
            json!({}),
        )
    }

    /// A visitor puts a first thing into a cart.
    pub async fn add_to_new_cart(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        let variant = &self.variants[number as usize % self.variants.len()];
        Ok(checked(connection.send(add(variant)).await?, "AddingItems"))
    }

    /// A customer buys one thing.
    pub async fn place_order(&self, number: u64, connection: &mut Connection) -> Result<Answer, Broken> {
        let token = &self.tokens[number as usize % self.tokens.len()];
        let variant = &self.variants[another(number, self.tokens.len(), self.variants.len())];
        let steps = [
            (add(variant), "AddingItems"),
            (
                mutation(
                    "mutation ($input: CreateAddressInput!) { done: setOrderShippingAddress(input: $input)",
                    json!({ "input": {
                        "fullName": "Ann Example", "streetLine1": "1 Harbour Street",
                        "city": "Hamburg", "postalCode": "20095", "countryCode": "DE",
                    } }),
                ),
                "AddingItems",
            ),
            (
                mutation(
                    "mutation ($id: [ID!]!) { done: setOrderShippingMethod(shippingMethodId: $id)",
                    json!({ "id": [self.shipping] }),
                ),
                "AddingItems",
            ),
            (
                mutation("mutation { done: transitionOrderToState(state: \"ArrangingPayment\")", json!({})),
                "ArrangingPayment",
            ),
            (
                mutation(
                    "mutation ($input: PaymentInput!) { done: addPaymentToOrder(input: $input)",
                    json!({ "input": { "method": self.payment, "metadata": {} } }),
                ),
                "PaymentSettled",
            ),
        ];
        let mut last = failed("nothing was asked");
        for (ask, state) in steps {
            last = checked(connection.send(ask.signed(token)).await?, state);
            if !last.is_done() {
                break;
            }
        }
        Ok(last)
    }
}

fn add(variant: &str) -> Ask {
    mutation(
        "mutation ($id: ID!) { done: addItemToOrder(productVariantId: $id, quantity: 1)",
        json!({ "id": variant }),
    )
}

/// A mutation that returns a cart, `done`.
fn mutation(begins: &str, variables: Value) -> Ask {
    query(&format!("{begins} {{ {CART} }} }}"), variables)
}

fn query(query: &str, variables: Value) -> Ask {
    Ask::post("/shop-api", json!({ "query": query, "variables": variables }).to_string())
}

/// The answer if it shows a cart in this state: GraphQL answers 200 whatever became of it.
fn checked(answer: Answer, state: &str) -> Answer {
    let said = answer.json();
    let done = &said["data"]["done"];
    if !answer.is_done() || done["state"] == state {
        return answer;
    }
    let why = [&done["errorCode"], &done["state"], &said["errors"][0]["message"]];
    failed(why.into_iter().find_map(Value::as_str).unwrap_or("an answer of another kind"))
}
