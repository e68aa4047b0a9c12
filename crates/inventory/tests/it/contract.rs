//! What the contract promises, wherever inventory runs: each step once, twice,
//! stopped half way and late, after its undo.

use kernel::Kind;
use testkit::{TestDb, both_databases};

use crate::shop::{Shop, WAYS, code};

both_databases!(
    stock_is_held_sold_and_put_back,
    all_lines_are_held_or_none,
    each_step_done_twice_is_done_once,
    a_sale_whose_answer_was_lost_is_undone_by_a_release,
    what_arrives_after_its_undo_is_refused,
    a_step_that_stops_half_way_leaves_nothing,
    wrong_asks_are_refused_alike,
    what_is_announced_is_what_is_there,
);

async fn stock_is_held_sold_and_put_back(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("mug", 5).await;
        let (ann, bob) = (shop.order(), shop.order());

        shop.hold(ann, &[("mug", 2)]).await.unwrap();
        shop.hold(bob, &[("mug", 1)]).await.unwrap();
        assert_eq!(shop.level("mug").await, (5, 3));
        shop.commit(ann).await.unwrap();
        shop.release(bob).await.unwrap();
        assert_eq!(shop.level("mug").await, (3, 0));
        shop.restock(ann).await.unwrap();

        assert_eq!(shop.level("mug").await, (5, 0));
        assert_eq!(shop.levels(&["mug", "hat"]).await.len(), 1, "what was never there is left out");
        shop.audit().await;
    }
}

async fn all_lines_are_held_or_none(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("cup", 1).await;
        shop.stock("mug", 5).await;

        let error = shop.hold(shop.order(), &[("mug", 2), ("cup", 2)]).await.unwrap_err();

        assert_eq!((error.kind, &*error.code), (Kind::Conflict, "out_of_stock"));
        assert!(error.message.contains("cup"), "{error}");
        assert_eq!((shop.level("cup").await, shop.level("mug").await), ((1, 0), (5, 0)));
        assert_eq!(code(shop.hold(shop.order(), &[("hat", 1)]).await), "out_of_stock");
        shop.audit().await;
    }
}

async fn each_step_done_twice_is_done_once(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("mug", 5).await;
        let (sold, released) = (shop.order(), shop.order());

        let first = shop.hold(sold, &[("mug", 2)]).await.unwrap();
        assert_eq!(shop.hold(sold, &[("mug", 2)]).await.unwrap(), first);
        shop.hold(released, &[("mug", 1)]).await.unwrap();
        for _ in 0..2 {
            shop.commit(sold).await.unwrap();
            shop.release(released).await.unwrap();
        }
        assert_eq!(
            shop.hold(sold, &[("mug", 2)]).await.unwrap(),
            first,
            "a hold that was sold stays answered"
        );
        assert_eq!(shop.level("mug").await, (3, 0));
        for _ in 0..2 {
            shop.restock(sold).await.unwrap();
        }

        assert_eq!(shop.level("mug").await, (5, 0));
        shop.audit().await;
    }
}

async fn a_sale_whose_answer_was_lost_is_undone_by_a_release(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("cup", 5).await;
        shop.stock("mug", 5).await;
        let order = shop.order();
        shop.hold(order, &[("cup", 1), ("mug", 2)]).await.unwrap();
        shop.commit(order).await.unwrap();

        shop.release(order).await.unwrap();
        shop.release(order).await.unwrap();
        shop.restock(order).await.unwrap();

        assert_eq!((shop.level("cup").await, shop.level("mug").await), ((5, 0), (5, 0)));
        assert_eq!(code(shop.commit(order).await), "order_undone");
        let page = web::Page::default();
        let moved = shop.inventory.movements(&"mug".parse().unwrap(), &page).await.unwrap().items;
        assert_eq!((moved[0].quantity, moved[0].reason), (2, inventory::Reason::Restocked));
        assert_eq!(moved.len(), 3, "received, sold and put back once");
        shop.audit().await;
    }
}

async fn what_arrives_after_its_undo_is_refused(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("mug", 5).await;
        let (never, released, restocked) = (shop.order(), shop.order(), shop.order());
        for order in [released, restocked] {
            shop.hold(order, &[("mug", 1)]).await.unwrap();
        }
        shop.commit(restocked).await.unwrap();

        shop.release(never).await.unwrap();
        shop.release(released).await.unwrap();
        shop.restock(restocked).await.unwrap();

        for order in [never, released, restocked] {
            assert_eq!(code(shop.hold(order, &[("mug", 1)]).await), "order_undone");
            assert_eq!(code(shop.commit(order).await), "order_undone");
            shop.release(order).await.unwrap();
            shop.restock(order).await.unwrap();
        }
        assert_eq!(shop.level("mug").await, (5, 0));
        shop.audit().await;
    }
}

async fn a_step_that_stops_half_way_leaves_nothing(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("cup", 5).await;
        shop.stock("mug", 5).await;
        let order = shop.order();
        shop.hold(order, &[("cup", 1), ("mug", 1)]).await.unwrap();
        shop.clock.forward(crate::shop::HOLD_FOR);
        shop.inventory.give_back_expired().await.unwrap();
        let others = shop.order();
        shop.hold(others, &[("mug", 5)]).await.unwrap();

        // The cup of the expired hold could be sold anew, the mug cannot.
        let error = shop.commit(order).await.unwrap_err();

        assert!(error.code == "out_of_stock" && error.message.contains("mug"), "{error}");
        assert_eq!((shop.level("cup").await, shop.level("mug").await), ((5, 0), (5, 5)));
        shop.release(others).await.unwrap();
        shop.commit(order).await.unwrap();
        assert_eq!((shop.level("cup").await, shop.level("mug").await), ((4, 0), (4, 0)));
        shop.audit().await;
    }
}

async fn wrong_asks_are_refused_alike(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        shop.stock("mug", 5).await;
        let order = shop.order();
        shop.hold(order, &[("mug", 1)]).await.unwrap();

        let refusals = [
            code(shop.commit(shop.order()).await),
            code(shop.hold(shop.order(), &[]).await),
            code(shop.hold(shop.order(), &[("mug", 0)]).await),
            code(shop.hold(shop.order(), &[("mug", 1), ("mug", 1)]).await),
            code(shop.hold(order, &[("mug", 2)]).await),
        ];

        let expected =
            ["nothing_held", "invalid_request", "invalid_request", "invalid_request", "hold_differs"];
        assert_eq!(refusals, expected, "{way:?}");
        assert_eq!(shop.level("mug").await, (5, 1));
        shop.audit().await;
    }
}

async fn what_is_announced_is_what_is_there(db: TestDb) {
    let shop = Shop::start(&db, WAYS[0]).await;
    let bus = bus::Bus::memory();
    let mut heard = bus.listen();
    shop.stock("mug", 5).await;
    let order = shop.order();
    shop.hold(order, &[("mug", 2)]).await.unwrap();
    shop.commit(order).await.unwrap();
    shop.hold(shop.order(), &[("mug", 9)]).await.unwrap_err();

    while bus.relay_once("inventory", &shop.db).await.unwrap() > 0 {}

    let mut told = Vec::new();
    while let Ok(event) = heard.try_recv() {
        let change: contracts::inventory::StockChanged = event.payload().unwrap();
        told.push((event.version, change.on_hand, change.held));
    }
    assert_eq!(told, [(1, 5, 0), (2, 5, 2), (3, 3, 0)]);
    shop.audit().await;
}
