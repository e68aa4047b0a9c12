//! What is true in the end, against what everybody was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use carmel::audit;
use kernel::Result;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    people::{People, Purchase},
    process::Process,
    shelf::{BUYERS, PLENTY, SHELF, Template},
};

/// How often the work that is left is looked at, half a minute apart: leases of
/// the dead run out, whoever failed tries again, each time later.
const LOOKS: usize = 400;

/// Lets all work be finished, resolves what is still unclear, and compares.
/// Returns the breaches and the number of orders.
pub async fn find_out(process: &Process, people: &People, template: &Arc<Template>) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    if let Err(left) = finish(process).await {
        return (vec![left], 0);
    }
    resolve(people).await;
    // What is done by the minute has its turn: a clock that was behind has left
    // holds that were over as they began. One that was ahead may have put that
    // turn off by as much as the clocks of two processes may differ.
    sleep(Duration::from_secs(121)).await;
    if let Err(left) = finish(process).await {
        return (vec![left], 0);
    }
    match audit::audit(&process.shop).await {
        Ok(report) => found.extend(report.breaches.into_iter().map(|breach| format!("audit: {breach}"))),
        Err(error) => found.push(format!("the audit failed: {}", error.chain())),
    }
    let (purchases, receipts) = {
        let book = people.book.lock().unwrap();
        (book.purchases.clone(), book.receipts.clone())
    };
    let mut orders = BTreeMap::new();
    for (who, token) in template.buyers.iter().enumerate().take(BUYERS) {
        for order in get(people, token, "/orders?limit=100").await["items"].as_array().into_iter().flatten() {
            let id = order["id"].as_str().unwrap_or_default().to_owned();
            let whole = get(people, &template.staff[0], &format!("/orders/{id}")).await;
            orders.insert(id, (who, whole));
        }
    }
    told_and_there(&purchases, &orders, &mut found);
    for (number, purchase) in &purchases {
        let order = purchase.ids.first().and_then(|id| orders.get(id));
        if let Some((_, order)) = order
            && let Some(wrong) = wrong_end(purchase, order)
        {
            found.push(format!("purchase {number} ({}): {wrong}", purchase.card));
        }
    }
    let sold: Vec<&Value> =
        orders.values().map(|(_, order)| order).filter(|order| has_left_the_shelf(order)).collect();
    for (thing, (sku, _, count)) in SHELF.iter().enumerate() {
        let received: i64 = receipts.values().filter(|of| of.0 == thing && of.2).map(|of| of.1).sum();
        let gone: i64 = sold.iter().map(|order| wanted(order, sku)).sum();
        let stock = get(people, &template.staff[0], &format!("/stock/{sku}")).await;
        // Held for those who wait for a person, until the hold runs out.
        let waiting = orders.values().map(|(_, order)| order).filter(|order| order["state"] == "in_review");
        let held: i64 = waiting.map(|order| wanted(order, sku)).sum();
        if stock["on_hand"] != count + received - gone || stock["held"].as_i64().is_none_or(|now| now > held)
        {
            found.push(format!("of {sku} there were {count}, {received} came and {gone} went: {stock}"));
        }
    }
    found.extend(wrong_mails(process, &orders));
    (found, orders.len())
}

/// Does all that is left to do, also what is only due later.
async fn finish(process: &Process) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..LOOKS {
        if let Err(error) = process.shop.settle().await {
            last = error.chain();
        }
        let mut left = 0;
        for (_, db) in &process.shop.databases {
            let pending: Result<i64> =
                db::read!(db, async |tx| { Ok(jobs::pending(tx).await? + bus::outbox::pending(tx).await?) });
            left += pending.map_err(|error| error.chain())?;
        }
        if left == 0 {
            return Ok(());
        }
        last = format!("{left} jobs or events are left after hours; {last}");
        sleep(Duration::from_secs(31)).await;
    }
    Err(last)
}

/// Asks again, under the same key, for all that had no clear answer.
async fn resolve(people: &People) {
    let (purchases, receipts) = {
        let book = people.book.lock().unwrap();
        (book.purchases.clone(), book.receipts.clone())
    };
    for (number, purchase) in purchases {
        if purchase.ids.is_empty() && purchase.refused.is_none() {
            people.places(number).await;
        }
    }
    for (key, (_, _, answered)) in receipts {
        if !answered {
            people.receives(&key).await;
        }
    }
}

