//! Asks the shop, once all is quiet, what it says itself.

use std::{collections::BTreeMap, path::Path};

use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Error, Result};
use serde_json::Value;

use super::{
    check::{Order, Shop, Stock},
    client::{Ask, Person},
    crowd::text,
};

/// So many orders are looked at at once.
const AT_ONCE: usize = 8;

/// The states that orders are in, each with how many are.
pub async fn states(staff: &mut Person) -> Result<BTreeMap<String, u64>> {
    let mut states = BTreeMap::new();
    for order in walk(staff, "/orders?").await? {
        *states.entry(text(&order["state"])).or_default() += 1;
    }
    Ok(states)
}

/// The whole shop, as it says itself.
pub async fn look(staff: &mut Person, variants: &[String], mails: &Path) -> Result<Shop> {
    let mut shop = Shop::default();
    let ids: Vec<String> = walk(staff, "/orders?").await?.iter().map(|order| text(&order["id"])).collect();
    let looking = ids.into_iter().map(|id| {
        let mut staff = staff.again();
        async move { Ok::<_, Error>((id.clone(), order(&mut staff, &id).await?)) }
    });
    shop.orders = stream::iter(looking).buffer_unordered(AT_ONCE).try_collect().await?;
    for stock in walk(staff, "/stock?").await? {
        let sku = text(&stock["sku"]);
        let taken_in = walk(staff, &format!("/stock/{sku}/movements?")).await?;
        let taken_in = taken_in.iter().filter(|movement| movement["reason"] == "received");
        let taken_in =
            taken_in.map(|movement| (text(&movement["note"]), number(&movement["quantity"]))).collect();
        let stock = Stock { on_hand: number(&stock["on_hand"]), held: number(&stock["held"]), taken_in };
        shop.stock.insert(sku, stock);
    }
    for variant in variants {
        let prices = walk(staff, &format!("/variants/{variant}/prices?")).await?;
        let prices = prices.iter().map(|price| number(&price["price"]["amount"])).collect();
        shop.prices.insert(variant.clone(), prices);
    }
    let accounts = walk(staff, "/users?").await?;
    shop.accounts = accounts.iter().map(|account| (text(&account["email"]), text(&account["id"]))).collect();
    shop.confirmations = confirmations(mails)?;
    Ok(shop)
}

async fn order(staff: &mut Person, id: &str) -> Result<Order> {
    let order = staff.must(&Ask::get("look at the end", format!("/orders/{id}"))).await?;
    let ask = Ask::get("look at the end", format!("/payments/{id}"));
    let payment = staff.find(&ask).await?;
    let (mut lines, mut sum) = (BTreeMap::new(), 0);
    for line in order["lines"].as_array().into_iter().flatten() {
        let quantity = number(&line["quantity"]);
        *lines.entry(text(&line["sku"])).or_default() += quantity;
        sum += quantity * number(&line["price"]["amount"]);
    }
    let history = order["history"].as_array().into_iter().flatten();
    Ok(Order {
        number: text(&order["number"]),
        key: text(&order["address"]["name"]),
        customer: text(&order["customer"]),
        state: text(&order["state"]),
        history: history.map(|entry| text(&entry["state"])).collect(),
        lines,
        total: number(&order["total"]["amount"]),
        sum,
        captured: number(&payment["captured"]["amount"]),
        refunded: number(&payment["refunded"]["amount"]),
    })
}

/// Every item of a list, page by page.
async fn walk(staff: &mut Person, path: &str) -> Result<Vec<Value>> {
    let (mut items, mut next) = (Vec::new(), format!("{path}limit=100"));
    loop {
        let page = staff.must(&Ask::get("look at the end", next)).await?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        let Some(cursor) = page["next"].as_str() else { return Ok(items) };
        next = format!("{path}limit=100&cursor={cursor}");
    }
}

/// So many mails say of each order that it is confirmed.
fn confirmations(folder: &Path) -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(_) => return Ok(found), // nobody was written to
    };
    for file in files {
        let path = file.map_err(Error::internal)?.path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let mail = std::fs::read_to_string(path).map_err(Error::internal)?;
        let subject = mail.lines().find_map(|line| line.strip_prefix("Subject: Your order "));
        if let Some((number, "is confirmed")) = subject.and_then(|subject| subject.split_once(' ')) {
            *found.entry(number.to_owned()).or_default() += 1;
        }
    }
    Ok(found)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}
