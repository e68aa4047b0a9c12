//! Many at once.

use futures::future::join_all;
use inventory::Settings;
use testkit::{TestDb, both_databases};

use crate::shop::{Shop, WAYS, Way, code};

both_databases!(
    fifty_buyers_of_the_last_ten_get_ten,
    fifty_buyers_of_the_last_ten_get_ten_one_by_one,
    a_hold_and_its_release_at_once_leave_nothing_held,
    a_sale_and_its_undo_at_once_leave_the_stock_whole,
    buyers_of_the_same_things_in_any_order_never_wait_in_a_circle,
    one_order_held_twenty_times_at_once_is_held_once,
);

async fn fifty_buyers_of_the_last_ten_get_ten(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        fifty_buyers(&shop).await;
    }
}

async fn fifty_buyers_of_the_last_ten_get_ten_one_by_one(db: TestDb) {
    let shop = Shop::with(&db, Way::Here, Settings { gather_most: 1, ..Settings::default() }).await;
    fifty_buyers(&shop).await;
}

async fn fifty_buyers(shop: &Shop) {
    shop.stock("mug", 10).await;
    let orders: Vec<_> = (0..50).map(|_| shop.order()).collect();

    let outcomes = join_all(orders.iter().map(|order| shop.hold(*order, &[("mug", 1)]))).await;

    let (held, refused): (Vec<_>, Vec<_>) =
        orders.into_iter().zip(outcomes).partition(|(_, outcome)| outcome.is_ok());
    assert_eq!((held.len(), refused.len()), (10, 40));
    assert_eq!(shop.level("mug").await, (10, 10));
    shop.stock("mug", 40).await;
    for (order, outcome) in refused {
        assert_eq!(code(outcome), "out_of_stock");
        // Who was refused left no trace, and may come again.
        shop.hold(order, &[("mug", 1)]).await.unwrap();
    }
    assert_eq!(shop.level("mug").await, (50, 50));
    shop.audit().await;
}

async fn a_hold_and_its_release_at_once_leave_nothing_held(db: TestDb) {
    for gather_most in [1, 64] {
        let shop = Shop::with(&db, Way::Here, Settings { gather_most, ..Settings::default() }).await;
        shop.stock("mug", 100).await;
        let orders: Vec<_> = (0..100).map(|_| shop.order()).collect();

        let races = orders.iter().enumerate().map(|(n, order)| {
            let shop = shop.clone();
            async move {
                // Both begin at once; which of them is asked first alternates.
                let lines = [("mug", 1)];
                let (hold, release) = (shop.hold(*order, &lines), shop.release(*order));
                let (held, released) = if n % 2 == 0 {
                    tokio::join!(hold, release)
                } else {
                    let (released, held) = tokio::join!(release, hold);
                    (held, released)
                };
                released.unwrap();
                if let Err(error) = held {
                    assert_eq!(error.code, "order_undone");
                }
            }
        });
        join_all(races).await;

        assert_eq!(shop.level("mug").await, (100, 0));
        shop.audit().await;
    }
}

async fn a_sale_and_its_undo_at_once_leave_the_stock_whole(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("mug", 60).await;
    let orders: Vec<_> = (0..60).map(|_| shop.order()).collect();
    join_all(orders.iter().map(|order| shop.hold(*order, &[("mug", 1)]))).await;

    let races = orders.iter().enumerate().map(|(n, order)| {
        let shop = shop.clone();
        async move {
            // Who undoes may know of the sale or not.
            let undo =
                async { if n % 2 == 0 { shop.restock(*order).await } else { shop.release(*order).await } };
            let (sold, undone) = tokio::join!(shop.commit(*order), undo);
            undone.unwrap();
            if let Err(error) = sold {
                assert_eq!(error.code, "order_undone");
            }
        }
    });
    join_all(races).await;

    assert_eq!(shop.level("mug").await, (60, 0));
    shop.audit().await;
}

async fn buyers_of_the_same_things_in_any_order_never_wait_in_a_circle(db: TestDb) {
    let shop = Shop::with(&db, Way::Here, Settings { gather_most: 1, ..Settings::default() }).await;
    for sku in ["cup", "mug", "hat"] {
        shop.stock(sku, 1000).await;
    }
    let baskets = [["cup", "mug", "hat"], ["hat", "mug", "cup"], ["mug", "hat", "cup"]];
    let orders: Vec<_> = (0..60).map(|_| shop.order()).collect();

    let buying = orders.iter().enumerate().map(|(n, order)| {
        let shop = shop.clone();
        async move {
            let lines = baskets[n % 3].map(|sku| (sku, 1));
            shop.hold(*order, &lines).await.unwrap();
            shop.commit(*order).await.unwrap();
        }
    });
    join_all(buying).await;

    for sku in ["cup", "mug", "hat"] {
        assert_eq!(shop.level(sku).await, (940, 0));
    }
    shop.audit().await;
}

async fn one_order_held_twenty_times_at_once_is_held_once(db: TestDb) {
    for gather_most in [1, 64] {
        let shop = Shop::with(&db, Way::Here, Settings { gather_most, ..Settings::default() }).await;
        shop.stock("mug", 100).await;
        let order = shop.order();

        let outcomes = join_all((0..20).map(|_| shop.hold(order, &[("mug", 3)]))).await;

        let held: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "all are answered as the first");
        assert_eq!(shop.level("mug").await, (100, 3));
        shop.audit().await;
    }
}
