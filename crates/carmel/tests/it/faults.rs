//! What a fleet goes through: processes that die and freeze, a reload, a
//! broker that forgets. People buy all the while, and at the end every order is
//! there once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use carmel::config::{Config, Secret};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    TestDb,
    client::{Answer, Basket, Person, fresh},
    postgres::Pair,
    redis::Sentinel,
    wire::Line,
};
use tokio::task::JoinHandle;

use crate::{
    fleet::{self, Door, signal},
    harness::{Shop, id, wait_until, walk},
};

/// More than anybody buys here.
const MUGS: i64 = 100_000;

/// People who buy one mug after the other until they are told to stop, and look
/// for each in their list.
struct Crowd {
    seen: Arc<Seen>,
    buying: Vec<JoinHandle<(Person, Vec<String>)>>,
}

/// What a crowd has seen so far, and whether it is to stop.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    bought: AtomicUsize,
    failed: AtomicUsize,
}

impl Crowd {
    async fn of(shop: &Shop, people: usize) -> Crowd {
        let seen = Arc::<Seen>::default();
        let mut buying = Vec::new();
        for person in shop.crowd(people).await {
            buying.push(tokio::spawn(buy(person, seen.clone())));
        }
        Crowd { seen, buying }
    }

    /// How many requests were not answered, or with a 5xx.
    fn failed(&self) -> usize {
        self.seen.failed.load(Ordering::Relaxed)
    }

    /// Waits until they have bought so many more; how long that took.
    async fn buys(&self, more: usize) -> Duration {
        let (began, bought) = (Instant::now(), self.seen.bought.load(Ordering::Relaxed));
        wait_until(Duration::from_secs(90), "they go on buying", async || {
            self.seen.bought.load(Ordering::Relaxed) >= bought + more
        })
        .await;
        began.elapsed()
    }

    /// Lets them finish; every order was answered, and each one settles.
    async fn go_home(self) -> usize {
        self.seen.stop.store(true, Ordering::Relaxed);
        let mut orders = 0;
        for person in self.buying {
            let (person, placed) = person.await.unwrap();
            for order in &placed {
                let order = person.settled(order).await;
                assert_eq!(order["state"], "confirmed", "{order}");
            }
            let mut listed = walk(&person, "/orders?limit=100", "id").await;
            listed.reverse();
            assert_eq!(listed, placed, "none twice, none lost");
            orders += placed.len();
        }
        orders
    }
}

/// Buys with a key of its own for each order, which is sent again until there
/// is an answer: as a client does that wants one order and not two.
async fn buy(person: Person, seen: Arc<Seen>) -> (Person, Vec<String>) {
    let mut orders = Vec::new();
    while !seen.stop.load(Ordering::Relaxed) {
        let basket = Basket::of(&[("mug", 1)]).under(&fresh("order"));
        let order = insist(&seen, || person.try_place(&basket)).await;
        orders.push(id(&order).to_owned());
        seen.bought.fetch_add(1, Ordering::Relaxed);
        let newest = "/orders?limit=1";
        let listed = insist(&seen, || person.try_send(Method::GET, newest, &[], None)).await;
        assert_eq!(id(&listed["items"][0]), id(&order), "everybody sees what he did himself");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    (person, orders)
}

/// Asks again until there is an answer.
async fn insist<F>(seen: &Seen, ask: impl Fn() -> F) -> Value
where
    F: Future<Output = reqwest::Result<Answer>>,
{
    loop {
        match ask().await {
            Ok(answer) if answer.status < 300 => return answer.body,
            Ok(answer) if answer.status < 500 && answer.code() != "request_in_progress" => {
                panic!("refused: {answer:?}")
            }
            _ => seen.failed.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn open(db: TestDb) -> Shop {
    open_with(db, |_| {}).await
}

async fn open_with(db: TestDb, change: impl FnOnce(&mut Config)) -> Shop {
    let changed = |config: &mut Config| {
        config.screening.orders_per_hour = 100_000;
        change(config);
    };
    let shop = Shop::start_with(db, changed).await;
    shop.stock("mug", 1200, MUGS).await;
    shop
}

/// Every order was paid for and delivered once: what is left is what was not bought.
async fn closed(shop: Shop, orders: usize) {
    assert!(orders > 0, "nobody bought anything");
    shop.settle().await;
    assert_eq!(shop.stock_of("mug").await, MUGS - i64::try_from(orders).unwrap());
    shop.audit().await;
}

#[test]
fn a_reload_of_everything_fails_no_request() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 6).await;
        let before = shop.fleet().processes("orders");

        let (status, said) = shop.fleet().reload().await;

        assert!(status.success(), "{said}: {}", shop.fleet().log());
        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        assert_eq!(said.lines().filter(|line| line.ends_with(" replaced")).count(), 16, "{said}");
        assert!(!shop.fleet().processes("orders").iter().any(|process| before.contains(process)));
        closed(shop, orders).await;
    });
}

