//! What the settings promise, through the same door as the program: a folder,
//! an environment, flags.

#![allow(clippy::unwrap_used)]

mod sources;
mod wrong;

use std::{ffi::OsString, fs, path::Path};

use tempfile::TempDir;

use super::{
    command::printed,
    keys::{Config, LogFormat, PLAIN, keys},
    kind::Found,
    load::{Flags, Loaded, gather},
    origin::Problems,
    reference,
    secret::Secret,
};

/// A working folder with what lies in it, an environment and flags.
#[derive(Default)]
struct Start {
    toml: &'static str,
    dot_env: &'static str,
    environment: Vec<(&'static str, String)>,
    set: Vec<&'static str>,
    port: Option<&'static str>,
    config: Option<&'static str>,
}

impl Loaded {
    /// Where the value of a key came from.
    fn origin(&self, name: &str) -> String {
        let at = keys().iter().position(|key| key.name == name).unwrap();
        self.origins[at].to_string()
    }
}

impl Start {
    fn toml(toml: &'static str) -> Start {
        Start { toml, ..Start::default() }
    }

    fn dot_env(mut self, text: &'static str) -> Start {
        self.dot_env = text;
        self
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Start {
        self.environment.push((name, value.into()));
        self
    }

    fn set(mut self, pair: &'static str) -> Start {
        self.set.push(pair);
        self
    }

    fn load(self) -> Result<Loaded, Problems> {
        self.load_in(&TempDir::new().unwrap())
    }

    fn load_in(self, folder: &TempDir) -> Result<Loaded, Problems> {
        if !self.toml.is_empty() {
            fs::write(folder.path().join("carmel.toml"), self.toml).unwrap();
        }
        if !self.dot_env.is_empty() {
            fs::write(folder.path().join(".env"), self.dot_env).unwrap();
        }
        let environment = self.environment.iter().map(|(name, value)| (name.into(), OsString::from(value)));
        let flags = Flags {
            config: self.config.map(Into::into),
            port: self.port.map(Into::into),
            data: None,
            set: self.set.iter().map(ToString::to_string).collect(),
        };
        gather(folder.path(), environment.collect::<Vec<_>>(), &flags)
    }

    /// What is wrong, one line per thing.
    fn wrong(self) -> Vec<String> {
        let problems = self.load().err().map_or(Vec::new(), |problems| problems.0);
        problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
    }
}

#[test]
fn without_any_setting_the_defaults_hold() {
    let loaded = Start::default().load().unwrap();

    assert_eq!((loaded.config.server.host.as_str(), loaded.config.server.port), ("127.0.0.1", 3000));
    assert_eq!(loaded.config.data.folder, Path::new("data"));
    assert_eq!(loaded.config.log.format, LogFormat::Auto);
    assert!(loaded.config.database.url_of("orders").is_none());
    assert_eq!(loaded.origin("server.port"), "default");
}

#[test]
fn every_default_keeps_its_own_rule() {
    let defaults = Config::default();
    for key in keys().iter().filter(|key| !key.secret) {
        let written = format!("x = {}", (key.show)(&defaults));
        let value: toml::Table = written.parse().unwrap();
        let found = match &value["x"] {
            toml::Value::Integer(number) => Found::Whole((*number).into()),
            toml::Value::Array(list) => Found::List(
                list.iter().filter_map(|part| part.as_str()).map(|text| Found::Quoted(text.into())).collect(),
            ),
            toml::Value::String(text) => Found::Quoted(text.clone()),
            other => panic!("{}: no setting is made of {other}", key.name),
        };
        let mut config = Config::default();

        let answer = (key.set)(&mut config, &found);

        assert!(answer.is_ok(), "{}: {answer:?}", key.name);
        assert_eq!((key.show)(&config), (key.show)(&defaults), "{}", key.name);
    }
    assert_eq!(defaults.contradictions(), []);
}

#[test]
fn no_two_keys_share_a_variable() {
    let mut names: Vec<_> = keys().iter().map(|key| key.variable()).collect();
    names.extend(PLAIN.iter().map(|(plain, _)| plain.to_string()));
    assert!(names.iter().all(|name| !name.ends_with("_FILE") && name != "CARMEL_CONFIG"));
    names.sort();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}

#[test]
fn secrets_are_never_printed() {
    let hush = "hush-hush-hush-hush";
    let url = format!("postgres://me:{hush}@db/shop");
    let mut start = Start::default();
    for key in keys().into_iter().filter(|key| key.secret) {
        let value = match key.name {
            "payments.webhook_secret" => format!("whsec_{}", "hush".repeat(8)),
            "mail.smtp_url" => format!("smtp://me:{hush}@mail"),
            name if name.starts_with("redis.") => format!("redis://me:{hush}@redis:6379"),
            _ => url.clone(),
        };
        start.environment.push((String::leak(key.variable()), value));
    }

    let loaded = start.load().unwrap();

    let shown = [printed(&loaded), format!("{:?}", loaded), format!("{:#?}", loaded.config)];
    for text in shown {
        assert!(!text.contains("hush") && text.contains("(hidden)"), "{text}");
    }
    assert_eq!(format!("{0} {0:?}", Secret::new("x")), "(hidden) \"(hidden)\"");

    // Nor when they are wrong, whichever way they came.
    let wrong = [
        Start::toml("[database]\nurl = \"hush\"\n[payments]\nwebhook_secret = [\"hush\"]\n").wrong(),
        Start::default().variable("CARMEL_MAIL_SMTP_URL", "hush").set("database.url=hush").wrong(),
        Start::default().dot_env("DATABASE_URL=hush\nCARMEL_PAYMENTS_WEBHOOK_SECRET=hush").wrong(),
    ];
    for lines in wrong {
        assert!(lines.len() == 2 && lines.iter().all(|line| !line.contains("hush")), "{lines:?}");
    }
}

#[test]
fn what_is_printed_is_toml_and_says_where_each_value_came_from() {
    let loaded =
        Start::toml("[server]\nport = 1\n").variable("CARMEL_SHOP_NAME", "Mugs \"R\" us").load().unwrap();

    let text = printed(&loaded);

    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["server"]["port"].as_integer(), Some(1));
    assert_eq!(table["shop"]["name"].as_str(), Some("Mugs \"R\" us"));
    assert_eq!(text.lines().count(), keys().len());
    let ends = |end: &str| text.lines().any(|line| line.ends_with(end));
    assert!(ends("# carmel.toml line 2") && ends("# CARMEL_SHOP_NAME") && ends("# default"), "{text}");
}

#[test]
fn the_sample_file_is_read_back_as_the_defaults() {
    let sample = reference::sample();
    let uncommented: String = sample.lines().map(|line| format!("{}\n", uncomment(line))).collect();

    for text in [sample, uncommented] {
        let loaded = Start::toml(String::leak(text)).load().unwrap();

        for key in keys() {
            assert_eq!((key.show)(&loaded.config), (key.show)(&Config::default()), "{}", key.name);
        }
    }
}

fn uncomment(line: &str) -> &str {
    let setting = line.strip_prefix("# ").filter(|rest| {
        rest.split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    });
    setting.unwrap_or(line)
}

#[test]
fn the_reference_page_has_every_key_with_a_sentence() {
    let page = reference::markdown();

    for key in keys() {
        assert!(page.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        assert!(key.says.ends_with('.') && key.section_says.ends_with('.'), "{}: {:?}", key.name, key.says);
    }
}

#[test]
fn a_service_may_have_a_database_of_its_own() {
    let start = Start::toml("[database]\nurl = \"postgres://h/all\"\norders_url = \"postgres://h/orders\"\n");

    let database = start.load().unwrap().config.database;

    assert_eq!(database.url_of("orders").unwrap().expose(), "postgres://h/orders");
    assert_eq!(database.url_of("users").unwrap().expose(), "postgres://h/all");
}

#[test]
fn the_shop_is_found_where_it_listens_unless_it_says_otherwise() {
    let table = [
        ("", "127.0.0.1", "http://127.0.0.1:8080"),
        ("", "0.0.0.0", "http://localhost:8080"),
        ("", "::1", "http://[::1]:8080"),
        ("https://mugs.example/", "0.0.0.0", "https://mugs.example"),
    ];
    for (url, host, expected) in table {
        let mut config = Config::default();
        (config.shop.url, config.server.host) = (url.into(), host.into());

        assert_eq!(config.shop.url_at(&config.server, 8080), expected);
    }
}

#[test]
fn mails_go_into_the_data_folder_unless_they_have_their_own() {
    let plain = Start::toml("data.folder = \"there\"").load().unwrap().config;
    let own = Start::toml("data.folder = \"there\"\nmail.folder = \"post\"").load().unwrap().config;

    assert_eq!(plain.mail_folder(), Path::new("there/mail"));
    assert_eq!(own.mail_folder(), Path::new("post"));
}
