//! The audit finds what is wrong, and says of what.

use testkit::{TestDb, both_databases};

use crate::shop::{Shop, Way};

both_databases!(books_that_were_tampered_with_are_found);

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
