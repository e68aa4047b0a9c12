//! There is no room left from any write on, at the statement or at its commit:
//! everybody is told so clearly, nothing is half done, and when there is room
//! again all ends by itself.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use carmel::{audit, config::Config};
use db::{Disk, Engine, Step};
use kernel::{Error, Result};
use serde_json::Value;
use testkit::{
    TestDb,
    client::{Basket, Person, fresh},
    postgres,
};

use crate::harness::{Shop, id, wait_until};

/// How many writes apart the moments are; every one with `CARMEL_TEST_FULL`.
const STRIDE: i64 = 17;
/// More room than anybody uses.
const ENOUGH: i64 = 1 << 40;
/// For how long there is none, so that everybody who works notices.
const FULL: Duration = Duration::from_millis(40);

/// Room for so many writes more.
enum Room {
    /// On SQLite: each statement that is no question, and each commit, takes some.
    Files(Arc<Files>),
    /// On PostgreSQL: triggers take some at each statement that changes a
    /// table, and at each commit. The database's URL.
    Tables(String),
}

struct Files(AtomicI64);

impl Disk for Files {
    fn before(&self, step: Step<'_>) -> Result<()> {
        let writes = match step {
            Step::Begin => false,
            Step::Statement(sql) => !sql.trim_start().starts_with("SELECT"),
            Step::Commit => true,
        };
        if writes && self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(Error::unavailable("storage_full", "there is no room left to store this"));
        }
        Ok(())
    }
}

