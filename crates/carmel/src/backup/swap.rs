//! How the files of a shop are replaced by others: all of them or none,
//! whenever the power fails. The new ones are complete in a folder beside them
//! before a mark says that they are to take their places; from then on whoever
//! comes next does the rest, and nobody opens the shop until it is done.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use kernel::{Error, Result, Time, World};
use serde::{Deserialize, Serialize};

use super::{
    disk,
    manifest::{Manifest, file},
};
use crate::databases::SERVICES;

/// The mark: which files are to take which places.
#[derive(Debug, Deserialize, Serialize)]
pub struct Swap {
    /// The backup that they are from.
    pub from: PathBuf,
    /// The moment that it shows.
    pub taken_at: Time,
    /// The folder, in that of the shop, where those go that were there before.
    pub aside: String,
}

/// Refuses (`restore_unfinished`) a folder in which some files may be of one
/// moment and some of another.
pub fn may_open(data: &Path) -> Result<()> {
    Swap::find(data)?.map_or(Ok(()), |swap| {
        let message = format!(
            "the restore of {} into {} was interrupted: run `carmel restore {}` again, which finishes it",
            swap.from.display(),
            data.display(),
            swap.from.display()
        );
        Err(Error::conflict("restore_unfinished", message))
    })
}

impl Swap {
    /// That which was begun in the folder of a shop.
    pub fn find(data: &Path) -> Result<Option<Swap>> {
        match fs::read_to_string(Swap::path(data)) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(Error::internal),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Where the new files are until they are in their places.
    pub fn stage(data: &Path) -> PathBuf {
        data.join("restoring")
    }

    fn path(data: &Path) -> PathBuf {
        data.join("restoring.toml")
    }

    /// Makes it certain: the new files are complete, and take their places now
    /// or after the next start of `carmel restore`.
    pub fn begin(&self, data: &Path) -> Result<()> {
        disk::sync(&Swap::stage(data))?;
        disk::write_whole(&Swap::path(data), &toml::to_string(self).map_err(Error::internal)?)
    }

    /// Does what is left to be done. Returns the folder with what was there
    /// before, if anything was. The caller keeps the files closed.
    pub fn finish(&self, data: &Path, world: &World) -> Result<Option<PathBuf>> {
        let (stage, aside) = (Swap::stage(data), data.join(&self.aside));
        disk::make_folder(&aside)?;
        let waiting: Vec<_> = SERVICES.iter().filter(|service| file(&stage, service).exists()).collect();
        for service in &waiting {
            move_aside(data, &aside, service)?;
            world.reached(&format!("restore.aside.{service}"));
        }
        // Nothing is replaced before what was there is safe.
        disk::sync(&aside)?;
        disk::sync(data)?;
        for service in &waiting {
            disk::rename(&file(&stage, service), &file(data, service))?;
            world.reached(&format!("restore.placed.{service}"));
        }
        let told = Manifest::path(&stage);
        if told.exists() {
            disk::rename(&told, &Manifest::path(&aside))?;
            disk::sync(&aside)?;
        }
        disk::sync(data)?;
        world.reached("restore.placed");
        disk::remove_folder(&stage)?;
        disk::remove(&Swap::path(data))?;
        disk::sync(data)?;
        match fs::remove_dir(&aside) {
            Err(_) => Ok(Some(aside)),
            Ok(()) => Ok(None), // it was empty
        }
    }
}

/// Moves the file of a service, after what SQLite keeps beside it.
fn move_aside(data: &Path, aside: &Path, service: &str) -> Result<()> {
    let was_moved = file(aside, service).exists();
    for beside in ["-wal", "-shm", ""] {
        let name = format!("{service}.db{beside}");
        let here = data.join(&name);
        if was_moved {
            // Made by somebody who looked in on the half of it, and was refused.
            disk::remove(&here)?;
        } else if here.exists() {
            disk::rename(&here, &aside.join(&name))?;
        }
    }
    Ok(())
}