#[test]
fn a_reload_to_what_cannot_start_leaves_everybody_at_work() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 2).await;
        let parts = ["users", "catalog", "inventory", "payments", "notifications", "orders", "gateway"];
        let before = parts.map(|part| shop.fleet().processes(part));
        std::fs::write(&shop.fleet().around().file, "[server]\nport_of_call = 1").unwrap();

        let (status, said) = shop.fleet().reload().await;

        assert!(!status.success() && said.contains("ended before it was ready"), "{said}");
        assert!(shop.fleet().log().contains("port_of_call"), "{}", shop.fleet().log());
        assert_eq!(parts.map(|part| shop.fleet().processes(part)), before);
        crowd.buys(3).await;
        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn each_process_is_killed_in_turn_and_no_order_is_lost_or_doubled() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;

        for part in ["gateway", "users", "catalog", "inventory", "payments", "notifications", "orders"] {
            for process in shop.fleet().processes(part) {
                signal(process, "KILL");
                let fleet = shop.fleet();
                wait_until(Duration::from_secs(60), "another takes its place", async || {
                    let now = fleet.processes(part);
                    !now.contains(&process) && !now.is_empty()
                })
                .await;
            }
        }

        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn each_service_freezes_for_a_while_and_no_order_is_lost_or_doubled() {
    fleet::tell(Door::Nginx, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;

        for part in ["users", "catalog", "inventory", "payments", "orders"] {
            let frozen = shop.fleet().processes(part)[0];
            signal(frozen, "STOP");
            tokio::time::sleep(Duration::from_secs(2)).await;
            signal(frozen, "CONT");
        }

        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn without_payments_people_browse_and_order_and_are_served_when_they_are_back() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let ann = shop.customer().await;
        let payments = shop.fleet().processes("payments");
        payments.iter().for_each(|process| signal(*process, "STOP"));

        let shelf = ann.get("/products?limit=10").await.expect(200);
        let placed = ann.place(&Basket::of(&[("mug", 1)])).await.expect(202);
        let waiting = ann.until(id(&placed), &["held"]).await;

        assert_eq!(shelf["items"].as_array().unwrap().len(), 1);
        assert_eq!(waiting["state"], "held");
        payments.iter().for_each(|process| signal(*process, "CONT"));
        assert_eq!(ann.settled(id(&placed)).await["state"], "confirmed");
        closed(shop, 1).await;
    });
}

