//! `carmel backup` and `carmel restore`: one moment of all services, and the way
//! back to it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use db::{Db, Engine, Target, query};
use kernel::{OrderId, World};
use serde_json::Value;
use testkit::{
    TestDb,
    client::{Basket, Person, Shop},
    postgres::Server,
    process::Carmel,
};
use tokio::task::JoinSet;

use crate::{
    harness::id,
    process::{PROGRAM, furnish, lent, on, run, said},
};

const SERVICES: [&str; 6] = ["users", "catalog", "inventory", "orders", "payments", "notifications"];

/// A shop in files that is being served.
pub struct Open {
    pub program: Carmel,
    settings: Vec<(&'static str, String)>,
    pub front: Shop,
    pub owner: Person,
    /// For backups and other shops.
    pub room: tempfile::TempDir,
    // Before the files are gone the program has ended.
    _db: TestDb,
}

impl Open {
    pub async fn start() -> Open {
        Open::start_with(&[("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", "0".to_owned())]).await
    }

    pub async fn start_with(settings: &[(&'static str, String)]) -> Open {
        let db = TestDb::new(Engine::Sqlite);
        let settings = [on(&db), settings.to_vec()].concat();
        let program = Carmel::start(PROGRAM, &lent(&settings)).await;
        let (front, owner) = furnish(&program, &lent(&settings)).await;
        Open { program, settings, front, owner, room: tempfile::tempdir().unwrap(), _db: db }
    }

    pub async fn close(&mut self) {
        assert!(self.program.terminate(Duration::from_secs(25)).await.success());
    }

    /// The folder of its files.
    pub fn data(&self) -> PathBuf {
        self._db.folder()
    }

    /// A place beside it that nothing is in yet.
    pub fn beside(&self, name: &str) -> String {
        self.room.path().join(name).to_str().unwrap().to_owned()
    }

    /// Another command on it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &[lent(&self.settings), vec![("PORT", "0")]].concat(), "")
    }

    /// Makes a backup beside it.
    #[track_caller]
    pub fn backup(&self, name: &str) -> String {
        let folder = self.beside(name);
        succeeded(&self.run(&["backup", &folder]));
        folder
    }
}

/// Restores a backup into a folder.
pub fn restore_into(data: &str, arguments: &[&str]) -> Output {
    let arguments = [&["restore"], arguments].concat();
    run(&arguments, &[("CARMEL_DATA_FOLDER", data)], "")
}

#[track_caller]
pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

#[track_caller]
pub fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    said(output)
}

pub fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// People who buy without a pause, and what they were answered.
pub struct Crowd {
    answered: Arc<Mutex<Vec<OrderId>>>,
    stop: Arc<AtomicBool>,
    people: JoinSet<()>,
}

impl Crowd {
    pub async fn of(front: &Shop, count: usize) -> Crowd {
        let mut crowd = Crowd { answered: Arc::default(), stop: Arc::default(), people: JoinSet::new() };
        for _ in 0..count {
            let (person, answered, stop) =
                (front.customer().await, crowd.answered.clone(), crowd.stop.clone());
            crowd.people.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let order = person.place(&Basket::of(&[("mug", 1)])).await.expect(202);
                    answered.lock().unwrap().push(id(&order).parse().unwrap());
                }
            });
        }
        crowd
    }

    pub fn answered(&self) -> Vec<OrderId> {
        self.answered.lock().unwrap().clone()
    }

    pub async fn until_answered(&self, more: usize) {
        let before = self.answered().len();
        while self.answered().len() < before + more {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn leave(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(left) = self.people.join_next().await {
            left.unwrap();
        }
    }
}

/// The orders in a folder of files.
pub async fn orders_in(folder: &str) -> Vec<OrderId> {
    orders_of(&Target::Sqlite { path: Path::new(folder).join("orders.db") }).await
}

async fn orders_of(target: &Target) -> Vec<OrderId> {
    let db = Db::open(target, &World::real()).await.unwrap();
    let orders: kernel::Result<Vec<(OrderId,)>> =
        db::read!(db, async |tx| { query("SELECT id FROM orders").fetch_all(tx).await });
    db.close().await;
    orders.unwrap().into_iter().map(|(order,)| order).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_busy_shop_shows_one_moment_with_every_order_that_was_answered() {
    let shop = Open::start().await;
    shop.owner.receive("mug", 100_000).await;
    let crowd = Crowd::of(&shop.front, 8).await;
    let mut backups = Vec::new();

    for count in 0..6 {
        crowd.until_answered(40).await;
        let (folder, answered) = (shop.beside(&format!("backup-{count}")), crowd.answered());
        let made = tokio::task::block_in_place(|| shop.run(&["backup", &folder, "--json"]));
        succeeded(&made);
        let held = json_of(&made)["writers_held_ms"].as_f64().unwrap();
        assert!(held < 1500.0, "nobody could write for {held} ms");
        backups.push((folder, answered));
    }
    crowd.leave().await;

    for (folder, answered) in backups {
        let data = format!("{folder}-restored");
        let restored = succeeded(&restore_into(&data, &[&folder]));
        assert!(restored.contains("0 breaches"), "{restored}");
        let there = orders_in(&data).await;
        let missing: Vec<_> = answered.iter().filter(|order| !there.contains(order)).collect();
        assert!(missing.is_empty(), "{missing:?} of {} are not in {folder}", answered.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_replaces_nothing_and_two_at_once_are_both_whole() {
    let shop = Open::start().await;
    shop.front.customer().await.order(&[("mug", 1)]).await;
    let (first, second, used) = (shop.beside("first"), shop.beside("second"), shop.beside("used"));
    fs::create_dir(&used).unwrap();
    fs::write(Path::new(&used).join("letter"), "dear").unwrap();

    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| shop.run(&["backup", &first]));
        (shop.run(&["backup", &second]), one.join().unwrap())
    });
    let over_a_backup = refused(&shop.run(&["backup", &first]));
    let over_a_letter = refused(&shop.run(&["backup", &used]));
    let nowhere = run(&["backup", &shop.beside("x")], &[("CARMEL_DATA_FOLDER", &shop.beside("none"))], "");

    succeeded(&one);
    assert!(succeeded(&other).contains("keep it as you keep a password"), "{}", said(&other));
    for folder in [&first, &second] {
        let restored = succeeded(&restore_into(&format!("{folder}-restored"), &[folder]));
        assert!(restored.contains("0 breaches"), "{restored}");
    }
    assert!(over_a_backup.contains("there is a backup in"), "{over_a_backup}");
    assert!(over_a_letter.contains("there is something in"), "{over_a_letter}");
    assert_eq!(all_in(Path::new(&used)).len(), 1);
    assert!(refused(&nowhere).contains("there is no shop in"), "{}", said(&nowhere));
    assert!(!Path::new(&shop.beside("x")).exists());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reads_a_backup() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Open::start().await;
    let backup = shop.backup("backup");

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    assert_eq!(mode(Path::new(&backup)), 0o700);
    for name in all_in(Path::new(&backup)).keys() {
        assert_eq!(mode(&Path::new(&backup).join(name)), 0o600, "{name}");
    }
    let names: Vec<_> = all_in(Path::new(&backup)).into_keys().collect();
    assert_eq!(names.len(), SERVICES.len() + 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_leaves_no_half_backup_and_no_half_restore() {
    let shop = Open::start().await;
    let folder = shop.beside("backup");
    let fresh = shop.beside("fresh");
    // As if the disk were full after 64 KiB of a file.
    let limited = |arguments: &str, data: &Path| {
        let command = format!("trap '' XFSZ; ulimit -f 128; exec '{PROGRAM}' {arguments}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &command]).env_clear().env("CARMEL_DATA_FOLDER", data).output().unwrap()
    };

    let full = limited(&format!("backup '{folder}'"), &shop.data());

    let told = refused(&full);
    assert!(told.contains(&folder) && !told.contains("panicked"), "{told}");
    assert_eq!(all_in(Path::new(&folder)).len(), 0, "{told}");
    assert!(refused(&restore_into(&fresh, &[&folder])).contains("backup.toml cannot be read"));
    succeeded(&shop.run(&["backup", &folder]));
    let told = refused(&limited(&format!("restore '{folder}'"), Path::new(&fresh)));
    assert!(told.contains("File too large") && !Path::new(&fresh).join("orders.db").exists(), "{told}");
    assert!(!Path::new(&fresh).join("restoring").exists(), "{told}");
    assert_eq!(shop.front.customer().await.order(&[("mug", 1)]).await["state"], "confirmed");
}

/// What `carmel backup` and `carmel restore` advise is run as it is printed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_advised_for_postgres_shows_one_moment_too() {
    let db = TestDb::new(Engine::Postgres);
    let settings = [on(&db), vec![("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", "0".to_owned())]].concat();
    let program = Carmel::start(PROGRAM, &lent(&settings)).await;
    let (front, owner) = furnish(&program, &lent(&settings)).await;
    owner.receive("mug", 100_000).await;
    let crowd = Crowd::of(&front, 4).await;
    crowd.until_answered(40).await;
    let room = tempfile::tempdir().unwrap();
    let restored = Server::shared().database();
    let there = [("DATABASE_URL", restored.as_str())];

    let (dump, answered) = (advice(&refused(&run(&["backup", "x"], &lent(&settings), ""))), crowd.answered());
    tokio::task::block_in_place(|| shell(&dump, room.path()));
    shell(&advice(&refused(&run(&["restore", "x"], &there, ""))), room.path());
    crowd.leave().await;

    let audited = succeeded(&run(&["audit", "--stopped"], &there, ""));
    assert!(audited.contains("0 breaches"), "{audited}");
    let target = Target::Postgres { url: restored, schema: "orders".to_owned(), connections: 1 };
    let kept = orders_of(&target).await;
    let missing: Vec<_> = answered.iter().filter(|order| !kept.contains(order)).collect();
    assert!(missing.is_empty(), "{missing:?} of {} are not in the dump", answered.len());
}

/// The command in what was said.
fn advice(said: &str) -> String {
    let commands: Vec<_> = said.lines().filter(|line| line.starts_with("  pg_")).collect();
    assert_eq!(commands.len(), 1, "{said}");
    commands[0].to_owned()
}

fn shell(command: &str, folder: &Path) {
    let ran = std::process::Command::new("sh").args(["-c", command]).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", said(&ran));
}

#[test]
fn a_shop_in_postgres_is_shown_the_way() {
    let one = [("DATABASE_URL", "postgres://ann:topsecret@db.example.com/shop")];
    let two = [one[0], ("CARMEL_DATABASE_ORDERS_URL", "postgres://ann:topsecret@other/shop")];

    for (arguments, settings, says) in [
        (["backup", "x"], &one[..], "pg_dump --format=directory"),
        (["restore", "x"], &one[..], "pg_restore --exit-on-error"),
        (["backup", "x"], &two[..], "close the shop before the first"),
    ] {
        let told = refused(&run(&arguments, settings, ""));
        assert!(told.contains(says) && told.contains("'postgres://ann@db.example.com/shop'"), "{told}");
        assert!(!told.contains("topsecret"), "{told}");
    }
}

/// Every file in a folder and below, with what is in it.
pub fn all_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() {
            found.insert(name, fs::read(entry.path()).unwrap());
        } else {
            let below = all_in(&entry.path());
            found.extend(below.into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        }
    }
    found
}
