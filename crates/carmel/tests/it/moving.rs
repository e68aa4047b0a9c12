//! From files into PostgreSQL: `carmel move`.

use std::{process::Output, time::Duration};

use db::{Db, Engine, Target};
use kernel::World;
use reqwest::Method;
use serde_json::Value;
use testkit::{
    TestDb,
    client::{self, Basket, PASSWORD, Person},
    postgres::Server,
    process::Carmel,
};

use crate::{
    harness::{id, wait_until},
    process::{PROGRAM, furnish, lent, on, run, said},
};

/// A shop in files with sample data, in which Ann has bought a mug.
struct Embedded {
    program: Carmel,
    settings: Vec<(&'static str, String)>,
    ann: Person,
    bought: Value,
    // Before the files are gone the program has ended.
    _db: TestDb,
}

impl Embedded {
    /// One that is being served.
    async fn open() -> Embedded {
        let db = TestDb::new(Engine::Sqlite);
        let settings = on(&db);
        let program = Carmel::start_with(PROGRAM, &["serve", "--sample"], &lent(&settings)).await;
        let (front, _) = furnish(&program, &lent(&settings)).await;
        let ann = front.customer().await;
        let bought = ann.order(&[("mug", 1)]).await;
        Embedded { program, settings, ann, bought, _db: db }
    }

    /// One that nobody serves.
    async fn closed() -> Embedded {
        let mut shop = Embedded::open().await;
        assert!(shop.program.terminate(Duration::from_secs(25)).await.success());
        shop
    }

    /// `carmel move --to …`, killed at a point if one is named.
    fn relocate(&self, to: &str, killed_at: &str) -> Output {
        let settings = [self.settings.clone(), vec![("CARMEL_TEST_KILL_AT", killed_at.to_owned())]].concat();
        run(&["move", "--to", to], &lent(&settings), "")
    }

    /// Another command on the files.
    fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &[lent(&self.settings), vec![("PORT", "0")]].concat(), "a long password\n")
    }

    /// Serves it from PostgreSQL.
    async fn serve_from(&mut self, url: &str) -> client::Shop {
        self.program.set("DATABASE_URL", url);
        self.program.set("CARMEL_TEST_KILL_AT", "nowhere");
        self.program.restart().await;
        client::Shop::at(self.program.url())
    }

    /// Ann signs in with her old password and finds what she bought.
    async fn ann_is_at_home(&self, front: &client::Shop) -> Person {
        let ann = front.sign_in(&self.ann.email, PASSWORD).await;
        assert_eq!(ann.id, self.ann.id);
        let order = ann.get(&format!("/orders/{}", id(&self.bought))).await.expect(200);
        assert_eq!((&order["state"], &order["total"]), (&self.bought["state"], &self.bought["total"]));
        ann
    }
}

