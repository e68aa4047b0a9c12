//! The audit finds what is wrong, and says of which order.

use std::{collections::HashMap, time::Duration};

use testkit::{TestDb, both_databases};

use crate::{
    moody::Mood,
    shop::{Shop, Way},
};

both_databases!(
    books_that_were_tampered_with_are_found,
    a_charge_that_is_not_in_our_books_is_found,
    what_stays_open_for_too_long_is_found,
    every_payment_is_told_of_once_page_by_page,
);

async fn books_that_were_tampered_with_are_found(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    shop.authorise(order, "tok_success").await.unwrap();
    shop.capture(order).await.unwrap();
    shop.audit().await;

    let tampered: kernel::Result<()> = db::write!(shop.db, async |tx| {
        db::query("UPDATE ledger SET amount = 1100 WHERE account = 'provider'").execute(tx).await?;
        db::query("UPDATE sandbox_charges SET state = 'refunded'").execute(tx).await?;
        Ok(())
    });
    tampered.unwrap();

    let found = payments::audit(&shop.db).await.unwrap();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].contains("add up to -100") && found[3].contains("-100 EUR"), "{found:#?}");
    assert!(found[1].contains("1100") && found[2].contains("provider's books"), "{found:#?}");
}

async fn a_charge_that_is_not_in_our_books_is_found(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let (twice, forgotten) = (shop.order(), shop.order());
    shop.authorise(twice, "tok_success").await.unwrap();
    shop.audit().await;

    let charged: kernel::Result<()> = db::write!(shop.db, async |tx| {
        for (order, reference) in [(twice, "ch_twice"), (forgotten, "ch_forgotten")] {
            db::query(
                "INSERT INTO sandbox_charges (order_id, reference, token, state, amount, currency)
                 VALUES ($1, $2, 'tok_success', 'captured', 1200, 'EUR')",
            )
            .bind(order)
            .bind(reference)
            .execute(tx)
            .await?;
        }
        Ok(())
    });
    charged.unwrap();

    let found = payments::audit(&shop.db).await.unwrap();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("ch_forgotten") && found[1].contains(&twice.to_string()), "{found:#?}");
}

async fn what_stays_open_for_too_long_is_found(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    shop.moody.be(Mood::Lost);
    shop.authorise(order, "tok_success").await.unwrap_err();
    shop.audit().await;

    shop.clock.forward(Duration::from_secs(901));

    let found = payments::audit(&shop.db).await.unwrap();
    assert!(found.len() == 1 && found[0].contains(&order.to_string()), "{found:#?}");
}

async fn every_payment_is_told_of_once_page_by_page(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders: Vec<_> = (0..505).map(|_| shop.order()).collect();
    for order in &orders {
        shop.authorise(*order, "tok_success").await.unwrap();
    }
    shop.capture(orders[3]).await.unwrap();

    let first = payments::facts(&mut shop.db.picture().await.unwrap(), None, 500).await.unwrap();
    let second =
        payments::facts(&mut shop.db.picture().await.unwrap(), Some(first[499].order), 500).await.unwrap();

    assert_eq!((first.len(), second.len()), (500, 5));
    assert!(
        payments::facts(&mut shop.db.picture().await.unwrap(), Some(second[4].order), 500)
            .await
            .unwrap()
            .is_empty()
    );
    let told: HashMap<_, _> = first.into_iter().chain(second).map(|fact| (fact.order, fact)).collect();
    assert_eq!(told.len(), 505);
    for order in &orders[..5] {
        assert_eq!(told[order], shop.payment(*order).await.unwrap());
    }
}
