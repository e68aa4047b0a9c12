//! What the edge does beside answering: it looks after the addresses of the
//! services and after the sign on the door.

use std::{path::PathBuf, time::Duration};

use axum::body::Body;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kernel::{Error, World};
use rpc::{AddressState, Pool};
use tokio_util::sync::CancellationToken;
use web::edge::Maintenance;

use crate::proxy::Connections;

/// What is looked after.
pub struct Care {
    /// The services that run elsewhere.
    pub pools: Vec<Pool>,
    /// How often each of their addresses is asked whether it is ready.
    pub every: Duration,
    /// The sign on the door.
    pub maintenance: Maintenance,
    /// While there is a file of this name the shop is closed.
    pub maintenance_file: PathBuf,
}

/// How long an address may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a file that came or went is noticed.
const GLANCE: Duration = Duration::from_secs(1);

impl Care {
    /// Looks after all of it until `stop` is cancelled.
    pub async fn run(self, world: World, stop: CancellationToken) {
        let connections = Connections::new(&world);
        let addresses = async {
            loop {
                join_all(self.pools.iter().map(|pool| ask_all(pool, &connections, &world))).await;
                world.sleep(self.every).await;
            }
        };
        let sign = async {
            loop {
                self.look_at_the_sign(&world).await;
                world.sleep(GLANCE).await;
            }
        };
        stop.run_until_cancelled(async { tokio::join!(addresses, sign) }).await;
    }

    async fn look_at_the_sign(&self, world: &World) {
        let file = self.maintenance_file.clone();
        match world.blocking(move || file.try_exists().map_err(Error::internal)).await.flatten() {
            Ok(closed) => {
                if self.maintenance.set(closed) {
                    tracing::info!(closed, "maintenance");
                }
            }
            // What it was it stays: a disk that fails must not open or close a shop.
            Err(error) => tracing::warn!(error = error.chain(), "the maintenance file cannot be looked for"),
        }
    }
}

async fn ask_all(pool: &Pool, connections: &Connections, world: &World) {
    let ask = async |state: AddressState| {
        let healthy = is_ready(&state.address, connections, world).await;
        pool.report(&state.address, healthy);
    };
    join_all(pool.states().into_iter().map(ask)).await;
}

async fn is_ready(address: &str, connections: &Connections, world: &World) -> bool {
    let Ok(request) = Request::get("/readyz").body(Body::empty()) else {
        return false;
    };
    let asking = async {
        let answer = connections.ask(address, request).await.ok()?;
        let status = answer.status();
        answer.into_body().collect().await.ok()?; // so that the connection can be used again
        Some(status)
    };
    world.timeout(PATIENCE, asking).await.flatten() == Some(StatusCode::OK)
}
