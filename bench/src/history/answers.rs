//! How long answers take, in a shop with few orders and in the same with many.

use std::time::Duration;

use load::{Ask, Load};

use crate::{asking::ask, fill::Filled, stacks::Stack};

/// Of each route: how long half, and 99 in a hundred, of the answers took, when
/// nobody else asked.
pub type Answers = Vec<(&'static str, [Duration; 2])>;

/// Each route is asked for so long, by one connection.
const SPAN: Duration = Duration::from_secs(3);
/// Orders on a page, while all are walked through.
const PAGE: usize = 100;
/// So many pages are the first ones, and the last ones.
const SOME: usize = 300;
/// So many orders are asked for, of all times.
const ORDERS: usize = 2_000;

/// Walks through all orders, page by page, and asks each route for what is in them.
pub async fn look(stack: &Stack<'_>, filled: &Filled) -> Answers {
    let (pages, orders) = walk(stack, filled).await;
    let some = SOME.min(pages.len() / 2).max(1);
    let mut answers = vec![
        ("`GET /orders?limit=100`, the first pages", p50_and_p99(pages[..some].to_vec())),
        ("`GET /orders?limit=100`, the last pages", p50_and_p99(pages[pages.len() - some..].to_vec())),
    ];
    let every = (orders.len() / ORDERS).max(1);
    let orders: Vec<&String> = orders.iter().step_by(every).collect();
    let by_staff = |path: String| Ask::get(&path).signed(&filled.staff);
    let own_list = filled.customers.iter().map(|one| Ask::get("/orders?limit=20").signed(&one.token));
    let account = filled.customers.iter().map(|one| Ask::get(&one.path).signed(&one.token));
    let routes: [(&str, Vec<Ask>); 7] = [
        ("`GET /orders/{id}`", orders.iter().map(|id| by_staff(format!("/orders/{id}"))).collect()),
        ("`GET /payments/{order}`", orders.iter().map(|id| by_staff(format!("/payments/{id}"))).collect()),
        ("`GET /orders`, of a customer", own_list.collect()),
        ("`GET /orders?state=cancelled`", vec![by_staff("/orders?state=cancelled&limit=20".into())]),
        ("`GET /users/{id}`", account.collect()),
        ("`GET /products/{id}`", filled.products.iter().map(|one| Ask::get(&one.path)).collect()),
        (
            "`GET /stock/{sku}/movements`",
            filled.products.iter().map(|one| by_staff(format!("/stock/{}/movements", one.sku))).collect(),
        ),
    ];
    let load = Load { address: stack.address(), connections: 1, span: SPAN, per_second: None };
    for (route, asks) in routes {
        let outcome = load.repeat(&asks).await;
        assert!(outcome.failures.is_empty(), "{route}: {:?}", outcome.failures);
        answers.push((route, [outcome.within(0.5), outcome.within(0.99)]));
    }
    answers
}

/// How long each page took, and all orders.
async fn walk(stack: &Stack<'_>, filled: &Filled) -> (Vec<Duration>, Vec<String>) {
    let (mut pages, mut orders) = (Vec::new(), Vec::new());
    let mut path = format!("/orders?limit={PAGE}");
    loop {
        let began = std::time::Instant::now();
        let (status, page) = ask(stack.address(), Ask::get(&path).signed(&filled.staff)).await;
        pages.push(began.elapsed());
        assert_eq!(status, 200, "{path}: {page}");
        let items = page["items"].as_array().into_iter().flatten();
        orders.extend(items.filter_map(|order| order["id"].as_str().map(str::to_owned)));
        let Some(cursor) = page["next"].as_str() else { return (pages, orders) };
        path = format!("/orders?limit={PAGE}&cursor={cursor}");
    }
}

fn p50_and_p99(mut waits: Vec<Duration>) -> [Duration; 2] {
    waits.sort();
    [waits[waits.len() / 2], waits[(waits.len() * 99 / 100).min(waits.len() - 1)]]
}

/// In Markdown; beside what it was with few orders, where that was on the same engine.
pub fn print(engine: &str, few: Option<&Answers>, many: &Answers) {
    let ms = |wait: Duration| wait.as_secs_f64() * 1000.0;
    let Some(few) = few else {
        println!("\n| {engine} | p50, ms | p99 |\n|---|---:|---:|");
        for (route, [p50, p99]) in many {
            println!("| {route} | {:.2} | {:.2} |", ms(*p50), ms(*p99));
        }
        return println!();
    };
    println!("\n| {engine} | few: p50, ms | p99 | many: p50, ms | p99 | p50 grew by | p99 grew by |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for ((route, before), (_, after)) in few.iter().zip(many) {
        let [few_50, few_99] = before.map(ms);
        let [many_50, many_99] = after.map(ms);
        println!(
            "| {route} | {few_50:.2} | {few_99:.2} | {many_50:.2} | {many_99:.2} | {:.2} | {:.2} |",
            many_50 / few_50,
            many_99 / few_99
        );
    }
    println!();
}
