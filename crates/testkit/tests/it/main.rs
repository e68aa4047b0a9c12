//! The real servers start, serve and leave nothing behind.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use testkit::{postgres, smtp};

#[test]
fn postgres_makes_databases_and_survives_a_crash() {
    let mut server = postgres::Server::own(&[]);
    let database = server.database();
    let named = server.database();
    assert_ne!(database, named);
    server.run_sql("CREATE TABLE kept (n BIGINT)");

    server.crash_and_restart();

    server.run_sql("INSERT INTO kept VALUES (1)");
}

#[test]
fn the_shared_postgres_is_one_and_ends_with_its_last_user() {
    let (first, second) = (postgres::Server::shared(), postgres::Server::shared());
    assert_eq!(first.url(), second.url());
    let port: u16 = first.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();

    drop(first);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(second);

    let given = std::env::var(postgres::SETTING).is_ok();
    assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), given);
}

#[tokio::test]
async fn smtp_keeps_what_arrives_also_while_it_is_stopped() {
    let mut server = smtp::Server::start();

    speak(&server.url(), "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@here>\r\n\r\nHello\r\n");
    server.stop();

    let mails = server.wait_for(1).await;
    assert_eq!(mails[0].subject, "Grüße");
    assert_eq!(mails[0].message_id, "<1@here>");
    assert_eq!(mails[0].receivers, ["ann@example.com"]);
    assert_eq!(mails[0].text.as_deref(), Some("Hello\n"));
    assert!(TcpStream::connect(server.url().trim_start_matches("smtp://")).is_err());
    server.again();
    speak(&server.url(), "Subject: two\r\n\r\nAgain\r\n");
    assert_eq!(server.wait_for(2).await[1].subject, "two");
}

/// Speaks SMTP by hand (RFC 5321).
fn speak(url: &str, mail: &str) {
    let mut stream = TcpStream::connect(url.trim_start_matches("smtp://")).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut expect = |code: &str| {
        let line = answers.next().unwrap().unwrap();
        assert!(line.starts_with(code), "{line}");
    };
    expect("220");
    for (line, code) in [
        ("HELO here", "250"),
        ("MAIL FROM:<shop@example.com>", "250"),
        ("RCPT TO:<ann@example.com>", "250"),
        ("DATA", "354"),
    ] {
        write!(stream, "{line}\r\n").unwrap();
        expect(code);
    }
    write!(stream, "{mail}.\r\n").unwrap();
    expect("250");
}
