//! Compares what was answered with what the shop says in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Deed, Fate, History};

/// The shop as it says itself, once all is quiet.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    /// Every order, by its id.
    pub orders: BTreeMap<String, Order>,
    /// What happened to the stock of each SKU.
    pub stock: BTreeMap<String, Stock>,
    /// What each variant cost, in cents.
    pub prices: BTreeMap<String, Vec<i64>>,
    /// Every account: its id, by its address. Twice, if it is there twice.
    pub accounts: Vec<(String, String)>,
    /// So many mails confirm an order, by its number.
    pub confirmations: BTreeMap<String, usize>,
}

/// An order as the shop shows it.
#[derive(Clone, Debug)]
pub struct Order {
    /// What people call it.
    pub number: String,
    /// The key it was placed under.
    pub key: String,
    /// Who bought.
    pub customer: String,
    /// Where it stands.
    pub state: String,
    /// Every state it was in.
    pub history: Vec<String>,
    /// What and how many.
    pub lines: BTreeMap<String, i64>,
    /// What it costs, in cents.
    pub total: i64,
    /// What the lines cost together.
    pub sum: i64,
    /// What was taken for it.
    pub captured: i64,
    /// What was given back.
    pub refunded: i64,
}

/// The stock of a SKU.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// In the shop's hands.
    pub on_hand: i64,
    /// Of these, held for orders.
    pub held: i64,
    /// What was taken in by hand: the note and how many.
    pub taken_in: Vec<(String, i64)>,
}

/// Where an order may rest, and where it may still go from there.
const RESTS: &[(&str, &[&str])] =
    &[("confirmed", &["confirmed", "refunded"]), ("cancelled", &["cancelled"]), ("refunded", &["refunded"])];

/// Every breach, in words and with its ids.
pub fn breaches(history: &History, shop: &Shop) -> Vec<String> {
    let mut found = history.contradictions.clone();
    purchases(history, shop, &mut found);
    changes(history, shop, &mut found);
    orders(shop, &mut found);
    stock(history, shop, &mut found);
    rest(history, shop, &mut found);
    found
}

/// Every order that was answered is there, once, as it was answered.
fn purchases(history: &History, shop: &Shop, found: &mut Vec<String>) {
    let mut of_key: BTreeMap<&str, Vec<(&str, &Order)>> = BTreeMap::new();
    for (id, order) in &shop.orders {
        of_key.entry(&order.key).or_default().push((id, order));
    }
    for (key, orders) in &of_key {
        if orders.len() > 1 {
            let ids: Vec<&str> = orders.iter().map(|(id, _)| *id).collect();
            found.push(format!("the key {key} made {} orders: {}", ids.len(), ids.join(", ")));
        }
        if !history.purchases.contains_key(*key) {
            found.push(format!("{}: nobody asked for it (key {key})", orders[0].0));
        }
    }
    for (key, purchase) in &history.purchases {
        let there = of_key.get(key.as_str()).map_or(&[][..], Vec::as_slice);
        for answer in &purchase.answers {
            let Some((_, order)) = there.iter().find(|(id, _)| *id == answer.order) else {
                found.push(format!("{}: was answered to the key {key} and is not there", answer.order));
                continue;
            };
            if order.total != answer.total
                || order.lines != purchase.lines
                || order.customer != purchase.customer
            {
                found.push(format!("{}: is not what was answered to the key {key}", answer.order));
            }
        }
        match &purchase.fate {
            Fate::Unknown => found.push(format!("the key {key}: there is still no answer")),
            Fate::Refused(code) if !there.is_empty() => {
                found.push(format!("{}: was refused ({code}) and is there", there[0].0));
            }
            _ => {}
        }
    }
}

