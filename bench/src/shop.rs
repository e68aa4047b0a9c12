//! The plan of a run: which stacks, in turns, under which loads.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use load::{Ask, Load, Outcome, busy};
use serde_json::json;

use crate::{
    fill::{Customer, Filled, fill},
    limits,
    stacks::{Kind, Stack},
    table::Table,
};

/// How a run goes.
#[derive(clap::Args)]
pub struct Plan {
    /// The program to measure; build it with `cargo build --release`.
    #[arg(long, default_value = "target/release/carmel")]
    pub carmel: PathBuf,
    /// Where the Express stack is; `npm install` it first.
    #[arg(long, default_value = "bench/express")]
    pub express: PathBuf,
    /// Which stacks.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "embedded,postgres,express,express-cluster,bare,pgbench,sqlite-loop,redis-benchmark"
    )]
    pub only: Vec<Kind>,
    /// How often each stack has its turn.
    #[arg(long, default_value_t = 5)]
    pub turns: usize,
    /// How long each load lasts.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// How many connections ask at once.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Threads of the load itself.
    #[arg(long, default_value_t = 1)]
    pub load_threads: usize,
    /// Distinct customers, each with a token.
    #[arg(long, default_value_t = 3000)]
    pub customers: usize,
    /// Distinct products, each with stock.
    #[arg(long, default_value_t = 1000)]
    pub products: usize,
    /// A setting of Carmel: `CARMEL_JOBS_CONCURRENCY=64`. May be given again.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl Plan {
    /// Of a shop that is not compared with others: so many customers and products.
    pub fn of(carmel: &Path, customers: usize, products: usize) -> Plan {
        Plan {
            carmel: carmel.to_owned(),
            express: PathBuf::new(),
            only: vec![Kind::Embedded],
            turns: 1,
            seconds: 1,
            connections: 1,
            load_threads: 1,
            customers,
            products,
            settings: Vec::new(),
        }
    }
}

/// What the limits have in common with the shops.
pub const READ: &str = "GET /users/:id, each once, by staff";
pub const READ_AGAIN: &str = "GET /users/:id, warm";
pub const SIGN_UP: &str = "POST /users, without a password";
/// The same, each with a token that was not seen before.
const READ_OWN: &str = "GET /users/:id, each once, by themselves";
/// The tutorial's way with an order: into a queue that keeps nothing, from which a worker inserts it.
const ENQUEUED: &str = "POST to a bare queue (BullMQ)";
const INSERTED: &str = "rows inserted from it per second";

/// Runs it and prints a table.
pub async fn run(plan: &Plan) {
    let began = Instant::now();
    let mut table = Table::comparing(&[(Kind::Embedded, Kind::Express), (Kind::Postgres, Kind::Express)]);
    for turn in 1..=plan.turns {
        for kind in &plan.only {
            eprintln!("turn {turn} of {}: {kind}", plan.turns);
            match kind.is_limit() {
                true => limits::take_turn(plan, *kind, &mut table),
                false => take_turn(plan, *kind, &mut table).await,
            }
        }
    }
    println!(
        "{} turns, {} s per load, {} connections, {} customers, {} products; median (least–most); {:?} in all\n",
        plan.turns,
        plan.seconds,
        plan.connections,
        plan.customers,
        plan.products,
        Duration::from_secs(began.elapsed().as_secs()),
    );
    println!("{table}");
}

