//! Where each service keeps its tables.

use std::{path::Path, time::Duration};

use db::{Db, Engine, Migration, Target};
use kernel::{Result, World};

use crate::{
    backup,
    config::{Config, Pooler},
    part::Part,
    relocate,
};

/// The services that have tables, in the order they are copied.
pub const SERVICES: &[&str] = &["users", "catalog", "inventory", "orders", "payments", "notifications"];

/// The tables of a service: a file `data/<service>.db`, or the schema
/// `<service>` of a PostgreSQL database.
pub fn target(config: &Config, service: &str) -> Target {
    match config.database.url_of(service) {
        None => Target::Sqlite { path: config.data.folder.join(format!("{service}.db")) },
        Some(url) => Target::Postgres {
            url: url.expose().to_owned(),
            schema: service.to_owned(),
            connections: connections(config),
        },
    }
}

/// Opens the tables of a service and brings them up to date.
pub async fn open(config: &Config, world: &World, service: Part) -> Result<Db> {
    let target = target(config, service.as_str());
    if let Target::Sqlite { path } = &target {
        make_folder(path.parent().unwrap_or(Path::new(".")))?;
        may_open(config)?; // a file that is missing is not to be made
    }
    let db = Db::open_with(&target, &options(config), world).await?;
    if db.engine() == Engine::Sqlite {
        may_open(config)?; // once it is open, no move and no restore begins
    }
    db.migrate(&migrations(service.as_str())).await?;
    Ok(db)
}

/// Brings the tables of every service up to date.
pub async fn migrate(config: &Config, world: &World) -> Result<()> {
    for service in Part::services() {
        open(config, world, service).await?.close().await;
    }
    Ok(())
}

/// Opens the tables of a service to look at them: makes none and changes none.
/// Fails when they are not as this program knows them.
pub async fn look(config: &Config, world: &World, service: Part) -> Result<Db> {
    let options = db::Options { makes_schema: false, ..options(config) };
    let named = |mut error: kernel::Error| {
        error.message = format!("{}: {}", service.as_str(), error.message);
        error
    };
    let db = Db::open_with(&target(config, service.as_str()), &options, world).await.map_err(named)?;
    if db.engine() == Engine::Sqlite {
        may_open(config)?;
    }
    db.must_be_current(&migrations(service.as_str())).await.map_err(named)?;
    Ok(db)
}

/// Refuses files that are on their way to another place, or half replaced.
pub fn may_open(config: &Config) -> Result<()> {
    relocate::may_open(&config.data.folder)?;
    backup::may_open(&config.data.folder)
}

fn options(config: &Config) -> db::Options {
    let chosen = &config.database;
    let replicas = chosen.replica_urls.expose().split(',').filter(|url| !url.is_empty());
    db::Options {
        wait: Duration::from_secs(chosen.wait_s.into()),
        pooler: match chosen.pooler {
            Pooler::None => db::Pooler::None,
            Pooler::Plain => db::Pooler::Plain,
            Pooler::Preparing => db::Pooler::Preparing,
        },
        replicas: replicas.map(str::to_owned).collect(),
        lag: Duration::from_millis(chosen.replica_lag_ms),
        ..db::Options::default()
    }
}

/// The migrations of a service.
pub fn migrations(service: &str) -> Vec<Migration> {
    match service {
        "users" => users::migrations(),
        "orders" => orders::migrations(),
        "catalog" => catalog::migrations(),
        "inventory" => inventory::migrations(),
        "payments" => payments::migrations(),
        _ => notifications::migrations(),
    }
}

/// Twice the cores, from 4 to 10, unless the settings say otherwise: six
/// services then stay below the hundred connections a PostgreSQL has by default.
fn connections(config: &Config) -> usize {
    match config.database.connections {
        0 => (2 * std::thread::available_parallelism().map_or(2, usize::from)).clamp(4, 10),
        chosen => chosen as usize,
    }
}

/// Makes the folder for data, unless it is there.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("the folder {} (data.folder) cannot be made: {error}", folder.display());
        kernel::Error::new(kernel::Kind::Invalid, "data_folder", message)
    })
}
