//! A shop under a steady load for a long time: whether anything grows that
//! should not.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use load::{Ask, memory_mb};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::{
    asking::ask,
    fill::{Filled, fill},
    shop::{self, buy, wait_until_settled},
    stacks::{Kind, Stack},
};

/// How a run goes.
#[derive(clap::Args)]
pub struct Plan {
    /// The program to watch; build it with `cargo build --release`.
    #[arg(long, default_value = "target/release/carmel")]
    carmel: PathBuf,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// How many things people do each second; six in ten buy.
    #[arg(long, default_value_t = 40)]
    rate: u64,
    /// How long finished jobs, events and idempotency keys are kept.
    #[arg(long, default_value_t = 5)]
    keep_minutes: u64,
}

const CUSTOMERS: usize = 50;
const PRODUCTS: usize = 50;
/// How many people do something at once, at most.
const PEOPLE: u64 = 16;
const EVERY: Duration = Duration::from_secs(5);
const SERVICES: &[&str] = &["users", "catalog", "inventory", "orders", "payments", "notifications"];

/// What grows with the business and is meant to: its records.
const RECORDS: &[&str] = &[
    "orders.orders",
    "orders.order_lines",
    "orders.order_steps",
    "orders.order_history",
    "inventory.holds",
    "inventory.hold_lines",
    "inventory.movements",
    "payments.gates",
    "payments.payments",
    "payments.attempts",
    "payments.refunds",
    "payments.ledger",
    "payments.screenings",
    "payments.sandbox_charges",
    "payments.sandbox_calls",
    "notifications.messages",
    "users.sessions",
    "users.refresh_tokens",
];

/// Runs it and says what grew.
pub async fn run(plan: &Plan) {
    let mut shop_plan = shop::Plan::of(&plan.carmel, CUSTOMERS, PRODUCTS);
    let keep = |key: &str| format!("CARMEL_{key}_KEEP_MINUTES={}", plan.keep_minutes);
    shop_plan.settings = vec![keep("JOBS"), keep("EVENTS"), keep("IDEMPOTENCY")];
    shop_plan.settings.push("CARMEL_TOKENS_ACCESS_MINUTES=1440".to_owned());
    let mut stack = Stack::start(&shop_plan, Kind::Embedded).await;
    let filled = fill(&shop_plan, &stack).await;
    let (id, data) = (stack.carmel().id(), stack.carmel().folder().join("data"));

    let until = Instant::now() + Duration::from_secs(plan.minutes * 60);
    let (samples, done) = tokio::join!(watch(id, &data, until), live(plan, &stack, &filled, until));
    wait_until_settled(&stack, &filled).await;
    stack.carmel().terminate(Duration::from_secs(60)).await;
    let (status, said) = stack.carmel().run(&["audit"]).await;
    assert!(status.success(), "{said}");

    println!("{} minutes, {done} requests; medians of the second and of the last quarter\n", plan.minutes);
    println!("{}", table(&samples));
}

/// What people do: so many things each second, whatever each takes.
async fn live(plan: &Plan, stack: &Stack<'_>, filled: &Filled, until: Instant) -> u64 {
    let (began, count) = (Instant::now(), AtomicU64::new(0));
    let pause = Duration::from_secs(1) / plan.rate as u32;
    let people = (0..PEOPLE).map(|_| async {
        loop {
            let at = count.fetch_add(1, Ordering::Relaxed);
            let next = began + pause * at as u32;
            if next > until {
                return;
            }
            tokio::time::sleep_until(next.into()).await;
            visit(stack, filled, at as usize).await;
        }
    });
    join_all(people).await;
    count.load(Ordering::Relaxed) - PEOPLE
}

async fn visit(stack: &Stack<'_>, filled: &Filled, at: usize) {
    let address = stack.address();
    let customer = &filled.customers[at % CUSTOMERS];
    let sku = &filled.products[at * 7 % PRODUCTS].sku;
    let must = async |request: Ask| {
        let (status, answer) = ask(address, request).await;
        assert!((200..300).contains(&status), "{status}: {answer}");
        answer
    };
    match at % 10 {
        0..6 => drop(must(buy(customer, sku, "tok_success")).await),
        6 => drop(must(Ask::get("/products?limit=20")).await),
        7 => drop(must(Ask::get("/orders?limit=20").signed(&customer.token)).await),
        8 => {
            let order = must(buy(customer, sku, "tok_success")).await;
            let path = format!("/orders/{}/cancel", order["id"].as_str().unwrap_or_default());
            // It may be on its way already: that is an answer, too.
            ask(address, Ask::post(&path, json!({}).to_string()).signed(&customer.token)).await;
        }
        _ => {
            let body = json!({ "email": customer.email, "password": crate::fill::PASSWORD });
            must(Ask::post("/login", body.to_string())).await;
        }
    }
}

/// What was seen at a moment, by its name.
type Sample = BTreeMap<String, f64>;

async fn watch(id: u32, data: &Path, until: Instant) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut each = tokio::time::interval(EVERY);
    while Instant::now() < until {
        each.tick().await;
        samples.push(look(id, data));
    }
    samples
}

fn look(id: u32, data: &Path) -> Sample {
    let mut sample = Sample::from([
        ("memory, MB".to_owned(), memory_mb(id, "VmRSS:")),
        (
            "file handles".to_owned(),
            std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count) as f64,
        ),
        (
            "threads".to_owned(),
            std::fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count) as f64,
        ),
    ]);
    let mut wal = 0;
    for service in SERVICES {
        let file = data.join(format!("{service}.db"));
        wal += std::fs::metadata(data.join(format!("{service}.db-wal"))).map_or(0, |file| file.len());
        let db = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("a database of the shop");
        db.busy_timeout(Duration::from_secs(5)).expect("a timeout");
        for table in tables(&db) {
            let count =
                db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
            sample.insert(format!("{service}.{table}"), count.expect("a table can be counted") as f64);
        }
    }
    sample.insert("WAL, MB".to_owned(), wal as f64 / 1e6);
    sample
}

fn tables(db: &Connection) -> Vec<String> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut names = db.prepare(sql).expect("the schema");
    names.query_map([], |row| row.get(0)).expect("the schema").map(|name| name.expect("a name")).collect()
}

/// What grew, what did not, and what is meant to; in Markdown. Tables that stay empty are left out.
fn table(samples: &[Sample]) -> String {
    let quarter = samples.len() / 4;
    let (second, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let mut text = String::from("| what | second quarter | last quarter | |\n|---|---:|---:|---|\n");
    for name in samples[0].keys() {
        let (then, now) = (median(second, name), median(last, name));
        if now < 1.0 && then < 1.0 && name.contains('.') {
            continue;
        }
        // A tenth and a little: what people do is not the same at every moment.
        let verdict = match (RECORDS.contains(&name.as_str()), now > then * 1.1 + 3.0) {
            (true, _) => "a record of the business",
            (false, true) => "**grew**",
            (false, false) => "",
        };
        writeln!(text, "| {name} | {then:.0} | {now:.0} | {verdict} |").expect("a text takes all");
    }
    text
}

fn median(samples: &[Sample], name: &str) -> f64 {
    let mut values: Vec<f64> = samples.iter().filter_map(|sample| sample.get(name).copied()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
