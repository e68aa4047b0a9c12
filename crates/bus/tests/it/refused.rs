//! What a consumer refuses, whatever carried it here.

use std::time::Duration;

use crate::{
    every_bus,
    world::{Clerk, TestDb},
};

every_bus!(
    a_refused_event_blocks_its_entity_only_and_is_told_again,
    the_other_consumer_hears_what_one_refuses,
    a_refused_event_is_skipped_by_a_person,
    the_audit_names_what_is_refused,
);

const BOOKS: &str = "office.books";

async fn a_refused_event_blocks_its_entity_only_and_is_told_again(test: TestDb) {
    let books = Clerk::new(BOOKS, &test.office);
    books.refuse("mug", 1);
    let process = test.process([books.clone()]).await;
    for version in 1..=2 {
        for subject in ["cup", "mug", "pot"] {
            test.announce(subject, version).await;
        }
    }

    test.until("the others are heard", async || {
        let (cups, pots) = (test.effects(BOOKS, "cup").await, test.effects(BOOKS, "pot").await);
        (cups, pots) == (vec![1, 2], vec![1, 2])
    })
    .await;
    test.until("both mugs wait", async || bus::refused(&test.office).await.unwrap().len() == 2).await;
    assert!(test.effects(BOOKS, "mug").await.is_empty());

    // Later ones of the mug come behind, even when the ink is wet again.
    books.accept_all();
    test.announce("mug", 3).await;
    test.clock.forward(Duration::from_secs(2));
    test.until("the mugs are heard", async || test.effects(BOOKS, "mug").await.len() == 3).await;
    assert_eq!(test.effects(BOOKS, "mug").await, [1, 2, 3]);
    test.until("nothing waits", async || bus::refused(&test.office).await.unwrap().is_empty()).await;
    process.end().await;
}

async fn the_other_consumer_hears_what_one_refuses(test: TestDb) {
    let (books, mail) = (Clerk::new(BOOKS, &test.office), Clerk::new("office.mail", &test.office));
    books.refuse("mug", 1);
    let process = test.process([books, mail]).await;

    for version in 1..=3 {
        test.announce("mug", version).await;
    }

    test.until("the mail has all", async || test.effects("office.mail", "mug").await == [1, 2, 3]).await;
    assert!(test.effects(BOOKS, "mug").await.is_empty());
    process.end().await;
}

async fn a_refused_event_is_skipped_by_a_person(test: TestDb) {
    let books = Clerk::new(BOOKS, &test.office);
    books.refuse("mug", 1);
    let process = test.process([books]).await;
    let first = test.announce("mug", 1).await;
    test.announce("mug", 2).await;
    test.until("both wait", async || bus::refused(&test.office).await.unwrap().len() == 2).await;
    let refused = bus::refused(&test.office).await.unwrap();
    let error = refused.iter().find(|event| event.event_id == first).unwrap().last_error.clone();
    assert_eq!(error.as_deref(), Some("the ink is dry"));

    bus::skip(&test.office, first, BOOKS, "the mug was never sold").await.unwrap();

    test.until("the second is heard", async || test.effects(BOOKS, "mug").await == [2]).await;
    let again = bus::skip(&test.office, first, BOOKS, "twice").await;
    assert_eq!(again.unwrap_err().code, "not_refused");
    process.end().await;
}

async fn the_audit_names_what_is_refused(test: TestDb) {
    let books = Clerk::new(BOOKS, &test.office);
    books.refuse("mug", 1);
    let process = test.process([books.clone()]).await;
    test.announce("mug", 1).await;
    test.until("it waits", async || bus::refused(&test.office).await.unwrap().len() == 1).await;
    assert_eq!(bus::audit(&test.office).await, Ok(vec![]), "not at once");

    test.clock.forward(Duration::from_secs(121));

    let findings = bus::audit(&test.office).await.unwrap();
    assert!(findings.len() == 1 && findings[0].contains("by office.books"), "{findings:?}");
    assert!(findings[0].contains("the ink is dry"), "{findings:?}");
    books.accept_all();
    test.clock.forward(Duration::from_secs(300));
    test.until("it is heard", async || test.effects(BOOKS, "mug").await == [1]).await;
    test.until("the audit is content", async || bus::audit(&test.office).await.unwrap().is_empty()).await;
    process.end().await;
}
