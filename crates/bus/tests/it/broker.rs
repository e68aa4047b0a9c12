//! What carries the events of a story, and how a story takes it away.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use bus::{Bus, Options};
use kernel::World;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use testkit::redis::Server;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub enum Broker {
    Memory,
    Redis { server: Server, cable: Cable, linger: Mutex<Duration> },
    Kafka(Kafka),
}

impl Broker {
    pub async fn memory() -> Broker {
        Broker::Memory
    }

    pub async fn redis() -> Broker {
        let server = Server::start();
        let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        let cable = Cable::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        Broker::Redis { server, cable, linger: Mutex::new(Duration::from_secs(3600)) }
    }

    /// One broker that speaks the protocol and keeps all in memory.
    pub async fn kafka() -> Broker {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("carmel.shop", 4, 1).unwrap();
        Broker::Kafka(Kafka(cluster))
    }

    pub fn bus(&self, world: &World, options: Options) -> Bus {
        match self {
            Broker::Memory => Bus::memory(),
            Broker::Redis { cable, .. } => {
                Bus::redis(world, &format!("redis://{}", cable.end), options).unwrap()
            }
            Broker::Kafka(kafka) => Bus::kafka(world, &kafka.0.bootstrap_servers(), options).unwrap(),
        }
    }

    pub fn is_memory(&self) -> bool {
        matches!(self, Broker::Memory)
    }

    pub fn linger(&self) -> Duration {
        match self {
            Broker::Redis { linger, .. } => *linger.lock().unwrap(),
            _ => Duration::ZERO,
        }
    }

    /// Takes it away from everybody.
    pub fn away(&self) {
        match self {
            Broker::Redis { cable, .. } => cable.cut(),
            Broker::Kafka(kafka) => kafka.0.broker_down(1).unwrap(),
            Broker::Memory => {}
        }
    }

    pub async fn back(&self) {
        match self {
            Broker::Redis { cable, .. } => cable.mend().await,
            Broker::Kafka(kafka) => kafka.0.broker_up(1).unwrap(),
            Broker::Memory => {}
        }
    }
}

/// A mock cluster, which is behind a lock of its own.
pub struct Kafka(pub MockCluster<'static, DefaultProducerContext>);

/// A cable to a server, which a story cuts.
pub struct Cable {
    pub end: SocketAddr,
    server: SocketAddr,
    carrying: Mutex<Option<JoinHandle<()>>>,
}

impl Cable {
    async fn to(server: SocketAddr) -> Cable {
        let end = SocketAddr::from(([127, 0, 0, 1], testkit::free_port()));
        let cable = Cable { end, server, carrying: Mutex::new(None) };
        cable.mend().await;
        cable
    }

    fn cut(&self) {
        self.carrying.lock().unwrap().take().unwrap().abort();
    }

    async fn mend(&self) {
        let listener = loop {
            match TcpListener::bind(self.end).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let server = self.server;
        *self.carrying.lock().unwrap() = Some(tokio::spawn(async move {
            let mut wires = tokio::task::JoinSet::new(); // cut with this task
            while let Ok((mut near, _)) = listener.accept().await {
                wires.spawn(async move {
                    let mut far = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        }));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(carrying) = self.carrying.get_mut().unwrap().take() {
            carrying.abort();
        }
    }
}