/// A sequence counts also what is rolled back.
const TRIGGERS: &str = "
    CREATE SCHEMA disk;
    CREATE SEQUENCE disk.written;
    CREATE TABLE disk.room (until BIGINT NOT NULL);
    INSERT INTO disk.room VALUES (1099511627776);
    CREATE FUNCTION disk.write() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('disk.written') > (SELECT until FROM disk.room) THEN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION disk.commit() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        -- Each row that was changed asks; one commit takes room once.
        IF current_setting('disk.committed', TRUE) IS DISTINCT FROM txid_current()::TEXT THEN
            PERFORM set_config('disk.committed', txid_current()::TEXT, TRUE);
            IF nextval('disk.written') > (SELECT until FROM disk.room) THEN
                RAISE EXCEPTION 'could not write to file: No space left on device' USING ERRCODE = 'disk_full';
            END IF;
        END IF;
        RETURN NULL;
    END $$;
    DO $$ DECLARE of RECORD; BEGIN
        FOR of IN SELECT schemaname, tablename FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'disk')
        LOOP
            EXECUTE format('CREATE TRIGGER disk_write BEFORE INSERT OR UPDATE OR DELETE ON %I.%I
                FOR EACH STATEMENT EXECUTE FUNCTION disk.write()', of.schemaname, of.tablename);
            EXECUTE format('CREATE CONSTRAINT TRIGGER disk_commit AFTER INSERT OR UPDATE OR DELETE ON %I.%I
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION disk.commit()',
                of.schemaname, of.tablename);
        END LOOP;
    END $$";

impl Room {
    fn leave(&self, writes: i64) {
        match self {
            Room::Files(files) => files.0.store(writes, Ordering::SeqCst),
            Room::Tables(url) => {
                let until =
                    format!("UPDATE disk.room SET until = (SELECT last_value FROM disk.written) + {writes}");
                postgres::ask(url, &until);
            }
        }
    }

    /// Whether somebody wanted more than there is.
    fn is_missed(&self) -> bool {
        match self {
            Room::Files(files) => files.0.load(Ordering::SeqCst) < 0,
            Room::Tables(url) => {
                let missed = "SELECT last_value > (SELECT until FROM disk.room) FROM disk.written";
                postgres::ask(url, missed) == "t"
            }
        }
    }
}

async fn open(engine: Engine) -> (Shop, Room) {
    let (db, mut url) = (TestDb::new(engine), String::new());
    let change = |config: &mut Config| {
        config.screening.orders_per_hour = 100_000;
        config.tokens.access_minutes = 1440; // the clock goes on with every order
        config.database.url.expose().clone_into(&mut url);
    };
    if engine == Engine::Sqlite {
        let files = Arc::new(Files(AtomicI64::new(ENOUGH)));
        return (Shop::start_on(db, files.clone(), change).await, Room::Files(files));
    }
    let shop = Shop::start_with(db, change).await;
    postgres::ask(&url, TRIGGERS);
    (shop, Room::Tables(url))
}

#[test]
fn without_room_at_any_write_an_order_waits_and_ends_well_on_sqlite() {
    testkit::run(run_out_everywhere(Engine::Sqlite));
}

#[test]
fn without_room_at_any_write_an_order_waits_and_ends_well_on_postgres() {
    testkit::run(run_out_everywhere(Engine::Postgres));
}

async fn run_out_everywhere(engine: Engine) {
    let stride = if std::env::var_os("CARMEL_TEST_FULL").is_some() { 1 } else { STRIDE };
    let (shop, room) = open(engine).await;
    shop.stock("mug", 1200, 10_000).await;
    let ann = shop.customer().await;
    let mut refused = 0;
    for (card, end) in [("tok_success", "confirmed"), ("tok_capture_refused", "cancelled")] {
        let mut writes = 0;
        while let Some(was_refused) = run_out((&shop, &room, &ann), (card, end), writes).await {
            refused += usize::from(was_refused);
            writes += stride;
        }
        println!("{card}: {writes} writes");
        assert!(writes > 40, "{writes} writes: too few to mean anything");
    }
    assert!(refused > 0, "nobody was told that there is no room");
    shop.audit().await;
}

/// One order with room for so many writes; whether it was refused for want of
/// room. Nothing when that was enough for all.
async fn run_out(
    (shop, room, ann): (&Shop, &Room, &Person),
    (card, end): (&str, &str),
    writes: i64,
) -> Option<bool> {
    let at = format!("{card}, room for {writes} writes");
    shop.settle().await;
    let (before, newest_before) = (shop.stock_of("mug").await, newest(ann).await);
    let basket = Basket::of(&[("mug", 2)]).paid_with(card).under(&fresh("full"));

    room.leave(writes);
    let first = ann.place(&basket).await;
    let is_placed = match (first.status, first.code()) {
        (202, _) => true,
        (503, "storage_full") => false,
        _ => panic!("{at}: {first:?}"),
    };
    wait_until(Duration::from_secs(60), &at, async || room.is_missed() || is_idle(shop).await).await;
    let was_missed = room.is_missed();
    if was_missed {
        tokio::time::sleep(FULL).await;
        ann.get("/orders").await.expect(200);
        let other = ann.place(&Basket::of(&[("mug", 1)]).under(&fresh("full"))).await;
        assert_eq!((other.status, other.code()), (503, "storage_full"), "{at}");
    }
    room.leave(ENOUGH);
    shop.clock.forward(Duration::from_secs(31)); // leases whose end could not be saved
    shop.settle().await;

    let expected = if is_placed { first.body["id"].clone() } else { newest_before };
    assert_eq!(newest(ann).await, expected, "{at}: there when it was answered, and only then");
    let again = ann.place(&basket).await.expect(202);
    if is_placed {
        assert_eq!(again["id"], first.body["id"], "{at}: one key, one order");
    }
    shop.settle().await;
    let order = ann.get(&format!("/orders/{}", id(&again))).await.expect(200);
    assert_eq!(order["state"], end, "{at}: {order:#}");
    let sold = if end == "confirmed" { 2 } else { 0 };
    assert_eq!(shop.kept(&order).await, 1200 * sold, "{at}");
    assert_eq!(shop.stock_of("mug").await, before - sold, "{at}");
    assert_eq!(mails(&shop.db.folder(), order["number"].as_str().unwrap()), usize::from(sold > 0), "{at}");
    let report = audit::audit(&shop.inside).await.unwrap();
    assert!(report.breaches.is_empty(), "{at}: {:#?}", report.breaches);
    was_missed.then_some(!is_placed)
}

/// The id of her latest order.
async fn newest(ann: &Person) -> Value {
    ann.get("/orders?limit=1").await.expect(200)["items"][0]["id"].clone()
}

/// Whether all that was to be done now is done.
async fn is_idle(shop: &Shop) -> bool {
    shop.left().await.0 == 0
}

/// So many mails confirm this order.
fn mails(folder: &Path, number: &str) -> usize {
    let subject = format!("Subject: Your order {number} is confirmed");
    let files = std::fs::read_dir(folder.join("mail")).into_iter().flatten();
    files
        .filter(|file| std::fs::read_to_string(file.as_ref().unwrap().path()).unwrap().contains(&subject))
        .count()
}
