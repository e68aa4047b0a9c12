//! What a backup says of itself: `backup.toml`, written last.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use kernel::{Error, Kind, Result, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{failed, sync};
use crate::databases::SERVICES;

const NAME: &str = "backup.toml";

/// What a backup is: a folder without one is none.
#[derive(Debug, Deserialize, Serialize)]
pub struct Manifest {
    /// The point it is of.
    pub made_at: Time,
    /// The program that made it.
    pub version: String,
    /// Its files.
    pub files: Vec<Entry>,
}

/// A file of it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Entry {
    /// `users.db`
    pub name: String,
    /// How long it is.
    pub size_bytes: u64,
    /// What it holds, in hexadecimal.
    pub sha256: String,
}

impl Entry {
    /// The file as it is.
    pub fn of(name: String, path: &Path) -> Result<Entry> {
        let mut file = File::open(path).map_err(|error| failed(path, error))?;
        let (mut hash, mut size_bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(|error| failed(path, error))? {
                0 => break,
                count => {
                    hash.update(&buffer[..count]);
                    size_bytes += count as u64;
                }
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Entry { name, size_bytes, sha256 })
    }
}

impl Manifest {
    /// Puts it into a folder, behind all that it speaks of.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(Error::internal)?;
        let path = folder.join(NAME);
        fs::write(&path, text).and_then(|()| File::open(&path)?.sync_all()).map_err(|error| failed(&path, error))?;
        sync(folder)
    }

    /// That of a folder, once each of its files is what it says.
    pub fn check(folder: &Path) -> Result<Manifest> {
        let path = folder.join(NAME);
        let text = fs::read_to_string(&path).map_err(|error| {
            let message = format!(
                "{} cannot be read ({error}): {} is no backup, or one that was not finished",
                path.display(),
                folder.display()
            );
            Error::new(Kind::Invalid, "no_backup", message)
        })?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            Error::new(Kind::Invalid, "no_backup", format!("{} is not what `carmel backup` writes: {error}", path.display()))
        })?;
        for service in SERVICES {
            let name = format!("{service}.db");
            let said = manifest.files.iter().find(|file| file.name == name);
            let found = Entry::of(name.clone(), &folder.join(&name))?;
            if said.is_none_or(|said| (said.size_bytes, &said.sha256) != (found.size_bytes, &found.sha256)) {
                let message = format!(
                    "{} is not the file that was backed up: its length or its SHA-256 is another than {} says",
                    folder.join(&name).display(),
                    path.display()
                );
                return Err(Error::conflict("backup_damaged", message));
            }
        }
        Ok(manifest)
    }
}