/// What was promised for an order was done, and what was not asked for was not.
fn changes(history: &History, shop: &Shop, found: &mut Vec<String>) {
    let mut refunds = BTreeSet::new();
    for change in &history.changes {
        let order = &change.order;
        let Some(state) = shop.orders.get(order).map(|order| order.state.as_str()) else {
            continue; // said already: it was answered and is not there
        };
        let expected = match change.deed {
            Deed::Cancel => "cancelled",
            Deed::Refund => "refunded",
        };
        match &change.fate {
            Fate::Done(()) if state != expected => {
                found.push(format!("{order}: was to be {expected}, as answered, and is {state}"));
            }
            Fate::Refused(code) if code == "order_confirmed" && state == "cancelled" => {
                found.push(format!("{order}: was confirmed, as answered, and is cancelled"));
            }
            Fate::Unknown => found.push(format!("{order}: nobody knows whether it is {expected}")),
            _ => {}
        }
        if change.deed == Deed::Refund && matches!(change.fate, Fate::Done(())) {
            refunds.insert(order);
        }
    }
    for (id, order) in &shop.orders {
        if order.state == "refunded" && !refunds.contains(id) {
            found.push(format!("{id}: is refunded and nobody asked for it"));
        }
    }
    for seen in &history.sightings {
        let Some(order) = shop.orders.get(&seen.order) else {
            found.push(format!("{}: was seen {} and is not there", seen.order, seen.state));
            continue;
        };
        let may_be = RESTS.iter().find(|(state, _)| *state == seen.state).map(|(_, next)| *next);
        if may_be.is_some_and(|next| !next.contains(&order.state.as_str())) {
            found.push(format!("{}: was seen {} and is {}", seen.order, seen.state, order.state));
        }
        if !order.history.contains(&seen.state) {
            found.push(format!("{}: was seen {} and never was", seen.order, seen.state));
        }
    }
}

/// Every order has ended, and its money is where it belongs.
fn orders(shop: &Shop, found: &mut Vec<String>) {
    for (id, order) in &shop.orders {
        let Order { state, total, captured, refunded, sum, .. } = order;
        if sum != total {
            found.push(format!("{id}: costs {total} and its lines {sum}"));
        }
        let is_right = match state.as_str() {
            "confirmed" => captured == total && *refunded == 0,
            "refunded" => captured == total && refunded == total,
            "cancelled" => captured == refunded,
            _ => {
                found.push(format!("{id}: has not ended, it is {state}"));
                continue;
            }
        };
        if !is_right {
            found.push(format!("{id}: is {state}, costs {total}, {captured} taken, {refunded} given back"));
        }
        let mails = shop.confirmations.get(&order.number).copied().unwrap_or(0);
        let expected = usize::from(order.history.iter().any(|state| state == "confirmed"));
        if mails != expected {
            found.push(format!(
                "{id} ({}): {mails} mails confirm it, {expected} would be right",
                order.number
            ));
        }
    }
}

/// What is there is what was taken in, without what was sold; nothing is
/// oversold, nothing still held.
fn stock(history: &History, shop: &Shop, found: &mut Vec<String>) {
    for (sku, stock) in &shop.stock {
        let sold: i64 = shop
            .orders
            .values()
            .filter(|order| order.state == "confirmed")
            .filter_map(|order| order.lines.get(sku))
            .sum();
        let taken_in: i64 = stock.taken_in.iter().map(|(_, quantity)| quantity).sum();
        if stock.on_hand != taken_in - sold || stock.on_hand < 0 {
            found.push(format!("{sku}: {taken_in} taken in, {sold} sold, {} left", stock.on_hand));
        }
        if stock.held != 0 {
            found.push(format!("{sku}: {} are held and no order wants them", stock.held));
        }
    }
    for (key, delivery) in &history.deliveries {
        let stock = shop.stock.get(&delivery.sku);
        let times = stock.map_or(0, |stock| {
            stock
                .taken_in
                .iter()
                .filter(|(note, quantity)| note == key && *quantity == delivery.quantity)
                .count()
        });
        once(&format!("the delivery {key} of {}", delivery.sku), &delivery.fate, times, found);
    }
}

