//! `cargo xtask dev`: a shop that is rebuilt and restarted when a file changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::shell::{Done, cargo, on_path, output, root, target};

/// How often files are looked at, and how long they must have been still.
const LOOK: Duration = Duration::from_millis(300);

/// How long the old shop may take to finish what it is doing.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs until it is interrupted. A build that fails leaves the old shop running.
pub fn run(arguments: &[String]) -> Done {
    let mut shop: Option<Child> = None;
    loop {
        let seen = newest();
        match build() {
            Ok(()) => {
                if let Some(old) = shop.take() {
                    stop(old)?;
                }
                shop = Some(start(arguments)?);
            }
            Err(message) => {
                let rest = if shop.is_some() { "the shop runs on as it was" } else { "waiting for a change" };
                eprintln!("{message}; {rest}");
            }
        }
        wait_for_change(seen, &mut shop);
    }
}

fn build() -> Done {
    crate::shell::run(cargo().args(["build", "--package", "carmel", "--quiet"]))
}

fn start(arguments: &[String]) -> Done<Child> {
    let program = target()?.join("debug").join("carmel");
    // Ends with this process even when that is killed, where there is setpriv.
    let mut command = match on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir(root()).args(["serve", "--sample"]).args(arguments);
    command.spawn().map_err(|error| format!("carmel cannot be started: {error}"))
}

/// Asks it to finish, and ends it when it takes too long.
fn stop(mut shop: Child) -> Done {
    if shop.try_wait().is_ok_and(|ended| ended.is_some()) {
        return Ok(());
    }
    output(Command::new("kill").args(["-TERM", &shop.id().to_string()]))?;
    let until = Instant::now() + DRAIN;
    while Instant::now() < until {
        if shop.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    eprintln!("the old shop did not finish in {} s and is ended", DRAIN.as_secs());
    shop.kill().and_then(|()| shop.wait()).map(|_| ()).map_err(|error| error.to_string())
}

/// Returns when files have changed since `seen` and are still again.
fn wait_for_change(mut seen: State, shop: &mut Option<Child>) {
    let mut changed = false;
    loop {
        thread::sleep(LOOK);
        if let Some(Ok(Some(status))) = shop.as_mut().map(Child::try_wait) {
            eprintln!("the shop ended with {status}; waiting for a change");
            *shop = None;
        }
        let now = newest();
        if now != seen {
            (seen, changed) = (now, true);
        } else if changed {
            return;
        }
    }
}

/// When the latest change was and how many files there are: a file that is
/// deleted changes the second only.
type State = (Option<SystemTime>, usize);

fn newest() -> State {
    let files = ["Cargo.toml", "Cargo.lock", "carmel.toml", ".env"].map(|name| root().join(name));
    let mut state = (None, 0);
    look(&root().join("crates"), &mut state);
    files.iter().for_each(|file| note(file, &mut state));
    state
}

fn look(folder: &Path, state: &mut State) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path: PathBuf = entry.path();
        // Editors put their own files beside: hidden, or with a ~ at the end.
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') || name == "target" {
            continue;
        }
        if path.is_dir() { look(&path, state) } else { note(&path, state) }
    }
}

fn note(file: &Path, state: &mut State) {
    if let Ok(changed) = fs::metadata(file).and_then(|data| data.modified()) {
        state.0 = state.0.max(Some(changed));
        state.1 += 1;
    }
}
