//! What the machine itself bears: the statements of an account on PostgreSQL
//! and on SQLite with no shop around them, and a Redis that is asked for bytes
//! of the same length.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use testkit::{postgres, redis};

use crate::{
    shop::{Plan, READ, READ_AGAIN, SIGN_UP},
    stacks::Kind,
    table::Table,
};

/// A limit has its turn, as a stack has.
pub fn take_turn(plan: &Plan, kind: Kind, table: &mut Table<Kind>) {
    match kind {
        Kind::Pgbench => pgbench(plan, table),
        Kind::SqliteLoop => sqlite(plan, table),
        _ => redis_benchmark(plan, table),
    }
}

/// As many as the pool of the Express stack has.
const CLIENTS: &str = "20";
/// When everything here was made, in microseconds since 1970.
const MADE_AT: i64 = 1_790_000_000_000_000;
/// As long as an account is in JSON.
const LENGTH: &str = "180";
const ASKS: &str = "200000";

fn pgbench(plan: &Plan, table: &mut Table<Kind>) {
    let server = postgres::Server::own(&["max_connections=200"]);
    let (url, folder) = (server.database(), tempfile::tempdir().expect("there is room for a folder"));
    migrate(plan, folder.path(), Some(&url));
    postgres::ask(
        &url,
        &format!(
            "INSERT INTO users.users (id, email, name, role, version, created_at, updated_at)
             SELECT lpad(n::text, 32, '0')::uuid, 'buyer-' || n || '@example.com', 'Buyer', 'customer', 1, {MADE_AT}, {MADE_AT}
             FROM generate_series(1, {}) AS n; ANALYZE users.users",
            plan.customers
        ),
    );
    let read = format!(
        "\\set n random(1, {})
SELECT id, email, name, role, version, created_at FROM users.users WHERE id = lpad(:n::text, 32, '0')::uuid;
",
        plan.customers
    );
    let sign_up = format!(
        "BEGIN;
INSERT INTO users.users (id, email, name, role, version, created_at, updated_at)
    VALUES (gen_random_uuid(), gen_random_uuid() || '@example.com', 'New', 'customer', 1, {MADE_AT}, {MADE_AT})
    ON CONFLICT (email) DO NOTHING RETURNING id;
INSERT INTO users.outbox (id, source, topic, subject, version, data, added_at, due_at, attempts)
    VALUES (gen_random_uuid(), 'users', 'user.created', gen_random_uuid(), 1, '{{\"name\":\"New\"}}', {MADE_AT}, {MADE_AT}, 0)
    ON CONFLICT DO NOTHING;
COMMIT;
"
    );
    for (what, script) in [(READ, read), (SIGN_UP, sign_up)] {
        let file = folder.path().join("script.sql");
        std::fs::write(&file, script).expect("there is room for a script");
        let mut pgbench = Command::new(testkit::postgres::program("pgbench"));
        pgbench.args([
            "-n",
            "-M",
            "prepared",
            "-c",
            CLIENTS,
            "-j",
            "1",
            "-T",
            &plan.seconds.to_string(),
            "-f",
        ]);
        let said = output(pgbench.arg(&file).arg(&url));
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        note(table, Kind::Pgbench, what, rate.unwrap_or_else(|| panic!("pgbench said no rate: {said}")));
    }
}

fn sqlite(plan: &Plan, table: &mut Table<Kind>) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    migrate(plan, folder.path(), None);
    let file = Connection::open(folder.path().join("users.db")).expect("the shop has made its tables");
    file.pragma_update(None, "synchronous", "full").expect("SQLite takes it");
    let insert = "INSERT INTO users (id, email, name, role, version, created_at, updated_at)
                  VALUES (?1, ?2, 'Buyer', 'customer', 1, ?3, ?3) ON CONFLICT (email) DO NOTHING RETURNING id";
    let id = |number: u64| u128::from(number).to_be_bytes();
    let add = |number: u64| {
        let mut insert = file.prepare_cached(insert).expect("it is SQL");
        let email = format!("buyer-{number}@example.com");
        insert.query_row(params![id(number), email, MADE_AT], |_| Ok(())).expect("it is new");
    };
    let transaction = |work: &dyn Fn()| {
        file.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        work();
        file.execute_batch("COMMIT").expect("there is room");
    };
    let customers = plan.customers as u64;
    transaction(&|| (1..=customers).for_each(add));
    let read = |count: u64| {
        let text = "SELECT id, email, name, role, version, created_at FROM users WHERE id = ?1";
        let mut read = file.prepare_cached(text).expect("it is SQL");
        let id = id(1 + count % customers);
        read.query_row([id], |row| row.get::<_, String>("email")).expect("he is there");
    };
    note(table, Kind::SqliteLoop, READ, in_a_loop(plan, read));
    let sign_up = |count: u64| {
        let number = customers + 1 + count;
        transaction(&|| {
            add(number);
            let text = "INSERT INTO outbox (id, source, topic, subject, version, data, added_at, due_at, attempts)
                        VALUES (?1, 'users', 'user.created', ?2, 1, '{\"name\":\"New\"}', ?3, ?3, 0) ON CONFLICT DO NOTHING";
            let mut announce = file.prepare_cached(text).expect("it is SQL");
            announce.execute(params![id(number), number.to_string(), MADE_AT]).expect("there is room");
        });
    };
    note(table, Kind::SqliteLoop, SIGN_UP, in_a_loop(plan, sign_up));
}

fn redis_benchmark(plan: &Plan, table: &mut Table<Kind>) {
    let server = redis::Server::start();
    let mut benchmark = Command::new("redis-benchmark");
    let (port, connections) = (server.port().to_string(), plan.connections.to_string());
    benchmark.args([
        "-p",
        &port,
        "-c",
        &connections,
        "-n",
        ASKS,
        "-d",
        LENGTH,
        "-r",
        &plan.customers.to_string(),
    ]);
    let said = output(benchmark.args(["-t", "set,get", "--csv"]));
    let rate = said.lines().find_map(|line| line.strip_prefix("\"GET\",\"")?.split('"').next()?.parse().ok());
    note(
        table,
        Kind::RedisBenchmark,
        READ_AGAIN,
        rate.unwrap_or_else(|| panic!("redis-benchmark said no rate: {said}")),
    );
}

/// How often a second, one after the other.
fn in_a_loop(plan: &Plan, work: impl Fn(u64)) -> f64 {
    let (began, span) = (Instant::now(), Duration::from_secs(plan.seconds));
    let mut count = 0;
    while began.elapsed() < span {
        work(count);
        count += 1;
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Makes the tables of a shop.
fn migrate(plan: &Plan, folder: &Path, postgres: Option<&str>) {
    let mut carmel = Command::new(&plan.carmel);
    carmel.arg("migrate").env("CARMEL_DATA_FOLDER", folder).env_remove("DATABASE_URL");
    output(carmel.envs(postgres.map(|url| ("DATABASE_URL", url))));
}

fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

fn note(table: &mut Table<Kind>, kind: Kind, what: &'static str, rate: f64) {
    eprintln!("  {what:32} {rate:8.0}/s");
    table.add(what, kind, rate);
}
