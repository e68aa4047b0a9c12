//! The mark in the folder of a shop that is moved: `moved.toml`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use kernel::{Error, Result, World};
use serde::{Deserialize, Serialize};

/// That a move was begun, and whether it has ended.
#[derive(Debug, Deserialize, Serialize)]
pub struct Mark {
    /// Of which move: the schemas over there bear it in their names.
    pub id: String,
    /// Where to, without user and password.
    pub to: String,
    /// Whether the shop is over there now.
    pub ended: bool,
}

/// Refuses (`shop_moved`) when what is in the folder is being moved or was.
pub fn may_open(folder: &Path) -> Result<()> {
    Mark::find(folder)?.map_or(Ok(()), |mark| Err(mark.refusal(folder)))
}

impl Mark {
    /// That of a move which begins now, or goes on under its id.
    pub fn new(world: &World, id: Option<String>, to: &str) -> Mark {
        let fresh = || world.random::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
        Mark { id: id.unwrap_or_else(fresh), to: address(to), ended: false }
    }

    /// The mark in a folder.
    pub fn find(folder: &Path) -> Result<Option<Mark>> {
        match fs::read_to_string(Mark::path(folder)) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(Error::internal),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Where it is.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("moved.toml")
    }

    /// Puts it into a folder; what is on the disk then is the whole of it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(Error::internal)?;
        let (path, beside) = (Mark::path(folder), folder.join("moved.toml.new"));
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|error| {
            Error::unavailable("storage_failed", format!("{} cannot be written", path.display()))
                .because(error)
        })
    }

    /// Why nobody opens this shop, and how to open it nevertheless.
    pub fn refusal(&self, folder: &Path) -> Error {
        let (to, path) = (&self.to, Mark::path(folder));
        let message = if self.ended {
            format!(
                "this shop was moved to {to}: set DATABASE_URL; to undo that and lose what was done over \
                 there, delete {}",
                path.display()
            )
        } else {
            format!(
                "this shop is being moved to {to}: run `carmel move` again; to give that up, delete {}",
                path.display()
            )
        };
        Error::conflict("shop_moved", message)
    }
}

/// A URL without user, password and parameters.
fn address(url: &str) -> String {
    let plain = url.split('?').next().unwrap_or_default();
    match (plain.split_once("://"), plain.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_no_secret() {
        for (url, shown) in [
            (
                "postgres://ann:p@ss@db.example.com:5432/shop?sslmode=disable",
                "postgres://db.example.com:5432/shop",
            ),
            ("postgres://db.example.com/shop", "postgres://db.example.com/shop"),
        ] {
            assert_eq!(address(url), shown);
        }
    }
}
