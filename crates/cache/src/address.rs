//! Where a Redis is: one server, one that sentinels watch, or a cluster.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use futures::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, RedisResult, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use crate::channel::PREFIX;

/// How long a connection may take to be made, and a reply to come, before the
/// server counts as gone.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long a connection to a sentinel may take: all are waited for.
const ASKING: Duration = Duration::from_millis(250);
const REPLYING: Duration = Duration::from_millis(250);

/// One of:
/// - `redis://[user:password@]host[:port][/number]`
/// - `redis+sentinel://[user:password@]sentinel:26379,…/master[/number]`, where
///   the login is that of the master, and sentinels are asked without one
/// - `redis+cluster://[user:password@]node:6379,…`
///
/// Shown without its password.
#[derive(Clone)]
pub struct Address {
    shape: Shape,
    nodes: Vec<ConnectionInfo>,
}

#[derive(Clone, PartialEq)]
enum Shape {
    Server,
    Sentinel { master: String },
    Cluster,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = place.rsplit_once('@').map_or(("", place), |(login, hosts)| (login, hosts));
        let (shape, number) = match scheme {
            "redis" if hosts.contains(',') => return Err(wrong("redis:// names one server")),
            "redis" => (Shape::Server, path),
            "redis+sentinel" => {
                let (master, number) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("behind the sentinels stands the name of the master, as in /mymaster"));
                }
                (Shape::Sentinel { master: master.to_owned() }, number)
            }
            "redis+cluster" if !path.is_empty() => return Err(wrong("a cluster has no numbered databases")),
            "redis+cluster" => (Shape::Cluster, ""),
            "rediss" => return Err(wrong("TLS to Redis is not built in")),
            other => return Err(wrong(&format!("{other}:// is not known"))),
        };
        let node = |host: &str| node(login, host, number);
        Ok(Address { nodes: hosts.split(',').map(node).collect::<Result<_, _>>()?, shape })
    }
}

fn node(login: &str, host: &str, number: &str) -> Result<ConnectionInfo, String> {
    if host.is_empty() {
        return Err(wrong("a host is missing"));
    }
    if !number.is_empty() && number.parse::<u16>().is_err() {
        return Err(wrong("the last part is the number of a database"));
    }
    let at = if login.is_empty() { "" } else { "@" };
    let info = format!("redis://{login}{at}{host}/{number}").into_connection_info();
    let info =
        info.map_err(|_| wrong(&format!("{host} is not a host with a port, or the login is malformed")))?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(redis))
}

/// Never repeats the text: it may hold a password.
fn wrong(why: &str) -> String {
    format!(
        "{why}; an address of Redis is redis://host:6379, redis+sentinel://host:26379,host:26379/master \
         or redis+cluster://host:6379,host:6379"
    )
}

impl Address {
    /// A connection to the master: of a cluster, to the one that has what we
    /// keep there. Replicas are never spoken to.
    pub(crate) async fn connect(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let master = match &self.shape {
            Shape::Server => self.nodes[0].clone(),
            Shape::Sentinel { master } => self.elected(master).await?,
            Shape::Cluster => self.owner().await?,
        };
        let config = config.set_connection_timeout(Some(CONNECTING));
        let mut connection = open(master, config).await?;
        must_be_master(&redis::cmd("ROLE").query_async(&mut connection).await?)?;
        Ok(connection)
    }

    /// Who the master is. All sentinels are asked: for seconds after a failover
    /// some do not know of it, and two processes that asked one each would
    /// speak to two servers.
    async fn elected(&self, master: &str) -> RedisResult<ConnectionInfo> {
        let asked = self.nodes.iter().map(|sentinel| ask_sentinel(sentinel, master));
        let newest = newest(join_all(asked).await)?;
        Ok(at(&self.nodes[0], (newest.host, newest.port)))
    }

