//! Mails, from the event or the request to the real mail server.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;

use std::time::Duration;

use contracts::{notifications::Notifications as _, orders::OrderState};
use http::StatusCode;
use testkit::{TestDb, smtp};
use web::Role;

use desk::Desk;

testkit::both_databases!(
    a_customer_is_told_once_however_often_the_news_is_heard,
    news_from_orders_becomes_a_mail,
    a_mail_waits_for_a_mail_server_that_is_away,
    a_mail_that_was_sent_and_not_noted_comes_again_under_the_same_id,
    mails_go_into_the_folder_when_there_is_no_mail_server,
    staff_sends_a_mail_once_per_key,
    only_staff_sends_mails,
    nothing_in_a_mail_begins_another_header,
    another_service_sends_a_mail_once_per_key,
);

async fn a_customer_is_told_once_however_often_the_news_is_heard(db: TestDb) {
    let server = smtp::Server::start();
    let desk = Desk::open(&db, Some(&server)).await;
    let confirmed = desk.event(OrderState::Confirmed);

    desk.hear(&confirmed).await;
    desk.hear(&confirmed).await;
    desk.run_due().await;
    desk.hear(&confirmed).await; // late, when all is done
    desk.run_due().await;

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].receivers, ["ann@example.com"]);
    assert_eq!(mails[0].subject, "Your order C-7F3K9Q2M is confirmed");
    let (text, html) = (mails[0].text.as_ref().unwrap(), mails[0].html.as_ref().unwrap());
    assert!(text.contains("2 × <Blue> mug & co, 12.00 EUR each: 24.00 EUR"), "{text}");
    assert!(html.contains("2 × &lt;Blue&gt; mug &amp; co") && !html.contains("<Blue>"), "{html}");
    desk.shipped_is_another_mail(&server).await;
    desk.nothing_is_left_over().await;
}

async fn news_from_orders_becomes_a_mail(db: TestDb) {
    let server = smtp::Server::start();
    let desk = Desk::open(&db, Some(&server)).await;

    let sent = desk.announce_and_relay(&db).await;
    desk.run_due().await;

    assert_eq!(sent, 1);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject, "Your order C-7F3K9Q2M was refunded");
    desk.nothing_is_left_over().await;
}

async fn a_mail_waits_for_a_mail_server_that_is_away(db: TestDb) {
    let mut server = smtp::Server::start();
    let desk = Desk::open(&db, Some(&server)).await;
    server.stop();

    desk.hear(&desk.event(OrderState::Cancelled)).await;
    desk.run_due().await;
    desk.clock.forward(Duration::from_secs(3600));
    desk.run_due().await;
    assert_eq!(desk.pending().await, 1);
    server.again();
    desk.clock.forward(Duration::from_secs(3600));
    desk.run_due().await;

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject, "Your order C-7F3K9Q2M was cancelled");
    assert!(mails[0].text.as_ref().unwrap().contains("something you ordered is sold out"));
    desk.nothing_is_left_over().await;
}

async fn a_mail_that_was_sent_and_not_noted_comes_again_under_the_same_id(db: TestDb) {
    let server = smtp::Server::start();
    let desk = Desk::open(&db, Some(&server)).await;
    desk.hear(&desk.event(OrderState::Confirmed)).await;
    desk.run_due().await;

    desk.forget_that_it_was_sent().await;
    assert!(!notifications::audit(&desk.db).await.unwrap().is_empty());
    desk.deliver_again().await;
    desk.run_due().await;

    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].message_id, mails[1].message_id);
    assert!(mails[0].message_id.starts_with("<msg_"), "{}", mails[0].message_id);
    desk.nothing_is_left_over().await;
}

async fn mails_go_into_the_folder_when_there_is_no_mail_server(db: TestDb) {
    let desk = Desk::open(&db, None).await;
    desk.hear(&desk.event(OrderState::Confirmed)).await;
    desk.run_due().await;

    let first = desk.folder_mails();
    desk.forget_that_it_was_sent().await;
    desk.deliver_again().await;
    desk.run_due().await;

    assert_eq!(first.len(), 1);
    assert!(first[0].1.contains("Subject: Your order C-7F3K9Q2M is confirmed"), "{}", first[0].1);
    assert!(first[0].0.starts_with("msg_") && first[0].0.ends_with(".eml"), "{}", first[0].0);
    assert_eq!(desk.folder_mails().len(), 1, "a repeat is the same file");
    desk.nothing_is_left_over().await;
}

async fn staff_sends_a_mail_once_per_key(db: TestDb) {
    let server = smtp::Server::start();
    let desk = Desk::open(&db, Some(&server)).await;
    let body = r#"{"to": "bob@example.com", "subject": "Grüße", "body": "Hello Bob"}"#;

    let first = desk.post("/send-email", Role::Staff, Some("one"), body).await;
    let second = desk.post("/send-email", Role::Staff, Some("one"), body).await;
    let other = desk.post("/send-email", Role::Staff, Some("one"), &body.replace("Bob", "Rob")).await;
    desk.run_due().await;

    assert_eq!((first.status, second.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(first.body["jobId"], second.body["jobId"]);
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].subject.as_str(), mails[0].text.as_deref().map(str::trim_end)),
        ("Grüße", Some("Hello Bob"))
    );
    let path = format!("/jobs/{}", first.body["jobId"].as_str().unwrap());
    let job = desk.get(&path, Role::Staff).await;
    assert_eq!((job.status, &job.body["state"]), (StatusCode::OK, &"done".into()));
    assert_eq!(desk.get(&path, Role::Customer).await.body["code"], "no_such_job");
    desk.nothing_is_left_over().await;
}

async fn only_staff_sends_mails(db: TestDb) {
    let desk = Desk::open(&db, None).await;
    let body = r#"{"to": "bob@example.com", "subject": "Hello"}"#;

    let customer = desk.post("/send-email", Role::Customer, None, body).await;
    let admin = desk.post("/send-email", Role::Admin, None, body).await;

    assert_eq!(customer.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.status, StatusCode::ACCEPTED);
    desk.run_due().await;
    assert_eq!(desk.folder_mails().len(), 1);
    desk.nothing_is_left_over().await;
}

async fn nothing_in_a_mail_begins_another_header(db: TestDb) {
    let desk = Desk::open(&db, None).await;

    for (body, pointer) in [
        (r#"{"to": "bob@example.com", "subject": "Hi\r\nBcc: eve@example.com"}"#, "/subject"),
        (r#"{"to": "bob@example.com", "subject": "Hi\nBcc: eve@example.com"}"#, "/subject"),
        (r#"{"to": "bob@example.com\r\nBcc: eve@example.com", "subject": "Hi"}"#, "/to"),
    ] {
        let refused = desk.post("/send-email", Role::Staff, None, body).await;

        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.body);
    }
    desk.run_due().await;
    assert_eq!(desk.folder_mails().len(), 0);
}

async fn another_service_sends_a_mail_once_per_key(db: TestDb) {
    let desk = Desk::open(&db, None).await;

    let first = desk.service.send(desk::mail("reset:1")).await.unwrap();
    let second = desk.service.send(desk::mail("reset:1")).await.unwrap();
    desk.run_due().await;
    let third = desk.service.send(desk::mail("reset:1")).await.unwrap();
    desk.run_due().await;

    assert_eq!((first.clone(), first), (second, third));
    assert_eq!(desk.folder_mails().len(), 1);
    desk.nothing_is_left_over().await;
}
