//! Copies what was written down since some moment, in every table, as often as
//! wanted.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use rusqlite::{Connection, params_from_iter, types::Value};

use super::ids::{Copy, Marks, Mould, ids_in};

const SERVICES: &[&str] = &["users", "catalog", "inventory", "orders", "payments", "notifications"];
const DAY_MICROS: i64 = 86_400_000_000;
/// What is cleared away, and after how many days.
const KEPT_DAYS: &[(&str, i64)] =
    &[("outbox", 7), ("inbox", 7), ("jobs", 7), ("idempotency", 1), ("webhooks_heard", 1)];
const STOCK_EVENT: &str = "inventory.stock_changed";

/// How many copies, over how many days.
pub struct Copies {
    pub count: u64,
    pub days: u32,
}

impl Copies {
    /// They follow one another evenly; the last is of today.
    fn all(&self) -> impl Iterator<Item = Copy> + use<> {
        let (count, span) = (self.count, i64::from(self.days) * DAY_MICROS);
        (0..count).map(move |at| Copy { at, earlier_micros: span / count as i64 * (count - 1 - at) as i64 })
    }
}

/// What there was.
pub struct Before {
    /// The last row of each table.
    last: HashMap<(&'static str, String), i64>,
    known: HashSet<u128>,
    stock: HashMap<String, Stock>,
}

/// A SKU: its version, and how many are on hand.
#[derive(Clone, Copy)]
struct Stock {
    version: i64,
    on_hand: i64,
}

impl Before {
    /// Looks at a shop where nothing is under way.
    pub fn look(data: &Path) -> Before {
        let (mut last, mut known) = (HashMap::new(), HashSet::new());
        for service in SERVICES {
            let db = open(data, service);
            for table in tables(&db) {
                let mut all = db.prepare(&format!("SELECT rowid, * FROM {table}")).expect("a table");
                let mut rows = all.query([]).expect("a table can be read");
                while let Some(row) = rows.next().expect("a row") {
                    let end = last.entry((*service, table.clone())).or_insert(0);
                    *end = row.get::<_, i64>(0).expect("a number").max(*end);
                    (0..).map_while(|at| row.get(at).ok()).for_each(|value| ids_in(&value, &mut known));
                }
            }
        }
        Before { last, known, stock: stock(&open(data, "inventory")) }
    }
}

/// Replaces what was written down since then by copies; returns how many rows
/// they have. The shop must not run.
pub fn multiply(data: &Path, before: &Before, copies: &Copies) -> u64 {
    let numbers = numbers(&open(data, "orders"), before.last(("orders", "orders")));
    let marks = Marks { known: before.known.clone(), numbers, count: copies.count };
    let raised = raised(&open(data, "inventory"), before);
    let each =
        |service: &'static str| copy_service(&open(data, service), service, before, copies, &marks, &raised);
    let rows = std::thread::scope(|scope| {
        let copying: Vec<_> = SERVICES.iter().map(|service| scope.spawn(|| each(service))).collect();
        copying.into_iter().map(|copying| copying.join().expect("a service is copied")).sum()
    });
    let inventory = open(data, "inventory");
    for (sku, each) in raised {
        let (count, Stock { version, on_hand }) = (copies.count as i64, before.stock[&sku]);
        let now = (version + count * each.version, on_hand + count * each.on_hand, &sku);
        inventory.execute("UPDATE stock SET version = ?1, on_hand = ?2 WHERE sku = ?3", now).expect("stock");
    }
    rows
}

impl Before {
    fn last(&self, (service, table): (&'static str, &str)) -> i64 {
        self.last.get(&(service, table.to_owned())).copied().unwrap_or_default()
    }
}

fn copy_service(
    db: &Connection,
    service: &'static str,
    before: &Before,
    copies: &Copies,
    marks: &Marks,
    raised: &HashMap<String, Stock>,
) -> u64 {
    let mut written = 0;
    for table in tables(db) {
        let since = before.last((service, &table));
        // A job of a schedule that waits is none of an order.
        let own = if table == "jobs" { "rowid > ?1 AND state = 'done'" } else { "rowid > ?1" };
        let moulds = moulds(db, &table, &format!("SELECT * FROM {table} WHERE {own}"), since, marks, raised);
        let Some(width) = moulds.first().map(Vec::len) else { continue };
        let holes = vec!["?"; width].join(", ");
        let kept =
            KEPT_DAYS.iter().find(|(name, _)| *name == table).map_or(i64::MAX, |(_, days)| days * DAY_MICROS);
        db.execute_batch("BEGIN").expect("a transaction");
        db.execute(&format!("DELETE FROM {table} WHERE {own}"), [since]).expect("the originals go");
        let mut insert = db.prepare(&format!("INSERT INTO {table} VALUES ({holes})")).expect("an insert");
        for copy in copies.all().filter(|copy| copy.earlier_micros < kept) {
            for row in &moulds {
                let values = row.iter().map(|mould| mould.cast(copy, marks));
                insert
                    .execute(params_from_iter(values))
                    .unwrap_or_else(|error| panic!("{service}.{table}: {error}"));
                written += 1;
            }
        }
        drop(insert);
        db.execute_batch("COMMIT").expect("a commit");
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
    written
}

fn moulds(
    db: &Connection,
    table: &str,
    sql: &str,
    since: i64,
    marks: &Marks,
    raised: &HashMap<String, Stock>,
) -> Vec<Vec<Mould>> {
    let mut rows = db.prepare(sql).expect("a table");
    let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
    let read = |row: &rusqlite::Row<'_>| {
        (0..names.len()).map(|at| row.get::<_, Value>(at)).collect::<rusqlite::Result<Vec<Value>>>()
    };
    let rows: Vec<Vec<Value>> =
        rows.query_map([since], read).expect("rows").map(|row| row.expect("a row")).collect();
    let text = |row: &[Value], column: &str| {
        let at = names.iter().position(|name| name == column);
        at.and_then(|at| if let Value::Text(text) = &row[at] { Some(text.clone()) } else { None })
    };
    let mould_of = |row: Vec<Value>| {
        let sku = match table {
            "movements" => text(&row, "sku"),
            "outbox" if text(&row, "topic").as_deref() == Some(STOCK_EVENT) => text(&row, "subject"),
            _ => None,
        };
        let each = sku.map(|sku| raised.get(&sku).expect("stock that was moved has changed").version);
        let columns = names.iter().zip(row);
        let mould = |(name, value): (&String, Value)| match (name.as_str(), value, each) {
            ("version", Value::Integer(version), Some(each)) => Mould::Version(version, each),
            (name, value, _) => Mould::of(name, value, marks),
        };
        columns.map(mould).collect()
    };
    rows.into_iter().map(mould_of).collect()
}

/// The numbers of the orders that are copied, each with its place.
fn numbers(db: &Connection, since: i64) -> HashMap<String, u64> {
    let mut rows = db.prepare("SELECT number FROM orders WHERE rowid > ?1 ORDER BY rowid").expect("orders");
    rows.query_map([since], |row| row.get(0))
        .expect("orders")
        .map(|number| number.expect("a number"))
        .zip(0..)
        .collect()
}

/// By how much the stock of each SKU has changed.
fn raised(db: &Connection, before: &Before) -> HashMap<String, Stock> {
    let changed = |(sku, now): (String, Stock)| {
        let then = before.stock[&sku];
        let raised = Stock { version: now.version - then.version, on_hand: now.on_hand - then.on_hand };
        (raised.version > 0).then_some((sku, raised))
    };
    stock(db).into_iter().filter_map(changed).collect()
}

fn stock(db: &Connection) -> HashMap<String, Stock> {
    let mut rows = db.prepare("SELECT sku, version, on_hand FROM stock").expect("stock");
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Stock { version: row.get(1)?, on_hand: row.get(2)? }));
    rows.query_map([], read).expect("stock").map(|row| row.expect("a row")).collect()
}

/// How many jobs and events wait.
pub fn under_way(data: &Path) -> i64 {
    let count = |service: &&str| {
        let sql = "SELECT (SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL)
                        + (SELECT COUNT(*) FROM jobs WHERE state IN ('waiting', 'running'))";
        open(data, service).query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    SERVICES.iter().map(count).sum()
}

/// How large the files of a shop are that end so.
pub fn size_bytes(data: &Path, ending: &str) -> u64 {
    let size =
        |service: &&str| data.join(format!("{service}{ending}")).metadata().map_or(0, |file| file.len());
    SERVICES.iter().map(size).sum()
}

fn tables(db: &Connection) -> Vec<String> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut names = db.prepare(sql).expect("the schema");
    names.query_map([], |row| row.get(0)).expect("the schema").map(|name| name.expect("a name")).collect()
}

/// Quick rather than safe: who loses this shop makes it again.
fn open(data: &Path, service: &str) -> Connection {
    let db = Connection::open(data.join(format!("{service}.db"))).expect("a database of the shop");
    db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA busy_timeout = 5000")
        .expect("settings");
    db
}
