//! What a backup says of itself: `backup.toml`, written last. A folder without
//! it is no backup.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kernel::{Error, Kind, Result, Time};
use serde::{Deserialize, Serialize};

use super::disk::{self, Sum};
use crate::databases::SERVICES;

/// The format that this program writes, and the newest that it reads.
const FORMAT: i64 = 1;

/// What is in a backup.
#[derive(Debug, Deserialize, Serialize)]
pub struct Manifest {
    format: i64,
    /// The version of the program that made it.
    pub program: String,
    /// The moment that it shows.
    pub taken_at: Time,
    /// The file of each service.
    pub files: BTreeMap<String, Entry>,
}

/// A file of a backup.
#[derive(Debug, Deserialize, Serialize)]
pub struct Entry {
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 over all of it.
    pub sha256: String,
    /// The migrations of its tables, in their order.
    pub migrations: Vec<String>,
}

impl Manifest {
    /// That of files that are there, each with its migrations.
    pub fn of(taken_at: Time, files: impl IntoIterator<Item = (&'static str, Sum, Vec<String>)>) -> Manifest {
        let entry = |(service, (bytes, sha256), migrations): (&str, Sum, _)| {
            (service.to_owned(), Entry { bytes, sha256, migrations })
        };
        let files = files.into_iter().map(entry).collect();
        Manifest { format: FORMAT, program: env!("CARGO_PKG_VERSION").to_owned(), taken_at, files }
    }

    /// Where it is in a folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("backup.toml")
    }

    /// Puts it into a folder: from then on that is a backup.
    pub fn write(&self, folder: &Path) -> Result<()> {
        disk::write_whole(&Manifest::path(folder), &toml::to_string(self).map_err(Error::internal)?)
    }

    /// That of a backup. Refuses what is none (`no_backup`), or one of another
    /// format (`backup_too_new`).
    pub fn read(folder: &Path) -> Result<Manifest> {
        let path = Manifest::path(folder);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            no_backup(format!(
                "{} cannot be read ({error}): name the folder of a backup that was finished",
                path.display()
            ))
        })?;
        let unclear = |why: String| no_backup(format!("{} is not a backup's: {why}", path.display()));
        let table: toml::Table = toml::from_str(&text).map_err(|error| unclear(error.to_string()))?;
        match table.get("format").and_then(toml::Value::as_integer) {
            Some(format) if format > FORMAT => {
                let program = table.get("program").and_then(toml::Value::as_str).unwrap_or("a newer one");
                let message = format!(
                    "{} has format {format}, and this program knows {FORMAT}: restore it with carmel {program}",
                    path.display()
                );
                return Err(Error::conflict("backup_too_new", message));
            }
            Some(FORMAT) => {}
            _ => return Err(unclear(format!("it does not say format = {FORMAT}"))),
        }
        let manifest: Manifest = toml::from_str(&text).map_err(|error| unclear(error.to_string()))?;
        match SERVICES.iter().find(|service| !manifest.files.contains_key(**service)) {
            Some(missing) => Err(unclear(format!("it says nothing of {missing}.db"))),
            None => Ok(manifest),
        }
    }
}

/// The file of a service in a folder.
pub fn file(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.db"))
}

fn no_backup(message: String) -> Error {
    Error::new(Kind::Invalid, "no_backup", message)
}