async fn get(people: &People, token: &str, path: &str) -> Value {
    people.ask(token, "GET", path, "", &Value::Null).await.map(|(_, body)| body).unwrap_or_default()
}

/// Each purchase is one order or none, as it was answered, and there is no other order.
fn told_and_there(
    purchases: &BTreeMap<usize, Purchase>,
    orders: &BTreeMap<String, (usize, Value)>,
    found: &mut Vec<String>,
) {
    let mut known = BTreeSet::new();
    for (number, purchase) in purchases {
        if purchase.ids.len() > 1 {
            found.push(format!("purchase {number} under one key is {:?}", purchase.ids));
        }
        if purchase.ids.is_empty() && purchase.refused.is_none() {
            found.push(format!("purchase {number} has no answer even now"));
        }
        for id in &purchase.ids {
            match orders.get(id) {
                None => found.push(format!("purchase {number} was answered with {id}, which is not there")),
                Some((who, _)) if *who != purchase.who => found.push(format!("{id} is somebody else's")),
                Some(_) => _ = known.insert(id.clone()),
            }
        }
    }
    let strange = orders.keys().filter(|id| !known.contains(*id));
    found.extend(strange.map(|id| format!("{id} is there, and nobody was told of it")));
}

/// What is wrong with how an order has ended.
fn wrong_end(purchase: &Purchase, order: &Value) -> Option<String> {
    let state = order["state"].as_str().unwrap_or_default();
    let reason = order["reason"].as_str().unwrap_or_default();
    let asked = |(thing, count): &(usize, u32)| wanted(order, SHELF[*thing].0) == i64::from(*count);
    if !purchase.lines.iter().all(asked) {
        return Some(format!("is of {}, and not of what was asked for", order["lines"]));
    }
    match state {
        "confirmed" | "shipped" | "delivered" => {
            let never = ["tok_declined", "tok_capture_refused"].contains(&purchase.card);
            never.then(|| format!("is {state}, with a card that does not pay"))
        }
        "in_review" => (purchase.card != "tok_review").then(|| "is in review for no reason".into()),
        "cancelled" if purchase.undo || may_fail(purchase, reason) => None,
        "refunded" if purchase.undo => None,
        _ => Some(format!("has ended as {state} ({reason})")),
    }
}

/// Whether a purchase may come to nothing for this reason although nobody asked
/// for that.
fn may_fail(purchase: &Purchase, reason: &str) -> bool {
    match reason {
        "out_of_stock" => purchase.lines.iter().any(|(thing, _)| SHELF[*thing].2 < PLENTY),
        "card_declined" => purchase.card == "tok_declined",
        "payment_failed" => purchase.card == "tok_capture_refused",
        _ => false,
    }
}

/// Whether what was ordered is gone for good.
fn has_left_the_shelf(order: &Value) -> bool {
    let shipped = !order["shipment"].is_null();
    matches!(order["state"].as_str(), Some("confirmed" | "shipped" | "delivered"))
        || (order["state"] == "refunded" && shipped)
}

fn wanted(order: &Value, sku: &str) -> i64 {
    let lines = order["lines"].as_array().into_iter().flatten();
    lines.filter(|line| line["sku"] == sku).filter_map(|line| line["quantity"].as_i64()).sum()
}

/// Everybody whose order ended was told so, once.
fn wrong_mails(process: &Process, orders: &BTreeMap<String, (usize, Value)>) -> Vec<String> {
    let folder = process.folder.join("mail");
    let mails: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|mail| std::fs::read_to_string(mail.path()).unwrap_or_default())
        .collect();
    let mut wrong = Vec::new();
    for (id, (_, order)) in orders {
        let was_confirmed = matches!(order["state"].as_str(), Some("confirmed" | "shipped" | "delivered"));
        let number = order["number"].as_str().unwrap_or_default();
        let count = mails.iter().filter(|mail| mail.contains(number) && mail.contains("confirmed")).count();
        if was_confirmed && count != 1 {
            wrong.push(format!("{id} ({number}) is confirmed and has {count} mails that say so"));
        }
    }
    wrong
}
