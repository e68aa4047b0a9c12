//! The audit finds what is wrong, and says of what.

use std::collections::HashMap;

use futures::future::join_all;
use inventory::HoldState;
use testkit::{TestDb, both_databases};

use crate::shop::{Shop, Way};

both_databases!(books_that_were_tampered_with_are_found, every_order_is_told_of_once_page_by_page);

async fn books_that_were_tampered_with_are_found(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    for sku in ["cup", "hat", "mug"] {
        shop.stock(sku, 5).await;
    }
    let (held, sold) = (shop.order(), shop.order());
    shop.hold(held, &[("cup", 2)]).await.unwrap();
    shop.hold(sold, &[("mug", 2)]).await.unwrap();
    shop.commit(sold).await.unwrap();
    shop.audit().await;

    let tampered: kernel::Result<()> = db::write!(shop.db, async |tx| {
        db::query("UPDATE stock SET held = 1 WHERE sku = 'cup'").execute(tx).await?;
        db::query("UPDATE stock SET on_hand = 6 WHERE sku = 'hat'").execute(tx).await?;
        db::query("UPDATE hold_lines SET quantity = 1 WHERE sku = 'mug'").execute(tx).await?;
        Ok(())
    });
    tampered.unwrap();

    let found = inventory::audit(&shop.db).await.unwrap();
    assert_eq!(
        found,
        [
            "1 of cup are held, but its open holds add up to 2".to_owned(),
            "6 of hat are on hand, but its movements add up to 5".to_owned(),
            format!("{sold} asked for 1 of mug, but its movements add up to -2"),
        ]
    );
}

async fn every_order_is_told_of_once_page_by_page(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    shop.stock("cup", 5000).await;
    shop.stock("mug", 5000).await;
    let orders: Vec<_> = (0..510).map(|_| shop.order()).collect();
    join_all(orders.iter().map(|order| shop.hold(*order, &[("mug", 2), ("cup", 1)]))).await;
    let (sold, released, never) = (orders[0], orders[509], shop.order());
    shop.commit(sold).await.unwrap();
    shop.release(released).await.unwrap();
    shop.release(never).await.unwrap();

    let first = inventory::facts(&mut shop.db.picture().await.unwrap(), None, 500).await.unwrap();
    let second =
        inventory::facts(&mut shop.db.picture().await.unwrap(), Some(first[499].order), 500).await.unwrap();

    assert_eq!((first.len(), second.len()), (500, 11));
    assert!(
        inventory::facts(&mut shop.db.picture().await.unwrap(), Some(second[10].order), 500)
            .await
            .unwrap()
            .is_empty()
    );
    let told: HashMap<_, _> = first.into_iter().chain(second).map(|fact| (fact.order, fact)).collect();
    assert_eq!(told.len(), 511);
    for (order, state) in [
        (sold, HoldState::Sold),
        (orders[1], HoldState::Open),
        (released, HoldState::Released),
        (never, HoldState::Nothing),
    ] {
        let lines: Vec<_> =
            told[&order].lines.iter().map(|line| (line.sku.to_string(), line.quantity)).collect();
        let wanted = if order == never { vec![] } else { vec![("cup".into(), 1), ("mug".into(), 2)] };
        assert_eq!((told[&order].state, lines), (state, wanted));
    }
}
