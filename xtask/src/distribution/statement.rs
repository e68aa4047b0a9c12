//! What one statement says of the tables that it touches. It is read as a row
//! of words: enough for the plain SQL that is written here, and what it does
//! not understand it calls loose.

use std::collections::BTreeMap;

use super::words::words;

/// A large table in a statement, and the column that must be bound.
#[derive(Debug)]
struct Use<'a> {
    table: &'a str,
    /// What the statement calls it.
    alias: String,
    column: &'a str,
    bound: bool,
}

/// The columns, as `table.column`, that the statement leaves open.
pub fn loose(sql: &str, spread: &BTreeMap<String, String>) -> Vec<String> {
    let words = words(sql);
    let mut uses = uses(&words, spread);
    // A comparison with a value binds one; one with a column that is bound, the next.
    for _ in 0..=uses.len() {
        for at in 0..words.len() {
            compare(&words, at, &mut uses);
        }
    }
    let mut loose: Vec<_> =
        uses.iter().filter(|one| !one.bound).map(|one| format!("{}.{}", one.table, one.column)).collect();
    loose.dedup();
    loose
}

fn uses<'a>(words: &[&str], spread: &'a BTreeMap<String, String>) -> Vec<Use<'a>> {
    let mut uses = Vec::new();
    for at in 1..words.len() {
        let before = words[at - 1];
        let Some((table, column)) = spread.get_key_value(words[at]) else { continue };
        if !["FROM", "JOIN", "INTO", "UPDATE", ","].contains(&before) {
            continue;
        }
        let next = |more: usize| words.get(at + more).copied().unwrap_or_default();
        let name = if next(1) == "AS" { next(2) } else { next(1) };
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        // A new row is bound by its own value.
        let bound = before == "INTO"
            && words[at + 1..].iter().take_while(|word| **word != ")").any(|word| word == column);
        if before != "," || named {
            let alias = if named { name.to_owned() } else { table.clone() };
            uses.push(Use { table, alias, column, bound });
        }
    }
    uses
}

/// Binds what is compared at this place: `a = b`, `a IN (…)`, `(a, b) IN (…)`.
fn compare(words: &[&str], at: usize, uses: &mut [Use<'_>]) {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    // What another statement chooses is as loose as that one.
    if word(at) == "IN" && word(at + 2) != "SELECT" && at > 0 {
        let from = if word(at - 1) == ")" { words[..at].iter().rposition(|word| *word == "(") } else { None };
        for place in from.unwrap_or(at - 1)..at {
            uses.iter_mut().filter(|one| is(word(place), one)).for_each(|one| one.bound = true);
        }
    }
    if word(at) != "=" || at == 0 {
        return;
    }
    let (left, right) = (word(at - 1), word(at + 1));
    for (one, other) in [(left, right), (right, left)] {
        // A column of a large table must be bound itself; all else is a value.
        let of = |used: &&Use<'_>| is(other, used) || other.split('.').next() == Some(used.alias.as_str());
        let foreign = uses.iter().any(|used| of(&used));
        if !foreign || uses.iter().any(|used| is(other, used) && used.bound) {
            uses.iter_mut().filter(|used| is(one, used)).for_each(|used| used.bound = true);
        }
    }
}

/// Whether a word is the column of this use: `id` or `o.id`.
fn is(word: &str, used: &Use<'_>) -> bool {
    match word.split_once('.') {
        Some((alias, column)) => column == used.column && alias == used.alias,
        None => word == used.column,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_bound_by_a_value_and_by_what_is_bound() {
        let spread = [("orders", "id"), ("lines", "order_id"), ("stock", "sku")]
            .map(|(table, column)| (table.to_owned(), column.to_owned()))
            .into();
        for (sql, open) in [
            ("SELECT a FROM orders WHERE id = $1", ""),
            ("SELECT a FROM orders WHERE id = ANY ($1)", ""),
            ("SELECT a FROM orders WHERE id > $1 ORDER BY id", "orders.id"),
            ("SELECT id FROM orders WHERE state = 'id = $1'", "orders.id"),
            ("INSERT INTO lines (order_id, line) VALUES ($1, $2)", ""),
            ("INSERT INTO lines (line) VALUES ($2)", "lines.order_id"),
            ("SELECT 1 FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.id = $1", ""),
            ("SELECT 1 FROM orders o JOIN lines l ON l.order_id = o.id", "orders.id lines.order_id"),
            ("SELECT 1 FROM orders o JOIN stock AS s ON s.place = o.place WHERE o.id = $1", "stock.sku"),
            ("UPDATE stock SET held = 0 FROM unnest($1) AS sold (sku) WHERE stock.sku = sold.sku", ""),
            ("DELETE FROM lines WHERE (order_id, line) IN (($1, 2))", ""),
            ("DELETE FROM lines WHERE order_id IN (SELECT order_id FROM lines)", "lines.order_id"),
            ("SELECT 1 FROM lines l JOIN orders o ON o.id = l.other WHERE l.order_id = $1", "orders.id"),
            ("SELECT a FROM people WHERE name = $1", ""),
        ] {
            assert_eq!(loose(sql, &spread).join(" "), open, "{sql}");
        }
    }
}
