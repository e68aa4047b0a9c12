//! Files that are whole on the disk, or not there.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use kernel::{Error, Result};
use sha2::{Digest, Sha256};

/// What was copied or read: how much, and its SHA-256 in hexadecimal.
pub type Sum = (u64, String);

/// Makes a folder that only its owner may look into, unless it is there.
pub fn make_folder(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed(path, "cannot be made", error))
}

/// Makes an empty file that only its owner may read.
pub fn make_file(path: &Path) -> Result<File> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| failed(path, "cannot be made", error))
}

/// Writes a small file as a whole: another one of that name is replaced at once.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("new");
    remove(&beside)?;
    let mut file = make_file(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| failed(path, "cannot be written", error))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Copies a file and returns what was copied.
pub fn copy(from: &Path, to: &Path) -> Result<Sum> {
    let mut into = make_file(to)?;
    let sum =
        read(from, |bytes| into.write_all(bytes).map_err(|error| failed(to, "cannot be written", error)))?;
    sync(to)?;
    Ok(sum)
}

/// Reads a file and returns what was read.
pub fn sum(path: &Path) -> Result<Sum> {
    read(path, |_| Ok(()))
}

fn read(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<Sum> {
    let unread = |error| failed(path, "cannot be read", error);
    let mut file = File::open(path).map_err(unread)?;
    let (mut length, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(unread)?;
        if read == 0 {
            let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((length, hash));
        }
        length += read as u64;
        hash.update(&buffer[..read]);
        each(&buffer[..read])?;
    }
}

/// Moves a file within one disk, in place of what is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| failed(from, "cannot be moved", error))
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    gone(path, fs::remove_file(path))
}

/// Removes a folder with all that is in it, if it is there.
pub fn remove_folder(path: &Path) -> Result<()> {
    gone(path, fs::remove_dir_all(path))
}

fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(path, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

/// Sees to it that a file, or the names in a folder, survive a loss of power.
pub fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| failed(path, "cannot be written", error))
}

fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "storage_full"
        }
        _ => "storage_failed",
    };
    Error::unavailable(code, format!("{} {what}: {error}", path.display()))
}
