//! Where settings come from, and which source wins.

use std::fs;

use tempfile::TempDir;

use super::{Config, Start, keys};

#[test]
fn each_source_overrides_the_one_before() {
    let toml = "[server]\nport = 1\n";
    let file = || Start::toml(toml);
    let dot_env = || file().dot_env("# local\nexport PORT=2\n");
    let plain = || dot_env().variable("PORT", "3");
    let exact = || plain().variable("CARMEL_SERVER_PORT", "4");
    let set = || exact().set("server.port=5");
    let flag = || Start { port: Some("6"), ..set() };
    let table = [
        (Start::default(), 3000, "default"),
        (file(), 1, "carmel.toml line 2"),
        (dot_env(), 2, "PORT (.env line 2)"),
        (plain(), 3, "PORT"),
        (exact(), 4, "CARMEL_SERVER_PORT"),
        (set(), 5, "--set server.port"),
        (flag(), 6, "--port"),
    ];
    for (start, port, origin) in table {
        let loaded = start.load().unwrap();

        assert_eq!((loaded.config.server.port, loaded.origin("server.port").as_str()), (port, origin));
    }
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let values = |name: &str| match name {
        "server.cors_origins" => "https://a.example, https://b.example",
        "server.trusted_proxies" => "10.0.0.0/8",
        "database.pooler" => "plain",
        "database.replica_urls" => "postgres://u@a/d,postgres://u@b/d",
        "services.token" | "services.token_before" => "a-token-of-sixteen-or-more",
        name if name.starts_with("services.") && !name.contains("call") => "http://a:1,http://b:2",
        "redis.queue_url" | "redis.cache_url" => "redis://there:6379",
        "kafka.brokers" => "a:9092,b:9092",
        "events.bus" => "redis",
        "events.partitions" => "4",
        "jobs.queue" => "database",
        "log.format" => "json",
        "log.level" => "warn,orders=debug",
        "shop.currency" => "JPY",
        "shop.url" | "payments.sandbox_url" => "https://there.example",
        "payments.webhook_secret" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "mail.smtp_url" => "smtp://localhost:25",
        "mail.from" => "me@example.com",
        "server.host" | "data.folder" | "shop.name" | "tokens.issuer" | "mail.folder" => "other",
        "server.request_timeout_ms"
        | "server.body_limit_bytes"
        | "payments.timeout_ms"
        | "database.replica_lag_ms"
        | "services.call_timeout_ms"
        | "passwords.memory_kib" => "2048",
        name if name.starts_with("database.") && name.ends_with("url") => "postgres://u@h/d",
        _ => "8",
    };
    let mut start = Start::default();
    let keys = keys();
    for key in &keys {
        start.environment.push((String::leak(key.variable()), values(key.name).into()));
    }

    let loaded = start.load().unwrap();

    let defaults = Config::default();
    for key in &keys {
        assert_eq!(loaded.origin(key.name), key.variable());
        let (now, before) = ((key.show)(&loaded.config), (key.show)(&defaults));
        assert_ne!(now, before, "{}", key.name);
    }
    assert_eq!(loaded.config.server.cors_origins, ["https://a.example", "https://b.example"]);
}

#[test]
fn the_settings_file_can_be_elsewhere() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.toml"), "server.port = 1").unwrap();
    fs::write(folder.path().join("b.toml"), "server.port = 2").unwrap();

    let flag = Start { config: Some("a.toml"), ..Start::default().variable("CARMEL_CONFIG", "b.toml") };
    let variable = Start::toml("server.port = 3").variable("CARMEL_CONFIG", "b.toml");

    assert_eq!(flag.load_in(&folder).unwrap().config.server.port, 1);
    assert_eq!(variable.load_in(&folder).unwrap().config.server.port, 2);
    let missing = Start { config: Some("c.toml"), ..Start::default() }.wrong();
    assert!(missing[0].starts_with("--config: c.toml cannot be read ("), "{missing:?}");
}

#[test]
fn a_secret_is_read_from_a_file_without_its_newline() {
    let folder = TempDir::new().unwrap();
    let written =
        [("a", "postgres://u:p@h/a\n"), ("b", "postgres://u:p@h/b\r\n"), ("c", "postgres://u:p@h/c")];
    for (name, text) in written {
        fs::write(folder.path().join(name), text).unwrap();
        for variable in ["DATABASE_URL_FILE", "CARMEL_DATABASE_URL_FILE"] {
            let loaded = Start::default().variable(variable, name).load_in(&folder).unwrap();

            assert_eq!(loaded.config.database.url.expose(), text.trim_end());
            assert_eq!(loaded.origin("database.url"), format!("{variable} ({name})"));
        }
    }
    let missing = Start::default().variable("DATABASE_URL_FILE", "nowhere").wrong();
    assert!(missing[0].starts_with("DATABASE_URL_FILE: nowhere cannot be read ("), "{missing:?}");
}

#[test]
fn dot_env_never_overrides_the_environment() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("url"), "postgres://h/file").unwrap();
    let dot_env = "DATABASE_URL='postgres://h/dot'\nPORT=1\nPORT=2\n";

    let direct = Start::default().dot_env(dot_env).variable("DATABASE_URL", "postgres://h/real");
    let file = Start::default().dot_env(dot_env).variable("DATABASE_URL_FILE", "url");

    let (direct, file) = (direct.load_in(&folder).unwrap(), file.load_in(&folder).unwrap());
    assert_eq!(direct.config.database.url.expose(), "postgres://h/real");
    assert_eq!(file.config.database.url.expose(), "postgres://h/file");
    assert_eq!((direct.config.server.port, direct.origin("server.port").as_str()), (2, "PORT (.env line 3)"));
}

#[test]
fn variables_that_are_not_about_carmel_are_left_alone() {
    let start = Start::default()
        .variable("HOME", "/root")
        .variable("CARMEL_TEST_POSTGRES", "postgres://h/d")
        .variable("CARMEL_SERVICE_HOST", "10.0.0.1")
        .variable("CARMEL_SERVICE_PORT_HTTP", "3000")
        .variable("CARMEL_PORT", "tcp://10.0.0.1:3000")
        .variable("CARMEL_PORT_3000_TCP_ADDR", "10.0.0.1")
        .variable("CARMEL_SERVER_PORT", "tcp://10.0.0.1:3000")
        .variable("REDIS_URL", "redis://localhost");

    let loaded = start.load().unwrap();

    assert_eq!(loaded.config.server.port, 3000);
    assert_eq!(loaded.config.redis.queue_url.expose(), "redis://localhost");
}
