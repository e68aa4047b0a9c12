//! A shop with a long history: how long an audit of it takes, and how soon it
//! is open again when it was killed.
//!
//! A few hundred orders are bought, cancelled, shipped and paid back in a shop
//! that runs; then all that was written down for them is copied, under new ids
//! and at earlier times, until there are as many as wanted. An audit without a
//! breach shows that the copies are like the originals.

mod answers;
mod copies;
mod ids;
mod watch;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use load::{Ask, Load};
use serde_json::json;
use testkit::postgres;

use self::{
    answers::Answers,
    copies::{Before, Copies},
};
use crate::{
    asking::ask_all,
    fill::{Filled, fill},
    shop::{self, buy, fresh_key, wait_until_settled},
    stacks::{Kind, Stack},
};

/// How a run goes.
#[derive(clap::Args)]
pub struct Plan {
    /// The program to measure; build it with `cargo build --release`.
    #[arg(long, default_value = "target/release/carmel")]
    carmel: PathBuf,
    /// How many orders there are to be; they are made two hundred at a time.
    #[arg(long, default_value_t = 1_000_000)]
    orders: u64,
    /// Over how many days they are spread. Finished jobs and events are there of the last seven.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// How often each measurement is taken.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// The same shop once more on PostgreSQL, moved there by `carmel move`.
    #[arg(long)]
    postgres: bool,
    /// An existing, empty folder for the data; a temporary one when nothing is said.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// So many orders are copied.
const BATCH: u64 = 200;
const CUSTOMERS: usize = 50;
const PRODUCTS: usize = 100;
/// For how long people buy before the shop is killed.
const LOAD: Duration = Duration::from_secs(5);
/// How long it may take to finish what is under way.
const END: Duration = Duration::from_secs(60);

/// Runs it and says what it took.
pub async fn run(plan: &Plan) {
    let folder = plan.folder.as_ref().map(|folder| folder.canonicalize().expect("--folder is there"));
    let mut stack_plan = shop::Plan::of(&plan.carmel, CUSTOMERS, PRODUCTS);
    stack_plan.settings.push("CARMEL_TOKENS_ACCESS_MINUTES=1440".into()); // a history takes a while
    stack_plan.settings.extend(folder.iter().map(|f| format!("CARMEL_DATA_FOLDER={}", f.display())));
    let mut stack = Stack::start(&stack_plan, Kind::Embedded).await;
    let data = folder.unwrap_or_else(|| stack.carmel().folder().join("data"));
    let (filled, few) = furnish(&stack_plan, &mut stack, plan, &data).await;

    measure(plan, &mut stack, (&filled, &data, Some(&few)), "SQLite").await;
    if plan.postgres {
        let server = postgres::Server::own(&["max_connections=200"]);
        let (url, began) = (server.database(), Instant::now());
        let (status, said) = stack.carmel().run(&["move", "--to", &url]).await;
        assert!(status.success(), "{said}");
        println!("moved to PostgreSQL in {:.0?}", began.elapsed());
        stack.carmel().set("DATABASE_URL", &url);
        measure(plan, &mut stack, (&filled, &data, None), "PostgreSQL").await;
    }
}

/// Makes the history; the shop does not run afterwards. Says how it answered before.
async fn furnish(
    shop_plan: &shop::Plan,
    stack: &mut Stack<'_>,
    plan: &Plan,
    data: &Path,
) -> (Filled, Answers) {
    let filled = fill(shop_plan, stack).await;
    // Everybody has bought something before: what is only written the first time is not copied.
    let first = filled.customers.iter().map(|customer| buy(customer, &filled.products[0].sku, "tok_success"));
    ask_all(stack.address(), 8, first.collect()).await;
    quiet(stack, &filled, data).await;
    let before = Before::look(data);
    business(stack, &filled).await;
    quiet(stack, &filled, data).await;
    let few = answers::look(stack, &filled).await;
    stack.carmel().terminate(END).await;

    let began = Instant::now();
    let copies = Copies { count: plan.orders / BATCH, days: plan.days };
    let rows = copies::multiply(data, &before, &copies);
    println!(
        "{} orders of {} days, {rows} rows and {:.1} GB of them, made in {:.0?}",
        copies.count * BATCH,
        plan.days,
        copies::size_bytes(data, ".db") as f64 / 1e9,
        began.elapsed()
    );
    (filled, few)
}

/// What a shop does all day: most is shipped, some declined, cancelled, paid back.
async fn business(stack: &Stack<'_>, filled: &Filled) {
    let orders = (0..BATCH as usize).map(|at| {
        let card = if at % 20 == 0 { "tok_declined" } else { "tok_success" };
        let sku = &filled.products[at * 7 % PRODUCTS].sku;
        buy(&filled.customers[at % CUSTOMERS], sku, card)
    });
    let placed = ask_all(stack.address(), 8, orders.collect()).await;
    wait_until_settled(stack, filled).await;
    let change = |at: usize, verb: &str, body: serde_json::Value| {
        let id = placed[at]["id"].as_str().expect("an order has an id");
        let key = fresh_key();
        Ask::post(&format!("/orders/{id}/{verb}"), body.to_string()).signed(&filled.staff).keyed(&key)
    };
    let of = |digits: &[usize]| -> Vec<usize> {
        (0..BATCH as usize).filter(|at| at % 20 != 0 && digits.contains(&(at % 10))).collect()
    };
    let shipped = of(&[1, 2, 3, 4, 5, 6, 7]);
    let travel = json!({ "carrier": "DHL", "tracking": "JJD000390007" });
    let ship = shipped.iter().map(|at| change(*at, "ship", travel.clone()));
    ask_all(stack.address(), 8, ship.collect()).await;
    let deliver = shipped.iter().map(|at| change(*at, "deliver", json!({})));
    ask_all(stack.address(), 8, deliver.collect()).await;
    let refund = of(&[7, 8]).into_iter().map(|at| change(at, "refund", json!({})));
    ask_all(stack.address(), 8, refund.collect()).await;
}

/// Waits until nothing is under way: no order, no job and no event.
async fn quiet(stack: &Stack<'_>, filled: &Filled, data: &Path) {
    wait_until_settled(stack, filled).await;
    let until = Instant::now() + Duration::from_secs(60);
    while copies::under_way(data) > 0 {
        assert!(Instant::now() < until, "jobs or events are left over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn measure(
    plan: &Plan,
    stack: &mut Stack<'_>,
    (filled, data, few): (&Filled, &Path, Option<&Answers>),
    engine: &str,
) {
    let mut audits = Vec::new();
    for _ in 0..plan.turns {
        let audit = watch::audit(stack).await;
        let (took, busy, peak_mb) = (audit.took.as_secs_f64(), audit.busy, audit.peak_mb);
        println!("{engine}: audit in {took:.1} s, {busy:.1} s of a core, {peak_mb:.0} MB at most");
        audits.push(audit.took.as_secs_f64());
    }
    println!("{engine}: audit, median of {}: {:.1} s", plan.turns, median(&mut audits));

    stack.carmel().restart().await;
    answers::print(engine, few, &answers::look(stack, filled).await);
    let mut starts = Vec::new();
    for turn in 0..plan.turns {
        let load = Load { address: stack.address(), connections: 16, span: LOAD, per_second: None };
        let order = |count: u64| {
            let sku = &filled.products[count as usize % PRODUCTS].sku;
            buy(&filled.customers[count as usize % CUSTOMERS], sku, "tok_success")
        };
        // It is killed a while before the load ends: the rest meets nobody.
        let (outcome, (took, wal_mb)) = tokio::join!(load.made(&order), async {
            tokio::time::sleep(LOAD - Duration::from_millis(300)).await;
            stack.carmel().kill();
            let wal_mb = copies::size_bytes(data, ".db-wal") as f64 / 1e6;
            (stack.carmel().restart().await, wal_mb)
        });
        println!(
            "{engine}: killed under load ({} orders placed, {wal_mb:.1} MB of WAL), ready after {:.2} s (turn {})",
            outcome.answers,
            took.as_secs_f64(),
            turn + 1
        );
        starts.push(took.as_secs_f64());
    }
    println!("{engine}: ready after kill -9, median of {}: {:.2} s", plan.turns, median(&mut starts));
    wait_until_settled(stack, filled).await;
    stack.carmel().terminate(END).await;
    let last = watch::audit(stack).await;
    println!("{engine}: audit after all that in {:.1} s, without a breach", last.took.as_secs_f64());
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
