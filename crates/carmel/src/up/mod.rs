//! `carmel up`: a whole fleet on one machine, for those who have no
//! orchestrator. Each part of the shop is a process of its own; what dies is
//! started again, and `carmel reload` replaces them one by one.
//!
//! The listening sockets belong to this process and are handed to the others
//! (as systemd does it), so that no connection is refused while one process
//! makes room for the next, or has died and is not back yet. No process keeps a
//! session, so it does not matter which of them a customer's next request
//! meets.

mod control;
mod keep;
mod plan;
mod process;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use kernel::{Error, Kind, Result, World};
use tokio_util::sync::CancellationToken;

use self::{
    control::Control,
    keep::{Keeper, Kept},
    plan::Slot,
};
pub use self::{
    control::reload,
    plan::{Count, Plan},
    process::READY,
};
use crate::{
    config::{Config, Flags},
    databases,
    part::Part,
    serve::wait_for_the_end,
};

/// What a process may take beyond the time to drain before it is cut off.
const MARGIN: Duration = Duration::from_secs(5);

/// Runs the fleet of this plan until SIGTERM or Ctrl-C; then the gateway
/// finishes first and the services after it.
pub async fn up(config: Config, flags: &Flags, world: World, plan: Plan) -> Result<()> {
    let control = Control::open(&config.data.folder).await?;
    let sockets = listen(&plan.slots)?;
    // Once, before several processes look at them.
    databases::migrate(&config, &world).await?;
    let fleet = Arc::new(start(&config, flags, &world, &plan, &sockets)?);
    let stop = CancellationToken::new();
    let controlled = world.spawn(control.serve(fleet.clone(), stop.clone()));
    tokio::select! {
        () = wait_for_the_end() => {}
        () = say_when_ready(&fleet, &plan) => {}
    }
    tracing::info!("stopping: the gateway first, then the services");
    stop.cancel();
    controlled.join().await;
    for is_gateway in [true, false] {
        let of_kind = fleet.iter().filter(|process| (process.part == Part::Gateway) == is_gateway);
        futures::future::join_all(of_kind.map(Kept::stop)).await;
    }
    tracing::info!("the fleet has ended");
    Ok(())
}

/// Says that the fleet is up, once every process is ready; ends never.
async fn say_when_ready(fleet: &[Kept], plan: &Plan) {
    for process in fleet {
        process.is_ready().await;
    }
    let gateway = plan.slots.iter().find(|slot| slot.part == Part::Gateway).and_then(|slot| slot.listens);
    let address = gateway.map_or_else(String::new, |place| format!("http://{place}"));
    tracing::info!(processes = fleet.len(), address, "the fleet is up");
    std::future::pending().await
}

fn start(
    config: &Config,
    flags: &Flags,
    world: &World,
    plan: &Plan,
    sockets: &HashMap<SocketAddr, Arc<TcpListener>>,
) -> Result<Vec<Kept>> {
    let program = std::env::current_exe().map_err(Error::internal)?;
    let settings = settings(flags, plan);
    let secrets = secrets(config, world);
    let drain = config.server.drain_delay_ms + config.server.drain_timeout_ms;
    let keep = |slot: &Slot| {
        let mut settings = settings.clone();
        settings.extend(slot.listens.iter().map(|place| format!("--port={}", place.port())));
        Keeper {
            slot: slot.clone(),
            socket: slot.listens.and_then(|place| sockets.get(&place).cloned()),
            program: program.clone(),
            settings,
            secrets: secrets.clone(),
            finish_within: Duration::from_millis(drain) + MARGIN,
            may_overlap: slot.part == Part::Gateway || config.database.url_of(slot.part.as_str()).is_some(),
            world: world.clone(),
        }
        .start()
    };
    Ok(plan.slots.iter().map(keep).collect())
}

/// Opens each place once, however many processes share it.
fn listen(slots: &[Slot]) -> Result<HashMap<SocketAddr, Arc<TcpListener>>> {
    let mut sockets = HashMap::new();
    for (slot, place) in slots.iter().filter_map(|slot| Some((slot, slot.listens?))) {
        if sockets.contains_key(&place) {
            continue;
        }
        let socket = TcpListener::bind(place).map_err(|error| {
            let message = format!("{} cannot listen on {place}: {error}", slot.name);
            Error::new(Kind::Unavailable, "address_in_use", message)
        })?;
        sockets.insert(place, Arc::new(socket));
    }
    Ok(sockets)
}

/// What every process of the fleet is told on its command line, beside what it
/// reads from the same file and environment as this one.
fn settings(flags: &Flags, plan: &Plan) -> Vec<String> {
    let mut settings = Vec::new();
    settings.extend(flags.config.iter().map(|file| format!("--config={}", file.display())));
    settings.extend(flags.data.iter().map(|folder| format!("--data={folder}")));
    settings.extend(flags.set.iter().map(|pair| format!("--set={pair}")));
    for (service, addresses) in &plan.addresses {
        settings.push(format!("--set=services.{service}={}", addresses.join(",")));
    }
    settings
}

/// Secrets that all processes of a fleet must have in common and that nobody
/// chose: made for as long as this fleet is up.
fn secrets(config: &Config, world: &World) -> Vec<(&'static str, String)> {
    let mut secrets = Vec::new();
    if config.services.token.is_empty() {
        let token: String = world.random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.push(("CARMEL_SERVICES_TOKEN", token));
    }
    if config.payments.webhook_secret.is_empty() {
        secrets
            .push(("CARMEL_PAYMENTS_WEBHOOK_SECRET", payments::webhook::Secret::new(world.random()).text()));
    }
    secrets
}
