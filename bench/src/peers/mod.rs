//! The same errands in Carmel and in shops that install from npm, in turns.

mod medusa;
mod node;
mod shop;
mod vendure;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use load::{Load, Outcome, busy};

use crate::{asking::ask, table::Table};
use shop::{Peer, Shop};

/// How a run goes.
#[derive(clap::Args)]
pub struct Plan {
    /// The program to measure; build it with `cargo build --release`.
    #[arg(long, default_value = "target/release/carmel")]
    pub carmel: PathBuf,
    /// Where the shop on Vendure is; `npm install` it first.
    #[arg(long, default_value = "bench/vendure")]
    pub vendure: PathBuf,
    /// Where the shop on Medusa is; `npm install` it first.
    #[arg(long, default_value = "bench/medusa")]
    pub medusa: PathBuf,
    /// Which shops.
    #[arg(long, value_delimiter = ',', default_value = "embedded,postgres,vendure-sqlite,vendure,medusa")]
    pub only: Vec<Peer>,
    /// How often each shop has its turn.
    #[arg(long, default_value_t = 3)]
    pub turns: usize,
    /// How long each load lasts; what was begun is finished.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// How long each load goes on before it is measured.
    #[arg(long, default_value_t = 3)]
    pub warm_up_seconds: u64,
    /// How many connections ask at once.
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Distinct customers, each signed in.
    #[arg(long, default_value_t = 300)]
    pub customers: usize,
    /// Distinct products, each with stock.
    #[arg(long, default_value_t = 1000)]
    pub products: usize,
}

/// Runs it and prints a table.
pub async fn run(plan: &Plan) {
    assert!(plan.customers > plan.connections, "each customer places one order at a time");
    let began = Instant::now();
    let mut table = Table::comparing(&[]);
    for turn in 1..=plan.turns {
        for peer in &plan.only {
            eprintln!("turn {turn} of {}: {peer}", plan.turns);
            take_turn(plan, *peer, &mut table).await;
        }
    }
    println!(
        "{} turns, {} s per load after {} s, {} connections, {} customers, {} products; \
         median (least–most); {:?} in all\n",
        plan.turns,
        plan.seconds,
        plan.warm_up_seconds,
        plan.connections,
        plan.customers,
        plan.products,
        Duration::from_secs(began.elapsed().as_secs()),
    );
    println!("{table}");
}

async fn take_turn(plan: &Plan, peer: Peer, table: &mut Table<Peer>) {
    let carmel = crate::shop::Plan::of(&plan.carmel, plan.customers, plan.products);
    let shop = Shop::start(plan, &carmel, peer).await;
    let turn = Turn { plan, peer, shop: &shop };
    table.add("memory when started, MB", peer, shop.memory_mb());
    for (what, page) in shop.pages() {
        let (status, answer) = ask(shop.address(), page.clone()).await;
        assert_eq!((status, shop.shown(&answer)), (200, 20), "{peer} shows no page of twenty: {answer}");
        turn.measured(table, what, async |load: Load| load.repeat(std::slice::from_ref(&page)).await).await;
    }
    if shop.has_carts() {
        let add =
            async |number, connection: &mut load::Connection| shop.add_to_new_cart(number, connection).await;
        turn.measured(table, "a thing into a new cart", async |load: Load| load.errands(&add).await).await;
    }
    let place = async |number, connection: &mut load::Connection| shop.place_order(number, connection).await;
    let placed = turn.measured(table, "an order", async |load: Load| load.errands(&place).await).await;
    let answered = Instant::now();
    shop.wait_until_settled().await;
    let settled = placed.answers as f64 / (placed.span + answered.elapsed()).as_secs_f64();
    table.add("orders settled, per second", peer, settled);
    table.add("requests for an order", peer, shop.requests_per_order() as f64);
    table.add("requests for orders, per second", peer, placed.rate() * shop.requests_per_order() as f64);
    table.add("memory at the end, MB", peer, shop.memory_mb());
}

/// One shop while it has its turn.
struct Turn<'a> {
    plan: &'a Plan,
    peer: Peer,
    shop: &'a Shop<'a>,
}

impl Turn<'_> {
    /// Runs one load, first to warm up and then to be measured; notes its rate
    /// and how long each took.
    async fn measured(
        &self,
        table: &mut Table<Peer>,
        what: &str,
        run: impl AsyncFn(Load) -> Outcome,
    ) -> Outcome {
        let Turn { plan, peer, shop } = self;
        let load = |seconds| Load {
            address: shop.address(),
            connections: plan.connections,
            span: Duration::from_secs(seconds),
            per_second: None,
        };
        run(load(plan.warm_up_seconds)).await;
        shop.wait_until_settled().await;
        let (me, server, began) = (busy(std::process::id()), shop.busy(), Instant::now());
        let outcome = run(load(plan.seconds)).await;
        let span = began.elapsed().as_secs_f64();
        let share = |busy: Duration| busy.as_secs_f64() / span * 100.0;
        let (p50, p99) =
            (outcome.within(0.50).as_secs_f64() * 1000.0, outcome.within(0.99).as_secs_f64() * 1000.0);
        eprintln!(
            "  {what:45} {:8.1}/s   p50 {p50:7.2} ms  p99 {p99:7.2} ms   shop {:3.0} % of a core, load {:3.0} %",
            outcome.rate(),
            share(shop.busy() - server),
            share(busy(std::process::id()) - me),
        );
        assert!(outcome.answers > 0, "{peer} answered nothing: {:?}", outcome.failures);
        if !outcome.failures.is_empty() {
            eprintln!("  !! {peer} failed: {:?}", outcome.failures);
        }
        table.add(&format!("{what}, per second"), *peer, outcome.rate());
        table.add(&format!("{what}, p50, ms"), *peer, p50);
        table.add(&format!("{what}, p99, ms"), *peer, p99);
        outcome
    }
}
