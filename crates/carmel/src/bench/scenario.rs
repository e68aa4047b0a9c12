//! What is asked of a shop, each with a name that a user can choose it by.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use kernel::{Error, Result};
use load::{Ask, Load, Outcome};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Options, SETTLE,
    crowd::{self, Crowd, Customer, Product, order},
    report::{Asked, Measured, Sale, Took},
    stage::Stage,
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Pages of the catalogue, and products, one after the other.
    Browse,
    /// Every customer's account, once, in a shop that has just started.
    ColdRead,
    /// Every customer's account, again and again.
    CachedRead,
    /// New accounts, without a password.
    SignUp,
    /// Orders, of all products in turn, until each is paid.
    Buy,
    /// Every customer orders one of the same thing, of which there is too little.
    FlashSale,
    /// Jobs that do nothing, added a hundred at a time.
    Queue,
    /// Eighty in a hundred browse, ten look at their account, five at their orders, four buy, one signs up.
    Mixed,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is left out").get_name())
    }
}

/// States in which an order has not ended.
const UNDER_WAY: [&str; 5] = ["placed", "held", "authorised", "committed", "cancelling"];

impl Scenario {
    /// Runs it, and notes what must not be; of what a flash sale is about there
    /// are so many pieces.
    pub async fn run(self, stage: &Stage, crowd: &Crowd, load: Load, pieces: u64) -> Result<Measured> {
        let run = Run { stage, crowd, load };
        let measured = match self {
            Scenario::Browse => run.measure(self, run.load.made(&|count| run.browse(count))).await,
            Scenario::ColdRead => {
                stage.restart().await?;
                let all: Vec<Ask> = crowd.customers.iter().map(account).collect();
                run.measure(self, run.load.once(&all)).await
            }
            Scenario::CachedRead => {
                let account = |count| account(run.customer(count));
                run.measure(self, run.load.made(&account)).await
            }
            Scenario::SignUp => run.measure(self, run.load.made(&|_| run.sign_up())).await,
            Scenario::Buy => {
                run.all_paid(run.measure_orders(self, run.load.made(&|count| run.buy(count)))).await
            }
            Scenario::FlashSale => run.flash_sale(pieces).await,
            Scenario::Queue => stage.queue().measure(load.connections, load.span).await,
            Scenario::Mixed => {
                run.all_paid(run.measure(self, run.load.made(&|count| run.visit(count)))).await
            }
        }?;
        stage.note(measured.breach());
        Ok(measured)
    }
}

/// As the user wants it.
pub fn load_of(stage: &Stage, options: &Options) -> Load {
    Load {
        address: stage.address,
        connections: options.connections as usize,
        span: Duration::from_secs(options.seconds),
        per_second: options.rate.map(|rate| rate as f64),
    }
}

fn account(customer: &Customer) -> Ask {
    Ask::get(&format!("/users/{}", customer.id)).signed(&customer.token)
}

struct Run<'a> {
    stage: &'a Stage,
    crowd: &'a Crowd,
    load: Load,
}