    /// The node of a cluster that has our keys: all are in one slot.
    async fn owner(&self) -> RedisResult<ConnectionInfo> {
        let mut last = RedisError::from((ErrorKind::Client, "no address"));
        for node in &self.nodes {
            match owner(node).await {
                Ok(owner) => return Ok(owner),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A master, as a sentinel sees it.
#[derive(Debug, PartialEq)]
struct Elected {
    /// Grows with each failover that the sentinels agreed on.
    epoch: u64,
    host: String,
    port: u16,
}

async fn ask_sentinel(node: &ConnectionInfo, master: &str) -> RedisResult<Elected> {
    let sentinel = node.clone().set_redis_settings(Default::default());
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ASKING));
    let mut sentinel = open(sentinel, config).await?;
    let told: HashMap<String, String> =
        redis::cmd("SENTINEL").arg("MASTER").arg(master).query_async(&mut sentinel).await?;
    elected(&told).ok_or_else(|| (ErrorKind::Client, "the sentinel does not say where this master is").into())
}

fn elected(told: &HashMap<String, String>) -> Option<Elected> {
    Some(Elected {
        epoch: told.get("config-epoch")?.parse().ok()?,
        host: told.get("ip")?.clone(),
        port: told.get("port")?.parse().ok()?,
    })
}

/// What the sentinel says that knows of the most failovers; the last error when none says anything.
fn newest(told: Vec<RedisResult<Elected>>) -> RedisResult<Elected> {
    let mut newest = Err((ErrorKind::Client, "no sentinel").into());
    for told in told {
        newest = match (newest, told) {
            (Ok(one), Ok(other)) => Ok(if other.epoch > one.epoch { other } else { one }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(_), Err(error)) => Err(error),
        };
    }
    newest
}

/// The node that has our keys, as this one sees it.
async fn owner(node: &ConnectionInfo) -> RedisResult<ConnectionInfo> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECTING));
    let mut some = open(node.clone(), config).await?;
    let asked: RedisResult<()> = redis::cmd("EXISTS").arg(PREFIX).query_async(&mut some).await;
    match asked {
        Ok(()) => Ok(node.clone()),
        Err(error) => match error.redirect_node() {
            Some((place, _)) => {
                let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
                let port = port.parse().map_err(|_| (ErrorKind::Client, "a redirection without a port"))?;
                Ok(at(node, (host.to_owned(), port)))
            }
            None => Err(error),
        },
    }
}

/// The same login elsewhere.
fn at(node: &ConnectionInfo, (host, port): (String, u16)) -> ConnectionInfo {
    node.clone().set_addr(ConnectionAddr::Tcp(host, port))
}

async fn open(node: ConnectionInfo, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    // A question is sent at once and not kept until the last one was answered (RFC 896).
    let node = node.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = config.set_response_timeout(Some(REPLYING));
    Client::open(node)?.get_multiplexed_async_connection_with_config(&config).await
}

/// What `ROLE` says: a replica may not know of a change yet.
pub(crate) fn must_be_master(role: &redis::Value) -> RedisResult<()> {
    let first = role.as_sequence().and_then(|parts| parts.first());
    match first.map(redis::from_redis_value_ref::<String>) {
        Some(Ok(name)) if name == "master" => Ok(()),
        _ => Err((ErrorKind::Client, "this server is a replica").into()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(|node| node.addr().to_string()).collect();
        let nodes = nodes.join(",");
        match &self.shape {
            Shape::Server => write!(f, "redis://{nodes}"),
            Shape::Sentinel { master } => write!(f, "redis+sentinel://{nodes}/{master}"),
            Shape::Cluster => write!(f, "redis+cluster://{nodes}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentinel_that_knows_of_the_last_failover_is_believed() {
        let says = |epoch, port| Ok(Elected { epoch, host: "shop".into(), port });
        let away = || Err((ErrorKind::Io, "away").into());
        let port = |told| newest(told).map(|elected| elected.port).ok();

        assert_eq!(port(vec![says(3, 1), says(4, 2), says(3, 1)]), Some(2));
        assert_eq!(port(vec![away(), says(3, 1), away()]), Some(1));
        assert_eq!(port(vec![away(), away()]), None);
    }

    #[test]
    fn addresses_are_understood_and_shown_without_their_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://:secret@cache:7000/3", "redis://cache:7000"),
            (
                "redis+sentinel://ann:se%2Fcret@a:26379,b:26380/shop/2",
                "redis+sentinel://a:26379,b:26380/shop",
            ),
            ("redis+cluster://a:7000,b:7001", "redis+cluster://a:7000,b:7001"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        let sentinel: Address = "redis+sentinel://ann:se%2Fcret@a:1/shop/2".parse().unwrap();
        let login = sentinel.nodes[0].redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("ann"), Some("se/cret"), 2));
    }

    #[test]
    fn a_wrong_address_is_refused_with_what_would_be_right() {
        for (text, why) in [
            ("localhost:6379", "it has no scheme"),
            ("http://localhost", "http:// is not known"),
            ("rediss://localhost", "TLS to Redis"),
            ("redis://a,b", "names one server"),
            ("redis://a/shop", "the number of a database"),
            ("redis://:secret@a:port", "a is not a host"),
            ("redis+sentinel://a:26379", "the name of the master"),
            ("redis+sentinel://a,/shop", "a host is missing"),
            ("redis+cluster://a:7000/1", "no numbered databases"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            let why = why.replace("a is not a host", "a:port is not a host");
            assert!(error.contains(&why) && error.contains("redis://host:6379"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
