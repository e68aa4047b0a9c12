//! A process of the simulated shop: the whole program on a machine that can die.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use carmel::{part::Parts, shop::Shop};
use db::{Db, Target};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    disk::Faulty,
    network::Net,
    shelf::{SERVICES, settings},
    world::Machine,
};

/// A running process.
pub struct Process {
    /// What it runs on.
    pub machine: Arc<Machine>,
    /// What it writes to.
    pub disk: Arc<Faulty>,
    /// What runs.
    pub shop: Shop,
    /// Where its files are.
    pub folder: PathBuf,
}

/// What a process is started with.
pub struct Start<'a> {
    /// Where the files are.
    pub folder: &'a Path,
    /// When the simulation began.
    pub began: Instant,
    /// Its chance.
    pub seed: u64,
    /// What it does wrong on purpose.
    pub planted: Option<&'static str>,
    /// Who else there is.
    pub net: &'a Net,
    /// How many processes there are.
    pub processes: usize,
    /// Whether its services ask one another over the network.
    pub apart: bool,
}

impl Process {
    /// Opens the files as any process does.
    pub async fn start(start: Start<'_>) -> Process {
        let machine = Machine::new(start.began, start.seed, start.planted);
        let disk = Faulty::new(&machine);
        let world = machine.world();
        let mut databases = Vec::new();
        for service in SERVICES {
            let target = Target::Sqlite { path: start.folder.join(format!("{service}.db")) };
            databases.push((service, Db::open_on(&target, &world, disk.clone()).await.unwrap()));
        }
        let config = settings(start.folder, start.processes);
        let network = start.apart.then(|| Arc::new(start.net.clone()) as Arc<dyn rpc::Network>);
        let shop = Shop::over(network, &config, &world, &Parts::all(), databases).await.unwrap();
        shop.users().start().await.unwrap();
        Process { machine, disk, shop, folder: start.folder.to_owned() }
    }

    /// Its workers begin to work, until it dies.
    pub fn work(&self) {
        drop(self.shop.start(&CancellationToken::new()).unwrap());
    }
}