async fn take_turn(plan: &Plan, kind: Kind, table: &mut Table<Kind>) {
    let mut stack = Stack::start(plan, kind).await;
    let filled = fill(plan, &stack).await;
    table.add("memory when filled, MB", kind, stack.memory_mb());
    let span = Duration::from_secs(plan.seconds);
    let load_of = |address| Load { address, connections: plan.connections, span, per_second: None };
    let mut load = load_of(stack.restart_cold().await);

    let get =
        |path: &str| if kind == Kind::ExpressGzip { Ask::get(path).compressed() } else { Ask::get(path) };
    let users: Vec<Ask> =
        filled.customers.iter().map(|customer| get(&customer.path).signed(&customer.token)).collect();
    if kind == Kind::Bare {
        measured(table, kind, READ_AGAIN, &stack, load.repeat(&users)).await;
        return;
    }
    let by_staff: Vec<Ask> =
        filled.customers.iter().map(|customer| get(&customer.path).signed(&filled.staff)).collect();
    measured(table, kind, READ, &stack, load.once(&by_staff)).await;
    load = load_of(stack.restart_cold().await);
    measured(table, kind, READ_OWN, &stack, load.once(&users)).await;
    measured(table, kind, READ_AGAIN, &stack, load.repeat(&users)).await;
    let products: Vec<Ask> = filled.products.iter().map(|product| get(&product.path)).collect();
    measured(table, kind, "GET /products/:id", &stack, load.repeat(&products)).await;
    let page = [get("/products?limit=20")];
    measured(table, kind, "GET /products, a page of twenty", &stack, load.repeat(&page)).await;
    let sign_up =
        |count: u64| Ask::post("/users", format!(r#"{{"name":"New","email":"new-{count}@example.com"}}"#));
    measured(table, kind, SIGN_UP, &stack, load.made(&sign_up)).await;

    let began = Instant::now();
    let orders = |count: u64| order(kind, &filled, count);
    let placed = measured(table, kind, "POST /orders", &stack, load.made(&orders)).await;
    wait_until_settled(&stack, &filled).await;
    let settled = placed.answers as f64 / began.elapsed().as_secs_f64();
    table.add("orders settled per second", kind, settled);
    if kind.has_queue() {
        let began = Instant::now();
        let enqueue = |count: u64| {
            let customer = &filled.customers[count as usize % filled.customers.len()];
            Ask::post(
                "/queued-orders",
                format!(r#"{{"userId":{},"sku":"bench-1","quantity":1}}"#, customer.id),
            )
        };
        let enqueued = measured(table, kind, ENQUEUED, &stack, load.made(&enqueue)).await;
        wait_for(async || stack.is_drained().await, "the queue is not drained").await;
        table.add(INSERTED, kind, enqueued.answers as f64 / began.elapsed().as_secs_f64());
    }
    let seen: Vec<Ask> = stack.some_orders(&filled).await;
    measured(table, kind, "GET /orders/:id", &stack, load.repeat(&seen)).await;
    table.add("memory at the end, MB", kind, stack.memory_mb());
    stack.check(&filled).await;
}

/// Runs one load; notes its rate and how busy everybody was.
async fn measured(
    table: &mut Table<Kind>,
    kind: Kind,
    what: &'static str,
    stack: &Stack<'_>,
    load: impl Future<Output = Outcome>,
) -> Outcome {
    let (me, server, began) = (busy(std::process::id()), stack.busy(), Instant::now());
    let outcome = load.await;
    let span = began.elapsed().as_secs_f64();
    let share = |busy: Duration| busy.as_secs_f64() / span * 100.0;
    let millis = |share| outcome.within(share).as_secs_f64() * 1000.0;
    eprintln!(
        "  {what:32} {:8.0}/s   p50 {:6.2} ms  p99 {:6.2} ms   server {:3.0} % of a core, load {:3.0} %",
        outcome.rate(),
        millis(0.50),
        millis(0.99),
        share(stack.busy() - server),
        share(busy(std::process::id()) - me),
    );
    report(&outcome, kind);
    table.add(what, kind, outcome.rate());
    outcome
}

/// A figure with failures in it is none.
fn report(outcome: &Outcome, kind: Kind) {
    assert!(outcome.answers > 0, "{kind} answered nothing: {:?}", outcome.failures);
    if !outcome.failures.is_empty() {
        eprintln!("  !! {kind} failed: {:?}", outcome.failures);
    }
}

/// The order with this number: customers and products in turn, so that each
/// customer buys something else each time.
fn order(kind: Kind, filled: &Filled, count: u64) -> Ask {
    let customer = &filled.customers[count as usize % filled.customers.len()];
    let product = &filled.products
        [(count as usize * 7 + count as usize / filled.customers.len()) % filled.products.len()];
    match kind.is_carmel() {
        false => {
            let body = format!(r#"{{"userId":{},"sku":"{}","quantity":1}}"#, customer.id, product.sku);
            Ask::post("/orders", body)
        }
        true => {
            let body = format!(
                r#"{{"lines":[{{"sku":"{}","quantity":1}}],"payment":{{"token":"tok_success"}},"address":{{"name":"Ann Example","line1":"1 Harbour Street","city":"Hamburg","postal_code":"20095","country":"DE"}}}}"#,
                product.sku
            );
            Ask::post("/orders", body).signed(&customer.token).keyed(&format!("{}-{count}", customer.id))
        }
    }
}

/// An order of one thing, paid with this card.
pub fn buy(customer: &Customer, sku: &str, card: &str) -> Ask {
    let body = json!({
        "lines": [{ "sku": sku, "quantity": 1 }],
        "payment": { "token": card },
        "address": {
            "name": "Ann Example", "line1": "1 Harbour Street",
            "city": "Hamburg", "postal_code": "20095", "country": "DE",
        },
    });
    Ask::post("/orders", body.to_string()).signed(&customer.token).keyed(&fresh_key())
}

/// An idempotency key: an id, as the ids in a database are written.
pub fn fresh_key() -> String {
    kernel::World::real().uuid_v7().simple().to_string()
}

/// Waits until no order is under way.
pub async fn wait_until_settled(stack: &Stack<'_>, filled: &Filled) {
    wait_for(async || stack.is_settled(filled).await, "orders do not settle").await;
}

async fn wait_for(so: impl AsyncFn() -> bool, or_else: &str) {
    let until = Instant::now() + Duration::from_secs(120);
    while !so().await {
        assert!(Instant::now() < until, "{or_else}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
