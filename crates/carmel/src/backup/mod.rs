//! `carmel backup` and `carmel restore`, for a shop in files: a copy of all its
//! services as they were at one point, made while it sells.
//!
//! The point is a moment in which nobody may write any of the files; pictures
//! of all of them are taken in it, and copied afterwards while the shop goes
//! on. Without it a payment may be in the copy whose order is not.

mod lost;
mod manifest;
mod restore;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use db::{Db, Halt, Target, Tx};
use kernel::{Error, Kind, Result, World};

use self::manifest::Manifest;
pub use self::restore::{Restored, may_open, restore};
use crate::{
    config::Config,
    databases::{self, SERVICES},
    relocate,
};

/// How long everybody may be kept waiting in one attempt: a part of the
/// patience that a writer has.
const STANDSTILL: Duration = Duration::from_secs(1);
/// How often that is tried.
const ATTEMPTS: u32 = 20;

/// Copies the shop into a folder; returns what is there now, in words.
pub async fn backup(config: &Config, world: &World, folder: &Path) -> Result<String> {
    must_be_here(config)?;
    relocate::may_open(&config.data.folder)?;
    may_open(&config.data.folder)?;
    must_be_empty(folder)?;
    let mut databases = Vec::with_capacity(SERVICES.len());
    for service in SERVICES {
        databases.push((*service, Db::open(&databases::target(config, service), world).await?));
    }
    let pictures = at_one_point(&databases, world).await?;
    let made_at = world.now();
    world.reached("backup.point");
    let mut files = Vec::with_capacity(SERVICES.len());
    for (service, picture) in pictures {
        let name = format!("{service}.db");
        let path = folder.join(&name);
        picture.copy_to(&path).await?;
        files.push(manifest::Entry::of(name, &path)?);
        world.reached(&format!("backup.{service}"));
    }
    for (_, db) in &databases {
        db.close().await;
    }
    let size: u64 = files.iter().map(|file| file.size_bytes).sum();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Manifest { made_at, version, files }.write(folder)?;
    let (count, folder) = (SERVICES.len(), folder.display());
    Ok(format!("the shop as it was at {made_at} is in {folder}: {count} files, {size} bytes"))
}

/// A picture of each file, all of one moment in which nobody writes.
async fn at_one_point(
    databases: &[(&'static str, Db)],
    world: &World,
) -> Result<Vec<(&'static str, Tx)>> {
    for _ in 0..ATTEMPTS {
        // Whoever writes much may be in the way of one of them: then all go on for a while.
        let Some(halted) = world.timeout(STANDSTILL, halt(databases)).await else {
            world.sleep(world.jitter(STANDSTILL)).await;
            continue;
        };
        let halted = halted?;
        let mut pictures = Vec::with_capacity(databases.len());
        for (service, db) in databases {
            pictures.push((*service, db.picture().await?));
        }
        drop(halted);
        return Ok(pictures);
    }
    let message = "the shop writes so much that it cannot be stopped for a moment; try again a little later";
    Err(Error::unavailable("shop_too_busy", message))
}

/// Keeps everybody from writing, in any process.
async fn halt(databases: &[(&'static str, Db)]) -> Result<Vec<Halt>> {
    let mut halted = Vec::with_capacity(databases.len());
    for (_, db) in databases {
        halted.push(db.halt().await?);
    }
    Ok(halted)
}

/// Refuses what is not a shop in files, or is none at all.
fn must_be_here(config: &Config) -> Result<()> {
    must_be_embedded(config)?;
    must_exist(config)
}

fn must_be_embedded(config: &Config) -> Result<()> {
    if SERVICES.iter().any(|service| config.database.url_of(service).is_some()) {
        let message = "the settings say that this shop is in PostgreSQL (DATABASE_URL), which has tools for \
                       this: pg_dump and pg_restore, as docs/backup.md says";
        return Err(Error::new(Kind::Invalid, "not_embedded", message));
    }
    Ok(())
}

/// Refuses (`no_shop`) to look at files that are not there.
pub fn must_exist(config: &Config) -> Result<()> {
    for service in SERVICES {
        if let Target::Sqlite { path } = databases::target(config, service)
            && !path.exists()
        {
            let message = format!(
                "there is no shop in {}: {} is missing; data.folder (CARMEL_DATA_FOLDER) names the folder of one",
                config.data.folder.display(),
                path.display()
            );
            return Err(Error::new(Kind::Invalid, "no_shop", message));
        }
    }
    Ok(())
}

fn must_be_empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    if entries.next().is_some() {
        let message = format!("{} is not empty; a new folder for each backup is right", folder.display());
        return Err(Error::conflict("folder_not_empty", message));
    }
    Ok(())
}

/// A folder or a file that does not let itself be read or written.
fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("storage_failed", format!("{}: {error}", path.display()))
}

/// What is on the disk of a folder is what was put into it.
fn sync(folder: &Path) -> Result<()> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
}

/// The file of a service in a folder.
fn file(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.db"))
}