impl Run<'_> {
    fn customer(&self, count: u64) -> &Customer {
        &self.crowd.customers[count as usize % self.crowd.customers.len()]
    }

    /// Every customer meets another one each time.
    fn product(&self, count: u64) -> &Product {
        let (count, products) = (count as usize, &self.crowd.products);
        &products[(count * 7 + count / self.crowd.customers.len()) % products.len()]
    }

    fn browse(&self, count: u64) -> Ask {
        match count % 4 {
            0 => Ask::get("/products?limit=20"),
            _ => Ask::get(&format!("/products/{}", self.product(count).id)),
        }
    }

    fn sign_up(&self) -> Ask {
        let email = format!("{}@example.com", self.stage.world.uuid_v7().simple());
        Ask::post("/users", json!({ "name": "New", "email": email }).to_string())
    }

    fn buy(&self, count: u64) -> Ask {
        order(self.stage, self.customer(count), &self.product(count).sku)
    }

    fn visit(&self, count: u64) -> Ask {
        let turn = count / 100; // everybody's turn comes for each of these
        match count % 100 {
            0..80 => self.browse(count),
            80..90 => account(self.customer(turn * 10 + count % 10)),
            90..95 => Ask::get("/orders?limit=20").signed(&self.customer(turn * 5 + count % 5).token),
            95..99 => self.buy(turn * 4 + count % 4),
            _ => self.sign_up(),
        }
    }

    async fn flash_sale(&self, pieces: u64) -> Result<Measured> {
        let sku = format!("flash-{}", self.stage.world.uuid_v7().simple());
        crowd::put_up(self.stage, &self.crowd.owner, std::slice::from_ref(&sku), pieces).await?;
        let orders: Vec<Ask> =
            self.crowd.customers.iter().map(|customer| order(self.stage, customer, &sku)).collect();
        let mut measured = self.measure_orders(Scenario::FlashSale, self.load.once(&orders)).await?;
        let stock = self.look(&format!("/stock/{sku}")).await?;
        let (Some(on_hand), Some(still_held)) = (stock["on_hand"].as_i64(), stock["held"].as_i64()) else {
            let message = format!("the stock of {sku} does not say what is on hand and held: {stock}");
            return Err(Error::unavailable("answer_not_understood", message));
        };
        let (wanted, sold) = (orders.len() as u64, pieces as i64 - on_hand);
        measured.sale = Some(Sale { pieces, wanted, sold, still_held });
        Ok(measured)
    }

    /// Runs a load and notes what it took of the machine, until no order is under way any more.
    async fn measure(&self, scenario: Scenario, load: impl Future<Output = Outcome>) -> Result<Measured> {
        let me = std::process::id();
        let (before, asked_before) = (self.stage.used().await, self.stage.asked().await?);
        let (my_before, began) = (load::busy(me), Instant::now());
        let outcome = load.await;
        let mine = load::busy(me).saturating_sub(my_before);
        if outcome.answers == 0 {
            let message = format!("{scenario}: nothing was answered: {:?}", outcome.failures);
            return Err(Error::unavailable("nothing_answered", message));
        }
        self.until_settled().await?;
        let (used, span) = (self.stage.used().await, began.elapsed());
        let asked = Asked::between(asked_before, self.stage.asked().await?, outcome.answers);
        let took = Took { processes: used.since(&before, span), load: mine, span, asked };
        Ok(Measured::of(scenario, outcome, took))
    }

    /// The same of orders alone: how many have ended a second.
    async fn measure_orders(
        &self,
        scenario: Scenario,
        load: impl Future<Output = Outcome>,
    ) -> Result<Measured> {
        let began = Instant::now();
        let mut measured = self.measure(scenario, load).await?;
        measured.settled_per_second = Some(measured.answers as f64 / began.elapsed().as_secs_f64());
        Ok(measured)
    }

    /// Nobody's order may be cancelled: there is enough of everything, and every card is good.
    async fn all_paid(&self, measuring: impl Future<Output = Result<Measured>>) -> Result<Measured> {
        let newest = async || self.look("/orders?state=cancelled&limit=1").await;
        let before = newest().await?["items"][0]["id"].clone();
        let mut measured = measuring.await?;
        let after = newest().await?["items"][0]["id"].clone();
        if before != after {
            measured.unpaid = after.as_str().map(str::to_owned);
        }
        Ok(measured)
    }

    async fn until_settled(&self) -> Result<()> {
        let until = Instant::now() + SETTLE;
        for state in UNDER_WAY {
            let path = format!("/orders?state={state}&limit=1");
            while self.look(&path).await?["items"].as_array().is_some_and(|items| !items.is_empty()) {
                if Instant::now() > until {
                    let message =
                        format!("there are orders in the state {state} after {} s", SETTLE.as_secs());
                    return Err(Error::unavailable("not_settled", message));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn look(&self, path: &str) -> Result<Value> {
        self.stage.must(Ask::get(path).signed(&self.crowd.owner)).await
    }
}
