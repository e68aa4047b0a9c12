//! BullMQ's own client and Bull Board, on Node: installed once into the target
//! folder from the versions that `tests/node` names.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// A command that runs one of the scripts of `tests/node`.
pub fn script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.current_dir(installed()).arg(name);
    command
}

/// The folder where the scripts find what they need.
fn installed() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (from, to) = (here.join("tests/node"), here.join("../../target/node"));
    fs::create_dir_all(&to).unwrap();
    // One at a time: tests run beside each other, in several processes.
    let lock = File::create(to.join("lock")).unwrap();
    lock.lock().unwrap();
    let wanted = fs::read(from.join("package-lock.json")).unwrap();
    for file in fs::read_dir(&from).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let stamp = to.join("installed");
    if fs::read(&stamp).ok() != Some(wanted.clone()) {
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let done = Command::new("npm").args(install).current_dir(&to).output();
        let done = done.unwrap_or_else(|error| {
            panic!("BullMQ's own client judges the queues, and `npm` is not there to install it ({error}): install Node 20 or later")
        });
        assert!(
            done.status.success(),
            "npm ci in {}: {}",
            to.display(),
            String::from_utf8_lossy(&done.stderr)
        );
        fs::write(stamp, wanted).unwrap();
    }
    to
}
