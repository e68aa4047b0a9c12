//! Where the Redis of the queues is: one server, the master that sentinels
//! watch, or a cluster.

use std::fmt;

use bullmq::options::RedisConnectionOptions;
use kernel::{Error, Result};

/// See [`Bullmq::at`](super::Bullmq::at).
#[derive(Clone)]
pub(crate) enum Address {
    Server { url: String },
    Sentinel { sentinels: Vec<String>, master: String, login: String, number: String },
    Cluster { nodes: Vec<String> },
}

impl Address {
    pub fn parse(text: &str) -> Result<Address> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = place.rsplit_once('@').map_or(("", place), |(login, hosts)| (login, hosts));
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(wrong("a host is missing"));
        }
        match (scheme, &hosts[..]) {
            ("redis", [_]) => usable(text).map(|url| Address::Server { url }),
            ("redis", _) => Err(wrong("it names more than one server")),
            ("rediss", _) => Err(wrong("TLS to Redis is not built in")),
            ("redis+sentinel", _) => {
                let (master, number) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("behind the sentinels stands the name of the master, as in /shop"));
                }
                let sentinels = hosts.iter().map(|host| usable(&format!("redis://{host}")));
                let sentinels = sentinels.collect::<Result<_>>()?;
                let (master, number) = (master.to_owned(), number.to_owned());
                Ok(Address::Sentinel { sentinels, master, login, number })
            }
            ("redis+cluster", _) if !path.is_empty() => Err(wrong("a cluster has no numbered databases")),
            ("redis+cluster", _) => {
                let nodes = hosts.iter().map(|host| usable(&format!("redis://{login}{host}")));
                nodes.collect::<Result<_>>().map(|nodes| Address::Cluster { nodes })
            }
            _ => Err(wrong(&format!("{scheme}:// is not known"))),
        }
    }

    /// What begins the names of all keys. In a cluster those of one queue must
    /// be in one place, and so are those of all of them.
    pub fn prefix(&self) -> &'static str {
        match self {
            Address::Cluster { .. } => "{bull}",
            _ => "bull",
        }
    }

    /// How to connect to whoever is the master now.
    pub async fn now(&self) -> Result<RedisConnectionOptions, bullmq::Error> {
        let options = RedisConnectionOptions::new();
        Ok(match self {
            Address::Server { url } => options.url(url.as_str()),
            Address::Cluster { nodes } => options.cluster_nodes(nodes.iter().map(String::as_str)),
            Address::Sentinel { sentinels, master, login, number } => {
                let (host, port) = ask(sentinels, master).await?;
                options.url(format!("redis://{login}{host}:{port}/{number}"))
            }
        })
    }
}

/// Who the master is, as the first sentinel that answers sees it.
async fn ask(sentinels: &[String], master: &str) -> Result<(String, u16), bullmq::Error> {
    let mut last = bullmq::Error::InvalidConfig("there is no sentinel".to_owned());
    for sentinel in sentinels {
        match ask_one(sentinel, master).await {
            Ok(Some(place)) => return Ok(place),
            Ok(None) => {
                last = bullmq::Error::InvalidConfig(format!("the sentinel knows no master named {master}"));
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

async fn ask_one(sentinel: &str, master: &str) -> redis::RedisResult<Option<(String, u16)>> {
    let mut connection = redis::Client::open(sentinel)?.get_multiplexed_async_connection().await?;
    redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await
}

fn usable(url: &str) -> Result<String> {
    let client = redis::Client::open(url);
    client.map(|_| url.to_owned()).map_err(|_| wrong("a host, a port, a login or a number is malformed"))
}

/// Never repeats the text: it may hold a password.
fn wrong(why: &str) -> Error {
    let message = format!(
        "the address of the queues' Redis cannot be used: {why}; right would be redis://host:6379, \
         redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379"
    );
    Error::invalid("queue_url_invalid", message)
}

/// Without its login.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = |urls: &[String]| -> String {
            let place = |url: &String| url.rsplit(['@', '/']).next().unwrap_or_default().to_owned();
            urls.iter().map(place).collect::<Vec<_>>().join(",")
        };
        match self {
            Address::Server { url } => {
                let place = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
                write!(f, "redis://{}", place.rsplit('@').next().unwrap_or_default())
            }
            Address::Sentinel { sentinels, master, .. } => {
                write!(f, "redis+sentinel://{}/{master}", places(sentinels))
            }
            Address::Cluster { nodes } => write!(f, "redis+cluster://{}", places(nodes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_and_shown_without_their_login() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://:secret@queue:7000/3", "redis://queue:7000"),
            ("redis+sentinel://ann:secret@a:26379,b:26380/shop/2", "redis+sentinel://a:26379,b:26380/shop"),
            ("redis+cluster://:secret@a:7000,b:7001", "redis+cluster://a:7000,b:7001"),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn a_wrong_address_is_refused_with_what_would_be_right() {
        for (text, why) in [
            ("localhost:6379", "it has no scheme"),
            ("http://localhost", "http:// is not known"),
            ("redis://a,b", "more than one server"),
            ("rediss://:secret@a", "TLS to Redis"),
            ("redis://:secret@a:port", "malformed"),
            ("redis+sentinel://a:26379", "the name of the master"),
            ("redis+sentinel://:secret@a,/shop", "a host is missing"),
            ("redis+cluster://a:7000/1", "no numbered databases"),
        ] {
            let error = Address::parse(text).err().unwrap();
            assert_eq!(error.code, "queue_url_invalid");
            assert!(error.message.contains(why) && error.message.contains("redis://host:6379"), "{error}");
            assert!(!error.message.contains("secret"), "{error}");
        }
    }
}
