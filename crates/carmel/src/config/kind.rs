//! What a setting can be: how it is read from a file or a text, and what is
//! said when it cannot be.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr};

use kernel::Currency;

use super::{
    keys::{EventBus, JobQueue, LogFormat, Pooler},
    secret::Secret,
};

/// A value as its source gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// From a variable, a secret's file or a flag: it means what the key makes of it.
    Text(String),
    /// A text in quotes in the settings file.
    Quoted(String),
    /// A whole number in the settings file.
    Whole(i128),
    /// `true` or `false` in the settings file.
    Flag(bool),
    /// A list in the settings file.
    List(Vec<Found>),
    /// What no setting is made of: a table, a date, a broken number.
    Other(String),
}

impl Found {
    /// As a person would write it, cut where it gets long.
    pub(super) fn shown(&self) -> String {
        let whole = match self {
            Found::Text(text) if text.is_empty() => return "nothing".into(),
            Found::Text(text) | Found::Quoted(text) => format!("{text:?}"),
            Found::Whole(number) => number.to_string(),
            Found::Flag(flag) => flag.to_string(),
            Found::List(parts) => {
                format!("[{}]", parts.iter().map(Found::shown).collect::<Vec<_>>().join(", "))
            }
            Found::Other(what) => what.clone(),
        };
        match whole.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &whole[..end]),
            None => whole,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Found::Text(text) | Found::Quoted(text) => Some(text),
            _ => None,
        }
    }
}

/// A type that a setting can have.
pub(super) trait Kind: Sized {
    /// Values of this type are never shown.
    const SECRET: bool = false;
    /// What would be right: "a whole number".
    fn expected() -> String;
    /// The value, if it is one.
    fn read(found: &Found) -> Option<Self>;
    /// The value as the settings file would have it.
    fn show(&self) -> String;
}

/// What a value must be beyond its type.
pub(super) struct Rule<T> {
    /// Follows the type in a sentence: "from 1 to 65535".
    pub(super) says: String,
    pub(super) holds: Box<dyn Fn(&T) -> bool>,
}

fn rule<T>(says: impl Into<String>, holds: impl Fn(&T) -> bool + 'static) -> Rule<T> {
    Rule { says: says.into(), holds: Box::new(holds) }
}

/// A number between two others, both included.
pub(super) fn within<T: PartialOrd + Display + 'static>(range: RangeInclusive<T>) -> Rule<T> {
    rule(format!("from {} to {}", range.start(), range.end()), move |value| range.contains(value))
}

/// A text with something in it.
pub(super) fn not_empty() -> Rule<String> {
    rule("that is not empty", |text: &String| !text.trim().is_empty())
}

/// An address of one of these schemes with a host behind it, or nothing.
pub(super) fn url_or_empty<T: AsText>(schemes: &'static [&'static str]) -> Rule<T> {
    let starts = schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>();
    rule(
        format!("that begins with {} and names a host, or is empty", starts.join(" or ")),
        move |value: &T| {
            let text = value.as_text();
            text.is_empty()
                || starts.iter().any(|start| {
                    text.strip_prefix(start).is_some_and(|rest| {
                        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
                    })
                })
        },
    )
}

/// Several such addresses with commas between, or nothing.
pub(super) fn urls_or_empty<T: AsText>(schemes: &'static [&'static str]) -> Rule<T> {
    let one = url_or_empty::<String>(schemes);
    rule(format!("of addresses with commas between, each {}", one.says), move |value: &T| {
        value.as_text().split(',').all(|url| (one.holds)(&url.to_owned()))
    })
}

/// Where a Redis is, or nothing.
pub(super) fn redis_or_empty() -> Rule<Secret> {
    let says = "such as redis://127.0.0.1:6379, redis+sentinel://a:26379,b:26379/master or \
                redis+cluster://a:6379,b:6379, or empty";
    rule(says, |url: &Secret| url.is_empty() || url.expose().parse::<cache::Address>().is_ok())
}

/// A secret that services can show one another, or none.
pub(super) fn service_token_or_empty() -> Rule<Secret> {
    rule("of at least 16 visible ASCII characters, or empty", |secret: &Secret| {
        secret.is_empty() || rpc::ServiceToken::new(secret.expose(), None).is_ok()
    })
}

/// A secret of Standard Webhooks, or none.
pub(super) fn webhook_secret_or_empty() -> Rule<Secret> {
    rule("that is whsec_ and 24 to 64 bytes in base64, or is empty", |secret: &Secret| {
        secret.is_empty() || payments::webhook::Secret::parse(secret.expose()).is_ok()
    })
}

/// Who a mail is from.
pub(super) fn mail_address() -> Rule<String> {
    rule("with an address, such as Carmel <shop@example.com>", |text: &String| {
        let address = match text.rsplit_once('<') {
            Some((_, address)) => address.strip_suffix('>').unwrap_or(""),
            None => text,
        };
        address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
            && !address.contains(char::is_whitespace)
    })
}