#[test]
fn a_redis_that_forgets_everything_loses_no_event() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;

        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            shop.around().redis.as_ref().unwrap().flush();
        }

        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn a_redis_that_dies_and_comes_back_empty_loses_no_event() {
    fleet::tell(Door::Gateway, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;
        crowd.buys(8).await;

        shop.around().redis.as_mut().unwrap().kill();
        crowd.buys(8).await;
        shop.around().redis.as_mut().unwrap().restart();
        crowd.buys(8).await;

        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn a_cache_that_dies_costs_nobody_an_error_and_its_heir_is_asked() {
    fleet::tell(Door::Gateway, async |db| {
        let mut cache = Sentinel::start();
        let url = Secret::new(cache.url());
        let mut shop = open_with(db, |config| config.redis.cache_url = url).await;
        let cup = shop.stock("cup", 1200, 100).await;
        let crowd = Crowd::of(&shop, 4).await;
        crowd.buys(8).await;

        cache.master.kill();
        for cents in 1300..1310 {
            reprice(&shop, &cup, cents).await;
        }
        wait_until(Duration::from_secs(30), "the replica takes over", async || {
            cache.replica.ask(&["role"]).starts_with("master")
        })
        .await;
        // What it did before was told to it by its master.
        let told = cache.replica.calls("set");
        for cents in 1400..1410 {
            reprice(&shop, &cup, cents).await;
        }
        wait_until(Duration::from_secs(60), "the heir is asked", async || {
            shop.front.available("mug").await;
            cache.replica.calls("set") > told
        })
        .await;

        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

/// Changes what a cup costs, and orders one right after.
async fn reprice(shop: &Shop, cup: &Value, cents: i64) {
    let variant = format!("/variants/{}", id(&cup["variants"][0]));
    let price = json!({ "price": { "amount": cents, "currency": "EUR" } });
    shop.admin.patch(&variant, price).await.expect(200);
    let placed = shop.admin.place(&Basket::of(&[("cup", 1)])).await.expect(202);
    assert_eq!(placed["total"]["amount"], cents);
}

#[test]
fn a_broker_that_is_away_delays_events_and_loses_none() {
    let away = Duration::from_secs(if std::env::var_os("CARMEL_TEST_FULL").is_some() { 60 } else { 10 });
    fleet::tell(Door::Nginx, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;
        crowd.buys(8).await;

        shop.around().kafka.as_ref().unwrap().away().unwrap();
        tokio::time::sleep(away).await;
        shop.around().kafka.as_ref().unwrap().back().unwrap();

        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

fn pair() -> Pair {
    Pair::start(&["max_connections=300"])
}

fn settle_on(config: &mut Config, pair: &Pair) {
    config.database.url = Secret::new(pair.url());
    config.database.replica_urls = Secret::new(pair.replica.url());
}

#[test]
fn the_primary_dies_its_replica_takes_over_and_no_order_is_lost_or_doubled() {
    fleet::tell(Door::Gateway, async |db| {
        let mut pair = pair();
        let shop = open_with(db, |config| settle_on(config, &pair)).await;
        pair.synchronise();
        let crowd = Crowd::of(&shop, 4).await;
        crowd.buys(20).await;

        pair.primary.kill();
        pair.replica.promote();
        let resumed = crowd.buys(1).await;
        crowd.buys(20).await;

        println!("an order was placed {resumed:?} after the promotion");
        assert!(resumed.as_secs() < 30, "{resumed:?}"); // five are claimed; others use this machine as well
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn behind_a_replica_that_lags_everybody_sees_what_he_did() {
    fleet::tell(Door::Nginx, async |db| {
        let pair = pair();
        let mut shop = open_with(db, |config| settle_on(config, &pair)).await;
        let crowd = Crowd::of(&shop, 4).await;
        crowd.buys(8).await;

        for _ in 0..2 {
            pair.replica.stand_still(&pair.primary);
            tokio::time::sleep(Duration::from_secs(7)).await; // within what it may lag, and beyond
            pair.replica.go_on();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }

        assert_eq!(crowd.failed(), 0, "{}", shop.fleet().log());
        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}

#[test]
fn a_network_that_is_cut_slow_or_broken_loses_and_doubles_no_order() {
    fleet::tell(Door::Wires, async |db| {
        let mut shop = open(db).await;
        let crowd = Crowd::of(&shop, 4).await;

        for service in ["users", "catalog", "inventory", "payments", "orders", "notifications"] {
            for fault in [Line::Cut, Line::Slow(Duration::from_secs(2)), Line::Reset] {
                shop.around().wires[service].set(fault);
                tokio::time::sleep(Duration::from_millis(2500)).await;
                shop.around().wires[service].set(Line::Good);
                crowd.buys(2).await;
            }
        }

        let orders = crowd.go_home().await;
        closed(shop, orders).await;
    });
}
