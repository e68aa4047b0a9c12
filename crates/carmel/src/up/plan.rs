//! Which processes a local fleet is made of, and where each listens.

use std::{collections::BTreeMap, net::SocketAddr};

use kernel::{Error, Result};

use crate::{config::Config, part::Part};

/// So many ports lie between two replicas of a service on one machine: more
/// than there are parts, so that none takes another's.
const APART: u16 = 10;
/// The most processes of one kind.
const MOST: usize = 64;

/// So many processes of a part: `orders=2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Which part.
    pub part: Part,
    /// How many.
    pub processes: usize,
}

impl std::str::FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Count, String> {
        let (part, processes) = text.split_once('=').ok_or("orders=2 would be right")?;
        let part = part.parse()?;
        match processes.parse() {
            Ok(processes) if (1..=MOST).contains(&processes) => Ok(Count { part, processes }),
            _ => Err(format!("{processes:?} is no number from 1 to {MOST}")),
        }
    }
}

/// A process that is kept running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What it is called in the log: `orders-2`.
    pub name: String,
    /// `serve` or `work`.
    pub command: &'static str,
    /// What runs in it.
    pub part: Part,
    /// Where it listens. Several processes of the gateway share their socket.
    pub listens: Option<SocketAddr>,
}

/// The whole fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its processes, the gateway last: it is of no use before the others.
    pub slots: Vec<Slot>,
    /// Where each service is, for the settings of every process.
    pub addresses: BTreeMap<Part, Vec<String>>,
}

impl Plan {
    /// Makes one of the settings: each service listens where `services.…` says
    /// that it is found, the gateway at `server.host` and `server.port`. More
    /// replicas than a service has addresses follow the last of them, ten ports
    /// apart. Fails (`invalid_fleet`) on what cannot be on one machine.
    pub fn new(config: &Config, replicas: &[Count], workers: &[Count]) -> Result<Plan> {
        crate::shop::must_reach_others(config)?;
        let wanted = |counts: &[Count], part: Part| {
            counts.iter().find(|count| count.part == part).map(|count| count.processes)
        };
        let mut plan = Plan { slots: Vec::new(), addresses: BTreeMap::new() };
        for part in Part::services() {
            let listens = places(config, part, wanted(replicas, part))?;
            if listens.len() > 1 && config.database.url_of(part.as_str()).is_none() {
                return Err(invalid(format!(
                    "several processes of {part} need PostgreSQL (database.url): its SQLite file is one process's own"
                )));
            }
            plan.addresses.insert(part, listens.iter().map(|place| format!("http://{place}")).collect());
            for (at, place) in listens.into_iter().enumerate() {
                plan.slots.push(Slot {
                    name: format!("{part}-{}", at + 1),
                    command: "serve",
                    part,
                    listens: Some(place),
                });
            }
            for at in 0..wanted(workers, part).unwrap_or(0) {
                let name = format!("{part}-work-{}", at + 1);
                plan.slots.push(Slot { name, command: "work", part, listens: None });
            }
        }
        if wanted(workers, Part::Gateway).is_some() {
            return Err(invalid("the gateway has no work of its own: --workers takes services"));
        }
        let place = read(&format!("{}:{}", config.server.host, config.server.port), "server.host")?;
        for at in 0..wanted(replicas, Part::Gateway).unwrap_or(1) {
            plan.slots.push(Slot {
                name: format!("gateway-{}", at + 1),
                command: "serve",
                part: Part::Gateway,
                listens: Some(place),
            });
        }
        Ok(plan)
    }
}

/// Where the replicas of a service listen.
fn places(config: &Config, part: Part, wanted: Option<usize>) -> Result<Vec<SocketAddr>> {
    let given: Vec<SocketAddr> = config
        .services
        .of(part)
        .iter()
        .map(|address| read(address.trim_start_matches("http://").trim_end_matches('/'), part.as_str()))
        .collect::<Result<_>>()?;
    let count = wanted.unwrap_or(given.len());
    let mut places: Vec<SocketAddr> = given.into_iter().take(count).collect();
    while let Some(last) = places.last().copied().filter(|_| places.len() < count) {
        let port = last.port().checked_add(APART).ok_or_else(|| {
            invalid(format!(
                "there is no port for {count} processes of {part}: services.{part} may name others"
            ))
        })?;
        places.push(SocketAddr::new(last.ip(), port));
    }
    Ok(places)
}

/// An address of this machine; `localhost` is one.
fn read(text: &str, of: &str) -> Result<SocketAddr> {
    text.replace("localhost", "127.0.0.1").parse().map_err(|_| {
        invalid(format!("{text:?} of {of} is no address to listen on; 127.0.0.1 and a port would be right"))
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid("invalid_fleet", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn counts(texts: &[&str]) -> Vec<Count> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn on_sqlite() -> Config {
        let mut config = Config::default();
        config.redis.queue_url = Secret::new("redis://localhost");
        config
    }

    fn on_postgres() -> Config {
        let mut config = on_sqlite();
        config.database.url = Secret::new("postgres://localhost/shop");
        config
    }

    #[test]
    fn each_service_is_a_process_and_the_gateway_comes_last() {
        let plan = Plan::new(&on_sqlite(), &[], &[]).unwrap();

        let names: Vec<&str> = plan.slots.iter().map(|slot| slot.name.as_str()).collect();
        let expected =
            ["users-1", "orders-1", "catalog-1", "inventory-1", "payments-1", "notifications-1", "gateway-1"];
        assert_eq!(names, expected);
        assert_eq!(plan.slots[1].listens, Some("127.0.0.1:3002".parse().unwrap()));
        assert_eq!(plan.addresses[&Part::Payments], ["http://127.0.0.1:3005"]);
    }

    #[test]
    fn replicas_are_ten_ports_apart_and_those_of_the_gateway_share_theirs() {
        let plan =
            Plan::new(&on_postgres(), &counts(&["orders=3", "gateway=2"]), &counts(&["orders=1"])).unwrap();

        let ports = [3002, 3012, 3022].map(|port| format!("http://127.0.0.1:{port}"));
        assert_eq!(plan.addresses[&Part::Orders], ports);
        let gateways: Vec<_> = plan.slots.iter().filter(|slot| slot.part == Part::Gateway).collect();
        assert_eq!((gateways.len(), gateways[0].listens), (2, gateways[1].listens));
        let worker = plan.slots.iter().find(|slot| slot.name == "orders-work-1").unwrap();
        assert_eq!((worker.command, worker.listens), ("work", None));
    }

    #[test]
    fn what_cannot_be_is_said_with_what_would_be_right() {
        let mut elsewhere = on_postgres();
        elsewhere.services.users = vec!["http://users:3001".into()];
        for (config, replicas, workers, said) in [
            (Config::default(), "users=1", "users=1", "redis.queue_url"),
            (on_sqlite(), "users=2", "users=1", "need PostgreSQL"),
            (on_postgres(), "users=1", "gateway=1", "--workers takes services"),
            (elsewhere, "orders=1", "users=1", "127.0.0.1 and a port would be right"),
        ] {
            let error = Plan::new(&config, &counts(&[replicas]), &counts(&[workers])).unwrap_err();
            assert!(error.message.contains(said), "{}", error.message);
        }
        for wrong in ["orders", "orders=0", "orders=65", "order=2"] {
            assert!(wrong.parse::<Count>().is_err(), "{wrong}");
        }
    }
}
