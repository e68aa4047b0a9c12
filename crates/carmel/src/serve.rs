//! `carmel serve`: everything in one process, until it is asked to end.

use std::{
    io::IsTerminal,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use kernel::{Error, Kind, Result, World};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    sample::{self, Filled},
    shop::Shop,
};

/// Runs the shop until SIGTERM or Ctrl-C, then drains it: no new work, running
/// work finished, then the end.
pub async fn serve(config: Config, world: World, with_sample: bool) -> Result<()> {
    let began = Instant::now();
    let listener = listen(&config).await?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let shop = Shop::open(&config, &world).await?;
    let filled = if with_sample { sample::fill(&shop, &config).await? } else { None };

    let stop = CancellationToken::new();
    let workers = shop.start(&stop)?;
    say_hello(&config, &address.to_string(), filled.as_ref(), began.elapsed());
    let stopping = Arc::new(OnceLock::new());
    drop(world.spawn({
        let (stop, stopping) = (stop.clone(), stopping.clone());
        async move {
            wait_for_the_end().await;
            tracing::info!("draining: no new work is taken, running work is finished");
            stopping.get_or_init(Instant::now);
            stop.cancel();
        }
    }));

    let drain = Duration::from_millis(config.server.drain_timeout_ms);
    gateway::serve(listener, shop.router()?, stop.clone(), drain).await;
    // One deadline for both: workers and requests have been finishing side by side.
    let left = drain.saturating_sub(stopping.get().map_or(Duration::ZERO, Instant::elapsed));
    if world.timeout(left, workers.join()).await.is_none() {
        tracing::warn!("not everything was finished in time; the rest is done after the next start");
    }
    shop.close().await;
    tracing::info!("ended");
    Ok(())
}

async fn listen(config: &Config) -> Result<TcpListener> {
    let address = (config.server.host.as_str(), config.server.port);
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!(
            "cannot listen on {}:{} (server.host, server.port): {error}",
            config.server.host, config.server.port
        );
        Error::new(Kind::Unavailable, "address_in_use", message)
    })
}

/// What runs where, and what to try next.
fn say_hello(config: &Config, address: &str, filled: Option<&Filled>, took: Duration) {
    if let Some(filled) = filled {
        say_filled(filled);
    }
    let kept = match config.database.url_of("orders") {
        None => format!("SQLite files in {}", config.data.folder.display()),
        Some(_) => "PostgreSQL, one schema per service".to_owned(),
    };
    let mails = match config.mail.smtp_url.is_empty() {
        true => config.mail_folder().display().to_string(),
        false => "sent by SMTP".to_owned(),
    };
    tracing::info!(address, data = kept, mails, ready_ms = took.as_millis() as u64, "the shop is open");
    if std::io::stdout().is_terminal() || filled.is_some() {
        println!("\n  shop   http://{address}   all services in this process; data: {kept}; mails: {mails}");
        println!("  try    curl -s http://{address}/products?limit=3");
        println!("  pages  http://{address}/docs   /openapi.json   /readyz?verbose   /metrics");
        println!("  stop   Ctrl-C: running work is finished first\n");
    }
}

/// What sample data there is. The administrator's password is said here and
/// never in the log: only a hash of it is kept.
pub fn say_filled(filled: &sample::Filled) {
    let Filled { products, customers, admin, password } = filled;
    println!(
        "sample data: {products} products, {customers} customers (password {:?})",
        sample::CUSTOMER_PASSWORD
    );
    println!("administrator: {admin} with the password {password}   (shown this once)");
}

async fn wait_for_the_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM can be set at start");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT can be set at start");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