/// Every new price and every new account is there once.
fn rest(history: &History, shop: &Shop, found: &mut Vec<String>) {
    for (key, price) in &history.prices {
        let prices = shop.prices.get(&price.variant).map_or(&[][..], Vec::as_slice);
        let times = prices.iter().filter(|cents| **cents == price.cents).count();
        once(
            &format!("the price {} of {} (key {key})", price.cents, price.variant),
            &price.fate,
            times,
            found,
        );
    }
    for (email, fate) in &history.accounts {
        let ids: Vec<&str> =
            shop.accounts.iter().filter(|(other, _)| other == email).map(|(_, id)| id.as_str()).collect();
        once(&format!("the account {email}"), fate, ids.len(), found);
        if let Fate::Done(id) = fate
            && !ids.is_empty()
            && !ids.contains(&id.as_str())
        {
            found.push(format!("the account {email}: was answered as {id} and is {}", ids.join(", ")));
        }
    }
}

/// What was done is there once, and what was refused is not.
fn once<T>(what: &str, fate: &Fate<T>, times: usize, found: &mut Vec<String>) {
    match (fate, times) {
        (Fate::Done(_), 1) | (Fate::Refused(_), 0) => {}
        (Fate::Done(_), 0) => found.push(format!("{what}: was answered and is not there")),
        (Fate::Done(_), _) => found.push(format!("{what}: is there {times} times")),
        (Fate::Refused(code), _) => found.push(format!("{what}: was refused ({code}) and is there")),
        (Fate::Unknown, _) => found.push(format!("{what}: there is still no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::history::{Change, Delivery, Placed, Price, Purchase, Sighting};

    fn order(key: &str, state: &str) -> Order {
        let (captured, refunded, history) = match state {
            "confirmed" => (200, 0, vec!["placed", "confirmed"]),
            "refunded" => (200, 200, vec!["placed", "confirmed", "refunded"]),
            _ => (0, 0, vec!["placed", "cancelled"]),
        };
        Order {
            number: format!("C-{key}"),
            key: key.into(),
            customer: "usr_ann".into(),
            state: state.into(),
            history: history.into_iter().map(str::to_owned).collect(),
            lines: BTreeMap::from([("mug".into(), 2)]),
            total: 200,
            sum: 200,
            captured,
            refunded,
        }
    }

    /// Three orders, a delivery, a price and an account, and all as it was answered.
    fn sound() -> (History, Shop) {
        let mut history = History::default();
        let mut shop = Shop::default();
        for (key, state) in [("a", "confirmed"), ("b", "cancelled"), ("c", "refunded")] {
            let id = format!("ord_{key}");
            let purchase = Purchase {
                customer: "usr_ann".into(),
                lines: BTreeMap::from([("mug".into(), 2)]),
                answers: vec![Placed { order: id.clone(), total: 200 }; 2],
                fate: Fate::Done(()),
            };
            history.purchases.insert(key.into(), purchase);
            history.sightings.push(Sighting { order: id.clone(), state: state.into() });
            let order = order(key, state);
            if state != "cancelled" {
                shop.confirmations.insert(order.number.clone(), 1);
            }
            shop.orders.insert(id, order);
        }
        let change = |deed, order: &str, fate| Change { deed, order: order.into(), fate };
        history.changes = vec![
            change(Deed::Cancel, "ord_a", Fate::Refused("order_confirmed".into())),
            change(Deed::Cancel, "ord_b", Fate::Done(())),
            change(Deed::Refund, "ord_c", Fate::Done(())),
            change(Deed::Refund, "ord_c", Fate::Refused("order_not_refundable".into())),
        ];
        let delivery = Delivery { sku: "mug".into(), quantity: 10, fate: Fate::Done(()) };
        history.deliveries.insert("d".into(), delivery);
        shop.stock.insert("mug".into(), Stock { on_hand: 8, held: 0, taken_in: vec![("d".into(), 10)] });
        let price = Price { variant: "var_mug".into(), cents: 100, fate: Fate::Done(()) };
        history.prices.insert("p".into(), price);
        shop.prices.insert("var_mug".into(), vec![90, 100]);
        history.accounts.insert("ann@example.com".into(), Fate::Done("usr_ann".into()));
        shop.accounts.push(("ann@example.com".into(), "usr_ann".into()));
        (history, shop)
    }

    #[test]
    fn a_shop_that_says_what_it_answered_has_no_breach() {
        let (history, shop) = sound();
        assert_eq!(breaches(&history, &shop), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_lost_doubled_or_oversold_is_a_breach() {
        type Break = fn(&mut History, &mut Shop);
        let table: [(&str, Break); 19] = [
            ("ord_b: was answered to the key b and is not there", |_, shop| {
                shop.orders.remove("ord_b");
            }),
            ("the key b made 2 orders", |_, shop| {
                shop.orders.insert("ord_x".into(), order("b", "cancelled"));
            }),
            ("nobody asked for it", |_, shop| {
                shop.orders.insert("ord_x".into(), order("x", "cancelled"));
            }),
            ("ord_b: was refused (not_sold) and is there", |history, _| {
                let purchase = history.purchases.get_mut("b").unwrap();
                (purchase.answers, purchase.fate) = (Vec::new(), Fate::Refused("not_sold".into()));
            }),
            ("ord_a: is not what was answered", |_, shop| {
                shop.orders.get_mut("ord_a").unwrap().lines.insert("mug".into(), 3);
            }),
            ("the key a: there is still no answer", |history, _| {
                history.purchases.get_mut("a").unwrap().fate = Fate::Unknown;
            }),
            ("ord_b: was to be cancelled, as answered, and is confirmed", |_, shop| {
                shop.orders.insert("ord_b".into(), order("b", "confirmed"));
            }),
            ("ord_a: was confirmed, as answered, and is cancelled", |_, shop| {
                shop.orders.insert("ord_a".into(), order("a", "cancelled"));
            }),
            ("ord_a: was seen confirmed and is cancelled", |_, shop| {
                shop.orders.insert("ord_a".into(), order("a", "cancelled"));
            }),
            ("ord_c: is refunded and nobody asked for it", |history, _| history.changes.clear()),
            ("ord_a: has not ended, it is held", |_, shop| {
                shop.orders.get_mut("ord_a").unwrap().state = "held".into();
            }),
            ("ord_c: is refunded, costs 200, 200 taken, 400 given back", |_, shop| {
                shop.orders.get_mut("ord_c").unwrap().refunded = 400;
            }),
            ("ord_b: is cancelled, costs 200, 200 taken, 0 given back", |_, shop| {
                shop.orders.get_mut("ord_b").unwrap().captured = 200;
            }),
            ("ord_a (C-a): 2 mails confirm it", |_, shop| {
                shop.confirmations.insert("C-a".into(), 2);
            }),
            ("ord_a (C-a): 0 mails confirm it", |_, shop| shop.confirmations.clear()),
            ("mug: 10 taken in, 2 sold, 7 left", |_, shop| shop.stock.get_mut("mug").unwrap().on_hand = 7),
            ("mug: 2 are held", |_, shop| shop.stock.get_mut("mug").unwrap().held = 2),
            ("the delivery d of mug: is there 2 times", |_, shop| {
                shop.stock.get_mut("mug").unwrap().taken_in.push(("d".into(), 10));
            }),
            ("the account ann@example.com: is there 2 times", |_, shop| {
                shop.accounts.push(("ann@example.com".into(), "usr_bob".into()));
            }),
        ];
        for (expected, spoil) in table {
            let (mut history, mut shop) = sound();
            spoil(&mut history, &mut shop);
            let found = breaches(&history, &shop);
            assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:#?}");
        }
    }
}