/// Web origins (RFC 6454): scheme, host, perhaps a port, and nothing behind them.
pub(super) fn origins() -> Rule<Vec<String>> {
    rule("of origins such as https://shop.example, or just *", |list: &Vec<String>| {
        list.iter().all(|origin| {
            let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
            (origin == "*" && list.len() == 1)
                || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
        })
    })
}

/// Where a service is: `http://`, a host and a port, one or more of them.
pub(super) fn addresses() -> Rule<Vec<String>> {
    rule("of addresses such as http://10.0.0.7:3001 or http://users:3001", |list: &Vec<String>| {
        !list.is_empty()
            && list.iter().all(|address| {
                let rest = address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
                rest.and_then(|rest| rest.rsplit_once(':')).is_some_and(|(host, port)| {
                    !host.is_empty() && !host.contains(['/', ' ', '@']) && port.parse::<u16>().is_ok()
                })
            })
    })
}

/// Networks, or single addresses.
pub(super) fn networks() -> Rule<Vec<String>> {
    rule("of networks such as 10.0.0.0/8, or addresses", |list: &Vec<String>| {
        web::edge::forwarded(list).is_ok()
    })
}

/// Kafka brokers: hosts and ports.
pub(super) fn brokers() -> Rule<Vec<String>> {
    rule("of brokers such as kafka:9092", |list: &Vec<String>| {
        list.iter().all(|broker| {
            broker.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
            })
        })
    })
}

/// What is logged: a level, or a list of them with the parts they are for.
pub(super) fn levels() -> Rule<String> {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    rule(
        format!("with a level ({}), such as info, or info,orders=debug", LEVELS.join(", ")),
        |text: &String| {
            text.split(',').all(|part| {
                let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
                LEVELS.contains(&level.trim().to_lowercase().as_str())
            })
        },
    )
}

/// What has a text to look at.
pub(super) trait AsText {
    fn as_text(&self) -> &str;
}
impl AsText for String {
    fn as_text(&self) -> &str {
        self
    }
}
impl AsText for Secret {
    fn as_text(&self) -> &str {
        self.expose()
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Kind for String {
    fn expected() -> String {
        "a text".into()
    }
    fn read(found: &Found) -> Option<String> {
        found.text().map(str::to_owned)
    }
    fn show(&self) -> String {
        quoted(self)
    }
}

impl Kind for PathBuf {
    fn expected() -> String {
        "a path".into()
    }
    fn read(found: &Found) -> Option<PathBuf> {
        found.text().map(PathBuf::from)
    }
    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// A folder that has a name.
pub(super) fn folder() -> Rule<PathBuf> {
    rule("that is not empty", |path: &PathBuf| !path.as_os_str().is_empty())
}

impl Kind for Secret {
    const SECRET: bool = true;
    fn expected() -> String {
        "a text".into()
    }
    fn read(found: &Found) -> Option<Secret> {
        found.text().map(Secret::new)
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Kind for Vec<String> {
    fn expected() -> String {
        "a list".into()
    }
    fn read(found: &Found) -> Option<Vec<String>> {
        match found {
            // A variable has no brackets: commas part its list.
            Found::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Found::Text(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Found::List(parts) => parts
                .iter()
                .map(|part| match part {
                    Found::Quoted(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(", "))
    }
}

macro_rules! whole_numbers {
    ($($Type:ty),*) => { $(
        impl Kind for $Type {
            fn expected() -> String {
                "a whole number".into()
            }
            fn read(found: &Found) -> Option<$Type> {
                match found {
                    Found::Whole(number) => <$Type>::try_from(*number).ok(),
                    Found::Text(text) => text.trim().replace('_', "").parse().ok(),
                    _ => None,
                }
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}
whole_numbers!(u16, u32, u64, i64);

fn word<T: FromStr>(found: &Found) -> Option<T> {
    found.text()?.trim().parse().ok()
}

macro_rules! words_as_settings {
    ($($Type:ty),*) => { $(
        impl Kind for $Type {
            fn expected() -> String {
                let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                if words.len() == 1 { words[0].into() } else { format!("one of {}", words.join(", ")) }
            }
            fn read(found: &Found) -> Option<$Type> {
                word(found)
            }
            fn show(&self) -> String {
                quoted(self.as_str())
            }
        }
    )* };
}
words_as_settings!(LogFormat, Pooler, EventBus, JobQueue);

impl Kind for Currency {
    fn expected() -> String {
        "a currency of ISO 4217 in three capital letters, such as EUR".into()
    }
    fn read(found: &Found) -> Option<Currency> {
        word(found)
    }
    fn show(&self) -> String {
        quoted(self.as_str())
    }
}
