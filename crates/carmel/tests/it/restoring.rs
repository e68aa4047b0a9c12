//! `carmel restore`: what is lost, what is refused, and what is left when it is
//! killed.

use std::{fs, path::Path};

use db::{Db, Engine, Target, query};
use kernel::World;
use payments::sandbox::{ChargeState, Sandbox};
use serde_json::{Value, json};
use testkit::{TestDb, client::Basket};
use tokio::net::TcpListener;

use crate::{
    backup::{Open, all_in, json_of, orders_in, refused, restore_into, succeeded},
    harness::id,
    process::{run, said},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_the_past_says_what_is_lost_and_can_be_undone() {
    let mut shop = Open::start().await;
    let ann = shop.front.customer().await;
    let before = ann.order(&[("mug", 1)]).await;
    let backup = shop.backup("backup");
    let after = ann.order(&[("mug", 2)]).await;
    let bob = shop.front.customer().await;
    shop.owner.receive("mug", 50).await;
    let open = refused(&shop.run(&["restore", &backup, "--yes"]));
    shop.close().await;

    let (asked, told) = (shop.run(&["restore", &backup]), shop.run(&["restore", &backup, "--json"]));
    let unchanged = orders_in(shop.data().to_str().unwrap()).await.len();
    let done = succeeded(&shop.run(&["restore", &backup, "--yes"]));

    assert!(open.contains("is open in another process"), "{open}");
    assert!(refused(&asked).contains("nothing was changed: --yes"), "{}", said(&asked));
    assert_eq!(unchanged, 2);
    let report = json_of(&told);
    assert_eq!((&report["restored"], &report["audit"]["breaches"]), (&json!(false), &json!([])));
    let lost = |kind: &str| report["lost"][kind].as_array().cloned().unwrap_or_default();
    let names = |kind: &str, what: &str| lost(kind).iter().filter(|deed| told_of(deed, what)).count();
    assert_eq!((lost("orders").len(), names("orders", id(&after))), (1, 1), "{report:#}");
    assert_eq!((lost("payments").len(), names("payments", id(&after))), (2, 2), "{report:#}");
    assert_eq!((lost("accounts").len(), names("accounts", &bob.id)), (1, 1), "{report:#}");
    assert_eq!((lost("movements of stock").len(), names("movements of stock", "+50 received")), (2, 1));
    assert_eq!(names("changes of orders", id(&before)), 0, "{report:#}");
    for part in [
        "lost: 1 orders, the last at ",
        id(&after),
        "pay back there",
        "0 breaches",
        "what was there before is in",
    ] {
        assert!(done.contains(part), "{part}: {done}");
    }

    shop.program.restart().await;
    let status = async |order: &Value| ann.get(&format!("/orders/{}", id(order))).await.status;
    assert_eq!((status(&before).await, status(&after).await), (200, 404));
    assert_eq!(shop.front.available("mug").await, 9);
    assert_eq!(ann.order(&[("mug", 1)]).await["state"], "confirmed", "and it goes on");
    let (audited, found) = shop.program.run(&["audit"]).await;
    assert!(audited.success(), "{found}");

    // What was there before is a backup, too.
    shop.close().await;
    let kept = done.split("what was there before is in ").nth(1).unwrap().lines().next().unwrap();
    succeeded(&shop.run(&["restore", kept, "--yes"]));
    shop.program.restart().await;
    assert_eq!((status(&before).await, status(&after).await), (200, 200));
    assert_eq!(shop.front.available("mug").await, 57);
}

fn told_of(deed: &Value, what: &str) -> bool {
    deed["what"].as_str().unwrap().contains(what)
}

/// The provider remembers what the shop has forgotten: what is asked of it again
/// is asked under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_into_the_past_nobody_is_charged_or_paid_back_twice() {
    let books = TestDb::new(Engine::Sqlite);
    let sandbox = Sandbox::new(books.open("sandbox", &payments::migrations()).await, Default::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = format!("http://{}", listener.local_addr().unwrap());
    let routes = payments::sandbox::http::routes(sandbox.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut shop = Open::start_with(&[
        ("CARMEL_PAYMENTS_SANDBOX_URL", provider),
        ("CARMEL_PAYMENTS_WEBHOOK_SECRET", format!("whsec_{}", "A".repeat(43) + "=")),
    ])
    .await;
    let ann = shop.front.customer().await;
    let basket = Basket::of(&[("mug", 1)]).paid_with("tok_review").waiting(20);
    let reviewed = ann.place(&basket).await.expect(200);
    let bought = ann.order(&[("mug", 1)]).await;
    assert_eq!((&reviewed["state"], &bought["state"]), (&json!("in_review"), &json!("confirmed")));
    let (review, refund) =
        (format!("/orders/{}/review", id(&reviewed)), format!("/orders/{}/refund", id(&bought)));
    let backup = shop.backup("backup");

    for _ in ["before", "after"] {
        shop.owner.post(&review, json!({ "decision": "approve" })).await.expect(202);
        shop.owner.post(&refund, json!({})).await.expect(202);
        assert_eq!(ann.until(id(&reviewed), &["confirmed"]).await["state"], "confirmed");
        assert_eq!(ann.until(id(&bought), &["refunded"]).await["state"], "refunded");
        shop.close().await;
        succeeded(&shop.run(&["restore", &backup, "--yes"]));
        shop.program.restart().await;
    }

    for (order, state) in [(&reviewed, ChargeState::Captured), (&bought, ChargeState::Refunded)] {
        let charges = sandbox.charges_of(id(order).parse().unwrap()).await.unwrap();
        assert_eq!(charges.iter().map(|charge| charge.state).collect::<Vec<_>>(), [state]);
    }
    serving.abort();
}

/// Its name, how it is done to a backup, and what is said of it.
type Damage = (&'static str, fn(&Path), &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_by_name_and_nothing_is_changed() {
    let mut shop = Open::start().await;
    shop.front.customer().await.order(&[("mug", 1)]).await;
    let whole = shop.backup("whole");
    shop.close().await;
    let damages: [Damage; 9] = [
        ("missing", |at| fs::remove_file(at.join("orders.db")).unwrap(), "orders.db is missing"),
        ("flipped", |at| flip(&at.join("payments.db")), "payments.db has"),
        ("longer", |at| change(&at.join("users.db"), |bytes| bytes.push(0)), "users.db has"),
        ("shorter", |at| change(&at.join("users.db"), |bytes| bytes.truncate(8192)), "users.db has 8192"),
        ("unfinished", |at| fs::remove_file(at.join("backup.toml")).unwrap(), "backup.toml cannot be read"),
        ("garbled", |at| fs::write(at.join("backup.toml"), "]").unwrap(), "backup.toml is not a backup's"),
        ("silent", |at| manifest(at, |text| text.replace("[files.orders]", "[files.other]")), "of orders.db"),
        ("newer", |at| manifest(at, |text| text.replace("format = 1", "format = 2")), "has format 2"),
        ("elsewhere", |at| fs::remove_dir_all(at).unwrap(), "backup.toml cannot be read"),
    ];
    let here = all_in(&shop.data());

    for (name, damage, says) in damages {
        let folder = shop.room.path().join(name);
        copy_folder(Path::new(&whole), &folder);
        damage(&folder);
        let told = refused(&shop.run(&["restore", folder.to_str().unwrap(), "--yes"]));
        assert!(told.contains(says), "{name}: {told}");
        assert_eq!(all_in(&shop.data()), here, "{name}");
    }
    succeeded(&shop.run(&["restore", &whole, "--yes"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_a_newer_program_has_broken_are_not_restored() {
    let mut shop = Open::start().await;
    let orders = Target::Sqlite { path: shop.data().join("orders.db") };
    let newer =
        "INSERT INTO migrations (name, checksum, applied_at) VALUES ('orders_99 needs orders_98', '', 0)";
    let db = Db::open(&orders, &World::real()).await.unwrap();
    let planted: kernel::Result<u64> = db::write!(db, async |tx| { query(newer).execute(tx).await });
    planted.unwrap();
    db.close().await;
    let backup = shop.backup("newer");
    shop.close().await;
    let fresh = shop.beside("fresh");

    let told = refused(&restore_into(&fresh, &[&backup]));

    assert!(told.contains("orders_99 needs orders_98") && told.contains("too old"), "{told}");
    assert!(!Path::new(&fresh).join("orders.db").exists() && !Path::new(&fresh).join("restoring").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_an_older_program_is_brought_up_to_date() {
    let mut shop = Open::start().await;
    shop.front.customer().await.order(&[("mug", 1)]).await;
    shop.close().await;
    for service in ["orders", "notifications"] {
        let target = Target::Sqlite { path: shop.data().join(format!("{service}.db")) };
        let db = Db::open(&target, &World::real()).await.unwrap();
        let undone: kernel::Result<u64> = db::write!(db, async |tx| {
            query("DROP TABLE consumers").execute(tx).await?;
            query("DELETE FROM migrations WHERE name = 'bus_5_consumers'").execute(tx).await
        });
        assert_eq!(undone, Ok(1));
        db.close().await;
    }
    let backup = shop.backup("older");
    let fresh = shop.beside("fresh");

    let done = succeeded(&restore_into(&fresh, &[&backup]));

    assert!(done.contains("0 breaches"), "{done}");
    let audited = succeeded(&run(&["audit"], &[("CARMEL_DATA_FOLDER", &fresh)], ""));
    assert!(audited.contains("0 breaches"), "{audited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_leaves_the_old_shop_or_the_new_one() {
    let mut shop = Open::start().await;
    let ann = shop.front.customer().await;
    ann.order(&[("mug", 1)]).await;
    let backup = shop.backup("backup");
    ann.order(&[("mug", 1)]).await;
    shop.close().await;
    let points = ["restore.staged", "restore.marked", "restore.aside.users", "restore.aside.payments"];
    let more = ["restore.placed.users", "restore.placed.notifications", "restore.placed"];

    for point in points.into_iter().chain(more) {
        let data = shop.beside(point);
        copy_folder(&shop.data(), Path::new(&data));
        let at = [("CARMEL_DATA_FOLDER", data.as_str()), ("CARMEL_TEST_KILL_AT", point), ("PORT", "0")];
        let killed = run(&["restore", &backup, "--yes"], &at, "");
        assert_eq!(killed.status.code(), None, "{point}: {}", said(&killed));
        let here = [("CARMEL_DATA_FOLDER", data.as_str()), ("PORT", "0")];

        if point == "restore.staged" {
            let audited = succeeded(&run(&["audit"], &here, ""));
            assert!(audited.contains("0 breaches"), "{audited}");
            assert_eq!(orders_in(&data).await.len(), 2, "the old one");
        } else {
            for command in [&["audit"][..], &["migrate"], &["backup", &shop.beside("no")], &["serve"]] {
                let told = run(command, &here, "");
                assert!(!told.status.success(), "{point} {command:?}: {}", said(&told));
                assert!(said(&told).contains("was interrupted: run `carmel restore"), "{}", said(&told));
            }
        }
        let finished = succeeded(&run(&["restore", &backup, "--yes"], &here, ""));
        assert!(finished.contains("0 breaches") && finished.contains("what was there before is in"));
        assert_eq!(orders_in(&data).await.len(), 1, "{point}: the new one");
        let kept = finished.split("what was there before is in ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(orders_in(kept).await.len(), 2, "{point}: the old one is kept");
        let left = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with("restoring")), "{left:?}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in all_in(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Changes one bit in the middle.
fn flip(path: &Path) {
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

fn manifest(folder: &Path, how: impl FnOnce(&str) -> String) {
    let path = folder.join("backup.toml");
    let text = how(&fs::read_to_string(&path).unwrap());
    fs::write(path, text).unwrap();
}
