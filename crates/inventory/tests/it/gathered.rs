//! Holding for many at once decides as holding one after the other does.

use inventory::{Lines, Settings, hold_all_for_tests};
use testkit::{TestDb, both_databases};

use crate::shop::{HOLD_FOR, Shop, Way};

both_databases!(gathered_holds_agree_with_single_ones);

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
