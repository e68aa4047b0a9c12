//! What is said when a setting is wrong.

use super::Start;

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line_and_what_would_be_right() {
    let table = [
        (
            "[server]\nport = \"80\"",
            "carmel.toml line 2: server.port: found \"80\"; a whole number would be right",
        ),
        (
            "[server]\nport = 70000",
            "carmel.toml line 2: server.port: found 70000; a whole number would be right",
        ),
        (
            "\n\nserver.port = 1.5",
            "carmel.toml line 3: server.port: found 1.5; a whole number would be right",
        ),
        (
            "server = { port = { a = 1 } }",
            "carmel.toml line 1: server.port: found a table; a whole number would be right",
        ),
        (
            "[tokens]\naccess_minutes = 0",
            "carmel.toml line 2: tokens.access_minutes: found 0; a whole number from 1 to 1440 would be right",
        ),
        (
            "[server]\nprot = 80",
            "carmel.toml line 2: server.prot: no such setting; did you mean server.port?",
        ),
        ("port = 80", "carmel.toml line 1: port: no such setting; did you mean server.port?"),
        (
            "greeting = 1",
            "carmel.toml line 1: greeting: no such setting; every key stands in a section, such as port in [server]",
        ),
        ("[data]\nshards = 80", "carmel.toml line 2: data.shards: no such setting; [data] has folder"),
        ("[sever]\nport = 80", "carmel.toml line 1: [sever]: no such section; did you mean [server]?"),
        (
            "server = 3",
            "carmel.toml line 1: server: is a section; [server] with its keys below would be right",
        ),
        (
            "[log]\n# how\nformat = \"xml\"",
            "carmel.toml line 3: log.format: found \"xml\"; one of auto, pretty, json would be right",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "carmel.toml line 2: log.level: found \"loud\"; a text with a level (trace, debug, info, warn, error, off), such as info, or info,orders=debug would be right",
        ),
        (
            "[shop]\ncurrency = \"euro\"",
            "carmel.toml line 2: shop.currency: found \"euro\"; a currency of ISO 4217 in three capital letters, such as EUR would be right",
        ),
        (
            "[shop]\nname = \" \"",
            "carmel.toml line 2: shop.name: found \" \"; a text that is not empty would be right",
        ),
        (
            "[server]\ncors_origins = [\"https://a.example/path\"]",
            "carmel.toml line 2: server.cors_origins: found [\"https://a.example/path\"]; a list of origins such as https://shop.example, or just * would be right",
        ),
        (
            "[database]\nurl = \"mysql://root:hush@db/shop\"",
            "carmel.toml line 2: database.url: found a value that is not shown; a text that begins with postgres:// or postgresql:// and names a host, or is empty would be right",
        ),
        (
            "[mail]\nfrom = \"the shop\"",
            "carmel.toml line 2: mail.from: found \"the shop\"; a text with an address, such as Carmel <shop@example.com> would be right",
        ),
        (
            "[payments]\nwebhook_secret = \"0123456789abcdef\"",
            "carmel.toml line 2: payments.webhook_secret: found a value that is not shown; a text that is whsec_ and 24 to 64 bytes in base64, or is empty would be right",
        ),
        (
            "[payments]\nsandbox_url = \"http://pay.example\"",
            "default: payments.webhook_secret is empty; what the sandbox at payments.sandbox_url signs its webhooks with would be right",
        ),
    ];
    for (toml, message) in table {
        assert_eq!(Start::toml(toml).wrong(), [message], "{toml}");
    }
}

#[test]
fn what_is_wrong_in_variables_and_flags_is_named_too() {
    let start = Start::default;
    let table = [
        (
            start().variable("PORT", "eighty"),
            "PORT: server.port: found \"eighty\"; a whole number would be right",
        ),
        (
            start().variable("CARMEL_SERVER_PORT", ""),
            "CARMEL_SERVER_PORT: server.port: found nothing; a whole number would be right",
        ),
        (
            start().variable("CARMEL_SERVER_PROT", "1"),
            "CARMEL_SERVER_PROT: no such setting; did you mean CARMEL_SERVER_PORT?",
        ),
        (
            start().variable("CARMEL_PORT", "1"),
            "CARMEL_PORT: no such setting; did you mean CARMEL_SERVER_PORT?",
        ),
        (
            start().variable("CARMEL_COLOUR", "1"),
            "CARMEL_COLOUR: no such setting; `carmel config reference` lists them all",
        ),
        (
            start().variable("CARMEL_DATABASE_ULR_FILE", "x"),
            "CARMEL_DATABASE_ULR_FILE: no such setting; did you mean CARMEL_DATABASE_URL?",
        ),
        (
            start().dot_env("A=1\nCARMEL_TOKENS_ACCESS_MINUTES=soon"),
            "CARMEL_TOKENS_ACCESS_MINUTES (.env line 2): tokens.access_minutes: found \"soon\"; a whole number from 1 to 1440 would be right",
        ),
        (
            start().dot_env("A=1\n\nDATABASE_URL=postgres://me:two words@db/shop"),
            ".env line 3: is not NAME=value; quotes around the value may be missing",
        ),
        (
            start().set("tokens.acces_minutes=1"),
            "--set tokens.acces_minutes: no such setting; did you mean tokens.access_minutes?",
        ),
        (start().set("server.port"), "--set server.port: has no value; --set KEY=VALUE would be right"),
        (
            Start { port: Some("-1"), ..start() },
            "--port: server.port: found \"-1\"; a whole number would be right",
        ),
        (
            start().variable("DATABASE_URL", "postgres://h/d").variable("DATABASE_URL_FILE", "x"),
            "DATABASE_URL: DATABASE_URL_FILE is set too; one of the two would be right",
        ),
    ];
    for (start, message) in table {
        assert_eq!(start.wrong(), [message]);
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let start = Start::toml("[server]\nport = true\nprot = 1\n[log]\nformat = \"xml\"\n")
        .dot_env("CARMEL_SHOP_NAM=x\n")
        .variable("CARMEL_JOBS_CONCURRENCY", "many")
        .set("a.b=1");

    let problems = start.load().unwrap_err().to_string();

    let lines: Vec<_> = problems.lines().collect();
    assert_eq!(lines[0], "6 settings are wrong:");
    for place in
        ["carmel.toml line 2", "carmel.toml line 3", "carmel.toml line 5", "CARMEL_SHOP_NAM (.env line 1)"]
    {
        assert!(lines.iter().any(|line| line.trim().starts_with(place)), "{place} is missing in {problems}");
    }
    assert!(problems.contains("CARMEL_JOBS_CONCURRENCY") && problems.contains("--set a.b"));
}

#[test]
fn a_wrong_value_stops_the_start_even_where_another_source_overrides_it() {
    let start = Start::toml("[server]\nport = \"no\"\n").variable("PORT", "80");

    assert_eq!(
        start.wrong(),
        ["carmel.toml line 2: server.port: found \"no\"; a whole number would be right"]
    );
}

#[test]
fn broken_toml_is_named_by_line_without_showing_the_line() {
    let wrong = Start::toml("[server]\nport = 80\n[database]\nurl = \"postgres://me:hush@db/shop\n").wrong();

    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("carmel.toml line 4: is not TOML: "), "{wrong:?}");
    assert!(!wrong[0].contains("hush"), "{wrong:?}");
}

#[test]
fn a_key_that_is_set_twice_in_the_file_is_refused() {
    let wrong = Start::toml("[server]\nport = 80\nport = 81\n").wrong();

    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("carmel.toml line 3: is not TOML: duplicate key"), "{wrong:?}");
}
