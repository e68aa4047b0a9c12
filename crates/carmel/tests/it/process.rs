//! The program as its owner runs it: starting, ending, its other commands, its
//! settings.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::json;
use testkit::{
    TestDb, both_databases,
    client::{self, Basket, PASSWORD},
    process::Carmel,
    smtp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{id, wait_until};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_carmel");

both_databases!(
    a_shop_is_filled_once_and_opens_again_quickly,
    sigterm_finishes_what_was_accepted,
    a_confirmation_arrives_by_smtp_once,
);

/// Settings of a program on these databases.
pub fn on(db: &TestDb) -> Vec<(&'static str, String)> {
    vec![
        ("CARMEL_DATA_FOLDER", db.folder().to_str().unwrap().to_owned()),
        ("DATABASE_URL", db.url().unwrap_or_default()),
        ("CARMEL_DATABASE_CONNECTIONS", "3".to_owned()),
    ]
}

pub fn lent<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// Runs a command of the program to its end, with this on its standard input.
pub fn run(arguments: &[&str], settings: &[(&str, &str)], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

async fn a_shop_is_filled_once_and_opens_again_quickly(db: TestDb) {
    let settings = on(&db);
    let mut shop = Carmel::start_with(PROGRAM, &["serve", "--sample"], &lent(&settings)).await;
    let front = client::Shop::at(shop.url());
    let log = shop.log();
    let line =
        log.lines().find(|line| line.starts_with("administrator: ")).unwrap_or_else(|| panic!("{log}"));
    let password = line.split(" with the password ").nth(1).unwrap().split_whitespace().next().unwrap();

    let owner = front.sign_in("admin@example.com", password).await;
    let shelf = owner.get("/products?limit=100").await.expect(200);
    let sku = shelf["items"][0]["variants"][0]["sku"].as_str().unwrap().to_owned();
    let ann = front.customer().await;
    let order = ann.order(&[(&sku, 1)]).await;
    let (audited, found) = shop.run(&["audit"]).await;
    let (again, what) = shop.run(&["sample"]).await;

    assert_eq!(order["state"], "confirmed");
    assert!(audited.success(), "{found}");
    assert!(again.success() && what.contains("nothing was touched"), "{what}");
    assert_eq!(shelf["items"].as_array().unwrap().len(), 100, "there are more than a hundred products");
    assert_eq!(log.matches(password).count(), 1, "it is shown once");

    shop.kill();
    let took = shop.restart().await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(ann.get(&format!("/orders/{}", id(&order))).await.expect(200)["state"], "confirmed");
    assert_eq!(front.sign_in("admin@example.com", password).await.id, owner.id);
    assert_eq!(shop.log().matches("administrator: ").count(), 1, "nothing was filled the second time");
    let (audited, found) = shop.run(&["audit", "--json"]).await;
    assert!(audited.success(), "{found}");
    let json = found
        .find('{')
        .map(|at| serde_json::Deserializer::from_str(&found[at..]).into_iter::<serde_json::Value>().next());
    assert!(json.is_some_and(|json| json.unwrap().unwrap()["breaches"] == json!([])), "{found}");
}

/// Makes an administrator and something to sell in a running shop.
pub async fn furnish(shop: &Carmel, settings: &[(&str, &str)]) -> (client::Shop, client::Person) {
    let made = run(&["admin", "create", "--email", "owner@example.com"], settings, &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{}", said(&made));
    assert!(!said(&made).contains(PASSWORD), "a password that was given is not repeated");
    let front = client::Shop::at(shop.url());
    let owner = front.sign_in("owner@example.com", PASSWORD).await;
    owner.sell("mug", 1200, 10).await;
    (front, owner)
}

async fn sigterm_finishes_what_was_accepted(db: TestDb) {
    let settings = [on(&db), vec![("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", "700".to_owned())]].concat();
    let mut shop = Carmel::start(PROGRAM, &lent(&settings)).await;
    let (front, _) = furnish(&shop, &lent(&settings)).await;
    let ann = front.customer().await;
    let placed = ann.place(&Basket::of(&[("mug", 1)])).await.expect(202);
    ann.until(id(&placed), &["held"]).await;
    let waiting = Basket::of(&[("mug", 2)]).waiting(25);

    let under_way = tokio::spawn({
        let ann = ann.clone();
        async move { ann.try_place(&waiting).await }
    });
    wait_until(Duration::from_secs(10), "the second order", async || {
        ann.get("/orders").await.expect(200)["items"].as_array().unwrap().len() == 2
    })
    .await;
    let status = shop.terminate(Duration::from_secs(25)).await;

    assert!(status.success(), "{status}: {}", shop.log());
    assert!(shop.log().contains("draining"), "{}", shop.log());
    // Who was waiting got an answer: the request was under way.
    let answer = under_way.await.unwrap().expect("an answer, not a broken connection");
    assert!([200, 202].contains(&answer.status), "{answer:?}");

    shop.restart().await;
    for order in [id(&placed), id(&answer.body)] {
        assert_eq!(ann.settled(order).await["state"], "confirmed");
    }
    assert_eq!(front.available("mug").await, 7);
    let (audited, found) = shop.run(&["audit"]).await;
    assert!(audited.success(), "{found}");
}

async fn a_confirmation_arrives_by_smtp_once(db: TestDb) {
    let mut post = smtp::Server::start();
    let settings = [on(&db), vec![("CARMEL_MAIL_SMTP_URL", post.url())]].concat();
    let mut shop = Carmel::start(PROGRAM, &lent(&settings)).await;
    let (front, owner) = furnish(&shop, &lent(&settings)).await;
    let ann = front.customer().await;

    // The mail server is away at first: the mail waits, the order does not.
    post.stop();
    let order = ann.order(&[("mug", 1)]).await;
    assert_eq!(order["state"], "confirmed");
    let note = json!({ "to": "bob@example.com", "subject": "Hello", "body": "there" });
    let job = owner.post("/send-email", note).await.expect(202)["jobId"].as_str().unwrap().to_owned();
    wait_until(Duration::from_secs(20), "a first attempt", async || {
        owner.get(&format!("/jobs/{job}")).await.expect(200)["last_error"].is_string()
    })
    .await;
    post.again();
    let mails = post.wait_for(2).await;
    wait_until(Duration::from_secs(20), "the job is done", async || {
        owner.get(&format!("/jobs/{job}")).await.expect(200)["state"] == "done"
    })
    .await;

    let mail = mails.iter().find(|mail| mail.receivers == [ann.email.as_str()]).expect("a mail to Ann");
    let number = order["number"].as_str().unwrap();
    assert!(mail.subject.contains(number), "{}", mail.subject);
    for form in [&mail.text, &mail.html] {
        let form = form.as_ref().expect("both forms");
        assert!(form.contains(number) && form.contains("12.00"), "{form}");
    }
    // Nothing comes twice, not even after a restart.
    shop.kill();
    shop.restart().await;
    ann.order(&[("mug", 1)]).await;
    let mails = post.wait_for(3).await;
    let to_ann: Vec<_> = mails.iter().filter(|mail| mail.receivers == [ann.email.as_str()]).collect();
    assert_eq!(to_ann.len(), 2, "one for each order");
    assert_ne!(to_ann[0].message_id, to_ann[1].message_id);
}

#[test]
fn wrong_settings_stop_the_start_with_a_sentence() {
    let table = [
        (("CARMEL_SERVER_PORT", "many"), "server.port"),
        (("CARMEL_SERVER_PROT", "3000"), "CARMEL_SERVER_PORT"),
        (("CARMEL_ORDERS_HOLD_MINUTES", "0"), "from 1 to 1440"),
        (("DATABASE_URL", "mysql://x/y"), "postgres"),
        (("CARMEL_MAIL_SMTP_URL", "http://mail"), "smtp"),
        (("CARMEL_LOG_LEVEL", "loud"), "log.level"),
        (("CARMEL_SERVER_CORS_ORIGINS", "shop.example.com"), "server.cors_origins"),
    ];
    for ((key, value), names) in table {
        let stopped = run(&["serve"], &[(key, value), ("PORT", "0")], "");
        let said = said(&stopped);
        assert_eq!(stopped.status.code(), Some(2), "{key}={value}: {said}");
        assert!(said.contains(names), "{key}={value} says nothing of {names}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_said_clearly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let stopped = run(&["serve"], &[("PORT", &port)], "");

    let said = said(&stopped);
    assert_eq!(stopped.status.code(), Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("server.port"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_may_be_connected_than_files_are_open_at_the_start() {
    let few = ["-c", "ulimit -Sn 100 && exec \"$0\" serve", PROGRAM];
    let shop = Carmel::start_with("/bin/sh", &few, &[]).await;
    let place = shop.url().replace("http://", "");

    let mut held = Vec::new();
    for _ in 0..300 {
        let mut connection = TcpStream::connect(&place).await.unwrap();
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        let answered = timeout(Duration::from_secs(5), connection.read_exact(&mut status)).await;
        answered.expect("within five seconds").unwrap();
        assert_eq!(&status, b"HTTP/1.1 200", "connection {}", held.len());
        held.push(connection);
    }
}

#[test]
fn a_database_that_is_away_is_said_clearly() {
    let nobody = testkit::free_port();
    let url = format!("postgres://somebody:topsecret@127.0.0.1:{nobody}/shop");

    let stopped =
        run(&["serve"], &[("DATABASE_URL", &url), ("CARMEL_DATABASE_WAIT_S", "0"), ("PORT", "0")], "");

    let said = said(&stopped);
    assert_eq!(stopped.status.code(), Some(1), "{said}");
    assert!(!said.contains("topsecret"), "{said}");
}

#[test]
fn an_administrator_is_made_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = [("CARMEL_DATA_FOLDER", folder.path().to_str().unwrap())];
    let create = ["admin", "create", "--email", "owner@example.com", "--name", "Owner"];

    let (short, first, second) = (
        run(&create, &data, "short\n"),
        run(&create, &data, "correct horse battery\n"),
        run(&create, &data, "another horse battery\n"),
    );
    let (migrated, audited) = (run(&["migrate"], &data, ""), run(&["audit"], &data, ""));

    assert!(!short.status.success() && !said(&short).contains("panicked"), "{}", said(&short));
    assert!(said(&first).contains("is a new administrator"), "{}", said(&first));
    assert!(said(&second).contains("with a new password"), "{}", said(&second));
    assert!(migrated.status.success(), "{}", said(&migrated));
    assert!(audited.status.success() && said(&audited).contains("0 breaches"), "{}", said(&audited));
}

/// An audit that finds nothing whatever happens would be worth nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_is_broken() {
    let db = TestDb::new(db::Engine::Sqlite);
    let settings = on(&db);
    let shop = Carmel::start(PROGRAM, &lent(&settings)).await;
    let (front, _) = furnish(&shop, &lent(&settings)).await;
    let order = front.customer().await.order(&[("mug", 1)]).await;
    let breaks = [
        ("payments", "UPDATE payments SET captured = captured - 1"),
        ("inventory", "UPDATE stock SET on_hand = on_hand + 1"),
    ];

    for (service, sql) in breaks {
        let tables = db.open(service, &[]).await;
        let broken: kernel::Result<u64> = db::write!(tables, async |tx| { db::query(sql).execute(tx).await });
        broken.unwrap();
        let (status, found) = shop.run(&["audit"]).await;
        assert_eq!(status.code(), Some(1), "{service}: {found}");
        assert!(found.contains("BREACH"), "{service}: {found}");
        tables.close().await;
    }
    let (_, found) = shop.run(&["audit"]).await;
    assert!(found.contains(id(&order)), "{found}");
}
