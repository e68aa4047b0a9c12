//! Holding for and selling to many at once decides as one after the other does.

use inventory::{Lines, Settings, commit_all_for_tests, hold_all_for_tests};
use testkit::{TestDb, both_databases};

use crate::shop::{HOLD_FOR, Shop, Way};

both_databases!(gathered_holds_agree_with_single_ones, gathered_sales_agree_with_single_ones);

/// A chance that can be repeated: Lehmer's generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        self.0 % limit
    }
}

async fn gathered_holds_agree_with_single_ones(db: TestDb) {
    let settings = |gather_most| Settings { gather_most, hold_for: HOLD_FOR };
    let (one_by_one, gathered) =
        (Shop::with(&db, Way::Here, settings(1)).await, Shop::with(&db, Way::Here, settings(64)).await);
    let mut dice = Dice(4711);
    let skus = ["cup", "hat", "mug", "pin"];
    for sku in skus {
        let quantity = 20 + i64::try_from(dice.below(40)).unwrap();
        one_by_one.stock(sku, quantity).await;
        gathered.stock(sku, quantity).await;
    }
    let orders: Vec<_> = (0..20).map(|_| gathered.order()).collect();

    for batch in 0..12 {
        let mut asks = Vec::new();
        for _ in 0..16 {
            let order = orders[usize::try_from(dice.below(20)).unwrap()];
            let first = usize::try_from(dice.below(4)).unwrap();
            let lines: Vec<_> =
                skus[first..].iter().map(|sku| (*sku, 1 + u32::try_from(dice.below(3)).unwrap())).collect();
            asks.push((order, lines));
        }
        let mut singly = Vec::new();
        for (order, lines) in &asks {
            singly.push(one_by_one.hold(*order, lines).await.map(drop));
        }
        let wanted = |lines: &[(&str, u32)]| {
            let line = |(sku, quantity): &(&str, u32)| contracts::inventory::Line {
                sku: sku.parse().unwrap(),
                quantity: *quantity,
            };
            Lines::new(lines.iter().map(line).collect()).unwrap()
        };
        let together = asks.iter().map(|(order, lines)| (*order, wanted(lines))).collect();
        let together = hold_all_for_tests(&gathered.db, together, HOLD_FOR).await.unwrap();
        let together: Vec<_> =
            together.into_iter().map(|outcome| outcome.map(drop).map_err(kernel::Error::from)).collect();

        assert_eq!(singly, together, "batch {batch}");
        assert_eq!(one_by_one.levels(&skus).await, gathered.levels(&skus).await, "batch {batch}");
        if batch % 3 == 2 {
            let order = orders[usize::try_from(dice.below(20)).unwrap()];
            one_by_one.release(order).await.unwrap();
            gathered.release(order).await.unwrap();
        }
    }
    one_by_one.audit().await;
    gathered.audit().await;
}

async fn gathered_sales_agree_with_single_ones(db: TestDb) {
    let settings = |gather_most| Settings { gather_most, hold_for: HOLD_FOR };
    let (one_by_one, gathered) =
        (Shop::with(&db, Way::Here, settings(1)).await, Shop::with(&db, Way::Here, settings(64)).await);
    let mut dice = Dice(815);
    let skus = ["cup", "hat", "mug", "pin"];
    let mut orders: Vec<_> = (0..60).map(|_| gathered.order()).collect();
    for shop in [&one_by_one, &gathered] {
        for sku in skus {
            shop.stock(sku, 160).await;
        }
    }
    for (n, order) in orders.iter().enumerate() {
        let first = usize::try_from(dice.below(4)).unwrap();
        let lines: Vec<_> =
            skus[first..].iter().map(|sku| (*sku, 1 + u32::try_from(dice.below(3)).unwrap())).collect();
        for shop in [&one_by_one, &gathered] {
            shop.hold(*order, &lines).await.unwrap();
            if n == 29 {
                // The first half of the holds expires, and some of its stock goes to others.
                shop.clock.forward(HOLD_FOR);
                shop.inventory.give_back_expired().await.unwrap();
                shop.stock("mug", 1).await;
            }
            if n % 10 == 9 {
                shop.release(*order).await.unwrap();
            }
        }
    }
    let (hoarder, mut refused) = (gathered.order(), 0);
    for shop in [&one_by_one, &gathered] {
        let level = &shop.levels(&["pin"]).await[0];
        shop.hold(hoarder, &[("pin", u32::try_from(level.available - 5).unwrap())]).await.unwrap();
    }
    orders.push(gathered.order()); // for whom nothing was ever held

    for batch in 0..10 {
        let asks: Vec<_> = (0..16).map(|_| orders[usize::try_from(dice.below(61)).unwrap()]).collect();
        let mut singly = Vec::new();
        for order in &asks {
            singly.push(one_by_one.commit(*order).await);
        }
        let together = commit_all_for_tests(&gathered.db, &asks).await.unwrap();
        let together: Vec<_> =
            together.into_iter().map(|outcome| outcome.map_err(kernel::Error::from)).collect();

        refused += together.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(one_by_one.levels(&skus).await, gathered.levels(&skus).await, "batch {batch}");
        assert_eq!(singly, together, "batch {batch}");
    }
    assert!((20..120).contains(&refused), "both outcomes are seen: {refused} of 160 were refused");
    for sku in skus {
        let (sku, page) = (sku.parse().unwrap(), web::Page { limit: 100, ..web::Page::default() });
        let moved = |movements: Vec<inventory::Movement>| -> std::collections::BTreeMap<_, _> {
            movements.iter().fold(Default::default(), |mut counts, movement| {
                *counts.entry(movement.quantity).or_insert(0) += 1;
                counts
            })
        };
        let singly = one_by_one.inventory.movements(&sku, &page).await.unwrap().items;
        let together = gathered.inventory.movements(&sku, &page).await.unwrap().items;
        assert_eq!(moved(singly), moved(together), "each sale is a movement of its own");
    }
    one_by_one.audit().await;
    gathered.audit().await;
}