/// Nobody gets past: every command that could write says why it does not.
fn nobody_opens(shop: &Embedded, because: &str) {
    let admin = ["admin", "create", "--email", "late@example.com"];
    for arguments in [&["serve"][..], &admin, &["sample"], &["migrate"], &["jobs", "retry", "--all"]] {
        let refused = shop.run(arguments);
        assert!(!refused.status.success(), "{arguments:?}: {}", said(&refused));
        assert!(said(&refused).contains(because), "{arguments:?}: {}", said(&refused));
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    said(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_was_moved_goes_on_where_it_was() {
    let server = Server::shared();
    let to = server.database();
    let mut shop = Embedded::open().await;
    // The process dies with the money promised and nothing recorded of it.
    assert!(shop.program.terminate(Duration::from_secs(25)).await.success());
    shop.program.set("CARMEL_TEST_KILL_AT", "orders.authorise.answered");
    shop.program.restart().await;
    let basket = Basket::of(&[("mug", 2)]);
    drop(shop.ann.try_place(&basket).await);
    wait_until(Duration::from_secs(30), "the end of the process", async || {
        shop.ann.try_send(Method::GET, "/livez", &[], None).await.is_err()
    })
    .await;
    // It is moved a day later: what it left to be done is not late.
    let clock = shop._db.folder().join("clock");
    std::fs::write(&clock, "86400").unwrap();
    shop.settings.push(("CARMEL_TEST_CLOCK", clock.display().to_string()));

    let moved = succeeded(&shop.relocate(&to, "nowhere"));

    assert!(moved.contains("were copied") && moved.contains("set DATABASE_URL"), "{moved}");
    let front = shop.serve_from(&to).await;
    let ann = shop.ann_is_at_home(&front).await;
    let again = ann.place(&basket).await.expect(202);
    assert_eq!(ann.settled(id(&again)).await["state"], "confirmed");
    assert_eq!(
        ann.get("/orders").await.expect(200)["items"].as_array().unwrap().len(),
        2,
        "one key, one order"
    );
    assert_eq!(front.available("mug").await, 7);
    assert_eq!(ann.order(&[("mug", 1)]).await["state"], "confirmed");
    let (audited, found) = shop.program.run(&["audit"]).await;
    assert!(audited.success(), "{found}");
    let fresh = server.database();
    succeeded(&run(&["migrate"], &[("DATABASE_URL", &fresh)], ""));
    assert_eq!(references(&to).await, references(&fresh).await);
    assert!(refused(&shop.relocate(&to, "nowhere")).contains("was moved to"));
    nobody_opens(&shop, "was moved to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_killed_goes_on() {
    let server = Server::shared();
    let to = server.database();
    let mut shop = Embedded::closed().await;

    // In the middle of a table that is more than one batch; then when all is
    // done over there and nothing is said of it here.
    for (point, served) in
        [("move.catalog.variants", 0), ("move.orders.orders", 0), ("move.finished", SERVICES)]
    {
        let killed = shop.relocate(&to, point);
        assert_eq!(killed.status.code(), None, "{point}: {}", said(&killed));
        nobody_opens(&shop, "is being moved to");
        assert_eq!(schemas(&to).await, served, "nobody serves half a shop over there either ({point})");
    }
    succeeded(&shop.relocate(&to, "nowhere"));

    let front = shop.serve_from(&to).await;
    shop.ann_is_at_home(&front).await;
    let (audited, found) = shop.program.run(&["audit"]).await;
    assert!(audited.success(), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_has_copied_is_not_copied_again() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::closed().await;
    assert_eq!(shop.relocate(&to, "move.catalog.variants").status.code(), None);

    let moved = succeeded(&shop.relocate(&to, "nowhere"));

    assert!(moved.contains("a move was begun before: it goes on"), "{moved}");
    let earlier = moved.split(" of them by an earlier run").next().unwrap().rsplit('(').next().unwrap();
    assert!(earlier.parse::<u32>().unwrap() > 1000, "{moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_open_is_not_moved_and_one_that_is_moved_is_not_opened() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::open().await;

    let beside = refused(&shop.relocate(&to, "nowhere"));

    assert!(beside.contains("is open in another process"), "{beside}");
    assert_eq!(shop.ann.order(&[("mug", 1)]).await["state"], "confirmed", "and it goes on selling");
    drop(shop.program);
    // As the move holds it, before anything is marked.
    let target = Target::Sqlite { path: shop._db.folder().join("users.db") };
    let held = Db::open_alone(&target, &World::real()).await.unwrap();
    let late =
        run(&["admin", "create", "--email", "late@example.com"], &lent(&shop.settings), "a long password\n");
    assert!(refused(&late).contains("is being moved"), "{}", said(&late));
    held.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_something_in_it_is_not_moved_into() {
    let server = Server::shared();
    let (used, begun) = (server.database(), server.database());
    let mut shop = Embedded::closed().await;
    let other = Embedded::closed().await;
    succeeded(&run(&["migrate"], &[("DATABASE_URL", &used)], ""));
    assert_eq!(other.relocate(&begun, "move.users.users").status.code(), None);

    let (into_used, into_begun) = (refused(&shop.relocate(&used, "")), refused(&shop.relocate(&begun, "")));

    assert!(into_used.contains("users (") && into_used.contains("something in that database"), "{into_used}");
    assert!(into_begun.contains("moving_"), "{into_begun}");
    shop.program.restart().await; // what was refused has left no mark
    assert_eq!(shop.ann.order(&[("mug", 1)]).await["state"], "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_by_the_checksum() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::closed().await;
    assert_eq!(shop.relocate(&to, "move.orders.orders").status.code(), None);
    let schema = moving_schema(&shop, "catalog");
    let copy = Target::Postgres { url: to.clone(), schema, connections: 1 };
    assert_eq!(plant(&copy, "UPDATE variants SET price = price + 1 WHERE sku = 'mug'").await, 1);

    let found = refused(&shop.relocate(&to, "nowhere"));

    assert!(found.contains("what was copied is not what is here: catalog.variants ("), "{found}");
    assert!(!found.contains("products"), "only that table: {found}");
    nobody_opens(&shop, "is being moved to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_not_sound_is_not_moved() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::closed().await;
    let stock = Target::Sqlite { path: shop._db.folder().join("inventory.db") };
    assert_eq!(plant(&stock, "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'mug'").await, 1);

    let found = refused(&shop.relocate(&to, "nowhere"));

    assert!(found.contains("the shop here is not sound: 1 breaches") && found.contains("mug"), "{found}");
    assert!(found.contains("carmel audit"), "{found}");
    assert!(!shop._db.folder().join("moved.toml").exists(), "nothing was begun");
    assert_eq!(server_says(&to, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'moving%'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_sound_does_not_get_its_names() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::closed().await;
    assert_eq!(shop.relocate(&to, "move.payments.attempts").status.code(), None);
    // Somebody changes what was compared already.
    let schema = moving_schema(&shop, "payments");
    let copy = Target::Postgres { url: to.clone(), schema, connections: 1 };
    plant(
        &copy,
        "DO $do$ BEGIN
             EXECUTE format(
                 $$CREATE FUNCTION meddle() RETURNS TRIGGER LANGUAGE plpgsql AS
                 'BEGIN UPDATE %I.orders SET state = ''cancelled''; RETURN NULL; END'$$,
                 replace(current_schema(), '_payments', '_orders'));
             CREATE TRIGGER meddle AFTER INSERT ON payments EXECUTE FUNCTION meddle();
         END $do$",
    )
    .await;

    let found = refused(&shop.relocate(&to, "nowhere"));

    assert!(found.contains("the shop there is not sound"), "{found}");
    assert_eq!(schemas(&to).await, 0);
    nobody_opens(&shop, "is being moved to");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_from_a_file_is_seen_by_nobody_and_what_is_wrong_with_it_is_said() {
    let server = Server::shared();
    let to = server.database();
    let shop = Embedded::closed().await;
    let folder = tempfile::tempdir().unwrap();
    let from_file = |address: &str| {
        let file = folder.path().join("address");
        std::fs::write(&file, format!("{address}\n")).unwrap();
        run(&["move", "--to-file", file.to_str().unwrap()], &lent(&shop.settings), "")
    };
    let with = |user: &str| to.replace("postgres@", &format!("{user}:a-secret@"));
    let role = format!("clerk_{}", World::real().uuid_v7().simple());
    server.run_sql(&format!("CREATE ROLE {role} LOGIN"));

    for (outcome, says) in [
        (from_file("postgres://postgres:a-secret@127.0.0.1:1/shop"), "see that it runs"),
        (from_file(&with("stranger")), "see that user, password and database are right"),
        (run(&["move", "--to-file", "/nowhere"], &lent(&shop.settings), ""), "a file that holds postgres://"),
        (from_file("mysql://localhost/shop"), "postgres://user:password@host:port/database"),
    ] {
        let told = refused(&outcome);
        assert!(told.contains(says) && !told.contains("a-secret"), "{told}");
        assert!(!shop._db.folder().join("moved.toml").exists(), "nothing was begun: {told}");
    }
    let begun = refused(&from_file(&with(&role)));
    assert!(
        begun.contains("GRANT CREATE ON DATABASE") && begun.contains("run `carmel move` again"),
        "{begun}"
    );
    let moved = succeeded(&from_file(&with("postgres")));

    assert!(moved.contains("were copied") && !moved.contains("a-secret"), "{moved}");
    let mark = std::fs::read_to_string(shop._db.folder().join("moved.toml")).unwrap();
    assert!(!mark.contains("a-secret"), "{mark}");
}

const SERVICES: i64 = 6;

/// How many services have their schema over there.
async fn schemas(url: &str) -> i64 {
    let ask = "SELECT count(*) FROM pg_namespace
        WHERE nspname IN ('users', 'catalog', 'inventory', 'orders', 'payments', 'notifications')";
    server_says(url, ask).await
}

async fn server_says(url: &str, sql: &'static str) -> i64 {
    let target = Target::Postgres { url: url.to_owned(), schema: "public".into(), connections: 1 };
    let db = Db::open(&target, &World::real()).await.unwrap();
    let said: kernel::Result<(i64,)> = db::read!(db, async |tx| { db::query(sql).fetch_one(tx).await });
    db.close().await;
    said.unwrap().0
}

/// Changes something behind the shop's back; returns how many rows that were.
async fn plant(target: &Target, sql: &'static str) -> u64 {
    let db = Db::open(target, &World::real()).await.unwrap();
    let planted: kernel::Result<u64> = db::write!(db, async |tx| { db::query(sql).execute(tx).await });
    db.close().await;
    planted.unwrap()
}

/// What refers to what, and whether PostgreSQL has looked at every row for it.
async fn references(url: &str) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for service in ["users", "catalog", "orders"] {
        let target = Target::Postgres { url: url.to_owned(), schema: service.to_owned(), connections: 1 };
        let db = Db::open(&target, &World::real()).await.unwrap();
        let of_service: kernel::Result<Vec<(String, String, bool)>> = db::read!(db, async |tx| {
            db::query(
                "SELECT CAST(conrelid AS regclass)::TEXT, pg_get_constraintdef(c.oid), convalidated
                 FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace
                 WHERE contype = 'f' AND n.nspname = current_schema() ORDER BY 1, 2",
            )
            .fetch_all(tx)
            .await
        });
        found.extend(of_service.unwrap());
        db.close().await;
    }
    assert!(found.len() > 5, "{found:?}");
    found
}

/// The name that a schema has until the move has ended.
fn moving_schema(shop: &Embedded, service: &str) -> String {
    let mark = std::fs::read_to_string(shop._db.folder().join("moved.toml")).unwrap();
    let mark: toml::Table = mark.parse().unwrap();
    format!("moving_{}_{service}", mark["id"].as_str().unwrap())
}
