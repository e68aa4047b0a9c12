//! Redis Streams as the bus.
//!
//! The events of a service are divided by entity among its streams,
//! `carmel:events:orders:0` and so on. A consumer is a group of each; the place
//! of a group is the entry up to which all effects are committed (XGROUP
//! SETID). Its processes share the streams among them, read on from the places
//! (XREAD) and move them on. Entries are not handed out one by one
//! (XREADGROUP), because then two processes have two events of one entity; and
//! nothing is pending when a process dies: the next one reads on from the place.

mod consume;
mod line;
mod live;
mod read;
mod settle;

use std::time::Duration;

use kernel::{Error, Result, World};
use redis::{
    Client, IntoConnectionInfo, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

pub(crate) use line::Line;

/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a read waits for events to come.
const BLOCK: Duration = Duration::from_secs(1);
/// The wait after Redis did not do what it was asked.
const PAUSE: Duration = Duration::from_millis(500);

/// A Redis server that carries events.
pub(crate) struct Redis {
    client: Client,
    world: World,
    /// For what is answered at once; whoever waits for events has his own.
    shared: ConnectionManager,
}

impl Redis {
    pub fn new(world: &World, url: &str) -> Result<Redis> {
        let client = open(url).map_err(|error| {
            let message =
                "the address of a Redis that carries events is written as in redis://127.0.0.1:6379";
            Error::invalid("redis_url", message).because(error)
        })?;
        Ok(Redis { shared: connect(&client)?, client, world: world.clone() })
    }
}

fn open(url: &str) -> RedisResult<Client> {
    // What is sent is sent at once and not kept until the last was answered (RFC 896).
    let settings = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(settings))
}

/// A connection that is made when it is used, and again after it broke.
fn connect(client: &Client) -> Result<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(BLOCK + PATIENCE));
    ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(away)
}

fn away(error: RedisError) -> Error {
    Error::unavailable("redis_unavailable", "redis did not do what it was asked").because(error)
}

/// The streams of a service.
fn streams(service: &str, partitions: u32) -> Vec<String> {
    (0..partitions.max(1)).map(|partition| stream(service, partition)).collect()
}

fn stream(service: &str, partition: u32) -> String {
    format!("carmel:events:{service}:{partition}")
}

/// Which of so many streams an entity belongs to (FNV-1a). Never changes.
fn partition(subject: &str, partitions: u32) -> u32 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = subject.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash % u64::from(partitions.max(1))) as u32
}
