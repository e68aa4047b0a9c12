//! Holds that give themselves back.

use std::time::Duration;

use testkit::{TestDb, both_databases};

use crate::shop::{HOLD_FOR, Shop, Way};

both_databases!(
    a_hold_gives_itself_back,
    an_expired_hold_is_in_nobodys_way,
    a_buyer_who_meets_a_sweep_gets_what_it_gives_back,
    an_expired_hold_can_be_held_or_sold_again,
    a_hold_past_its_time_but_not_swept_yet_still_counts,
    many_expired_holds_are_given_back_by_two_sweeps_at_once,
);

const LATER: Duration = Duration::from_secs(1);

async fn a_hold_gives_itself_back(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let runner = inventory::runner(&shop.inventory).unwrap();
    shop.stock("mug", 5).await;
    shop.hold(shop.order(), &[("mug", 2)]).await.unwrap();

    shop.clock.forward(HOLD_FOR - LATER);
    assert_eq!(shop.inventory.give_back_expired().await.unwrap(), 0);
    assert_eq!(shop.level("mug").await, (5, 2));
    // The schedule learns of its first slot, and then it comes.
    runner.run_due().await.unwrap();
    shop.clock.forward(Duration::from_secs(61));
    runner.run_due().await.unwrap();

    assert_eq!(shop.level("mug").await, (5, 0));
    shop.audit().await;
}

async fn an_expired_hold_is_in_nobodys_way(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("mug", 1).await;
    shop.hold(shop.order(), &[("mug", 1)]).await.unwrap();
    shop.clock.forward(HOLD_FOR);

    shop.hold(shop.order(), &[("mug", 1)]).await.unwrap();

    assert_eq!(shop.level("mug").await, (1, 1));
    shop.audit().await;
}

async fn a_buyer_who_meets_a_sweep_gets_what_it_gives_back(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("mug", 1).await;
    shop.hold(shop.order(), &[("mug", 1)]).await.unwrap();
    for _ in 0..40 {
        shop.clock.forward(HOLD_FOR);

        let (order, lines) = (shop.order(), [("mug", 1)]);
        let (held, first, second) = tokio::join!(
            shop.hold(order, &lines),
            shop.inventory.give_back_expired(),
            shop.inventory.give_back_expired(),
        );

        held.expect("the mug that nobody holds any more");
        assert!(first.unwrap() + second.unwrap() <= 1);
    }
    shop.audit().await;
}

async fn an_expired_hold_can_be_held_or_sold_again(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("mug", 5).await;
    let (held, sold, released) = (shop.order(), shop.order(), shop.order());
    for order in [held, sold, released] {
        shop.hold(order, &[("mug", 1)]).await.unwrap();
    }
    shop.clock.forward(HOLD_FOR);
    assert_eq!(shop.inventory.give_back_expired().await.unwrap(), 3);
    assert_eq!(shop.inventory.give_back_expired().await.unwrap(), 0, "the second sweep finds nothing");

    let again = shop.hold(held, &[("mug", 1)]).await.unwrap();
    shop.commit(sold).await.unwrap();
    shop.release(released).await.unwrap();

    assert!(again.expires_at > shop.db.world().now());
    assert_eq!(shop.level("mug").await, (4, 1));
    shop.audit().await;
}

async fn a_hold_past_its_time_but_not_swept_yet_still_counts(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("mug", 2).await;
    let (held, sold) = (shop.order(), shop.order());
    let first = shop.hold(held, &[("mug", 1)]).await.unwrap();
    shop.hold(sold, &[("mug", 1)]).await.unwrap();
    shop.clock.forward(HOLD_FOR);

    let again = shop.hold(held, &[("mug", 1)]).await.unwrap();
    shop.commit(sold).await.unwrap();
    shop.inventory.give_back_expired().await.unwrap();

    assert!(again.expires_at > first.expires_at, "it holds anew");
    assert_eq!(shop.level("mug").await, (1, 1));
    shop.audit().await;
}

async fn many_expired_holds_are_given_back_by_two_sweeps_at_once(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("cup", 120).await;
    shop.stock("mug", 120).await;
    let orders: Vec<_> = (0..120).map(|_| shop.order()).collect();
    let lines = [("cup", 1), ("mug", 1)];
    futures::future::join_all(orders.iter().map(|order| shop.hold(*order, &lines))).await;
    shop.clock.forward(HOLD_FOR);

    let selling = futures::future::join_all(orders[..30].iter().map(|order| shop.commit(*order)));
    let (first, second, sold) =
        tokio::join!(shop.inventory.give_back_expired(), shop.inventory.give_back_expired(), selling);

    assert!(sold.iter().all(Result::is_ok), "there is enough for those who sell what expired at this moment");
    assert!(first.unwrap() + second.unwrap() >= 90);
    shop.inventory.give_back_expired().await.unwrap();
    assert_eq!((shop.level("cup").await, shop.level("mug").await), ((90, 0), (90, 0)));
    shop.audit().await;
}
