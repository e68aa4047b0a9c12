//! `carmel backup` and `carmel restore`: a copy of a whole shop in files, made
//! while it is open, and the way back.
//!
//! A copy shows one moment of all services. What an order has done is in
//! several files (the event in one, what was heard of it in another), so files
//! of different moments would contradict each other: an order that nobody has
//! heard of, or stock that was sold to none.

mod disk;
mod lost;
mod manifest;
mod postgres;
mod restore;
mod swap;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use db::Moment;
use kernel::{Error, Result, Time, World};
use serde::Serialize;

use self::{
    manifest::{Manifest, file},
    postgres::{Wanted, must_be_embedded},
};
use crate::{audit, config::Config, databases::SERVICES};

pub use restore::{Source, restore};
pub use swap::may_open;

/// Where a backup goes to, as the command is told.
#[derive(clap::Args)]
pub struct Place {
    /// A new folder, or an empty one.
    folder: PathBuf,
    /// Says what it did as JSON.
    #[arg(long)]
    json: bool,
}

/// The services in the order in which their writers are kept out.
const BUSIEST_FIRST: [&str; 6] = ["orders", "payments", "inventory", "notifications", "catalog", "users"];

/// What was done.
#[derive(Debug, Serialize)]
struct Done<'a> {
    folder: &'a Path,
    taken_at: Time,
    bytes: u64,
    /// How long nobody could write.
    writers_held_ms: f64,
    /// How long all of it took.
    took_ms: f64,
}

/// Makes a backup of the shop of these settings, which may be open.
pub async fn backup(config: &Config, world: &World, into: Place) -> Result<()> {
    let began = Instant::now();
    must_be_embedded(config, Wanted::Backup)?;
    audit::must_exist(config)?;
    let (folder, data, own) = (into.folder.clone(), config.data.folder.clone(), world.clone());
    make_room(&folder)?;
    let (manifest, held) = world
        .blocking(move || {
            let made = copy_all(&own, &data, &folder);
            if made.is_err() {
                throw_away(&folder);
            }
            made
        })
        .await??;
    let ms = |span: Duration| (span.as_secs_f64() * 1e5).round() / 1e2;
    let done = Done {
        folder: &into.folder,
        taken_at: manifest.taken_at,
        bytes: manifest.files.values().map(|entry| entry.bytes).sum(),
        writers_held_ms: ms(held),
        took_ms: ms(began.elapsed()),
    };
    if into.json {
        println!("{}", serde_json::to_string_pretty(&done).map_err(Error::internal)?);
    } else {
        println!(
            "the shop as it was at {} is in {}: {} files, {} bytes; nobody could write for {} ms, all of it took {} ms",
            done.taken_at,
            into.folder.display(),
            SERVICES.len(),
            done.bytes,
            done.writers_held_ms,
            done.took_ms
        );
        println!("keep it as you keep a password: the keys that sign tokens and all customers are in it");
    }
    Ok(())
}

/// Copies the files as they are at one moment, and says so last.
fn copy_all(world: &World, data: &Path, folder: &Path) -> Result<(Manifest, Duration)> {
    let paths: Vec<_> = BUSIEST_FIRST.iter().map(|service| file(data, service)).collect();
    let moment = Moment::take(world, &paths)?;
    world.reached("backup.taken");
    let mut files = Vec::new();
    for (at, service) in BUSIEST_FIRST.iter().enumerate() {
        let copy = file(folder, service);
        disk::make_file(&copy)?;
        moment.copy(at, &copy)?;
        disk::sync(&copy)?;
        files.push((*service, disk::sum(&copy)?, moment.migrations(at)?));
        world.reached(&format!("backup.{service}"));
    }
    let manifest = Manifest::of(moment.at, files);
    manifest.write(folder)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk::sync(parent)?;
    }
    Ok((manifest, moment.held))
}

/// Makes the folder; refuses (`folder_not_empty`) one with something in it.
fn make_room(folder: &Path) -> Result<()> {
    disk::make_folder(folder)?;
    let mut entries = std::fs::read_dir(folder).map_err(Error::internal)?;
    if entries.next().is_none() {
        return Ok(());
    }
    let what = if Manifest::path(folder).exists() { "a backup" } else { "something" };
    let message = format!(
        "there is {what} in {} already, and a backup replaces nothing: name a new folder",
        folder.display()
    );
    Err(Error::conflict("folder_not_empty", message))
}

/// Removes the beginning of a backup that came to nothing. What cannot be
/// removed is no backup either, for want of its manifest.
fn throw_away(folder: &Path) {
    let files = SERVICES.iter().map(|service| file(folder, service));
    for path in [Manifest::path(folder)].into_iter().chain(files) {
        if let Err(error) = disk::remove(&path) {
            tracing::warn!(error = error.chain(), "a part of a backup stays");
        }
    }
}
