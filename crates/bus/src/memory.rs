//! The bus of one process.
use std::sync::Arc;

use db::Db;
use kernel::{Result, World};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{Consumer, Envelope};

/// Carries events from the outboxes to the consumers. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    world: World,
}

impl Bus {
    /// The one inside this process.
    pub fn memory(world: &World) -> Bus {
        Bus { world: world.clone() }
    }
    /// From now on this one hears what is relayed here.
    pub fn subscribe(&self, consumer: Arc<dyn Consumer>) {
        let _ = (consumer, &self.world);
    }
    /// Relays the outbox of one service until `stop` is cancelled, then finishes what is under way.
    pub async fn relay(&self, service: &'static str, db: Db, stop: CancellationToken) {
        let _ = (service, db, stop);
        todo!()
    }
    /// Relays what is there now; returns how many were sent.
    pub async fn relay_once(&self, service: &'static str, db: &Db) -> Result<usize> {
        let _ = (service, db);
        todo!()
    }
    /// Live feeds: what was sent from now on, best effort.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Envelope>> {
        todo!()
    }
}
