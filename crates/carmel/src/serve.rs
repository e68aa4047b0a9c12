//! `carmel serve` and `carmel work`: a process that runs until it is asked to end.

use std::{
    io::IsTerminal,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use gateway::Drain;
use kernel::{Error, Kind, Result, World};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, unix::pipe},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    part::{Part, Parts},
    sample::{self, Filled},
    shop::{Shop, Workers},
    up,
};

/// Runs these parts of the shop until SIGTERM or Ctrl-C, then drains them: no
/// new work, running work finished, then the end.
pub async fn serve(
    config: Config,
    world: World,
    parts: &Parts,
    with_sample: bool,
    supervised: bool,
) -> Result<()> {
    let began = Instant::now();
    let listener = listen(&config).await?;
    let address = listener.local_addr().map_err(Error::internal)?.to_string();
    let shop = Shop::open_parts(&config, &world, parts).await?;
    let filled = if with_sample { sample::fill(&shop, &config).await? } else { None };

    let end = End::awaited(&world, supervised)?;
    let (workers, router) = (shop.start(&end.stop)?, shop.router()?);
    say_ready(supervised);
    say_hello(&config, parts, &address, filled.as_ref(), began.elapsed());
    let drain = drain(&config);
    gateway::serve(listener, router, end.stop.clone(), drain).await;
    end.finish(&world, &shop, workers, drain).await;
    Ok(())
}

/// Works on the jobs of these services and relays their events until SIGTERM
/// or Ctrl-C. Answers health checks and metrics where it is told to listen.
pub async fn work(
    config: Config,
    world: World,
    parts: &Parts,
    listens: bool,
    supervised: bool,
) -> Result<()> {
    let listener = if listens { Some(listen(&config).await?) } else { None };
    let shop = Shop::open_parts(&config, &world, parts).await?;

    let end = End::awaited(&world, supervised)?;
    let (workers, status) = (shop.start(&end.stop)?, shop.status()?);
    say_ready(supervised);
    tracing::info!(parts = %parts, "at work");
    let drain = drain(&config);
    match listener {
        Some(listener) => gateway::serve(listener, status, end.stop.clone(), drain).await,
        None => end.stop.cancelled().await,
    }
    end.finish(&world, &shop, workers, drain).await;
    Ok(())
}

/// How a process ends.
struct End {
    /// Cancelled when it is to end.
    stop: CancellationToken,
    since: Arc<OnceLock<Instant>>,
}

impl End {
    /// Waits for SIGTERM or Ctrl-C beside everything else; when supervised, for
    /// the end of the standard input, too: then the supervisor wants it, or is gone.
    fn awaited(world: &World, supervised: bool) -> Result<End> {
        let end = End { stop: CancellationToken::new(), since: Arc::default() };
        let (stop, since) = (end.stop.clone(), end.since.clone());
        let input = supervised.then(input).transpose()?;
        drop(world.spawn(async move {
            tokio::select! {
                () = wait_for_the_end() => {}
                () = until_closed(input) => {}
            }
            tracing::info!("draining: no new work is taken, running work is finished");
            since.get_or_init(Instant::now);
            stop.cancel();
        }));
        Ok(end)
    }

    /// Finishes what is under way. One deadline for all of it: workers and
    /// requests have been finishing side by side.
    async fn finish(self, world: &World, shop: &Shop, workers: Workers, drain: Drain) {
        let left = (drain.delay + drain.limit)
            .saturating_sub(self.since.get().map_or(Duration::ZERO, Instant::elapsed));
        if world.timeout(left, workers.join()).await.is_none() {
            tracing::warn!("not everything was finished in time; the rest is done after the next start");
        }
        shop.close().await;
        tracing::info!("ended");
    }
}

fn drain(config: &Config) -> Drain {
    Drain {
        delay: Duration::from_millis(config.server.drain_delay_ms),
        limit: Duration::from_millis(config.server.drain_timeout_ms),
    }
}

/// The standard input, as the pipe that a supervisor makes of it.
fn input() -> Result<pipe::Receiver> {
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::internal)?;
    pipe::Receiver::from_owned_fd(input).map_err(|error| {
        let message = "--supervised is for `carmel up`, whose processes have a pipe as their standard input";
        Error::invalid("not_supervised", message).because(error)
    })
}

/// Waits until it is closed; for ever when there is none.
async fn until_closed(input: Option<pipe::Receiver>) {
    let Some(mut input) = input else { return std::future::pending().await };
    let mut said = [0; 64];
    while let Ok(1..) = input.read(&mut said).await {}
}

/// Tells a supervisor that requests are answered from now on.
fn say_ready(supervised: bool) {
    if supervised {
        println!("{}", up::READY);
    }
}

/// The socket to listen on: one that was opened for this process already
/// (sd_listen_fds(3)), or a new one.
async fn listen(config: &Config) -> Result<TcpListener> {
    let inherited = listenfd::ListenFd::from_env().take_tcp_listener(0).map_err(Error::internal)?;
    if let Some(socket) = inherited {
        socket.set_nonblocking(true).map_err(Error::internal)?;
        return TcpListener::from_std(socket).map_err(Error::internal);
    }
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
fn say_hello(config: &Config, parts: &Parts, address: &str, filled: Option<&Filled>, took: Duration) {
    if let Some(filled) = filled {
        say_filled(filled);
    }
    let ready_ms = took.as_millis() as u64;
    if !parts.is_whole() {
        tracing::info!(address, parts = %parts, ready_ms, "open");
        return;
    }
    let kept = match config.database.url_of(Part::Orders.as_str()) {
        None => format!("SQLite files in {}", config.data.folder.display()),
        Some(_) => "PostgreSQL, one schema per service".to_owned(),
    };
    let mails = match config.mail.smtp_url.is_empty() {
        true => config.mail_folder().display().to_string(),
        false => "sent by SMTP".to_owned(),
    };
    tracing::info!(address, data = kept, mails, ready_ms, "the shop is open");
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

pub async fn wait_for_the_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM can be set at start");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT can be set at start");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
